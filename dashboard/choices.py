"""What can be chosen on the page, in its words, and how a choice becomes a configuration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from capture.config import CaptureConfig

DEMO = "Demo clip"
DEVICES = "Camera and microphone"
FILE = "Video or sound file"
BROWSER = "Browser camera"

FACE = "Face"
VOICE = "Voice"
WORDS = "Words"
USES = (FACE, VOICE, WORDS)
USES_HELP = (
    "Words alone is the text-only mode: no face and no voice is read, for places where that is "
    "not allowed."
)
TEXT_ONLY = "Text only: neither face nor voice is read, only the words, and they are not biometric."

FILE_TYPES = ("mp4", "mov", "mkv", "webm", "avi", "m4v", "wav", "mp3", "flac", "ogg", "opus", "m4a")
PURPOSES = (
    "Trying it out on myself",
    "Practising a talk or an interview",
    "Keeping a journal of my own mood",
    "Research with the consent of everyone involved",
)

NOTICE = (
    "While it runs, what is chosen of face, voice and words is read on this machine. Nothing is "
    "sent anywhere, and nothing is recorded. Tell everyone who can be seen or heard."
)
STYLE = """
<style>
  .stMainBlockContainer { padding: 3.6rem 2rem 1rem; max-width: none; }
  [data-testid="stSidebarUserContent"] { padding-top: 0; }
  [data-testid="stSidebarHeader"] { height: 2.2rem; }
  [data-testid="stSidebar"] h1 { padding: 0 0 .4rem; font-size: 1.7rem; }
  [data-testid="stSidebar"] [data-testid="stVerticalBlock"] { gap: .75rem; }
  [data-testid="stSidebar"] hr { margin: .6rem 0; }
  [data-testid="stMain"] h1 { padding: 0 0 .6rem; font-size: 2rem; }
  .st-key-about { max-width: 860px; }
  @media (max-width: 560px) {
    .stMainBlockContainer { padding: 3.6rem 1rem 1rem; }
  }
  @media (min-width: 2200px) {
    [data-testid="stSidebar"], [data-testid="stHeader"] { zoom: 1.5; }
    .stMainBlockContainer { padding-top: 5.4rem; }
    [data-testid="stMain"] h1, .st-key-about, .st-key-sessions { zoom: 1.6; }
  }
</style>
"""


def recogniser_name(recogniser: str) -> str:
    """A recogniser for people."""
    names = {"base": "base (more accurate)", "tiny.en": "tiny.en (lighter, English)"}
    return names.get(recogniser, recogniser)


def missing(source: str | None, use: Sequence[str], purpose: str | None) -> str:
    """What still has to be chosen before a start, in one sentence; empty when nothing is."""
    if source is None:
        return "Choose a source first."
    if not use:
        return "Choose at least one of face, voice and words."
    if not _any_left(source, use):
        return "The chosen device gives nothing of what is to be used."
    if not (purpose or "").strip():
        return "Say what it is for, then press Start."
    return ""


def config(
    kind: str,
    source: str,
    use: Sequence[str],
    recogniser: str,
    purpose: str,
    session: str = "",
    participant: str = "me",
) -> CaptureConfig:
    """The configuration of a capture worker; raises ``SourceError`` where nothing is left to use."""
    picture = FACE in use and _sees(source)
    return CaptureConfig(
        source=source,
        session=session,
        participant=participant,
        purpose=purpose.strip(),
        picture=picture,
        sound=_hears(source) and (VOICE in use or WORDS in use),
        voice=_hears(source) and VOICE in use,
        words=_hears(source) and WORDS in use,
        loop=kind == DEMO,
        recogniser=recogniser,
        preview=picture,
    )


def _sees(source: str) -> bool:
    return not source.startswith("microphone:")


def _hears(source: str) -> bool:
    return "microphone:" in source or not source.startswith("webcam:")


def _any_left(source: str, use: Sequence[str]) -> bool:
    return (FACE in use and _sees(source)) or (_hears(source) and bool({VOICE, WORDS} & set(use)))


def ready(use: Sequence[str]) -> str:
    """What a start would do, where nothing is missing."""
    return f"Ready. {TEXT_ONLY}" if list(use) == [WORDS] else "Ready."


def shown(config: CaptureConfig) -> str:
    """The source for people."""
    names = {"demo": DEMO, "browser": BROWSER}
    return names.get(config.source) or config.source.rpartition("/")[2]


def used(config: CaptureConfig) -> tuple[str, ...]:
    """What a configuration reads, in the words of ``USES``."""
    read = {FACE: config.picture, VOICE: config.voice, WORDS: config.words}
    return tuple(name for name, wanted in read.items() if wanted)


def described(config: CaptureConfig, named: bool = False) -> str:
    """A running session for people, in Markdown; ``named`` says whose source it is."""
    whose = f"{config.participant}: " if named else "Source: "
    lines = [f"{whose}{shown(config)}", f"Purpose: {config.purpose or 'not stated'}"]
    if config.words and not (config.picture or config.voice):
        lines.append(TEXT_ONLY)
    return "  \n".join(lines)


@dataclass(frozen=True, slots=True)
class Found:
    """Devices for two lists, name by index; ``problems`` are lines for people."""

    cameras: dict[int, str]
    microphones: dict[int, str]
    problems: tuple[str, ...]


def list_devices() -> Found:
    """Cameras and microphones of this machine, the default one first; opens no camera on Linux."""
    from capture.devices import list_devices as look  # brings OpenCV and PortAudio

    devices = look()
    ears = sorted(devices.microphones, key=lambda one: not one.default)
    return Found(
        {camera.index: camera.name for camera in devices.cameras},
        {one.index: one.name for one in ears},
        tuple(devices.problems),
    )


def devices_source(camera: int | None, microphone: int | None) -> str | None:
    """The words of ``CaptureConfig.source`` for a camera and a microphone, either of them ``None``."""
    parts = [f"webcam:{camera}"] if camera is not None else []
    parts += [f"microphone:{microphone}"] if microphone is not None else []
    return "+".join(parts) or None

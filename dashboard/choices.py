"""What can be chosen on the page, in its words, and how a choice becomes a configuration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from capture import addresses
from capture.config import OTHER_SIDE, CaptureConfig

DEMO = "Demo clip"
DEVICES = "Camera and microphone"
FILE = "Video or sound file"
STREAM = "Address of a stream"
BROWSER = "Browser camera"
HEARD = "What this machine plays"
HEARD_NOTICE = (
    "The other side of a call, as a participant of its own: voice and words of everybody who speaks "
    "there. They must know of it and agree before you start."
)

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
    "sent anywhere{kept}. Tell everyone who can be seen or heard."
)
KEEP = {
    "nothing": 0.0,
    "for an hour": 3600.0,
    "for a day": 86_400.0,
    "for a week": 7 * 86_400.0,
    "for 30 days": 30 * 86_400.0,
}
KEEP_HELP = (
    "Scores, words and marks go to this machine's disk, to look at them again under Sessions, and "
    "are deleted by themselves when the time after the session's end is over. Never pictures or "
    "sound."
)


def notice(kept: bool) -> str:
    """What people have to know before and while it runs."""
    told = "; scores, words and marks are kept, no picture and no sound"
    return NOTICE.format(kept=told if kept else ", and nothing is recorded")


def lasting(keep_s: float) -> str:
    """How long something is kept, for people."""
    named = {seconds: name.removeprefix("for ") for name, seconds in KEEP.items()}
    return named.get(keep_s, f"{keep_s / 3600:.0f} hours")


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
    if source.startswith("speakers") and participant == CaptureConfig().participant:
        participant = OTHER_SIDE  # what others say must never be shown as one's own
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
    return not source.startswith(("microphone:", "speakers"))


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
    if addresses.is_address(config.source):
        return addresses.shown(config.source)
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
    speakers: dict[str, str] = field(default_factory=dict)
    mend: str = ""  # what would make speakers appear


def list_devices() -> Found:
    """Cameras and microphones of this machine, the default one first; opens no camera on Linux."""
    from capture.devices import list_devices as look  # brings OpenCV and PortAudio
    from capture.speakers import mend

    devices = look()
    ears = sorted(devices.microphones, key=lambda one: not one.default)
    return Found(
        {camera.index: camera.name for camera in devices.cameras},
        {one.index: one.name for one in ears},
        tuple(devices.problems),
        {one.name: f"what you hear: {one.label}" for one in devices.speakers},
        mend(),
    )


def devices_source(camera: int | None, microphone: int | None) -> str | None:
    """The words of ``CaptureConfig.source`` for a camera and a microphone, either of them ``None``."""
    parts = [f"webcam:{camera}"] if camera is not None else []
    parts += [f"microphone:{microphone}"] if microphone is not None else []
    return "+".join(parts) or None

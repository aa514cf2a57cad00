"""Everything a capture worker can be told, in one typed place."""

from __future__ import annotations

import msgspec

from features.errors import SourceError

RECOGNISERS = ("base", "tiny.en")
LANGUAGES = (  # by the codes of the recogniser; it has 'yue' only in models larger than ours
    "af", "am", "ar", "as", "az", "ba", "be", "bg", "bn", "bo", "br", "bs", "ca", "cs", "cy",
    "da", "de", "el", "en", "es", "et", "eu", "fa", "fi", "fo", "fr", "gl", "gu", "ha", "haw",
    "he", "hi", "hr", "ht", "hu", "hy", "id", "is", "it", "ja", "jw", "ka", "kk", "km", "kn",
    "ko", "la", "lb", "ln", "lo", "lt", "lv", "mg", "mi", "mk", "ml", "mn", "mr", "ms", "mt",
    "my", "ne", "nl", "nn", "no", "oc", "pa", "pl", "ps", "pt", "ro", "ru", "sa", "sd", "si",
    "sk", "sl", "sn", "so", "sq", "sr", "su", "sv", "sw", "ta", "te", "tg", "th", "tk", "tl",
    "tr", "tt", "uk", "ur", "uz", "vi", "yi", "yo", "zh",
)  # fmt: skip
OTHER_SIDE = "other"  # who is heard through the speakers, unless a name is given
MAX_REST_S = 600.0


class CaptureConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What to capture and how. Sent to the worker as JSON; made by the command line and the page.

    Attributes:
        source: ``demo``, ``webcam`` (camera and microphone), ``webcam:INDEX``, ``microphone``,
            ``microphone:NAME_OR_INDEX``, ``webcam:INDEX+microphone:NAME``, ``speakers`` or
            ``speakers:NAME`` (what this machine plays: the other side of a call), ``browser`` (from the page
            only), the path of a file, or the address of a stream (``rtsp://...``, ``https://...``).
        relay: where the page hands on what the browser gives, for ``browser``; empty otherwise.
        session: identifier of the session, used in topics.
        participant: whose picture and sound this is.
        purpose: why feelings are watched, as the user stated it; shown, and kept where the page keeps
            the session.
        picture: use the picture.
        sound: use the sound.
        voice: read the voice in the sound; ``False`` with ``words`` is text only.
        words: recognise words (and the recogniser's encoder states).
        paced: play files at 1x as if live; ``False`` reads as fast as possible and loses nothing.
        loop: begin again at the end of a file, on a clock that goes on.
        width: wished width of the camera's picture in pixels.
        height: wished height in pixels.
        fps: wished frames per second of the camera.
        recogniser: which faster-whisper model, one of ``RECOGNISERS``.
        language: one of ``LANGUAGES``, or empty for detection; ``tiny.en`` knows English alone.
        preview: publish small pictures for the page.
        frames: file of shared memory for whole pictures (:mod:`capture.frames`); empty: none.
        rest_s: take the first seconds as the participant's resting face and voice; 0 for none.
        remembered: begin with what is kept of the participant from earlier recordings.
    """

    source: str = "demo"
    relay: str = ""
    session: str = "session"
    participant: str = "me"
    purpose: str = ""
    picture: bool = True
    sound: bool = True
    voice: bool = True
    words: bool = True
    paced: bool = True
    loop: bool = False
    width: int = 640
    height: int = 480
    fps: float = 30.0
    recogniser: str = "base"
    language: str = "en"
    preview: bool = False
    frames: str = ""
    rest_s: float = 0.0
    remembered: bool = False

    def __post_init__(self) -> None:
        if not (self.picture or self.sound):
            raise SourceError("picture and sound are both off: nothing would be captured")
        if not (self.picture or self.voice or self.words):
            raise SourceError("picture, voice and words are all off: nothing would be read")
        if self.recogniser not in RECOGNISERS:
            raise SourceError(
                f"recogniser '{self.recogniser}' is not one of {', '.join(RECOGNISERS)}"
            )
        self._refuse_language()
        if not 0 <= self.rest_s <= MAX_REST_S:
            raise SourceError(f"a rest of {self.rest_s} s is outside 0 to {MAX_REST_S:.0f} s")
        if not 1 <= self.fps <= 240:
            raise SourceError(f"fps {self.fps} is outside 1 to 240")

    def _refuse_language(self) -> None:
        """Say it before anything starts: the recogniser itself would fail at the first word."""
        if self.language and self.language not in LANGUAGES:
            raise SourceError(
                f"language '{self.language}' is no code that the recogniser knows: use one such as "
                "'en' or 'de', or '' to detect it"
            )
        if self.recogniser == "tiny.en" and self.language not in ("", "en"):
            raise SourceError(
                f"recogniser 'tiny.en' knows English alone, not '{self.language}'; use 'base'"
            )

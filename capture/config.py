"""Everything a capture worker can be told, in one typed place."""

from __future__ import annotations

import msgspec

from features.errors import SourceError

RECOGNISERS = ("base", "tiny.en")
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
        purpose: why feelings are watched, as the user stated it; shown, kept with the session.
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
        language: code such as ``en``, or empty for detection.
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
        if not 0 <= self.rest_s <= MAX_REST_S:
            raise SourceError(f"a rest of {self.rest_s} s is outside 0 to {MAX_REST_S:.0f} s")
        if not 1 <= self.fps <= 240:
            raise SourceError(f"fps {self.fps} is outside 1 to 240")

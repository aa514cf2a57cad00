"""From what the user wrote to a source."""

from __future__ import annotations

from pathlib import Path

from capture.config import CaptureConfig
from capture.demo import DemoSource
from capture.file import FileSource
from capture.source import Source
from features.clock import Clock
from features.errors import SourceError

KNOWN = "demo, webcam, webcam:INDEX, microphone, microphone:NAME, webcam:INDEX+microphone:NAME"


def open_source(config: CaptureConfig, clock: Clock | None = None) -> Source:
    """The source that ``config`` names, not yet opened.

    The names above come before files of the same name (write ``./demo`` for such a file).
    ``webcam`` and ``webcam:INDEX`` bring the default microphone along unless the sound is off.
    The demo loops when it is paced. Raises :class:`SourceError` for a path that does not exist.
    """
    text = config.source
    if text == "demo":
        return DemoSource(
            picture=config.picture,
            sound=config.sound,
            paced=config.paced,
            loop=config.loop or config.paced,
            clock=clock,
        )
    path = Path(text).expanduser()
    if not text or not _exists(path):
        raise SourceError(f"{text or 'empty source'}: no such file, and none of {KNOWN}")
    return FileSource(
        path,
        name=text,
        picture=config.picture,
        sound=config.sound,
        paced=config.paced,
        loop=config.loop,
        clock=clock,
    )


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        return True  # it cannot be told; opening it says why

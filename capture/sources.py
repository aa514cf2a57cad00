"""From what the user wrote to a source."""

from __future__ import annotations

import os
import re
from functools import partial
from pathlib import Path

from capture.addresses import is_address
from capture.browser import NAME as BROWSER
from capture.browser import BrowserSource
from capture.config import CaptureConfig
from capture.demo import DemoSource
from capture.file import FileSource
from capture.microphone import MicrophoneSource
from capture.pair import Pair
from capture.source import Source
from capture.speakers import speaker_source
from capture.stream import StreamSource
from capture.webcam import Webcam
from features.clock import Clock
from features.errors import SourceError

KNOWN = (
    "demo, webcam, webcam:INDEX, microphone, microphone:NAME, webcam:INDEX+microphone:NAME, "
    "speakers, speakers:NAME, the address of a stream (rtsp://..., https://...)"
)
CAMERA = re.compile(r"webcam(?::(?P<index>\d+))?(?:\+(?P<microphone>.+))?")
MICROPHONE = re.compile(r"microphone(?::(?P<device>.+))?")
SPEAKERS = re.compile(r"speakers(?::(?P<device>.+))?")


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
    if text == BROWSER:
        return BrowserSource(config.relay, picture=config.picture, sound=config.sound, clock=clock)
    if is_address(text):
        return StreamSource(text, picture=config.picture, sound=config.sound, clock=clock)
    camera = CAMERA.fullmatch(text)
    microphone = MICROPHONE.fullmatch((camera["microphone"] or "microphone") if camera else text)
    if microphone is not None:
        return _devices(config, camera, microphone["device"] or "", clock)
    heard = SPEAKERS.fullmatch(text)
    if heard is not None:
        if not config.sound:
            raise SourceError(f"{text}: gives only sound, and the sound is switched off")
        return speaker_source(heard["device"] or "", name=text, clock=clock)
    path = Path(os.path.expanduser(text))  # noqa: PTH111 - an unknown user's home is no error here
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


def is_device(source: str) -> bool:
    """Whether this names a camera, microphone or speakers: they never end, unlike files and the demo."""
    return source == BROWSER or any(
        name.fullmatch(source) is not None for name in (CAMERA, MICROPHONE, SPEAKERS)
    )


def is_heard(source: str) -> bool:
    """Whether this names speakers: what is heard there is said by others than who runs it."""
    return SPEAKERS.fullmatch(source) is not None


def _devices(
    config: CaptureConfig, camera: re.Match[str] | None, device: str, clock: Clock | None
) -> Source:
    """Camera, microphone or both, as far as they are wanted."""
    microphone = partial(MicrophoneSource, device)
    if camera is None or not config.picture:
        if not config.sound:
            raise SourceError(f"{config.source}: gives only sound, and the sound is switched off")
        return microphone(name=config.source, clock=clock)
    index, size = int(camera["index"] or 0), (config.width, config.height)
    filming = partial(Webcam, index, width=size[0], height=size[1], fps=config.fps)
    if not config.sound:
        return filming(name=config.source, clock=clock)
    return Pair(filming, microphone, config.source, clock)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        return True  # it cannot be told; opening it says why

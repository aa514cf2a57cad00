"""What cameras, microphones and speakers there are, and what is in the way of knowing it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from capture.opencv import open_camera
from capture.portaudio import Microphone, microphones
from capture.speakers import Speaker, is_played, speakers
from features.errors import SourceError

PROBED = range(5)
VIDEO_CLASS = Path("/sys/class/video4linux")


@dataclass(frozen=True, slots=True)
class Camera:
    """A camera by the index that ``webcam:INDEX`` takes."""

    index: int
    name: str


@dataclass(frozen=True, slots=True)
class Devices:
    """What there is. ``problems`` are lines for people about what could not be looked at."""

    cameras: list[Camera] = field(default_factory=list)
    microphones: list[Microphone] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    speakers: list[Speaker] = field(default_factory=list)

    def rows(self) -> list[tuple[str, str, str]]:
        """``(source, name, details)`` for a table; the first column can be given to ``--source``."""
        cameras = [(f"webcam:{c.index}", c.name, "picture") for c in self.cameras]
        heard = [
            (f"speakers:{s.name}", f"what you hear: {s.label}", _sound(s)) for s in self.speakers
        ]
        return cameras + [_row(m) for m in self.microphones] + heard


def _row(m: Microphone) -> tuple[str, str, str]:
    return f"microphone:{m.index}", m.name, _sound(m)


def _sound(device: Microphone | Speaker) -> str:
    channels = "1 channel" if device.channels == 1 else f"{device.channels} channels"
    return f"{channels}, {device.rate_hz} Hz{', default' if device.default else ''}"


def list_devices() -> Devices:
    """All cameras, microphones and speakers; never raises: what fails is named in ``problems``."""
    problems: list[str] = []
    try:
        inputs = [one for one in microphones() if not is_played(one)]
        heard = speakers()
    except SourceError as error:
        inputs, heard = [], []
        problems.append(str(error))
    found = _named_cameras(VIDEO_CLASS) if sys.platform == "linux" else _probed_cameras()
    return Devices(found, inputs, problems, heard)


def _named_cameras(folder: Path) -> list[Camera]:
    """Linux: nodes that take pictures; a camera's further nodes carry metadata only."""
    cameras = []
    for node in folder.glob("video*"):
        number = node.name.removeprefix("video")
        if number.isdigit() and _first_of_camera(node):
            cameras.append(Camera(int(number), _read(node / "name") or f"camera {number}"))
    return sorted(cameras, key=lambda camera: camera.index)


def _first_of_camera(node: Path) -> bool:
    return _read(node / "index") in ("", "0")


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _probed_cameras(opening: Callable[..., object] = open_camera) -> list[Camera]:
    """Elsewhere: those of the first indices that can be opened, quietly."""
    cameras = []
    for index in PROBED:
        try:
            camera = opening(index, 640, 480, 30.0)
        except SourceError:
            continue
        camera.release()  # type: ignore[attr-defined]
        cameras.append(Camera(index, f"camera {index}"))
    return cameras

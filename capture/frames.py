"""Whole pictures from a capture worker to another process of this machine, at the camera's own rate.

The capture worker owns the camera, and the bus is not made for whole pictures: they go through a ring
in a file of shared memory, made by whoever wants them. Bounded: a reader that falls behind misses
pictures, which it counts; a writer never waits. The file is this user's alone, and goes with the reader.
"""

from __future__ import annotations

import mmap
import os
import secrets
import struct
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import psutil

from features.errors import SourceError

SLOTS: Final = 4
PREFIX: Final = "tonality-frames-"
MEMORY: Final = Path("/dev/shm")  # pictures of people do not go to a disk where this is there
HEAD: Final = struct.Struct(
    "<IIQQ"
)  # mark, slots, bytes a slot holds, number of the newest picture
SLOT: Final = struct.Struct("<QQdIII")  # turn (odd while it is written), number, time, size, writer
MARK: Final = 0x544F4E46
ALIGNED: Final = 64
LARGEST: Final = (1920, 1080)
_TURN: Final = struct.Struct("<Q")


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture: ``image (height, width, 3) uint8`` in RGB order, taken at ``time_s``.

    ``number`` counts from 1; ``writer`` is the process whose media clock ``time_s`` is on.
    """

    number: int
    time_s: float
    writer: int
    image: np.ndarray


class _Ring:
    """The file, mapped; a slot is a head and the picture's bytes."""

    def __init__(self, path: Path, slots: int, size: int) -> None:
        self.slots, self.size = slots, size
        with path.open("r+b") as file:
            self.map = mmap.mmap(file.fileno(), 0)

    def offset(self, number: int) -> int:
        return ALIGNED + (number % self.slots) * (ALIGNED + self.size)

    @property
    def newest(self) -> int:
        return int(HEAD.unpack_from(self.map)[3])

    def pixels(self, number: int, width: int, height: int) -> np.ndarray:
        begin = self.offset(number) + ALIGNED
        flat = np.frombuffer(self.map, np.uint8, width * height * 3, begin)
        return flat.reshape(height, width, 3)


class FrameWriter:
    """The capture worker's end; one thread writes.

    Attributes:
        resting: while true nothing is written: whoever is not to be filmed is not.
        written: pictures written.
    """

    def __init__(self, path: str) -> None:
        """Raises :class:`SourceError` where ``path`` is no ring."""
        self.resting = False
        self.written = 0
        try:
            with Path(path).open("rb") as file:
                mark, slots, size, _ = HEAD.unpack(file.read(HEAD.size))
                if mark != MARK:
                    raise SourceError(f"{path} is no ring of frames")
            self._ring = _Ring(Path(path), slots, size)
        except (OSError, struct.error, ValueError) as error:
            raise SourceError(f"frames cannot be shared through {path}: {error}") from error

    def write(self, time_s: float, image: np.ndarray, bgr: bool = False) -> None:
        """Share ``image (height, width, 3)`` or ``(height, width) uint8``; too large ones are shrunk."""
        import cv2

        if self.resting:
            return
        ring, image = self._ring, self._fitted(image)
        height, width = image.shape[:2]
        number = ring.newest + 1
        at = ring.offset(number)
        turn = _TURN.unpack_from(ring.map, at)[0] | 1
        _TURN.pack_into(ring.map, at, turn)
        into = ring.pixels(number, width, height)
        if image.ndim == 2:
            cv2.cvtColor(image, cv2.COLOR_GRAY2RGB, into)
        elif bgr:
            cv2.cvtColor(image, cv2.COLOR_BGR2RGB, into)
        else:
            np.copyto(into, image)
        SLOT.pack_into(ring.map, at, turn, number, time_s, width, height, os.getpid())
        _TURN.pack_into(ring.map, at, turn + 1)
        HEAD.pack_into(ring.map, 0, MARK, ring.slots, ring.size, number)
        self.written += 1

    def _fitted(self, image: np.ndarray) -> np.ndarray:
        import cv2

        height, width = image.shape[:2]
        most = self._ring.size // 3
        if height * width <= most:
            return image
        scale = (most / (height * width)) ** 0.5
        size = (max(1, int(width * scale)), max(1, int(height * scale)))
        shrunk: np.ndarray = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        return shrunk


class FrameReader:
    """The end of whoever wants the pictures, and the owner of the file.

    Attributes:
        path: for ``CaptureConfig.frames``.
        missed: pictures that were overwritten before they were taken.
    """

    def __init__(self, largest: tuple[int, int] = LARGEST, slots: int = SLOTS) -> None:
        """``largest`` width and height; larger pictures are shrunk by the writer."""
        self.missed = 0
        self._last = 0
        folder = MEMORY if os.access(MEMORY, os.W_OK) else Path(tempfile.gettempdir())
        _clear_abandoned(folder)
        path = folder / f"{PREFIX}{os.getpid()}-{secrets.token_hex(4)}"
        size = -(-largest[0] * largest[1] * 3 // ALIGNED) * ALIGNED
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "r+b") as file:
            file.truncate(ALIGNED + slots * (ALIGNED + size))
            file.write(HEAD.pack(MARK, slots, size, 0))
        self.path = str(path)
        self._ring = _Ring(path, slots, size)

    def newest(self) -> Frame | None:
        """The newest picture that was not given yet, copied out; ``None`` where there is none."""
        ring = self._ring
        for _ in range(ring.slots):
            number = ring.newest
            if number <= self._last:
                return None
            frame = self._read(number)
            if frame is not None:
                self.missed += number - self._last - 1 if self._last else 0
                self._last = number
                return frame
        return None  # it is overwritten faster than it can be read; the next call tries again

    def _read(self, number: int) -> Frame | None:
        ring = self._ring
        turn, written, time_s, width, height, writer = SLOT.unpack_from(
            ring.map, ring.offset(number)
        )
        if turn % 2 or written != number or width * height * 3 > ring.size:
            return None
        image = ring.pixels(number, width, height).copy()
        if _TURN.unpack_from(ring.map, ring.offset(number))[0] != turn:
            return None
        return Frame(number, time_s, writer, image)

    def close(self) -> None:
        """Give the memory back; safe to call twice."""
        Path(self.path).unlink(missing_ok=True)


def _clear_abandoned(folder: Path) -> None:
    """Delete what readers that were killed could not delete: it may be somebody's picture."""
    for path in folder.glob(f"{PREFIX}*-*"):
        pid = path.name.removeprefix(PREFIX).partition("-")[0]
        if pid.isdigit() and not psutil.pid_exists(int(pid)):
            path.unlink(missing_ok=True)

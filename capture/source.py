"""The one contract of all sources: open, read what comes next, close.

A source gives pictures, sound, or both, on one media clock that starts near zero at the first item.
Sound is contiguous: every chunk begins where the last one ended, and a source fills what it missed
with silence (and says so with :class:`features.samples.Lost`), so that sample numbers are times.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from types import TracebackType

import numpy as np

from capture.frames import FrameWriter
from features.samples import Lost, Returned

SAMPLE_RATE_HZ = 16_000


@dataclass(frozen=True, slots=True)
class Picture:
    """One frame: ``image (height, width, 3) uint8`` in RGB order, shown at ``time_s``."""

    time_s: float
    image: np.ndarray


@dataclass(frozen=True, slots=True)
class Sound:
    """16 kHz mono samples ``(n,) float32`` in -1..1; the first one sounds at ``start_s``."""

    start_s: float
    samples: np.ndarray

    @property
    def end_s(self) -> float:
        """Media time just after the last sample."""
        return self.start_s + len(self.samples) / SAMPLE_RATE_HZ


@dataclass(frozen=True, slots=True)
class End:
    """Nothing more comes; ``time_s`` is where the media ended."""

    time_s: float


Item = Picture | Sound | Lost | Returned | End


class Source(ABC):
    """Where media comes from. Use as a context manager; one thread reads.

    Attributes:
        name: the source as the user gave it (path, ``demo``, ``webcam:0`` ...).
        live: whether media time is bound to the wall clock (devices, and files paced at 1x).
        has_picture: known after :meth:`open`.
        has_sound: known after :meth:`open`.
        duration_s: known after :meth:`open` for files; ``None`` for endless sources.
        ending: why it is over, for people, where there is more to say than that it is.
        frames: where whole pictures go, if somebody wants them; set before :meth:`open`.
        shares_all: the source itself hands every picture to ``frames``, also those that it does not
            give; otherwise the reader hands on those that it gives.
    """

    name: str
    live: bool = False
    has_picture: bool = False
    has_sound: bool = False
    duration_s: float | None = None
    ending: str = ""
    frames: FrameWriter | None = None
    shares_all: bool = False

    @abstractmethod
    def open(self) -> None:
        """Acquire the device or file. Raises :class:`features.errors.SourceError` in one line."""

    @abstractmethod
    def read(self, timeout_s: float) -> Item | None:
        """The next item, in the order of time as far as it is known; ``None`` after ``timeout_s``.

        After :class:`End` it keeps giving ``End``. Raises ``SourceError`` when reading fails for good.
        """

    @abstractmethod
    def close(self) -> None:
        """Release everything; safe to call twice and before :meth:`open`."""

    @property
    @abstractmethod
    def origin_ns(self) -> int:
        """Monotonic nanoseconds at media time zero for a live source, 0 otherwise."""

    @property
    def dropped(self) -> dict[str, int]:
        """Counts of what this source lost, by name."""
        return {}

    @property
    def gauges(self) -> dict[str, float]:
        """Momentary figures of this source, by name with unit."""
        return {}

    def __enter__(self) -> Source:
        self.open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

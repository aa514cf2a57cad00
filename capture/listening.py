"""Blocks of a microphone onto a contiguous line of 16 kHz samples on the session's clock."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

from capture.sound import CHUNK, Resampler, SoundLine
from capture.source import SAMPLE_RATE_HZ, Item
from features.samples import Counters, Lost, Returned

STALL_S = 0.5
DRIFT_S = 0.1  # clocks of sound cards drift by tens of millionths: a correction in half an hour
DRIFT_OVER_S = 2.0  # a late callback is no drift: the least lag over this long counts
FILL_BEHIND_S = 0.2  # while lost, silence stays this far behind now: the first block begins earlier


@dataclass(frozen=True, slots=True)
class Block:
    """Mono samples ``(n,) float32`` at ``rate_hz``, the last of which arrived at ``arrived_s``.

    ``missed`` frames before it were refused because nobody took them in time.
    """

    arrived_s: float
    samples: np.ndarray
    rate_hz: int
    missed: int = 0


class Listening:
    """Places blocks by counting samples from the first arrival; what is missing becomes silence.

    Counts: ``sound gaps`` and ``sound overlaps`` where the count and the monotonic clock came apart
    by 0.1 s; ``sound blocks missed``, and ``sound blocks late`` that came when silence stood for them.
    """

    def __init__(self) -> None:
        self.counts = Counters()
        self.lost = False
        self._line = SoundLine()
        self._resampler: Resampler | None = None
        self._position = 0
        self._anchor_s = 0.0
        self._heard = 0
        self._last_s = 0.0
        self._lags: deque[tuple[float, float]] = deque()

    def add(self, block: Block) -> list[Item]:
        """What a block brings: chunks of sound, and notices of what was lost before it."""
        items: list[Item] = []
        if self.lost and block.arrived_s < self._end_s + FILL_BEHIND_S - STALL_S:
            # All of it lies in the silence already, and the next look would find it lost again.
            self.counts.add("sound blocks late")
            return items
        if self._resampler is None or self._resampler.rate_hz != block.rate_hz:
            items += self._begin(block)
        elif block.missed:
            items += self._fill(block.missed)
            self.counts.add("sound blocks missed")
        self._last_s = block.arrived_s
        items += self._feed(self._corrected(block, items))
        return items

    def quiet(self, now_s: float, why: str = "no sound arrives") -> list[Item]:
        """Call when nothing came: notices a stall, and fills with silence as time goes on."""
        if now_s - self._last_s <= STALL_S:
            return []
        items: list[Item] = []
        if not self.lost:
            items += self._finish()
            items.append(Lost("sound", self._end_s, why))
            self.lost = True
        items += self._line.silence(round((now_s - FILL_BEHIND_S) * SAMPLE_RATE_HZ))
        return items

    @property
    def _end_s(self) -> float:
        return self._line.end / SAMPLE_RATE_HZ

    def _begin(self, block: Block) -> list[Item]:
        items: list[Item] = list(self._finish())
        self._anchor_s = block.arrived_s - len(block.samples) / block.rate_hz
        self._heard = 0
        self._lags.clear()
        self._resampler = Resampler(block.rate_hz)
        self._position = round(self._anchor_s * SAMPLE_RATE_HZ)
        items += self._line.silence(self._position)
        if self.lost:
            self.lost = False
            items.append(Returned("sound", self._end_s))
        return items

    def _finish(self) -> list[Item]:
        resampler, self._resampler = self._resampler, None
        return [] if resampler is None else list(self._write(resampler.finish()))

    def _feed(self, samples: np.ndarray) -> list[Item]:
        assert self._resampler is not None
        self._heard += len(samples)
        return self._write(self._resampler.feed(samples))

    def _write(self, samples: np.ndarray) -> list[Item]:
        chunks = self._line.write_at(self._position, samples)
        self._position += len(samples)
        return list(chunks)

    def _fill(self, missing: int) -> list[Item]:
        """Silence in the place of a gap too short to call the sound lost; it is counted."""
        items: list[Item] = []
        for start in range(0, missing, CHUNK):
            items += self._feed(np.zeros(min(CHUNK, missing - start), np.float32))
        return items

    def _corrected(self, block: Block, items: list[Item]) -> np.ndarray:
        """The block's samples after bringing the count back to the clock, where they came apart.

        Blocks may come late for many reasons, so only a lag that lasts is a gap. They cannot come
        before they sounded: one that does shows that the count runs ahead (old sound that a stalled
        server hands over at once, or a fast card).
        """
        ahead_s = (self._heard + len(block.samples)) / block.rate_hz
        lag_s = block.arrived_s - self._anchor_s - ahead_s
        if lag_s < -DRIFT_S:
            self.counts.add("sound overlaps")
            return block.samples[round(-lag_s * block.rate_hz) :]
        self._lags.append((block.arrived_s, lag_s))
        while self._lags[0][0] < block.arrived_s - DRIFT_OVER_S:
            self._lags.popleft()
        least_s = min(lag for _, lag in self._lags)
        if least_s > DRIFT_S and block.arrived_s - self._lags[0][0] > 0.8 * DRIFT_OVER_S:
            self.counts.add("sound gaps")
            self._lags.clear()
            items += self._fill(round(least_s * block.rate_hz))
        return block.samples

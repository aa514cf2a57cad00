"""Running mean and variance of one participant's stream, in the order of media time."""

from __future__ import annotations

import msgspec
import numpy as np

from features.messages import Statistics, StreamData
from features.spec import PITCH_COLUMN, VOICED_COLUMNS


class Moments(msgspec.Struct, frozen=True):
    """What was seen of a stream, so that it can be kept and joined with what comes later.

    ``steps`` valid ones in all; by column ``counts (D,)``, ``mean (D,)`` and ``variance (D,)`` over
    those that counted, float64.
    """

    steps: int
    counts: np.ndarray
    mean: np.ndarray
    variance: np.ndarray

    def joined(self, other: Moments) -> Moments:
        """Both together, as if seen one after the other (Chan, Golub and LeVeque 1979)."""
        counts = self.counts + other.counts
        share = other.counts / np.maximum(counts, 1)
        apart = other.mean - self.mean
        return Moments(
            self.steps + other.steps,
            counts,
            self.mean + share * apart,
            (1 - share) * self.variance + share * other.variance + share * (1 - share) * apart**2,
        )

    def statistics(self, rate_hz: int) -> Statistics:
        """The same as a message carries it."""
        return Statistics(
            mean=self.mean.astype(np.float32),
            variance=self.variance.astype(np.float32),
            seconds=self.steps / rate_hz,
        )


class RunningStatistics:
    """Mean and variance over all valid steps so far, kept as exact-enough float64 sums.

    Sums of a shifted variable: the shift is the first step seen, which keeps the variance accurate
    where the mean is large against it. Of ``voiced`` streams (the voice's descriptors) the columns
    that mean something only in voiced frames count those frames only, else a speaker's pitch would
    depend on how much of the speech is voiced. ``before`` is what is known of the participant from
    earlier recordings.
    """

    def __init__(
        self, width: int, rate_hz: int, voiced: bool = False, before: Moments | None = None
    ) -> None:
        self._rate_hz = rate_hz
        self._voiced = voiced
        self._before = before
        self._count = 0
        self._counts = np.zeros(width)
        self._shift = np.zeros(width)
        self._sum = np.zeros(width)
        self._squares = np.zeros(width)

    def add(self, stream: StreamData) -> None:
        """Take the valid steps of a slice; every slice must be given once."""
        valid = stream.values[stream.mask].astype(np.float64)
        if len(valid) == 0:
            return
        if self._count == 0:
            self._shift = valid[0].copy()
        counted = np.ones(valid.shape, np.bool_)
        if self._voiced:
            counted[:, VOICED_COLUMNS] = valid[:, PITCH_COLUMN, None] > 0
        moved = np.where(counted, valid - self._shift, 0.0)
        self._count += len(valid)
        self._counts += counted.sum(axis=0)
        self._sum += moved.sum(axis=0)
        self._squares += (moved**2).sum(axis=0)

    def moments(self) -> Moments:
        """What was added here, without what was known before."""
        count = np.maximum(self._counts, 1)
        mean = self._sum / count
        variance = np.maximum(self._squares / count - mean**2, 0.0)
        return Moments(self._count, self._counts.copy(), self._shift + mean, variance)

    def state(self) -> Statistics:
        """Mean and variance of all that is known; zeros with ``seconds == 0`` before the first step."""
        own = self.moments()
        known = own if self._before is None else self._before.joined(own)
        return known.statistics(self._rate_hz)

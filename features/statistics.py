"""Running mean and variance of one participant's stream, in the order of media time."""

from __future__ import annotations

import numpy as np

from features.messages import Statistics, StreamData


class RunningStatistics:
    """Mean and variance over all valid steps so far, kept as exact-enough float64 sums.

    Sums of a shifted variable: the shift is the first step seen, which keeps the variance accurate
    where the mean is large against it.
    """

    def __init__(self, width: int, rate_hz: int) -> None:
        self._rate_hz = rate_hz
        self._count = 0
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
        moved = valid - self._shift
        self._count += len(valid)
        self._sum += moved.sum(axis=0)
        self._squares += (moved**2).sum(axis=0)

    def state(self) -> Statistics:
        """Mean and variance so far; zeros with ``seconds == 0`` before the first valid step."""
        count = max(self._count, 1)
        mean = self._sum / count
        variance = np.maximum(self._squares / count - mean**2, 0.0)
        return Statistics(
            mean=(self._shift + mean).astype(np.float32),
            variance=variance.astype(np.float32),
            seconds=self._count / self._rate_hz,
        )

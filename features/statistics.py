"""Running mean and variance of one participant's stream, in the order of media time."""

from __future__ import annotations

import numpy as np

from features.messages import Statistics, StreamData
from features.spec import PITCH_COLUMN, VOICED_COLUMNS


class RunningStatistics:
    """Mean and variance over all valid steps so far, kept as exact-enough float64 sums.

    Sums of a shifted variable: the shift is the first step seen, which keeps the variance accurate
    where the mean is large against it. Of ``voiced`` streams (the voice's descriptors) the columns
    that mean something only in voiced frames count those frames only, else a speaker's pitch would
    depend on how much of the speech is voiced.
    """

    def __init__(self, width: int, rate_hz: int, voiced: bool = False) -> None:
        self._rate_hz = rate_hz
        self._voiced = voiced
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

    def state(self) -> Statistics:
        """Mean and variance so far; zeros with ``seconds == 0`` before the first valid step."""
        count = np.maximum(self._counts, 1)
        mean = self._sum / count
        variance = np.maximum(self._squares / count - mean**2, 0.0)
        return Statistics(
            mean=(self._shift + mean).astype(np.float32),
            variance=variance.astype(np.float32),
            seconds=self._count / self._rate_hz,
        )

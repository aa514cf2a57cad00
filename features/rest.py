"""A participant's resting face and voice: the mean of every stream over a chosen stretch.

The stretch lies in media time and is taken from the same slices as the running statistics, so that a
file and a live run of it take the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from features.messages import StreamData
from features.spec import FACE, VOICE, Spec
from features.statistics import RunningStatistics

REST_S: Final = 10.0  # how long a stretch is, unless somebody says otherwise
MIN_REST_S: Final = 1.0  # of a face, or of speech; less says nothing about how somebody is at rest
EPSILON_S: Final = 1e-6
SHOWN: Final = (FACE, VOICE)

Rest = Mapping[str, np.ndarray]  # by stream, ``(D,) float32``


class Resting:
    """Takes one stretch after another; what the last one gave is in :attr:`means`.

    Attributes:
        means: by stream ``(D,) float32``; streams with too little in the stretch are not there.
        seconds: of evidence behind each of ``means``.
        left_s: how much of the stretch is still to come; 0 while none is taken.
    """

    def __init__(self, spec: Spec, known: Rest | None = None) -> None:
        self.means: dict[str, np.ndarray] = dict(known or {})
        self.seconds: dict[str, float] = {}
        self.left_s = 0.0
        self._spec = spec
        self._from_s = 0.0
        self._until_s = 0.0
        self._taken: dict[str, RunningStatistics] = {}

    def begin(self, from_s: float, seconds: float) -> None:
        """Take the stretch from ``from_s`` on; what was known stays until it is over."""
        self._from_s, self._until_s = from_s, from_s + seconds
        self.left_s = seconds
        self._taken = {
            s.name: RunningStatistics(s.width, s.rate_hz, voiced=s.name == VOICE)
            for s in self._spec.streams
        }

    def add(self, end_s: float, slices: Mapping[str, StreamData]) -> None:
        """The slices of the hop that ends at ``end_s``; each hop once, in order."""
        if not self._taken or end_s - self._spec.hop_s < self._from_s - EPSILON_S:
            return
        for name, taken in self._taken.items():
            taken.add(slices[name])
        self.left_s = max(0.0, self._until_s - end_s)
        if self.left_s <= EPSILON_S:
            self._end()

    def gauges(self) -> dict[str, float]:
        """For people: what is left of a stretch, and the seconds behind resting face and voice."""
        left = {"rest s left": round(self.left_s, 1)} if self.left_s else {}
        return left | {f"rest {n} s": round(s, 1) for n, s in self.seconds.items() if n in SHOWN}

    def _end(self) -> None:
        """Keep what there was enough of; a stream with too little keeps what it had before."""
        for stream in self._spec.streams:
            moments = self._taken[stream.name].moments()
            seconds = moments.steps / stream.rate_hz
            if seconds >= MIN_REST_S - EPSILON_S and bool((moments.counts > 0).all()):
                self.means[stream.name] = moments.mean.astype(np.float32)
                self.seconds[stream.name] = seconds
        self.left_s = 0.0
        self._taken = {}

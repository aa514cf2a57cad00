"""Where utterances begin and end, and when the recogniser looks at which stretch of sound.

Everything here follows from voice activity and loudness alone, frame by frame, never from the words
found nor from the clock on the wall. So a live run, a file and a run that only wants encoder states
make the very same passes.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

FRAME = 512  # samples per voice activity value at 16 kHz
FRAME_S = 0.032
SPEECH = 0.5  # speech begins at this probability
QUIET = 0.35  # and is over below this one


@dataclass(frozen=True, slots=True)
class PassPolicy:
    """Lengths in frames of 32 ms.

    ``pre_roll``: sound before the first speech frame; ``every``: between passes inside an utterance;
    ``settle``: quiet that ends an utterance and commits its words; ``least``: speech frames below which an utterance is a click; ``longest``: window after which its
    older part is cut off at its quietest place, leaving ``keep_least`` to ``keep_most`` frames.
    """

    pre_roll: int = 10
    every: int = 25
    settle: int = 12
    least: int = 4
    longest: int = 250
    keep_least: int = 78
    keep_most: int = 156


@dataclass(frozen=True, slots=True)
class Pass:
    """One look of the recogniser at frames ``[start, end)`` of the how-manieth utterance.

    ``commit``: nothing is pending after it. ``cut``: frame at which later windows of this utterance
    begin, where the window had grown too long.
    """

    utterance: int
    start: int
    end: int
    commit: bool
    cut: int | None = None


class Segmenter:
    """Cuts utterances out of frames and says when a pass is due."""

    def __init__(self, policy: PassPolicy | None = None) -> None:
        self.policy = policy or PassPolicy()
        self.frames = 0
        self.clicks = 0  # utterances too short for a pass
        self._start: int | None = None
        self._utterance = 0
        self._speech = 0
        self._quiet = 0
        self._due = 0
        self._levels: deque[float] = deque(maxlen=self.policy.keep_most + 1)

    @property
    def pending(self) -> bool:
        """Whether an utterance is open: speech was heard that no committing pass has covered."""
        return self._start is not None

    @property
    def needed(self) -> int:
        """First frame that a later pass may still want."""
        before = max(0, self.frames - self.policy.pre_roll)
        return before if self._start is None else min(self._start, before)

    def step(self, probability: float, level: float) -> Pass | None:
        """Take the next frame: its probability of speech and its loudness (any monotone scale)."""
        policy = self.policy
        self.frames += 1
        self._levels.append(level)
        if probability >= SPEECH:
            self._hear_speech()
        elif self._start is None:
            return None
        self._quiet = 0 if probability >= QUIET else self._quiet + 1
        if self._quiet >= policy.settle:
            return self.finish()
        return self._look() if self.frames >= self._due else None

    def finish(self) -> Pass | None:
        """End the utterance: the committing pass over it, where it holds enough speech."""
        start, self._start = self._start, None
        if start is None:
            return None
        if self._speech < self.policy.least:
            self.clicks += 1
            return None
        return Pass(self._utterance, start, self.frames, commit=True)

    def _hear_speech(self) -> None:
        if self._start is None:
            self._start = max(0, self.frames - 1 - self.policy.pre_roll)
            self._due = self.frames - 1 + self.policy.every
            self._utterance += 1
            self._speech = 0
        self._speech += 1

    def _look(self) -> Pass | None:
        assert self._start is not None
        self._due = self.frames + self.policy.every
        if self._speech < self.policy.least:
            if (
                self.frames - self._start >= self.policy.longest
            ):  # a click, and noise that may be speech
                self._start = self.frames - self.policy.keep_most
            return None
        start, self._start = self._start, self._cut(self._start)
        cut = self._start if self._start > start else None
        return Pass(self._utterance, start, self.frames, False, cut)

    def _cut(self, start: int) -> int:
        if self.frames - start < self.policy.longest:
            return start
        levels = list(self._levels)[: self.policy.keep_most + 1 - self.policy.keep_least]
        smooth = np.convolve(levels, np.ones(3), mode="valid")
        return self.frames - len(self._levels) + 1 + int(np.argmin(smooth))


class SpeechTrack:
    """Where voice activity heard speech, on media time; forgets what lies before ``forget``."""

    def __init__(self, origin_s: float) -> None:
        self.origin_s = origin_s
        self._first = 0
        self._values: list[float] = []

    def add(self, probability: float) -> None:
        """Take the next value."""
        self._values.append(probability)

    def forget(self, frame: int) -> None:
        """Drop values before a frame."""
        del self._values[: max(0, frame - self._first)]
        self._first = max(self._first, frame)

    def voiced(self, start_s: float, end_s: float) -> tuple[float, float] | None:
        """First beginning and last end of a frame above ``QUIET`` that touches a stretch."""
        found = [
            frame
            for frame, _ in self._overlaps(start_s, end_s)
            if self._values[frame - self._first] >= QUIET
        ]
        return (self._time_s(found[0]), self._time_s(found[-1] + 1)) if found else None

    def speech_s(self, start_s: float, end_s: float) -> float:
        """Seconds of speech in a stretch."""
        return sum(
            share
            for frame, share in self._overlaps(start_s, end_s)
            if self._values[frame - self._first] >= SPEECH
        )

    def _overlaps(self, start_s: float, end_s: float) -> Iterator[tuple[int, float]]:
        """Frames that a stretch touches, and by how many seconds."""
        low = max(self._first, math.floor((start_s - self.origin_s) / FRAME_S))
        high = math.ceil((end_s - self.origin_s) / FRAME_S)
        for frame in range(low, min(high, self._first + len(self._values))):
            share = min(end_s, self._time_s(frame + 1)) - max(start_s, self._time_s(frame))
            if share > 0:
                yield frame, share

    def _time_s(self, frame: int) -> float:
        return self.origin_s + frame * FRAME_S

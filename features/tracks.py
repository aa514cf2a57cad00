"""The streams of one participant, kept just as long as an open window may need them.

Each track takes samples as they come, knows how far it is complete, and answers for any window with
values and a mask on the fixed grid of the spec. Nothing here knows the clock on the wall, so the same
samples give the same bits, however late or in whatever portions they came.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import deque

import numpy as np

from features.messages import StreamData
from features.samples import ActivityChunk, FaceQuality, FaceSample, StateChunk, VoiceChunk, Word

MAX_FACE_GAP_S = 1.1  # faces further apart are not joined: cameras give a picture a second or more
SPEECH_PROBABILITY = 0.5  # Silero's own threshold
ACTIVITY_FRAME_S = 0.032
PAUSE_S = 0.7  # no speech for so long ends what was said in one breath
SENTENCE_ENDS = (".", "?", "!")
REACH_S = 12.0  # how far before a window's end its text may begin
REACH_WORDS = 40  # the text encoder reads about 45
EPSILON_S = 1e-6  # float seconds are compared with this tolerance


class FaceTrack:
    """Face samples at their own times, read on a regular grid by linear interpolation."""

    def __init__(self, rate_hz: int, width: int) -> None:
        self.rate_hz = rate_hz
        self.width = width
        self.until_s = -math.inf
        self.quality = FaceQuality.NO_FACE
        self._times: list[float] = []
        self._values: list[np.ndarray | None] = []

    def add(self, sample: FaceSample) -> None:
        """Take a sample; one that is not newer than the last is ignored."""
        if sample.time_s <= self.until_s:
            return
        self.until_s = sample.time_s
        self.quality = sample.quality
        self._times.append(sample.time_s)
        known = sample.values is not None and bool(np.isfinite(sample.values).all())
        self._values.append(sample.values if known else None)

    def needed_s(self, end_s: float) -> float:
        """The time that must have been seen before a window ending at ``end_s`` is complete."""
        return end_s - 1.0 / self.rate_hz

    def read(self, end_s: float, steps: int) -> StreamData:
        """Values and mask of the last ``steps`` grid points before ``end_s``."""
        values = np.zeros((steps, self.width), np.float32)
        mask = np.zeros(steps, np.bool_)
        first = round(end_s * self.rate_hz) - steps
        for step in range(steps):
            value = self._at((first + step) / self.rate_hz)
            if value is not None:
                values[step] = value
                mask[step] = True
        return StreamData(values, mask)

    def _at(self, time_s: float) -> np.ndarray | None:
        """The face at a time: between its two neighbours, if both have one and are close."""
        after = bisect_right(self._times, time_s + EPSILON_S)
        if after == 0:
            return None
        before_s, before = self._times[after - 1], self._values[after - 1]
        if before is None:
            return None
        if time_s - before_s <= EPSILON_S:
            return before
        if after == len(self._times):
            return None
        later_s, later = self._times[after], self._values[after]
        if later is None or later_s - before_s > MAX_FACE_GAP_S:
            return None
        share = np.float32((time_s - before_s) / (later_s - before_s))
        between: np.ndarray = before + (later - before) * share
        return between

    def newest_s(self, end_s: float) -> float | None:
        """Time of the newest face at or before ``end_s``."""
        for index in range(bisect_right(self._times, end_s) - 1, -1, -1):
            if self._values[index] is not None:
                return self._times[index]
        return None

    def forget(self, before_s: float) -> None:
        """Let go of what no open window needs."""
        count = bisect_right(self._times, before_s - MAX_FACE_GAP_S)
        del self._times[:count], self._values[:count]


class FrameTrack:
    """Consecutive frames of a fixed length, appended in order; only the newest seconds are kept."""

    def __init__(self, width: int, frame_s: float) -> None:
        self.width = width
        self.frame_s = frame_s
        self.origin_s = 0.0
        self._first = 0  # number of the oldest frame kept
        self._frames = np.zeros((0, width), np.float32)

    @property
    def until_s(self) -> float:
        """Media time up to which frames have come."""
        return self.origin_s + (self._first + len(self._frames)) * self.frame_s

    def add(self, origin_s: float, first: int, frames: np.ndarray) -> None:
        """Append frames ``first, first + 1, ...``; they must follow on what is there."""
        expected = self._first + len(self._frames)
        if first != expected:
            raise ValueError(f"frame {first} came where {expected} was due")
        self.origin_s = origin_s
        self._frames = np.concatenate([self._frames, frames.reshape(len(frames), self.width)])

    def read(self, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Frames by number, ``(n, width)``, and a mask of those that are known."""
        offsets = numbers - self._first
        known = (offsets >= 0) & (offsets < len(self._frames))
        values = np.zeros((len(numbers), self.width), np.float32)
        values[known] = self._frames[offsets[known]]
        return values, known

    def forget(self, before_s: float) -> None:
        """Let go of frames that ended before ``before_s``."""
        wanted = int((before_s - self.origin_s) / self.frame_s) - self._first
        count = min(wanted, len(self._frames))
        if count > 0:
            self._frames = self._frames[count:].copy()
            self._first += count


class VoiceTrack:
    """Descriptors where the voice activity detector heard speech."""

    def __init__(self, rate_hz: int, width: int) -> None:
        self.rate_hz = rate_hz
        self._descriptors = FrameTrack(width, 1.0 / rate_hz)
        self._activity = FrameTrack(1, ACTIVITY_FRAME_S)

    def add(self, chunk: VoiceChunk | ActivityChunk) -> None:
        """Take the next descriptors or the next speech probabilities."""
        if isinstance(chunk, VoiceChunk):
            self._descriptors.add(chunk.origin_s, chunk.first, chunk.values)
        else:
            self._activity.add(chunk.origin_s, chunk.first, chunk.probability)

    @property
    def until_s(self) -> float:
        """How far both descriptors and activity have come."""
        return min(self._descriptors.until_s, self._activity.until_s)

    def read(self, end_s: float, steps: int) -> StreamData:
        """Descriptors of the last ``steps`` frames before ``end_s``; the mask is true in speech."""
        offset = round((end_s - self._descriptors.origin_s) * self.rate_hz) - steps
        numbers = np.arange(offset, offset + steps)
        values, known = self._descriptors.read(numbers)
        middle_s = (numbers + 0.5) / self.rate_hz
        probability, heard = self._activity.read(np.floor(middle_s / ACTIVITY_FRAME_S).astype(int))
        mask = known & heard & (probability[:, 0] >= SPEECH_PROBABILITY)
        mask &= np.isfinite(values).all(axis=1)  # one bad number would stay in the statistics
        values[~mask] = 0.0
        return StreamData(values, mask)

    def forget(self, before_s: float) -> None:
        """Let go of what no open window needs."""
        self._descriptors.forget(before_s)
        self._activity.forget(before_s)


def _middle(word: Word) -> float:
    return (word.start_s + word.end_s) / 2


class SpeechTrack:
    """Stable words and encoder states."""

    def __init__(self, rate_hz: int, width: int) -> None:
        self.rate_hz = rate_hz
        self.width = width
        self.until_s = -math.inf
        self.words: deque[Word] = deque()
        self._cells: dict[int, np.ndarray] = {}

    def add(self, words: tuple[Word, ...], until_s: float, states: StateChunk | None) -> None:
        """Take words that became stable and the newest states; nothing changes before ``until_s``."""
        self.words.extend(words)
        self.until_s = max(self.until_s, until_s)
        if states is not None:
            for cell, values in zip(states.cells, states.values, strict=True):
                if np.isfinite(values).all():
                    self._cells[cell] = values

    def within(self, start_s: float, end_s: float) -> tuple[Word, ...]:
        """Stable words whose middle lies in ``[start_s, end_s)``."""
        return tuple(w for w in self.words if start_s <= _middle(w) < end_s)

    def running(self, start_s: float, end_s: float) -> tuple[Word, ...]:
        """The words of ``[start_s, end_s)``, and before them what was said in the same breath.

        That is back to the last pause or end of a sentence, as far as ``REACH_S`` and ``REACH_WORDS``
        allow: the four seconds of a window cut most sentences in two.
        """
        said = [w for w in self.words if _middle(w) < end_s]
        first = next((i for i, word in enumerate(said) if _middle(word) >= start_s), len(said))
        if first == len(said):
            return ()
        while first > 0 and len(said) - first < REACH_WORDS:
            before, word = said[first - 1], said[first]
            ended = before.text.rstrip("\"')").endswith(SENTENCE_ENDS)
            paused = word.start_s - before.end_s >= PAUSE_S - EPSILON_S
            if ended or paused or before.start_s < end_s - REACH_S:
                break
            first -= 1
        return tuple(said[first:])

    def read(self, end_s: float, steps: int) -> StreamData:
        """Encoder states of the last ``steps`` cells before ``end_s``."""
        values = np.zeros((steps, self.width), np.float16)
        mask = np.zeros(steps, np.bool_)
        first = round(end_s * self.rate_hz) - steps
        for step in range(steps):
            cell = self._cells.get(first + step)
            if cell is not None:
                values[step] = cell
                mask[step] = True
        return StreamData(values, mask)

    def newest_s(self, end_s: float) -> float | None:
        """End of the newest stable word that ends at or before ``end_s``."""
        ends = [w.end_s for w in self.words if w.end_s <= end_s]
        return max(ends, default=None)

    def forget(self, before_s: float) -> None:
        """Let go of what no open window needs."""
        while self.words and self.words[0].end_s < before_s - REACH_S:
            self.words.popleft()
        for cell in [c for c in self._cells if (c + 1) / self.rate_hz < before_s]:
            del self._cells[cell]

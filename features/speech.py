"""Words and encoder states out of a stream of sound, with a prefix that never changes.

Voice activity decides what is looked at (:mod:`features.utterance`), the recogniser what was said
(:mod:`features.recogniser`), two hypotheses in a row what is stable (:mod:`features.transcription`).
Passes are scheduled by media time, never by the wall clock, so a file and a live run hear the same.
"""

from __future__ import annotations

import math
import time
from pathlib import Path

import numpy as np

from features.errors import FeatureError
from features.recogniser import Encoding, Recogniser
from features.samples import ActivityChunk, Counters, SpeechUpdate, StateChunk
from features.spec import STATE_WIDTH
from features.states import StatePooler, merge
from features.transcription import Transcription
from features.utterance import FRAME, FRAME_S, Pass, PassPolicy, Segmenter, SpeechTrack

BEHIND_S = 1.5  # a reader later than this skips passes that commit nothing
HOPELESS_S = (
    6.0  # windows wait 10 s for words: a reader later than this skips all, until it is back
)


class SpeechExtractor:
    """Feeds on consecutive 16 kHz mono sound; gives words and encoder states.

    ``folder`` holds the recogniser. ``language`` is a code, or empty to detect it in each utterance.
    ``origin_s`` is the media time of the first sample. With ``words=False`` only the encoder runs,
    with the same states to the last bit. One thread; a feed runs the passes that fall into it.
    """

    def __init__(
        self,
        folder: Path,
        language: str = "en",
        origin_s: float = 0.0,
        threads: int = 2,
        device: str = "auto",
        words: bool = True,
        policy: PassPolicy | None = None,
    ) -> None:
        self.counters = Counters()
        self.pass_ms = 0.0  # how long the last pass took, for people to see
        self._origin_s = origin_s
        self._decodes = words
        self._behind_s = 0.0
        self._hopeless = False
        self._recogniser = Recogniser(folder, device, threads)
        self._segmenter = Segmenter(policy)
        self._speech = SpeechTrack(origin_s)
        self._pooler = StatePooler()
        self._words = Transcription(self._recogniser, language, self._speech, self.counters)
        self._sound = np.zeros(0, np.float32)
        self._first = 0  # number of the first sample held
        self._stable_until_s = origin_s
        self._given_until_s = origin_s
        self._states: list[StateChunk] = []
        self._pooled = True

    def behind(self, seconds: float) -> None:
        """Tell how much sound waits to be fed.

        Far behind, passes that commit nothing are skipped. So far behind that words would come after
        the last revision of their windows, all are, until the reader is back: better no word of some
        stretches than every word too late. Counted as ``stretches_unread``.
        """
        self._behind_s = seconds
        self._hopeless = seconds > (BEHIND_S if self._hopeless else HOPELESS_S)

    def feed(self, samples: np.ndarray, activity: ActivityChunk | None) -> SpeechUpdate | None:
        """Take ``(n,) float32`` and the activity values that became known with it.

        Gives what became known, or ``None``. Raises :class:`FeatureError` for activity that is not
        contiguous or runs ahead of the sound.
        """
        self._sound = np.concatenate([self._sound, samples.astype(np.float32, copy=False)])
        if activity is None:
            return None
        self._check(activity)
        looked = False
        for probability in activity.probability.tolist():
            self._speech.add(probability)
            level = self._level(self._segmenter.frames)
            step = self._segmenter.step(probability, level)
            looked |= step is not None and self._look(step)
            self._advance()
        return self._update(looked)

    def finish(self) -> SpeechUpdate:
        """Look at what is left and commit it."""
        step = self._segmenter.finish()
        if step is not None:
            self._look(step)
        self._raise_floor(self._heard_until_s)
        return self._updated()

    def close(self) -> None:
        """Free the recogniser."""
        self._recogniser.close()

    @property
    def _heard_until_s(self) -> float:
        return self._time_s(self._segmenter.frames)

    def _time_s(self, frame: int) -> float:
        return self._origin_s + frame * FRAME_S

    def _check(self, activity: ActivityChunk) -> None:
        expected = self._segmenter.frames
        end = (expected + len(activity.probability)) * FRAME
        if activity.first != expected:
            raise FeatureError(f"speech activity jumped from frame {expected} to {activity.first}")
        if end > self._first + len(self._sound):
            raise FeatureError(f"speech activity at frame {expected} is ahead of the sound")

    def _level(self, frame: int) -> float:
        offset = frame * FRAME - self._first
        return float(np.square(self._sound[offset : offset + FRAME]).mean())

    def _advance(self) -> None:
        """Outside utterances the silence itself is stable, but for the next one's pre-roll."""
        if not self._segmenter.pending:
            self._raise_floor(
                self._time_s(self._segmenter.frames - self._segmenter.policy.pre_roll)
            )

    def _raise_floor(self, time_s: float) -> None:
        self._words.settle_floor(time_s)
        self._stable_until_s = max(self._stable_until_s, self._words.last_end_s)
        self._pooler.settle(time_s)

    def _update(self, looked: bool) -> SpeechUpdate | None:
        before, self._given_until_s = self._given_until_s, self._stable_until_s
        self._forget()
        return self._updated() if looked or self._stable_until_s > before else None

    def _updated(self) -> SpeechUpdate:
        states, self._states = merge(self._states), []
        return SpeechUpdate(
            self._words.take_stable(),
            self._words.tentative(self._stable_until_s),
            self._stable_until_s,
            self._heard_until_s,
            states,
            self._pooler.settled_s if self._pooled else math.inf,
        )

    def _forget(self) -> None:
        needed = self._segmenter.needed
        self._speech.forget(needed)
        surplus = max(0, needed * FRAME - self._first)
        self._sound = self._sound[surplus:]
        self._first += surplus
        self.counters.counts["clicks_ignored"] = self._segmenter.clicks

    def _look(self, step: Pass) -> bool:
        """Run one pass; ``False`` where it was skipped."""
        if self._hopeless:
            self.counters.add("passes_skipped")
            self._pass_over(step)
            return False
        if self._behind_s > BEHIND_S and not step.commit and step.cut is None:
            self.counters.add("passes_skipped")
            return False
        began = time.perf_counter()
        start, end = step.start * FRAME - self._first, step.end * FRAME - self._first
        samples = self._sound[start:end]
        encoding = self._recogniser.encode(samples)
        self._pool(encoding, step)
        if self._decodes:
            start_s = self._time_s(step.start)
            self._words.look(samples, encoding, step.utterance, start_s, step.commit)
            if step.cut is not None:
                self._words.cut(self._time_s(step.cut))
            self._stable_until_s = max(self._stable_until_s, self._words.last_end_s)
        self.counters.add("passes")
        self.pass_ms = (time.perf_counter() - began) * 1000
        return True

    def _pass_over(self, step: Pass) -> None:
        """What an earlier pass heard of this stretch is all that will be known of it."""
        if step.commit or step.cut is not None:
            self.counters.add("stretches_unread")
            until_s = self._time_s(step.end if step.cut is None else step.cut)
            self._words.cut(until_s)
            self._stable_until_s = max(self._stable_until_s, self._words.last_end_s)
            self._pooler.settle(until_s)

    def _pool(self, encoding: Encoding, step: Pass) -> None:
        self._pooled = encoding.states.shape[1] == STATE_WIDTH
        if not self._pooled:
            return  # nobody reads the states of this recogniser
        start_s, end_s = self._time_s(step.start), self._time_s(step.end)
        chunk = self._pooler.add(encoding.states, start_s, end_s, self._speech)
        if chunk is not None:
            self._states.append(chunk)
        if step.commit or step.cut is not None:
            self._pooler.settle(end_s if step.cut is None else self._time_s(step.cut))

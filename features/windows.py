"""The windower: unequal streams onto one grid of windows, with masks, ages and revisions.

Pure and single-threaded: samples go in, windows come out, time is handed in. Live, a window is first
published when face and voice are complete up to its end or ``lateness_s`` have passed, and again
whenever its stable words changed; its final revision follows when every stream has passed its end (or
``patience_s`` are over, and what is still missing is declared missing). Lossless, for files read as
fast as possible, only final revisions are given and nothing is ever late. The final revisions of both
are equal, since their content depends on media time alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from features import spec as specs
from features.clock import NS_PER_S, Clock, SystemClock
from features.messages import Ages, Present, Statistics, Window
from features.rest import Rest, Resting
from features.samples import (
    ActivityChunk,
    FaceSample,
    Lost,
    Returned,
    SpeechUpdate,
    VoiceChunk,
    Word,
)
from features.statistics import Moments, RunningStatistics
from features.text import plain
from features.tracks import EPSILON_S, FaceTrack, SpeechTrack, VoiceTrack

MIN_SPEECH_S = 0.25  # less speech than this in a window is no voice
MIN_FACE_SHARE = 0.25  # a face in fewer grid steps than this is no face
Sample = FaceSample | VoiceChunk | ActivityChunk | SpeechUpdate | Lost | Returned


@dataclass(frozen=True, slots=True)
class WindowerConfig:
    """Whose windows these are, which streams to expect, and how long to wait for them."""

    session: str
    participant: str
    source: str
    face: bool = True
    voice: bool = True
    words: bool = True
    lossless: bool = False
    lateness_s: float = 0.4
    patience_s: float = 10.0


@dataclass(slots=True)
class _Open:
    """A window that was not finally published yet."""

    seq: int
    revision: int = 0
    words: tuple[Word, ...] | None = None  # as last published; None: never published


class Windower:
    """Cuts the windows of one participant.

    ``late_windows`` counts windows whose final revision had to go without something that never came
    in time. ``before`` and ``rest`` are what is known of the participant from earlier recordings:
    moments and resting means by stream.
    """

    def __init__(
        self,
        config: WindowerConfig,
        spec: specs.Spec = specs.LIVE,
        origin_ns: int = 0,
        clock: Clock | None = None,
        before: Mapping[str, Moments] | None = None,
        rest: Rest | None = None,
    ) -> None:
        self.config = config
        self.spec = spec
        self.origin_ns = origin_ns
        self.late_windows = 0
        self._clock = clock or SystemClock()
        self._hash = spec.hash
        self._face = FaceTrack(spec.stream(specs.FACE).rate_hz, spec.stream(specs.FACE).width)
        self._voice = VoiceTrack(spec.stream(specs.VOICE).rate_hz, spec.stream(specs.VOICE).width)
        self._speech = SpeechTrack(
            spec.stream(specs.STATES).rate_hz, spec.stream(specs.STATES).width
        )
        self._statistics = {
            s.name: RunningStatistics(
                s.width, s.rate_hz, s.name == specs.VOICE, (before or {}).get(s.name)
            )
            for s in spec.streams
        }
        self.resting = Resting(spec, rest)
        self._open: list[_Open] = []
        self._next_seq = 0
        self._no_picture = False
        self._paused = False
        self._end_s: float | None = None

    def add(self, sample: Sample) -> None:
        """Take what an extractor or a source gave."""
        if isinstance(sample, FaceSample):
            if self.config.face:
                self._face.add(sample)
        elif isinstance(sample, VoiceChunk | ActivityChunk):
            if self.config.voice:
                self._voice.add(sample)
        elif isinstance(sample, SpeechUpdate):
            if self.config.voice:
                until_s = min(sample.stable_until_s, sample.states_until_s)
                self._speech.add(sample.stable, until_s, sample.states)
            else:  # text only: words, no voice
                self._speech.add(sample.stable, sample.stable_until_s, None)
        elif sample.modality == "picture":  # lost sound goes on as silence, so its streams do too
            self._no_picture = isinstance(sample, Lost)

    def pause(self, paused: bool) -> None:
        """While paused no picture is waited for; sound goes on as silence."""
        self._paused = paused

    def advance(self, now_s: float) -> list[Window]:
        """Windows and revisions that are due at media time ``now_s``, oldest first.

        ``now_s`` matters only live; lossless, the streams themselves say how far time is.
        """
        self._open_until(self._seen_s() if self.config.lossless else now_s)
        out = self._final(now_s)
        if not self.config.lossless:
            out += self._early(now_s)
        return out

    def finish(self, end_s: float) -> list[Window]:
        """The media ended at ``end_s``: everything that is still open, finally."""
        self._end_s = end_s
        last = math.ceil((end_s - EPSILON_S) / self.spec.hop_s)
        self._open_until(last * self.spec.hop_s)
        self._open = [w for w in self._open if w.seq < last]
        return self._final(math.inf)

    def _end_of(self, seq: int) -> float:
        return (seq + 1) * self.spec.hop_s

    def _open_until(self, time_s: float) -> None:
        while self._end_of(self._next_seq) <= time_s + EPSILON_S:
            self._open.append(_Open(self._next_seq))
            self._next_seq += 1

    def _seen_s(self) -> float:
        """How far the slowest of the expected streams is."""
        expected = [self._face.until_s] if self._expects_face() else []
        expected += [self._voice.until_s] if self._expects_voice() else []
        expected += [self._speech.until_s] if self._expects_words() else []
        return min(expected, default=-math.inf)

    def _expects_face(self) -> bool:
        held = self._no_picture or self._paused or self._end_s is not None
        return self.config.face and not held

    def _expects_voice(self) -> bool:
        return self.config.voice and self._end_s is None

    def _expects_words(self) -> bool:
        return self.config.words and self._end_s is None

    def _senses_complete(self, end_s: float) -> bool:
        """Whether face and voice can say nothing more about the time before ``end_s``."""
        face = not self._expects_face() or self._face.until_s >= (
            self._face.needed_s(end_s) - EPSILON_S
        )
        voice = not self._expects_voice() or self._voice.until_s >= end_s - EPSILON_S
        return face and voice

    def _words_complete(self, end_s: float) -> bool:
        return not self._expects_words() or self._speech.until_s >= end_s - EPSILON_S

    def _final(self, now_s: float) -> list[Window]:
        """Close windows in order, as far as everything about them is known or overdue."""
        out = []
        while self._open:
            window = self._open[0]
            end_s = self._end_of(window.seq)
            complete = self._senses_complete(end_s) and self._words_complete(end_s)
            overdue = not self.config.lossless and now_s >= end_s + self.config.patience_s
            if not complete and not overdue:
                break
            if not complete:
                self.late_windows += 1
            self._accumulate(end_s)
            out.append(self._publish(window, final=True))
            del self._open[0]
            self._forget(end_s)
        return out

    def _early(self, now_s: float) -> list[Window]:
        """First publications that are due, and revisions whose words changed."""
        out = []
        for window in self._open:
            end_s = self._end_of(window.seq)
            if window.words is None:
                due = self._senses_complete(end_s) or now_s >= end_s + self.config.lateness_s
            else:
                words = self._speech.within(end_s - self.spec.length_s, end_s)
                due = words != window.words
            if due:
                out.append(self._publish(window, final=False))
        return out

    def _accumulate(self, end_s: float) -> None:
        """Let the slice that this window adds enter the running statistics."""
        slices = {
            s.name: self._track(s.name).read(end_s, round(self.spec.hop_s * s.rate_hz))
            for s in self.spec.streams
        }
        for name, statistics in self._statistics.items():
            statistics.add(slices[name])
        self.resting.add(end_s, slices)

    def moments(self) -> dict[str, Moments]:
        """What this recording itself said about the participant so far, by stream."""
        return {name: running.moments() for name, running in self._statistics.items()}

    def _state(self, name: str) -> Statistics:
        state = self._statistics[name].state()
        return Statistics(state.mean, state.variance, state.seconds, self.resting.means.get(name))

    def _track(self, name: str) -> FaceTrack | VoiceTrack | SpeechTrack:
        if name == specs.FACE:
            return self._face
        return self._voice if name == specs.VOICE else self._speech

    def _forget(self, end_s: float) -> None:
        before_s = end_s + self.spec.hop_s - self.spec.length_s
        for track in (self._face, self._voice, self._speech):
            track.forget(before_s - self.spec.hop_s)

    def _publish(self, window: _Open, final: bool) -> Window:
        end_s = self._end_of(window.seq)
        start_s = end_s - self.spec.length_s
        words = self._speech.within(start_s, end_s)
        streams = {
            s.name: self._track(s.name).read(end_s, self.spec.steps(s.name))
            for s in self.spec.streams
        }
        speech_s = streams[specs.VOICE].mask.sum() / self.spec.stream(specs.VOICE).rate_hz
        voiced = bool(speech_s >= MIN_SPEECH_S)
        present = Present(
            text=bool(words),
            voice=voiced,
            face=bool(streams[specs.FACE].mask.mean() >= MIN_FACE_SHARE),
        )
        revision = window.revision
        window.revision += 1
        window.words = words
        return Window(
            session=self.config.session,
            participant=self.config.participant,
            source=self.config.source,
            start_s=max(0.0, start_s),
            end_s=end_s,
            made_ns=self._clock.now_ns(),
            seq=window.seq,
            revision=revision,
            final=final,
            due_ns=self.origin_ns + round(end_s * NS_PER_S) if self.origin_ns else 0,
            spec=self._hash,
            text=plain(" ".join(w.text for w in self._speech.running(start_s, end_s))),
            words=words,
            present=present,
            age_s=self._ages(end_s, streams[specs.VOICE].mask),
            streams=streams,
            statistics={name: self._state(name) for name in self._statistics},
        )

    def _ages(self, end_s: float, speech: np.ndarray) -> Ages:
        face_s = self._face.newest_s(end_s)
        word_s = self._speech.newest_s(end_s)
        heard = np.flatnonzero(speech)
        rate_hz = self.spec.stream(specs.VOICE).rate_hz
        return Ages(
            text=None if word_s is None else end_s - word_s,
            voice=float(len(speech) - 1 - heard[-1]) / rate_hz if len(heard) else None,
            face=None if face_s is None else end_s - face_s,
        )

"""Corpus clips cut and normalised as a live session would: same tracks, statistics, preparation.

A clip is put at the beginning of a session's media time; what its speaker said before is other clips
of the same speaker, of which only the statistics remain, as live.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from features.messages import Present, Statistics, StreamData
from features.samples import ActivityChunk, StateChunk, VoiceChunk
from features.spec import FACE, LIVE, STATES, VOICE
from features.statistics import RunningStatistics
from features.tracks import SpeechTrack, VoiceTrack
from features.windows import MIN_SPEECH_S
from model.corpora.voice import VoiceFeatures
from model.networks.inputs import Prior, Sample, prepare

VOICES: Final = (VOICE, STATES)
Streams = dict[str, StreamData]


@dataclass(frozen=True, slots=True)
class Windowed:
    """A window of a clip: its streams, its end, and whether it holds enough speech to be a voice."""

    streams: Streams
    end_s: float
    voiced: bool


class ClipVoice:
    """A clip's voice on the live tracks, from media time 0 on."""

    def __init__(self, features: VoiceFeatures) -> None:
        self.duration_s = len(features.descriptors) / LIVE.stream(VOICE).rate_hz
        self._voice = VoiceTrack(LIVE.stream(VOICE).rate_hz, LIVE.stream(VOICE).width)
        self._voice.add(VoiceChunk(0.0, 0, features.descriptors))
        self._voice.add(ActivityChunk(0.0, 0, features.activity))
        self._speech = SpeechTrack(LIVE.stream(STATES).rate_hz, LIVE.stream(STATES).width)
        cells = tuple(int(cell) for cell in features.cells)
        self._speech.add((), self.duration_s, StateChunk(cells, features.states))

    def ends_s(self) -> list[float]:
        """Ends of the live windows that a session of this clip alone would have."""
        hops = math.ceil(self.duration_s / LIVE.hop_s)
        return [(hop + 1) * LIVE.hop_s for hop in range(hops)]

    def window(self, end_s: float) -> Windowed:
        """The window that ends at ``end_s``, as the live windower cuts it."""
        streams = {
            VOICE: self._voice.read(end_s, LIVE.steps(VOICE)),
            STATES: self._speech.read(end_s, LIVE.steps(STATES)),
        }
        speech_s = streams[VOICE].mask.sum() / LIVE.stream(VOICE).rate_hz
        return Windowed(streams, end_s, bool(speech_s >= MIN_SPEECH_S))

    def fullest(self) -> Windowed:
        """The window with most speech, the earliest of those."""
        windows = [self.window(end_s) for end_s in self.ends_s()]
        return max(windows, key=lambda window: int(window.streams[VOICE].mask.sum()))

    def until(self, end_s: float) -> Streams:
        """Everything from the start to ``end_s``."""
        voice, states = (round(end_s * LIVE.stream(name).rate_hz) for name in VOICES)
        return {VOICE: self._voice.read(end_s, voice), STATES: self._speech.read(end_s, states)}

    def whole(self) -> Streams:
        """All of the clip."""
        return self.until(self.ends_s()[-1]) if self.duration_s > 0 else self.until(LIVE.hop_s)


class Heard:
    """Running statistics of the voice's streams, as the windower keeps them."""

    def __init__(self) -> None:
        self._running = {
            name: RunningStatistics(
                LIVE.stream(name).width, LIVE.stream(name).rate_hz, voiced=name == VOICE
            )
            for name in VOICES
        }

    def add(self, streams: Mapping[str, StreamData]) -> None:
        """Take streams that were not given before."""
        for name in VOICES:
            self._running[name].add(streams[name])

    def state(self) -> dict[str, Statistics]:
        """Mean, variance and seconds of each stream."""
        return {name: running.state() for name, running in self._running.items()}


def heard_before(
    others: Sequence[Streams], seconds: float, chance: np.random.Generator
) -> list[Streams]:
    """Clips of a speaker in random order until ``seconds`` of their speech are reached."""
    chosen, total = [], 0.0
    for index in chance.permutation(len(others)).tolist():
        if total >= seconds:
            break
        chosen.append(others[index])
        total += float(others[index][VOICE].mask.sum()) / LIVE.stream(VOICE).rate_hz
    return chosen


def voice_sample(
    clip: ClipVoice, window: Windowed, before: Iterable[Streams], priors: Mapping[str, Prior]
) -> Sample:
    """The window as the network gets it live, in a session that had ``before`` and then this clip."""
    heard = Heard()
    for streams in before:
        heard.add(streams)
    heard.add(clip.until(window.end_s))
    present = Present(text=False, voice=window.voiced, face=False)
    streams = {**window.streams, FACE: no_stream(FACE)}
    return prepare(streams, heard.state(), present, priors, LIVE)


def no_stream(name: str) -> StreamData:
    """A window's stream without anything in it."""
    steps = LIVE.steps(name)
    return StreamData(np.zeros((steps, LIVE.stream(name).width), np.float32), np.zeros(steps, bool))


def voice_priors(clips: Iterable[Streams], seconds: Mapping[str, float]) -> dict[str, Prior]:
    """Priors of the voice's streams from the frames of many speakers."""
    heard = Heard()
    for streams in clips:
        heard.add(streams)
    return {
        name: Prior(state.mean, state.variance, seconds[name])
        for name, state in heard.state().items()
    }


def principal_basis(means: np.ndarray, steps: np.ndarray, components: int) -> np.ndarray:
    """``(512, components)``: leading principal directions of windows' mean states ``means (n, 512)``.

    Windows differ by who speaks and how, single steps by the sounds of words, which are of no use
    here. Each column is scaled so that ``steps (m, 512)`` have unit variance in it.
    """
    covariance = np.cov(means.astype(np.float64), rowvar=False)
    variances, directions = np.linalg.eigh(covariance)
    leading = directions[:, np.argsort(variances)[::-1][:components]]
    scale = np.maximum((steps.astype(np.float64) @ leading).std(0), 1e-3)
    basis: np.ndarray = (leading / scale).astype(np.float32)
    return basis

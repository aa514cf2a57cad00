"""What a resting stretch changes, on people whom the network has not seen.

Actors 15 to 20 of RAVDESS: half of an actor's neutral clips are the rest, all other clips are scored.
Their own faces rest much as everybody's does, so each actor is also given the resting face of others:
those of FER2013's held-out neutral pictures that the network reads as most negative. Voices of
ordinary speech are files: the first half is the rest, windows of the second are scored.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import torch
from msgspec.structs import replace

from features.messages import Present, Statistics, StreamData
from features.spec import BLENDSHAPES, FACE, LIVE, STATES, VOICE
from model.checkpoint import Checkpoint
from model.corpora.face import load_fer, speaking_faces
from model.corpora.text import TRAIN
from model.corpora.voice import VoiceClip, VoiceMaker, feature_path, load_voice, ravdess, read_sound
from model.live.faces import speaker_statistics
from model.live.judging import NEGATIVE, POSITIVE, auc
from model.live.samples import ClipVoice, Heard, Windowed, no_stream
from model.networks.inputs import Prior, Sample, collate, prepare
from model.networks.rtil import RTIL
from model.resting import with_rest
from model.text.encoder import WIDTH as TEXT_WIDTH

ACTORS: Final = tuple(str(number) for number in range(15, 21))
FROWNS: Final = 4  # resting faces that are lent to each actor
CLIP_S: Final = 3.7
BATCH: Final = 64
CASES: Final = {
    "voice": (False, True, False),
    "face": (False, False, True),
    "voice+face": (False, True, True),
}


@dataclass(slots=True)
class Measured:
    """Samples of one person each, with the rest and without."""

    person: list[str] = field(default_factory=list)
    emotion: list[str] = field(default_factory=list)
    plain: list[Sample] = field(default_factory=list)
    rested: list[Sample] = field(default_factory=list)

    def add(self, person: str, emotion: str, plain: Sample, rested: Sample) -> None:
        """One window."""
        self.person.append(person)
        self.emotion.append(emotion)
        self.plain.append(plain)
        self.rested.append(rested)

    def table(self, network: RTIL, subset: Sequence[bool]) -> list[dict[str, float]]:
        """Without and with rest: mean score of people's neutral clips, its spread over people, the
        farthest of them, and the AUC of positive against negative clips."""
        return [
            _summary(score(network, samples, subset), np.array(self.person), np.array(self.emotion))
            for samples in (self.plain, self.rested)
        ]


def _summary(scores: np.ndarray, person: np.ndarray, emotion: np.ndarray) -> dict[str, float]:
    neutral = emotion == "neutral"
    people = dict.fromkeys(person[neutral].tolist())
    means = np.array([scores[neutral & (person == one)].mean() for one in people])
    sides = (scores[np.isin(emotion, POSITIVE)], scores[np.isin(emotion, NEGATIVE)])
    return {
        "people": len(means), "neutral": float(means.mean()), "spread": float(means.std()),
        "farthest": float(np.abs(means).max()), "auc": auc(*sides),
    }  # fmt: skip


@torch.inference_mode()
def score(network: RTIL, samples: Sequence[Sample], subset: Sequence[bool]) -> np.ndarray:
    """Scores ``(n,)`` of what ``subset`` names."""
    out = []
    for first in range(0, len(samples), BATCH):
        part = samples[first : first + BATCH]
        empty = torch.zeros(len(part), 1, TEXT_WIDTH)
        batch = collate(part, empty, empty[..., 0].bool())
        chosen = torch.tensor([list(subset)] * len(part)) & batch.present
        out.append(network.fuse(network.encode(batch), chosen).score.numpy())
    return np.concatenate(out)


class Bench:
    """The checkpoint, its priors with most people's rest, and the making of samples."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.network = checkpoint.network.eval()
        self.priors: dict[str, Prior] = with_rest(checkpoint.priors)

    def sample(
        self,
        window: Windowed | None,
        face: np.ndarray | None,
        own: Mapping[str, Statistics],
        rest: Mapping[str, np.ndarray],
    ) -> Sample:
        """A window of a voice, of a face ``(65,)`` that holds still, or of both."""
        streams = {name: no_stream(name) for name in (FACE, VOICE, STATES)}
        if window is not None:
            streams |= window.streams
        if face is not None:
            steps = LIVE.steps(FACE)
            values = np.repeat(face[None], steps, 0).astype(np.float32)
            streams[FACE] = StreamData(values, np.ones(steps, bool))
        present = Present(text=False, voice=window is not None, face=face is not None)
        known = {name: replace(s, rest=rest.get(name)) for name, s in own.items()}
        return prepare(streams, known, present, self.priors)


def actors(data: Path, cache: Path, bench: Bench, frowns: int = 0) -> Measured:
    """RAVDESS' actors, with their own faces or each with ``frowns`` other resting faces."""
    clips = ravdess(data)
    fer = load_fer(data, cache)
    table = speaking_faces(data, clips, fer.rows(fer.split == TRAIN))
    faces = {clip.id: table.values[i] for i, clip in enumerate(clips)}
    shifts = [np.zeros(table.values.shape[1], np.float32)]
    if frowns:
        shifts = _frowns(
            bench, fer.values[(fer.split != TRAIN) & (fer.emotion == "neutral")], frowns
        )
    out = Measured()
    for actor in ACTORS:
        own = [c for c in clips if c.speaker == actor and feature_path(cache, c).is_file()]
        for number, shift in enumerate(shifts):
            worn = {clip.id: _worn(faces[clip.id], shift) for clip in own}
            _actor(f"{actor}-{number}", own, worn, cache, bench, out)
    return out


def _frowns(bench: Bench, neutral: np.ndarray, count: int) -> list[np.ndarray]:
    """How the most negatively read resting faces differ from the mean one."""
    samples = [bench.sample(None, face, {}, {}) for face in neutral]
    order = np.argsort(score(bench.network, samples, CASES["face"]), kind="stable")
    chosen = order[: max(count, len(order) // 10)]  # a tenth: not the oddest few alone
    places = np.linspace(0, len(chosen) - 1, count).astype(int)
    return [neutral[chosen[place]] - neutral.mean(0) for place in places]


def _worn(face: np.ndarray, shift: np.ndarray) -> np.ndarray:
    moved: np.ndarray = face + shift
    moved[: len(BLENDSHAPES)] = np.clip(moved[: len(BLENDSHAPES)], 0.0, 1.0)
    return moved


def _actor(
    person: str,
    clips: Sequence[VoiceClip],
    faces: Mapping[str, np.ndarray],
    cache: Path,
    bench: Bench,
    out: Measured,
) -> None:
    neutral = [clip for clip in clips if clip.emotion == "neutral"]
    resting = neutral[::2]
    heard = Heard()
    for clip in resting:
        heard.add(ClipVoice(load_voice(cache, clip)).whole())
    seen = np.array([faces[clip.id] for clip in resting])
    rest = {name: state.mean for name, state in heard.state().items()} | {FACE: seen.mean(0)}
    for clip in clips:
        if clip in resting:
            continue
        voice = ClipVoice(load_voice(cache, clip))
        window = voice.fullest()
        if not window.voiced:
            continue
        own = _session([*resting, clip], voice, window, faces, cache)
        face = faces[clip.id]
        plain, rested = (bench.sample(window, face, own, known) for known in ({}, rest))
        out.add(person, clip.emotion, plain, rested)


def _session(
    before: Sequence[VoiceClip],
    voice: ClipVoice,
    window: Windowed,
    faces: Mapping[str, np.ndarray],
    cache: Path,
) -> dict[str, Statistics]:
    """Statistics of a session that began with the rest: the same with and without its use."""
    heard = Heard()
    for clip in before[:-1]:
        heard.add(ClipVoice(load_voice(cache, clip)).whole())
    heard.add(voice.until(window.end_s))
    seen = speaker_statistics(np.array([faces[clip.id] for clip in before]), CLIP_S)
    return {**heard.state(), FACE: seen}


def ordinary(
    files: Sequence[Path], recogniser: Path, bench: Bench
) -> Iterator[tuple[str, float, float]]:
    """By file: mean voice score of the second half without and with the first half as rest.

    Files in which either half holds no voice are left out.
    """
    maker = VoiceMaker(recogniser)
    try:
        for path in files:
            voice = ClipVoice(maker.make(read_sound(path)))
            half_s = min(10.0, LIVE.hop_s * round(voice.duration_s / 2 / LIVE.hop_s))
            heard = Heard()
            heard.add(voice.until(half_s))
            first = heard.state()
            windows = [voice.window(end_s) for end_s in voice.ends_s() if end_s > half_s]
            windows = [window for window in windows if window.voiced]
            if not windows or min(first[name].seconds for name in (VOICE, STATES)) < 1.0:
                continue
            rest = {name: state.mean for name, state in first.items()}
            scores = []
            for known in ({}, rest):
                samples = [bench.sample(w, None, _until(voice, w.end_s), known) for w in windows]
                scores.append(float(score(bench.network, samples, CASES["voice"]).mean()))
            yield path.name, scores[0], scores[1]
    finally:
        maker.close()


def _until(voice: ClipVoice, end_s: float) -> dict[str, Statistics]:
    heard = Heard()
    heard.add(voice.until(end_s))
    return heard.state()

"""Banks of prepared samples by modality, and batches put together from their rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
import torch

from features.messages import Statistics
from features.spec import FACE, LIVE, STATES, VOICE
from model.corpora.text import TRAIN
from model.live.faces import FaceMaker
from model.live.samples import no_stream
from model.networks.emotions import SIDES, targets_of
from model.networks.inputs import VOICE_WIDTH, Batch, Prior, Sample, collate
from model.text.encoder import WIDTH as TEXT_WIDTH

NONE: Final = -1  # the row of a modality that is missing
CLASS_EDGES: Final = (-0.5, 0.5)  # between negative, neutral and positive labels
# How often negative, neutral and positive are drawn, by modality. Faces and voices are mostly at rest
# while people talk; learned from equal parts, every face that does not smile would be half an angry
# one, and every lively voice too. What is read of emotions is weighed back (`Drawing.weights_of`).
CLASS_SHARES: Final = ((1.0, 1.0, 1.0), (0.8, 1.4, 0.8), (0.35, 1.8, 0.8))
SPOKEN_SHARE: Final = 0.5  # of real pairs of voice and face, those that come with their words
NEUTRAL_SPOKEN: Final = "neutral sentences"  # split of texts that real clips say whatever is felt
VALID_HEARD: Final = "valid as heard"  # split of validation texts with words heard wrongly
FACE_KIND: Final = 2
SURPRISE_COUNTS: Final = 0.3  # against a side
TRIED: Final = 4096  # rows drawn to see how often each emotion comes


@dataclass(frozen=True, slots=True)
class TextBank:
    """Token states ``(tokens, 384) float16`` of texts, with labels ``(n,)``, splits ``(n,)`` and
    ``targets (n, 8)`` (see :mod:`model.networks.emotions`)."""

    states: list[np.ndarray]
    label: np.ndarray
    split: np.ndarray
    targets: np.ndarray


@dataclass(frozen=True, slots=True)
class VoiceBank:
    """Prepared windows ``voice (n, 40, 26)``, ``states (n, 16, 512) float16`` and their masks;
    ``label``, ``split``, ``clip``, ``speaker``, ``emotion`` ``(n,)``."""

    voice: np.ndarray
    voice_mask: np.ndarray
    states: np.ndarray
    states_mask: np.ndarray
    label: np.ndarray
    split: np.ndarray
    clip: np.ndarray
    speaker: np.ndarray
    emotion: np.ndarray


@dataclass(frozen=True, slots=True)
class FaceBank:
    """Single faces ``values (n, 65)`` and what is known of the same person, where anything is."""

    values: np.ndarray
    label: np.ndarray
    split: np.ndarray
    clip: np.ndarray
    emotion: np.ndarray
    own: list[Statistics | None]


@dataclass(frozen=True)
class Banks:
    """Everything a batch is made of."""

    text: TextBank
    voice: VoiceBank
    face: FaceBank
    maker: FaceMaker
    priors: dict[str, Prior]

    @property
    def labels(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Labels in the order of ``MODALITIES``."""
        return self.text.label, self.voice.label, self.face.label

    @property
    def splits(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Splits in the order of ``MODALITIES``."""
        return self.text.split, self.voice.split, self.face.split

    @cached_property
    def targets(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Emotions ``(n, 8) bool`` that would do, in the order of ``MODALITIES``."""
        voice, face = (targets_of(own.emotion) for own in (self.voice, self.face))
        return self.text.targets, voice, face

    def targets_of(self, rows: np.ndarray) -> np.ndarray:
        """``rows (B, 3)`` to ``(B, 3, 8) bool``; all true where a modality is missing."""
        pairs = zip(rows.T, self.targets, strict=True)
        return np.stack([np.where((r >= 0)[:, None], own[r], True) for r, own in pairs], 1)

    def labels_of(self, rows: np.ndarray) -> np.ndarray:
        """``rows (B, 3)`` to labels ``(B, 3)``; 0 where a modality is missing."""
        taken = [np.where(r >= 0, own[r], 0.0) for r, own in zip(rows.T, self.labels, strict=True)]
        return np.stack(taken, 1).astype(np.float32)

    def batch(self, rows: np.ndarray, chance: np.random.Generator | None = None) -> Batch:
        """Windows of the rows ``(B, 3)`` of text, voice and face; with ``chance`` faces come to live."""
        samples = [self._sample(int(v), int(f), int(t), chance) for t, v, f in rows.tolist()]
        found = [self.text.states[t] if t >= 0 else np.zeros((0, TEXT_WIDTH)) for t in rows[:, 0]]
        longest = max(1, *(len(states) for states in found))
        text = torch.zeros(len(rows), longest, TEXT_WIDTH)
        mask = torch.zeros(len(rows), longest, dtype=torch.bool)
        for i, states in enumerate(found):
            text[i, : len(states)] = torch.from_numpy(states.astype(np.float32))
            mask[i, : len(states)] = True
        return collate(samples, text, mask)

    def _sample(self, v: int, f: int, t: int, chance: np.random.Generator | None) -> Sample:
        if v >= 0:
            bank = self.voice
            voice = (bank.voice[v], bank.voice_mask[v])
            states = (bank.states[v].astype(np.float32), bank.states_mask[v])
        else:
            voice, states = _NO_VOICE, (no_stream(STATES).values, no_stream(STATES).mask)
        if f < 0:
            face = (no_stream(FACE).values, no_stream(FACE).mask)
        elif chance is None:
            face = self.maker.still(self.face.values[f], self.face.own[f])
        else:
            face = self.maker.window(self.face.values[f], self.face.own[f], chance)
        present = np.array([t >= 0, v >= 0, f >= 0 and bool(face[1].any())])
        return Sample(*voice, *states, face[0].astype(np.float32), face[1], present)


def _no_voice() -> tuple[np.ndarray, np.ndarray]:
    steps = LIVE.steps(VOICE) * 10 // LIVE.stream(VOICE).rate_hz
    return np.zeros((steps, VOICE_WIDTH), np.float32), np.zeros(steps, bool)


_NO_VOICE: Final = _no_voice()


class Drawing:
    """Draws rows for training batches: single modalities, real clips, and synthetic windows.

    Synthetic windows put text, voice and face of different corpora together, of the same valence or
    of another. Negative, neutral and positive labels are drawn in fixed shares.
    """

    def __init__(self, banks: Banks, shares: Sequence[float]) -> None:
        self._banks = banks
        self._shares = np.cumsum(shares) / sum(shares)
        self._train = [np.flatnonzero(split == TRAIN) for split in banks.splits]
        self._weights = [
            np.cumsum(class_weights(own[rows], shares))
            for own, rows, shares in zip(banks.labels, self._train, CLASS_SHARES, strict=True)
        ]
        self._sorted = [
            rows[np.argsort(own[rows], kind="stable")]
            for own, rows in zip(banks.labels, self._train, strict=True)
        ]
        clips: dict[str, int] = {name: i for i, name in enumerate(banks.face.clip.tolist()) if name}
        own_clips = banks.voice.clip[self._train[1]].tolist()
        self._pairs = [
            (int(v), clips[name])
            for v, name in zip(self._train[1], own_clips, strict=True)
            if name in clips
        ]
        self._sentences = np.flatnonzero(banks.text.split == NEUTRAL_SPOKEN)
        seen = self.rows(TRIED, np.random.default_rng(0))[:, FACE_KIND]
        seen = seen[seen >= 0]
        self._acted = banks.face.clip != ""
        self._faces = np.stack([
            side_weights(banks.targets[FACE_KIND][seen[self._acted[seen] == acted]])
            for acted in (False, True)
        ])  # fmt: skip

    def weights_of(self, rows: np.ndarray) -> np.ndarray:
        """``rows (B, 3)`` to ``(B, 3)``: how much the emotions of each count.

        Those of texts and voices by :func:`read_weights`; those of faces so that the sides come alike
        in all that is drawn, of which synthetic windows hold other shares than faces alone: among
        pictures and among actors, who would else teach pictures how seldom they are at rest.
        """
        labels, targets = self._banks.labels_of(rows), self._banks.targets_of(rows)
        weights = [read_weights(labels[:, m], m) for m in range(FACE_KIND)]
        faces = self._faces[self._acted[rows[:, FACE_KIND]].astype(int)]
        return np.stack([*weights, (targets[:, FACE_KIND] * faces).sum(1)], 1)

    def rows(self, size: int, chance: np.random.Generator) -> np.ndarray:
        """``(size, 3)`` rows of text, voice and face, ``NONE`` where missing."""
        return np.array([self._row(chance) for _ in range(size)])

    def _row(self, chance: np.random.Generator) -> list[int]:
        kind = int(np.searchsorted(self._shares, chance.random(), side="right"))
        row = [NONE, NONE, NONE]
        if kind < 3:
            row[kind] = self._one(kind, chance)
        elif kind == 3 and self._pairs:
            row[1], row[2] = self._pairs[chance.integers(len(self._pairs))]
            if len(self._sentences) and chance.random() < SPOKEN_SHARE:
                row[0] = int(chance.choice(self._sentences))
        else:
            self._compose(row, kind != 5, chance)
        return row

    def _compose(self, row: list[int], alike: bool, chance: np.random.Generator) -> None:
        members = [[0, 1], [0, 2], [1, 2], [0, 1, 2]][chance.integers(4)]
        first = members[chance.integers(len(members))]
        row[first] = self._one(first, chance)
        label = float(self._banks.labels[first][row[first]])
        for m in members:
            if m != first:
                row[m] = self._near(m, label, chance) if alike else self._one(m, chance)

    def _one(self, m: int, chance: np.random.Generator) -> int:
        place = int(np.searchsorted(self._weights[m], chance.random(), side="right"))
        return int(self._train[m][min(place, len(self._train[m]) - 1)])

    def _near(self, m: int, label: float, chance: np.random.Generator) -> int:
        """A row of modality ``m`` with about this label."""
        rows = self._sorted[m]
        labels = self._banks.labels[m][rows]
        low, high = np.searchsorted(labels, [label - 0.4, label + 0.4])
        if high <= low:
            low = min(int(low), len(rows) - 1)
            low, high = max(0, low - 8), min(len(rows), low + 8)
        return int(rows[chance.integers(low, high)])


def read_weights(labels: np.ndarray, m: int) -> np.ndarray:
    """How much the emotions of rows with ``labels (n,)`` of modality ``m`` count, so that negative,
    neutral and positive count alike however often they are drawn."""
    shares = np.array(CLASS_SHARES[m])
    kinds = np.digitize(labels, CLASS_EDGES)
    weights: np.ndarray = (1.0 / shares)[kinds].astype(np.float32)
    return weights


def share_weights(labels: np.ndarray, shares: Sequence[float]) -> np.ndarray:
    """How much each of ``labels (n,)``, whose kinds were drawn alike, counts as if they had been drawn
    in ``shares``; 1 on average over the kinds."""
    weights: np.ndarray = (np.array(shares) / np.mean(shares))[np.digitize(labels, CLASS_EDGES)]
    return weights.astype(np.float32)


def side_weights(targets: np.ndarray) -> np.ndarray:
    """How much each emotion counts, ``(8,) float32``, so that among drawn ``targets (n, 8) bool`` of
    one emotion each the sides weigh alike and surprise, which has none, less; 1 on average."""
    drawn = targets.sum(0)
    weights = np.full(targets.shape[1], SURPRISE_COUNTS / max(int(drawn[-1]), 1))
    for members in SIDES:
        weights[members] = 1.0 / max(int(drawn[members].sum()), 1)
    scaled: np.ndarray = (weights * len(targets) / max(float(weights @ drawn), 1e-9)).astype(
        np.float32
    )
    return scaled


def class_weights(labels: np.ndarray, shares: Sequence[float]) -> np.ndarray:
    """Probabilities ``(n,)`` with which negative, neutral and positive come in ``shares``."""
    kinds = np.digitize(labels, CLASS_EDGES)
    weights = np.ones(len(labels))
    for kind in np.unique(kinds):
        weights[kinds == kind] = shares[kind] / (kinds == kind).sum()
    weighed: np.ndarray = weights / weights.sum()
    return weighed

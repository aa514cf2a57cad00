"""The readings of each modality, learned beforehand from the windows' statistics alone.

A thousand small steps on statistics cost less than fifty of the whole network, and windows of unlike
labels can be mixed there (mixup, Zhang et al. 2018), which keeps a thousand clips from being learned
by heart.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.corpora.text import TRAIN
from model.live.banks import (
    CLASS_SHARES,
    Banks,
    class_weights,
    read_weights,
    share_weights,
    side_weights,
)
from model.networks.emotions import EMOTIONS, surprise
from model.networks.readings import SCORE, statistics
from model.networks.rtil import RTIL, SHAPE_WIDTH, bounded

BLOCK: Final = 512  # windows made at a time
EVEN: Final = (1.0, 1.0, 1.0)
MIXED: Final = 0.4  # of the beta distribution that says how much of the other window is mixed in


class WarmUp(msgspec.Struct, frozen=True, kw_only=True):
    """``text``, ``voice`` and ``face`` steps, of ``batch`` windows (faces four times as many);
    ``faces`` windows are made of single faces.

    ``noise`` on scaled statistics, ``drop_stream``: how often each of the voice's streams hides,
    ``score``: weight of the score's error beside that of the emotions.
    """

    text: int = 1200
    voice: int = 2600
    face: int = 3000
    faces: int = 60_000
    batch: int = 64
    rate: float = 1e-3
    decay: float = 0.05
    noise: float = 0.3
    face_noise: float = 0.05
    text_rate: float = 3e-4
    face_rate: float = 2e-3
    drop_stream: float = 0.25
    score: float = 1.0


@dataclass(frozen=True, slots=True)
class _Windows:
    """Scaled statistics ``scaled (n, D)``, ``label (n,)`` and ``target (n, 8)`` of windows; how much
    the emotions (``counted``) and the score (``felt``) of each count, ``(n,)``; and how often each is
    ``drawn (n,)``, all alike by default."""

    scaled: Tensor
    label: np.ndarray
    target: np.ndarray
    counted: Tensor
    felt: Tensor
    drawn: np.ndarray | None = None


@dataclass(frozen=True, slots=True)
class _Course:
    """How a reading is learned: see :class:`WarmUp`; ``mixed`` says that pairs are."""

    steps: int
    batch: int
    rate: float
    noise: float
    mixed: bool = True


def warm_up(network: RTIL, banks: Banks, plan: WarmUp, seed: int) -> None:
    """Learn scales and first readings from training windows."""
    torch.manual_seed(seed)
    chance = np.random.default_rng([seed, 7])
    if plan.text:
        _warm_text(network, banks, plan, chance)
    if plan.voice:
        _warm_voice(network, banks, plan, chance)
    if plan.face:
        _warm_face(network, banks, plan, chance)


def _warm_text(network: RTIL, banks: Banks, plan: WarmUp, chance: np.random.Generator) -> None:
    rows = np.flatnonzero(banks.text.split == TRAIN)
    if len(rows) < 2:
        return
    said = np.stack([banks.text.states[row].astype(np.float32).mean(0) for row in rows.tolist()])

    def read(x: Tensor, chosen: Tensor) -> Tensor:
        reading: Tensor = network.text_direct(x) + network.alone[0](network.text_summary(x))
        return reading

    own = [network.text_direct, network.text_summary, network.alone[0]]
    course = _Course(plan.text, plan.batch, plan.text_rate, 0.0)
    _learn(own, read, _banked(torch.from_numpy(said), banks, 0, rows), plan, course, chance)


def _warm_voice(network: RTIL, banks: Banks, plan: WarmUp, chance: np.random.Generator) -> None:
    rows = np.flatnonzero(banks.voice.split == TRAIN)
    if len(rows) < 2:
        return
    own, summary = banks.voice, network.voice_summary
    found, there = [], []
    for part, values, mask in (
        (summary.descriptors, own.voice, own.voice_mask),
        (summary.states, own.states, own.states_mask),
    ):
        blocks = [rows[i : i + BLOCK] for i in range(0, len(rows), BLOCK)]
        stats = torch.cat([_statistics(values[b].astype(np.float32), mask[b]) for b in blocks])
        known = torch.from_numpy(mask[rows].any(1))
        part.learn_scale(stats[known])
        found.append(part.scaled(stats))
        there.append(known)
    known = torch.stack(there, 1)

    def read(x: Tensor, chosen: Tensor) -> Tensor:
        hide = torch.rand(len(x), 1)
        kept = torch.cat([hide > plan.drop_stream, hide < 1 - plan.drop_stream], 1)
        kept = kept & known[chosen]
        kept = torch.where(kept.any(1, keepdim=True), kept, known[chosen])
        reading: Tensor = network.alone[1](summary.project(x, kept))
        return reading

    windows = _banked(torch.cat(found, 1), banks, 1, rows)
    course = _Course(plan.voice, plan.batch, plan.rate, plan.noise)
    _learn([summary, network.alone[1]], read, windows, plan, course, chance)


def _warm_face(network: RTIL, banks: Banks, plan: WarmUp, chance: np.random.Generator) -> None:
    training = np.flatnonzero(banks.face.split == TRAIN)
    if len(training) < 2:
        return
    # alike, so that there are many of each; the shares come back as weights of the score
    weights = class_weights(banks.face.label[training], EVEN)
    rows = training[chance.choice(len(training), plan.faces, p=weights)]
    stats = []
    for start in range(0, len(rows), BLOCK):
        made = [
            banks.maker.window(banks.face.values[i], banks.face.own[i], chance)
            for i in rows[start : start + BLOCK].tolist()
        ]
        shapes = np.stack([v[:, :SHAPE_WIDTH] for v, _ in made])
        values = shapes * network.face_columns.numpy()
        stats.append(_statistics(values.astype(np.float32), np.stack([m for _, m in made])))
    summary = network.face_summary
    found = torch.cat(stats)
    summary.learn_scale(found)

    def read(x: Tensor, chosen: Tensor) -> Tensor:
        reading: Tensor = network.alone[2](summary.project(x))
        return reading

    own = [summary, network.alone[2]]
    label, target = banks.face.label[rows], banks.targets[2][rows]
    counted = torch.from_numpy(target @ side_weights(target))
    felt = torch.from_numpy(share_weights(label, CLASS_SHARES[2]))
    windows = _Windows(summary.scaled(found), label, target, counted, felt)
    course = _Course(plan.face, 4 * plan.batch, plan.face_rate, plan.face_noise, mixed=False)
    _learn(own, read, windows, plan, course, chance)


@torch.no_grad()
def _statistics(values: np.ndarray, mask: np.ndarray) -> Tensor:
    return statistics(torch.from_numpy(values), torch.from_numpy(mask))


def _banked(scaled: Tensor, banks: Banks, m: int, rows: np.ndarray) -> _Windows:
    """Windows of bank rows, drawn in the shares of their modality."""
    label = banks.labels[m][rows]
    counted = torch.from_numpy(read_weights(label, m))
    drawn = class_weights(label, CLASS_SHARES[m])
    return _Windows(scaled, label, banks.targets[m][rows], counted, torch.ones(len(rows)), drawn)


def _learn(
    parts: Sequence[nn.Module],
    read: Callable[[Tensor, Tensor], Tensor],
    windows: _Windows,
    plan: WarmUp,
    course: _Course,
    chance: np.random.Generator,
) -> None:
    """Steps of AdamW along a cosine. ``read`` takes scaled statistics and their places."""
    optimiser = torch.optim.AdamW(
        [p for part in parts for p in part.parameters()], lr=course.rate, weight_decay=plan.decay
    )
    for part in parts:
        part.train()
    for step in range(course.steps):
        loss = _missed(read, windows, plan, course, chance)
        for group in optimiser.param_groups:
            slope = 0.5 * (1 + math.cos(math.pi * step / course.steps)) + 1e-3
            group["lr"] = course.rate * slope
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    for part in parts:
        part.eval()


def _missed(
    read: Callable[[Tensor, Tensor], Tensor],
    windows: _Windows,
    plan: WarmUp,
    course: _Course,
    chance: np.random.Generator,
) -> Tensor:
    """The loss on a batch of windows, or of mixed pairs of them."""
    size = (2, course.batch)
    one, other = torch.from_numpy(chance.choice(len(windows.label), size, p=windows.drawn))
    share = torch.ones(course.batch)
    if course.mixed:
        share = torch.from_numpy(chance.beta(MIXED, MIXED, course.batch).astype(np.float32))
    label, target = torch.from_numpy(windows.label), torch.from_numpy(windows.target)
    x = share[:, None] * windows.scaled[one] + (1 - share[:, None]) * windows.scaled[other]
    reading = read(x + course.noise * torch.randn_like(x), one)
    logits, score = reading[:, : len(EMOTIONS)], bounded(reading[:, SCORE])
    missed = share * windows.counted[one] * surprise(logits, target[one])
    missed = missed + (1 - share) * windows.counted[other] * surprise(logits, target[other])
    truth = share * label[one] + (1 - share) * label[other]
    felt = share * windows.felt[one] + (1 - share) * windows.felt[other]
    off = felt * F.smooth_l1_loss(score, truth, reduction="none")
    return missed.mean() + plan.score * off.mean()

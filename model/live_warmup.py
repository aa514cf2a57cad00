"""The readings of each modality, learned beforehand from the windows' statistics alone.

A thousand small steps on statistics cost less than fifty of the whole network, and windows of unlike
labels can be mixed there (mixup, Zhang et al. 2018), which keeps a thousand clips from being learned
by heart.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final

import msgspec
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.corpora_text import TRAIN
from model.emotions import EMOTIONS, surprise
from model.live_banks import CLASS_SHARES, Banks, class_weights, read_weights
from model.readings import SCORE, statistics
from model.rtil import LIMIT, RTIL

BLOCK: Final = 512  # windows made at a time
MIXED: Final = 0.4  # of the beta distribution that says how much of the other window is mixed in


class WarmUp(msgspec.Struct, frozen=True, kw_only=True):
    """``text``, ``voice`` and ``face`` steps, of ``batch`` windows; ``faces`` windows are made of single faces.

    ``noise`` on scaled statistics, ``drop_stream``: how often each of the voice's streams hides,
    ``score``: weight of the score's error beside that of the emotions.
    """

    text: int = 1200
    voice: int = 1300
    face: int = 1500
    faces: int = 30_000
    batch: int = 64
    rate: float = 1e-3
    decay: float = 0.05
    noise: float = 0.3
    face_noise: float = 0.05
    text_rate: float = 3e-4
    drop_stream: float = 0.25
    score: float = 1.0


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
    texts = msgspec.structs.replace(plan, voice=plan.text, noise=0.0, rate=plan.text_rate)
    _learn(own, read, torch.from_numpy(said), banks, 0, rows, texts, chance)


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

    _learn([summary, network.alone[1]], read, torch.cat(found, 1), banks, 1, rows, plan, chance)


def _warm_face(network: RTIL, banks: Banks, plan: WarmUp, chance: np.random.Generator) -> None:
    training = np.flatnonzero(banks.face.split == TRAIN)
    if len(training) < 2:
        return
    weights = class_weights(banks.face.label[training], CLASS_SHARES[2])
    rows = training[chance.choice(len(training), plan.faces, p=weights)]
    stats = []
    for start in range(0, len(rows), BLOCK):
        made = [
            banks.maker.window(banks.face.values[i], banks.face.own[i], chance)
            for i in rows[start : start + BLOCK].tolist()
        ]
        values = np.stack([v for v, _ in made]) * network.face_columns.numpy()
        stats.append(_statistics(values.astype(np.float32), np.stack([m for _, m in made])))
    summary = network.face_summary
    found = torch.cat(stats)
    summary.learn_scale(found)

    def read(x: Tensor, chosen: Tensor) -> Tensor:
        reading: Tensor = network.alone[2](summary.project(x))
        return reading

    own = [summary, network.alone[2]]
    faces = msgspec.structs.replace(
        plan, voice=plan.face, noise=plan.face_noise, batch=4 * plan.batch
    )
    _learn(own, read, summary.scaled(found), banks, 2, rows, faces, chance, drawn=True)


@torch.no_grad()
def _statistics(values: np.ndarray, mask: np.ndarray) -> Tensor:
    return statistics(torch.from_numpy(values), torch.from_numpy(mask))


def _learn(
    parts: Sequence[nn.Module],
    read: Callable[[Tensor, Tensor], Tensor],
    scaled: Tensor,
    banks: Banks,
    m: int,
    rows: np.ndarray,
    plan: WarmUp,
    chance: np.random.Generator,
    drawn: bool = False,
) -> None:
    """Steps of AdamW along a cosine on mixed pairs of the windows ``scaled (n, D)`` of bank rows
    ``rows (n,)``; ``drawn`` says that these are in their shares already."""
    label = torch.from_numpy(banks.labels[m][rows].astype(np.float32))
    target = torch.from_numpy(banks.targets[m][rows])
    counted = torch.from_numpy(read_weights(label.numpy(), m))
    weights = None if drawn else class_weights(label.numpy(), CLASS_SHARES[m])
    optimiser = torch.optim.AdamW(
        [p for part in parts for p in part.parameters()], lr=plan.rate, weight_decay=plan.decay
    )
    for part in parts:
        part.train()
    for step in range(plan.voice):
        size = (2, plan.batch)
        one, other = torch.from_numpy(chance.choice(len(rows), size, p=weights))
        share = torch.from_numpy(chance.beta(MIXED, MIXED, plan.batch).astype(np.float32))
        x = share[:, None] * scaled[one] + (1 - share[:, None]) * scaled[other]
        reading = read(x + plan.noise * torch.randn_like(x), one)
        logits, score = reading[:, : len(EMOTIONS)], LIMIT * torch.tanh(reading[:, SCORE] / LIMIT)
        missed = share * counted[one] * surprise(logits, target[one])
        missed = missed + (1 - share) * counted[other] * surprise(logits, target[other])
        truth = share * label[one] + (1 - share) * label[other]
        loss = missed.mean() + plan.score * F.smooth_l1_loss(score, truth)
        for group in optimiser.param_groups:
            group["lr"] = plan.rate * (0.5 * (1 + math.cos(math.pi * step / plan.voice)) + 1e-3)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    for part in parts:
        part.eval()

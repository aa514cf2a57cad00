"""One training of the network that sees expressions: its updates, its average, its judgement."""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import torch
import torch.nn.functional as F
from rich.progress import Progress
from torch import Tensor, nn
from torch.utils.data import DataLoader

from features.appearance import standard
from features.spec import EXPRESSIONS
from model.appearance.network import AppearanceNetwork
from model.appearance.showing import SIDES, Shown, Table, common
from model.appearance.state import TrainingState
from model.corpora.pictures import MARGIN

logger = logging.getLogger(__name__)

SURPRISED: Final = EXPRESSIONS.index("surprised")
WARM: Final = 0.15  # of a run, until the rate is at its peak
LONGEST_AVERAGE: Final = 0.998


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that shapes a run. ``mixed``: how often pairs of pictures are mixed (mixup)."""

    seed: int = 0
    epochs: int = 24
    batch: int = 128
    rate: float = 2e-3
    decay: float = 0.05
    smoothing: float = 0.1
    mixed: float = 0.5
    mixing: float = 0.3
    valence: float = 0.3


def train(
    table: Table, valid: Table, plan: Plan, folder: Path, progress: Progress
) -> AppearanceNetwork:
    """Run or go on; gives the average of the weights."""
    torch.manual_seed(plan.seed)
    network = AppearanceNetwork()
    network.common.copy_(common(table.expression))
    _channels_last(network)
    average = deepcopy(network).requires_grad_(False)
    optimiser = torch.optim.AdamW(_groups(network, plan), lr=plan.rate)
    steps = len(table.crops) // plan.batch
    state = TrainingState(folder, start_key(table, plan), network, average, optimiser)
    done = state.resume()
    bar = progress.add_task("appearance", total=plan.epochs * steps, completed=done * steps)
    for epoch in range(done, plan.epochs):
        network.train()
        torch.manual_seed(plan.seed * 1_000_003 + epoch)
        for step, batch in enumerate(_batches(table, plan, epoch)):
            for group in optimiser.param_groups:
                share = slope((epoch * steps + step) / max(1, plan.epochs * steps))
                group["lr"] = plan.rate * share
            loss = _loss(network, batch, plan, np.random.default_rng([plan.seed, 1, epoch, step]))
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(network.parameters(), 2.0)
            optimiser.step()
            _follow(average, network, epoch * steps + step)
            progress.advance(bar)
        state.save(epoch + 1)
        logger.info("epoch %d: %s", epoch + 1, judge(average, valid))
    return average.eval()


def start_key(table: Table, plan: Plan) -> str:
    """Hash of the plan and of what is learned from: a state of another one is not gone on with."""
    found = hashlib.sha256(msgspec.json.encode(plan, order="deterministic"))
    for own in (table.crops, table.expression, table.valence):
        found.update(f"{own.dtype.str} {own.shape};".encode())
        found.update(np.ascontiguousarray(own).data)
    return found.hexdigest()[:16]


@torch.no_grad()
def judge(network: nn.Module, table: Table) -> dict[str, float]:
    """Share of the expressions that is told, and balanced accuracy of the three sides."""
    network.eval()
    inner = table.crops[:, MARGIN:-MARGIN, MARGIN:-MARGIN]
    said = torch.cat(
        [network(torch.from_numpy(standard(part))[:, None]) for part in np.array_split(inner, 16)]
    )
    likely = said.softmax(1).numpy()
    told = np.stack([likely[:, own].sum(1) for own in SIDES], 1).argmax(1)
    truth = np.clip(table.expression - 3, 0, 2)
    sided = table.expression != SURPRISED
    recalls = [(told[sided & (truth == k)] == k).mean() for k in np.unique(truth[sided])]
    return {
        "accuracy_7": round(float((likely.argmax(1) == table.expression).mean()), 4),
        "balanced_3": round(float(np.mean(recalls)), 4),
    }


def slope(done: float) -> float:
    """Share of the peak rate when ``done`` 0..1 of a run is over: up along a cosine, then down."""
    part, low = (done / WARM, 0.1) if done < WARM else ((1 - done) / (1 - WARM), 5e-4)
    return low + (1 - low) * 0.5 * (1 - math.cos(math.pi * part))


def _channels_last(network: nn.Module) -> None:
    """Lay convolutions out as processors like them."""
    for parameter in network.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)


def _batches(table: Table, plan: Plan, epoch: int) -> Iterator[list[Tensor]]:
    order = torch.Generator().manual_seed(plan.seed * 7919 + epoch)
    loader = DataLoader(
        Shown(table, plan.seed, epoch), plan.batch, shuffle=True, drop_last=True,
        generator=order, num_workers=1, prefetch_factor=8,
    )  # fmt: skip
    yield from loader


def _loss(
    network: nn.Module, batch: list[Tensor], plan: Plan, chance: np.random.Generator
) -> Tensor:
    pixels, expression, valence = batch
    share, other = 1.0, torch.arange(len(pixels))
    if chance.random() < plan.mixed:
        share = float(chance.beta(plan.mixing, plan.mixing))
        other = torch.from_numpy(chance.permutation(len(pixels)))
    mixed = share * pixels + (1 - share) * pixels[other]
    with torch.autocast("cpu", torch.bfloat16):
        said = network(mixed.contiguous(memory_format=torch.channels_last))
    said = said.float()
    truth = share * valence + (1 - share) * valence[other]
    told = [
        F.cross_entropy(said[:, :-1], own, label_smoothing=plan.smoothing)
        for own in (expression, expression[other])
    ]
    felt = F.smooth_l1_loss(said[:, -1], truth)
    return share * told[0] + (1 - share) * told[1] + plan.valence * felt


def _groups(network: nn.Module, plan: Plan) -> list[dict[str, Any]]:
    """Only what multiplies decays."""
    kinds = [[p for p in network.parameters() if (p.ndim > 1) == whole] for whole in (True, False)]
    return [
        {"params": own, "weight_decay": decay}
        for own, decay in zip(kinds, (plan.decay, 0.0), strict=True)
    ]


@torch.no_grad()
def _follow(average: nn.Module, network: nn.Module, step: int) -> None:
    kept = min(LONGEST_AVERAGE, (1 + step) / (20 + step))
    for name, value in average.state_dict().items():
        own = network.state_dict()[name]
        if value.dtype.is_floating_point:
            value.lerp_(own, 1 - kept)
        else:
            value.copy_(own)

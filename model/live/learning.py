"""One training of the live network on banks of windows: its beginning, its updates, its average."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

import msgspec
import numpy as np
import torch
from torch import Tensor, nn

from features.spec import APPEARANCE, EXPRESSIONS, FACE
from model.corpora.face import FER_VALENCE
from model.corpora.text import TRAIN
from model.live.banks import CLASS_SHARES, FACE_KIND, SURPRISE_COUNTS, Banks, Drawing
from model.live.faces import face_columns
from model.live.objective import disturb, losses
from model.live.plan import LivePlan
from model.live.samples import principal_basis
from model.live.state import LiveState, digest
from model.live.warmup import warm_up
from model.networks.emotions import EMOTIONS, OTHER_NAMES, SIDES
from model.networks.inputs import Prior
from model.networks.readings import SCORE
from model.networks.rtil import RTIL, RTILConfig

logger = logging.getLogger(__name__)

CALM_IN_NEUTRAL = 3.0  # logarithm of how much more of neutral there is


def new_network(
    banks: Banks,
    plan: LivePlan,
    config: RTILConfig | None = None,
    head: Mapping[str, Tensor] = MappingProxyType({}),
) -> RTIL:
    """A network with random weights; the basis of its voice states from training windows, gaze and
    pose hidden, ``head`` (of the tuned text encoder) as its reading of words, which stays; the readings
    of voice and face learned beforehand from the windows' statistics.

    Of texts that the encoder was tuned on it knows the labels by heart: a reading that went on learning
    from their states would unlearn what holds for others. Without a head, words are learned too."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(plan.seed)
        network = RTIL(config or RTILConfig())
    known = banks.voice.split == TRAIN
    states, mask = banks.voice.states[known].astype(np.float32), banks.voice.states_mask[known]
    heard = mask.any(1)
    means = (states.sum(1) / np.maximum(mask.sum(1), 1)[:, None])[heard]
    basis = principal_basis(means, states[mask], network.config.state_components)
    network.voice_in.basis.copy_(torch.from_numpy(basis))
    network.face_columns.copy_(torch.from_numpy(face_columns()))
    _see(network, banks.priors[FACE])
    added = cast(nn.Linear, network.head[-1])  # at first nothing, to what the readings say
    for parameter in added.parameters():
        nn.init.zeros_(parameter)
    first = plan.warm_up
    if head:
        _take(network, head)
        first = msgspec.structs.replace(first, text=0)
    warm_up(network, banks, first, plan.seed)
    return network


@torch.no_grad()
def _take(network: RTIL, head: Mapping[str, Tensor]) -> None:
    """Let the score and the emotions of a side be read off words as the tuned encoder's head does."""
    own = (network.text_direct, network.text_summary, network.alone[0], network.steps_alone[0])
    for part in own:
        part.requires_grad_(False)
    last = cast(nn.Linear, cast(nn.Sequential, network.alone[0])[-1])
    direct = network.text_direct
    for linear in (last, direct):
        linear.weight.zero_()
        linear.bias.zero_()
    direct.weight[SCORE] = head["score.weight"][0]
    direct.bias[SCORE] = head["score.bias"][0]
    for side, members in enumerate(SIDES):
        count = members.stop - members.start
        direct.weight[members] = head["sides.weight"][side]
        direct.bias[members] = head["sides.bias"][side] - math.log(count)
    direct.bias[len(EMOTIONS) - 1] = -3.0  # surprise


@torch.no_grad()
def _see(network: RTIL, prior: Prior) -> None:
    """Let the appearance be read as the network says that sees it, its values no longer normalised."""
    reading, first = network.appearance, len(prior.mean) - len(APPEARANCE)
    direct = reading.direct
    mean, scale = prior.mean[first:], np.sqrt(prior.variance[first:])
    direct.bias.zero_()
    direct.weight.zero_()
    for column, row in enumerate(EMOTIONS.index(name) for name in EXPRESSIONS):
        direct.weight[row, column] = float(scale[column])
        direct.bias[row] = float(mean[column])
    calm, neutral = EMOTIONS.index("calm"), EMOTIONS.index("neutral")
    direct.weight[calm] = direct.weight[neutral]  # pictures know no calm: little of what is neutral
    direct.bias[calm] = direct.bias[neutral] - CALM_IN_NEUTRAL
    reading.usual.fill_(math.log(SURPRISE_COUNTS))
    for members, share in zip(SIDES, CLASS_SHARES[FACE_KIND], strict=True):
        reading.usual[members] = math.log(share)
    for name, valence in FER_VALENCE.items():
        reading.valence[EMOTIONS.index(OTHER_NAMES.get(name, name))] = valence


def slope(step: int, steps: int) -> float:
    """Share of the peak rate: up over the first twentieth, then down along a cosine."""
    warm = max(1, steps // 20)
    rest = (step - warm) / max(1, steps - warm)
    return min((step + 1) / warm, 0.5 * (1 + math.cos(math.pi * min(max(rest, 0.0), 1.0))) + 1e-3)


def update(
    network: RTIL,
    optimiser: torch.optim.Optimizer,
    drawing: Drawing,
    banks: Banks,
    plan: LivePlan,
    step: int,
) -> dict[str, float]:
    """One step, the same for the same seed and number; gives the parts of the loss."""
    network.train()
    chance = np.random.default_rng([plan.seed, 3, step])
    torch.manual_seed(plan.seed * 1_000_003 + step)
    rows = drawing.rows(plan.batch, chance)
    batch = disturb(banks.batch(rows, chance), plan)
    for group in optimiser.param_groups:
        group["lr"] = group["peak"] * slope(step, plan.epochs * plan.steps)
    labels = torch.from_numpy(banks.labels_of(rows))
    targets = torch.from_numpy(banks.targets_of(rows))
    weights = torch.from_numpy(drawing.weights_of(rows))
    found = losses(network, batch, labels, targets, plan, weights)
    optimiser.zero_grad(set_to_none=True)
    torch.stack(list(found.values())).sum().backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    optimiser.step()
    return {name: float(value.detach()) for name, value in found.items()}


def start_key(network: RTIL, banks: Banks, plan: LivePlan, sources: str) -> str:
    """Hash of what decides about the weights: a state of another start is not gone on with.

    The same with any number of threads, so of what torch computes only what it is computed from: not
    the weights learned beforehand, but the tuned head that reads words, which stays as it came; not
    the texts' states, but ``sources``, a digest of their encoder and texts."""
    lengths = [np.array(own.shape) for own in banks.text.states]
    seen = replace(banks, text=replace(banks.text, states=lengths))
    direct = network.text_direct
    tuned = {} if direct.weight.requires_grad else direct.state_dict()
    return digest([plan.key, network.config, seen, tuned, sources])


def train(
    network: RTIL,
    banks: Banks,
    plan: LivePlan,
    folder: Path,
    sources: str,
    judge: Callable[[RTIL], dict[str, float]],
    advance: Callable[[int], None] = lambda steps: None,
) -> LiveState:
    """Run or go on; leaves the average of the weights in the network. ``judge`` measures each epoch.

    ``sources`` says where the texts' states come from, see :func:`start_key`."""
    optimiser = torch.optim.AdamW(_groups(network, plan), weight_decay=plan.decay)
    average = deepcopy(network).requires_grad_(False)
    key = start_key(network, banks, plan, sources)
    state = LiveState(folder, key, network, average, optimiser)
    state.resume()
    advance(state.epoch * plan.steps)
    drawing = Drawing(banks, plan.shares)
    for epoch in range(state.epoch, plan.epochs):
        seen: list[dict[str, float]] = []
        for step in range(epoch * plan.steps, (epoch + 1) * plan.steps):
            seen.append(update(network, optimiser, drawing, banks, plan, step))
            state.follow(step)
            advance(1)
        measured = judge(average)
        mean = {f"loss_{k}": float(np.mean([entry[k] for entry in seen])) for k in seen[0]}
        state.judge({**measured, **mean})
        logger.info("epoch %d: %s", epoch + 1, _line({**measured, **mean}))
    state.take_average()
    network.eval()
    return state


def _groups(network: RTIL, plan: LivePlan) -> list[dict[str, Any]]:
    """Parameters with the peak of their rate: readings learned beforehand, and all else."""
    begun = (
        network.text_direct, network.text_summary, network.voice_summary, network.face_summary,
        network.alone,
    )  # fmt: skip
    early = [p for part in begun for p in part.parameters()]
    known = {id(p) for p in early}
    late = [p for p in network.parameters() if id(p) not in known]
    return [
        {"params": [p for p in own if p.requires_grad], "peak": peak}
        for own, peak in ((early, plan.kept_rate * plan.rate), (late, plan.rate))
    ]


def _line(measured: dict[str, float]) -> str:
    return json.dumps({name: round(value, 4) for name, value in measured.items()})

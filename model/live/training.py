"""Train the live model on windows made like live ones.

    python -m model.live.training --data CORPORA --seeds 3

No corpus at hand has face, voice and words of the same moment with one label, but for RAVDESS' voices
with its faces. So the network learns from single modalities, from those pairs, and from synthetic
windows that put different corpora together; any subset of a window must give the mean label of what
is in it, words counting twice, and who says something more than who says nothing. The last average
of the weights is kept, whatever validation parts say of it: they give the intervals. A killed run
goes on where it was.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any

import msgspec
import numpy as np
import torch
import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import Tensor, nn

from model.checkpoint import TEXT_ENCODER, Checkpoint
from model.corpora.face import load_videos
from model.corpora.text import TRAIN
from model.live.banks import Banks, Drawing
from model.live.data import data_hashes, load_banks, load_encoder, load_head
from model.live.faces import face_columns
from model.live.judging import calibration, validate
from model.live.objective import disturb, losses
from model.live.plan import DEFAULT_CACHE, DEFAULT_OUT, DEFAULT_TEXT, SIZES, LivePlan
from model.live.samples import principal_basis
from model.live.state import LiveState
from model.live.warmup import warm_up
from model.networks.emotions import EMOTIONS, SIDES
from model.networks.readings import SCORE
from model.networks.rtil import RTIL, RTILConfig

logger = logging.getLogger(__name__)


def new_network(
    banks: Banks,
    plan: LivePlan,
    config: RTILConfig | None = None,
    head: Mapping[str, Tensor] = MappingProxyType({}),
) -> RTIL:
    """A network with random weights; the basis of its voice states from training windows, gaze and
    pose hidden, ``head`` (of the tuned text encoder) as its first reading of words; the readings of
    voice and face learned beforehand from the windows' statistics."""
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
    if head:
        _begin_with(network.text_direct, head)
    warm_up(network, banks, plan.warm_up, plan.seed)
    return network


@torch.no_grad()
def _begin_with(direct: nn.Linear, head: Mapping[str, Tensor]) -> None:
    """Let the score and the emotions of a side begin as the tuned encoder's head says them."""
    direct.weight.zero_()
    direct.bias.zero_()
    direct.weight[SCORE] = head["score.weight"][0]
    direct.bias[SCORE] = head["score.bias"][0]
    if "sides.weight" not in head:  # tuned on scores alone
        return
    for side, members in enumerate(SIDES):
        count = members.stop - members.start
        direct.weight[members] = head["sides.weight"][side]
        direct.bias[members] = head["sides.bias"][side] - math.log(count)
    direct.bias[len(EMOTIONS) - 1] = -3.0  # surprise


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


def train(
    network: RTIL,
    banks: Banks,
    plan: LivePlan,
    folder: Path,
    judge: Callable[[RTIL], dict[str, float]],
    advance: Callable[[int], None] = lambda steps: None,
) -> LiveState:
    """Run or go on; leaves the average of the weights in the network. ``judge`` measures each epoch."""
    optimiser = torch.optim.AdamW(_groups(network, plan), weight_decay=plan.decay)
    average = deepcopy(network).requires_grad_(False)
    state = LiveState(folder, plan.key, network, average, optimiser)
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
        {"params": early, "peak": plan.kept_rate * plan.rate},
        {"params": late, "peak": plan.rate},
    ]


def run(
    data: Path, cache: Path, text: Path, out: Path, plans: Sequence[LivePlan], progress: Progress
) -> list[Checkpoint]:
    """Everything from cached features to a checkpoint ``out/SIZE/seed-N`` for each plan.

    The plans differ in seed and size alone: the windows are made once.
    """
    from features.assets import Assets

    encoder, tuned = load_encoder(Assets(None).folder(TEXT_ENCODER), text)
    banks = load_banks(data, cache, encoder, text / "lower", plans[0].data)
    videos = load_videos(cache)
    found = []
    for plan in plans:
        folder = out / plan.size / f"seed-{plan.seed}"
        network = new_network(banks, plan, SIZES[plan.size], load_head(text))
        bar = progress.add_task(f"{plan.size}, seed {plan.seed}", total=plan.epochs * plan.steps)
        state = train(
            network, banks, plan, folder, lambda n: validate(n, banks, videos),
            partial(progress.advance, bar),
        )  # fmt: skip
        found.append(_checkpoint(network, banks, plan, state.history, tuned, (data, cache)))
        found[-1].save(folder, torch.float16)
    return found


def _checkpoint(
    network: RTIL,
    banks: Banks,
    plan: LivePlan,
    history: Sequence[dict[str, float]],
    tuned: dict[str, Tensor],
    places: tuple[Path, Path],
) -> Checkpoint:
    return Checkpoint(
        network=network,
        priors=banks.priors,
        text=tuned,
        calibration=calibration(network, banks, plan.seed),
        trained=True,
        metrics={"validation": history[-1]} if history else {},
        data=data_hashes(*places),
        settings={
            "plan": msgspec.json.encode(plan).decode(),
            "voice_clips": str(len(set(banks.voice.clip.tolist()))),
            "faces": str(len(banks.face.label)),
            "texts": str(len(banks.text.label)),
            "text_layers": "tuned" if tuned else "frozen",
        },
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _line(measured: dict[str, float]) -> str:
    return json.dumps({name: round(value, 4) for name, value in measured.items()})


def main(
    data: Annotated[Path, typer.Option(help="Folder of the corpora.")],
    out: Annotated[Path, typer.Option(help="Checkpoints go to OUT/SIZE/seed-N.")] = DEFAULT_OUT,
    cache: Annotated[Path, typer.Option(help="Extracted features.")] = DEFAULT_CACHE,
    text: Annotated[Path, typer.Option(help="What the text tuning gave.")] = DEFAULT_TEXT,
    epochs: Annotated[int, typer.Option(help="How many epochs.")] = LivePlan().epochs,
    steps: Annotated[int, typer.Option(help="Updates in an epoch.")] = LivePlan().steps,
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds, from 0.")] = 1,
    size: Annotated[
        list[str] | None, typer.Option(help=f"Of the network, some of {', '.join(SIZES)}.")
    ] = None,
    threads: Annotated[int, typer.Option(help="Threads of the arithmetic.")] = 1,
) -> None:
    """Train the live model and save its checkpoints."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(threads)
    plans = [
        LivePlan(seed=seed, epochs=epochs, steps=steps, size=one)
        for one in size or [LivePlan().size]
        for seed in range(seeds)
    ]
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}"))
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn()) as progress:
        run(data, cache, text, out, plans, progress)


if __name__ == "__main__":
    typer.run(main)

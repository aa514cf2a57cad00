"""Train the live model on windows made like live ones.

    python -m model.live_training --data CORPORA --cache .cache/corpora --text .cache/text_tuning \
        --out model/checkpoints/live

No corpus at hand has face, voice and words of the same moment with one label, but for RAVDESS' voices
with its faces. So the network learns from single modalities, from those pairs, and from synthetic
windows that put different corpora together; any subset of a window must give the mean label of what
is in it, words counting twice. The epoch that is best on validation parts is kept. A killed run goes on where it was.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final

import msgspec
import numpy as np
import torch
import torch.nn.functional as F
import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import Tensor, nn

from model.checkpoint import TEXT_ENCODER, Checkpoint
from model.corpora_face import load_videos
from model.corpora_text import TRAIN
from model.inputs import Batch
from model.live_banks import Banks, Drawing
from model.live_data import DataPlan, data_hashes, load_banks, load_encoder
from model.live_faces import face_columns
from model.live_judging import calibration, validate
from model.live_samples import principal_basis
from model.live_state import LiveState
from model.losses import LossWeights, regularisers
from model.rtil import RTIL, Codes, RTILConfig

logger = logging.getLogger(__name__)
DEFAULT_CACHE: Final = Path(".cache/corpora")
DEFAULT_TEXT: Final = Path(".cache/text_tuning")
DEFAULT_STATE: Final = Path(".cache/live_training")


class LivePlan(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that shapes a run, written into the checkpoint.

    ``shares``: of text, voice and face alone, pairs of one clip, synthetic windows whose modalities
    agree, and those that do not. ``drop_stream``: how often each of the voice's two streams hides.
    ``reliance``: how much text, voice and face are believed where they disagree; words say most about
    sentiment in every published ablation, and our voices and faces are acted.
    """

    data: DataPlan = DataPlan()
    seed: int = 0
    epochs: int = 24
    steps: int = 100
    batch: int = 48
    rate: float = 1e-3
    decay: float = 0.02
    shares: tuple[float, ...] = (0.24, 0.24, 0.2, 0.08, 0.16, 0.08)
    drop_stream: float = 0.25
    voice_noise: float = 0.2
    drop_token: float = 0.1
    reliance: tuple[float, float, float] = (2.0, 1.0, 1.0)
    weights: LossWeights = LossWeights(
        consistency=0.02, domain=0.02, reconstruction=0.05, temporal=1.5
    )

    @property
    def key(self) -> str:
        """Hash of the plan: a state of another one is not gone on with."""
        return hashlib.sha256(msgspec.json.encode(self, order="deterministic")).hexdigest()[:16]


def new_network(banks: Banks, plan: LivePlan, config: RTILConfig | None = None) -> RTIL:
    """A network with random weights, the basis of its voice states, and gaze and pose hidden."""
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
    return network


def disturb(batch: Batch, plan: LivePlan) -> Batch:
    """Hide one of the voice's streams, blur both, drop tokens, as torch's chance has it."""
    size = len(batch)
    hide = torch.rand(size, 1)
    voice_mask = batch.voice_mask & (hide > plan.drop_stream)
    states_mask = batch.states_mask & (hide < 1 - plan.drop_stream)
    empty = ~(voice_mask.any(1) | states_mask.any(1)).unsqueeze(1)  # never hide all there is
    voice_mask, states_mask = (
        torch.where(empty, before, after)
        for before, after in ((batch.voice_mask, voice_mask), (batch.states_mask, states_mask))
    )
    kept = torch.rand(batch.text_mask.shape) > plan.drop_token
    kept[:, 0] = True
    return replace(
        batch,
        text_mask=batch.text_mask & kept,
        voice=_blurred(batch.voice, voice_mask, plan.voice_noise),
        voice_mask=voice_mask,
        states=_blurred(batch.states, states_mask, plan.voice_noise),
        states_mask=states_mask,
    )


def _blurred(values: Tensor, mask: Tensor, noise: float) -> Tensor:
    """Noise on every step, and a shift of the whole window as of statistics that are off."""
    shift = noise * torch.randn(len(values), 1, values.shape[2])
    blurred = values + noise * torch.randn_like(values) + shift
    return blurred * mask.unsqueeze(-1)


def random_subset(present: Tensor) -> Tensor:
    """A random part ``(B, 3)`` of what is present, never nothing where there is something."""
    chosen = present & (torch.rand(present.shape) < 0.5)
    none = ~chosen.any(1, keepdim=True)
    return torch.where(none, present, chosen)


def losses(
    network: RTIL,
    batch: Batch,
    labels: Tensor,
    weights: LossWeights,
    reliance: Sequence[float] = (1.0, 1.0, 1.0),
) -> dict[str, Tensor]:
    """The task's loss on everything and on a random subset, own heads, and the regularisers."""
    codes = network.encode(batch)
    subsets = torch.cat([batch.present, random_subset(batch.present)])
    twice: Codes = codes.select(torch.arange(len(batch)).repeat(2))
    score = network.fuse(twice, subsets).score
    several = labels.repeat(2, 1)
    believed = subsets * torch.tensor(reliance)
    truth = (several * believed).sum(1) / believed.sum(1).clamp(min=1e-6)
    there = subsets.any(1)
    own = F.smooth_l1_loss(network.score_alone(codes), labels, reduction="none")[batch.present]
    return {
        "task": F.smooth_l1_loss(score[there], truth[there]),
        "alone": weights.alone * own.mean(),
        **regularisers(network, codes, batch.present, weights),
    }


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
        group["lr"] = plan.rate * slope(step, plan.epochs * plan.steps)
    labels = torch.from_numpy(banks.labels_of(rows))
    found = losses(network, batch, labels, plan.weights, plan.reliance)
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
    """Run or go on; leaves the network as it was best. ``judge`` gives measures with ``total``."""
    optimiser = torch.optim.AdamW(network.parameters(), lr=plan.rate, weight_decay=plan.decay)
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
    state.restore_best()
    network.eval()
    return state


def run(
    data: Path, cache: Path, text: Path, out: Path, folder: Path, plan: LivePlan, progress: Progress
) -> Checkpoint:
    """Everything from cached features to a saved checkpoint."""
    from features.assets import Assets

    encoder, tuned = load_encoder(Assets(None).folder(TEXT_ENCODER), text)
    banks = load_banks(data, cache, encoder, text / "lower", plan.data)
    videos = load_videos(cache)
    network = new_network(banks, plan)
    bar = progress.add_task("training", total=plan.epochs * plan.steps)
    state = train(
        network, banks, plan, folder, lambda n: validate(n, banks, videos),
        lambda steps: progress.advance(bar, steps),
    )  # fmt: skip
    checkpoint = Checkpoint(
        network=network,
        priors=banks.priors,
        text=tuned,
        calibration=calibration(network, banks, plan.seed),
        trained=True,
        metrics={"validation": state.history[state.best_epoch - 1]} if state.history else {},
        data=data_hashes(data, cache),
        settings={
            "plan": msgspec.json.encode(plan).decode(),
            "best_epoch": str(state.best_epoch),
            "voice_clips": str(len(set(banks.voice.clip.tolist()))),
            "faces": str(len(banks.face.label)),
            "texts": str(len(banks.text.label)),
            "text_layers": "tuned" if tuned else "frozen",
        },
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    checkpoint.save(out, torch.float16)
    return checkpoint


def _line(measured: dict[str, float]) -> str:
    return json.dumps({name: round(value, 4) for name, value in measured.items()})


def main(
    data: Annotated[Path, typer.Option(help="Folder of the corpora.")],
    out: Annotated[Path, typer.Option(help="Folder of the checkpoint.")],
    cache: Annotated[Path, typer.Option(help="Extracted features.")] = DEFAULT_CACHE,
    text: Annotated[Path, typer.Option(help="What the text tuning gave.")] = DEFAULT_TEXT,
    state: Annotated[Path, typer.Option(help="State to go on from.")] = DEFAULT_STATE,
    epochs: Annotated[int, typer.Option(help="How many epochs.")] = LivePlan().epochs,
    steps: Annotated[int, typer.Option(help="Updates in an epoch.")] = LivePlan().steps,
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0,
    threads: Annotated[int, typer.Option(help="Threads of the arithmetic.")] = 1,
) -> None:
    """Train the live model and save its checkpoint."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(threads)
    plan = LivePlan(seed=seed, data=DataPlan(seed=seed), epochs=epochs, steps=steps)
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}"))
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn()) as progress:
        run(data, cache, text, out, state, plan, progress)


if __name__ == "__main__":
    typer.run(main)

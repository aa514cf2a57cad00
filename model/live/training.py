"""Train the live model on windows made like live ones.

    python -m model.live.training --data CORPORA --seeds 3

No corpus at hand has face, voice and words of the same moment with one label, but for RAVDESS' voices
with its faces. So the network learns from single modalities, from those pairs, and from synthetic
windows that put different corpora together; any subset of a window must give the mean label of what
is in it, words counting twice, and who says something more than who says nothing. The last average
of the weights is kept, whatever validation parts say of it: they give the intervals. A killed run
goes on where it was, as long as plan, data and text encoder are what they were.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np
import torch
import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import Tensor

from model.calibration import Calibration
from model.checkpoint import TEXT_ENCODER, Checkpoint
from model.corpora.face import load_videos
from model.corpora.text import VALID
from model.live.banks import Banks
from model.live.crossed import LEFT_OUT, Folds, crossed, left_out, pooled
from model.live.data import DataPlan, data_hashes, held_voices, load_banks, load_encoder, load_head
from model.live.judging import as_heard, calibration, residuals, validate
from model.live.learning import new_network, train
from model.live.plan import DEFAULT_CACHE, DEFAULT_OUT, DEFAULT_TEXT, SIZES, LivePlan
from model.live.state import LiveState, digest
from model.live.tuning_plan import Protocol, read_texts
from model.networks.rtil import RTIL


def run(
    data: Path,
    cache: Path,
    text: Path,
    out: Path,
    plans: Sequence[LivePlan],
    progress: Progress,
    cross: bool = True,
) -> list[Checkpoint]:
    """Everything from cached features to a checkpoint ``out/SIZE/seed-N`` for each plan.

    The plans differ in seed and size alone: the windows are made once. Seed 0, which ships, gets its
    intervals with ``cross`` from folds of actors too (:mod:`model.live.crossed`).
    """
    from features.assets import Assets

    encoder, tuned = load_encoder(Assets(None).folder(TEXT_ENCODER), text)
    banks = load_banks(data, cache, encoder, text / "lower", plans[0].data)
    videos = load_videos(cache)
    sources = digest([encoder.state_dict(), _texts(data, plans[0].data), videos])
    fit = _Fit(out, load_head(text), videos, sources, progress)
    found = []
    for plan in plans:
        folder = out / plan.size / f"seed-{plan.seed}"
        network, state = fit(banks, plan, folder)
        folds: Folds = {}
        if cross and plan.seed == 0:
            held = held_voices(data, cache, banks.priors, plan.data)
            folds = crossed(banks, held, plan.seed, partial(fit.part, plan, folder))
        own = residuals(network, as_heard(banks), VALID, plan.seed)
        table = calibration(own, pooled(folds))
        measured = {"validation": state.history[-1]} if state.history else {}
        everyone = {name: [*parts, own[name]] for name, parts in folds.items() if name in own}
        for name, values in left_out(everyone, table.coverage).items():
            measured[f"{LEFT_OUT}{name}"] = values
        found.append(_checkpoint(network, table, banks, plan, measured, tuned, (data, cache)))
        found[-1].save(folder, torch.float16)
    return found


@dataclass(frozen=True, slots=True)
class _Fit:
    """Trains networks under ``out``, or goes on with them; ``head`` is the tuned text encoder's,
    ``sources`` a digest of what banks do not show: encoder and texts, and the videos that judge."""

    out: Path
    head: Mapping[str, Tensor]
    videos: dict[str, tuple[np.ndarray, np.ndarray]]
    sources: str
    progress: Progress

    def __call__(self, banks: Banks, plan: LivePlan, folder: Path) -> tuple[RTIL, LiveState]:
        network = new_network(banks, plan, SIZES[plan.size], self.head)
        name = str(folder.relative_to(self.out))
        bar = self.progress.add_task(name, total=plan.epochs * plan.steps)
        state = train(
            network, banks, plan, folder, self.sources,
            lambda n: validate(n, banks, self.videos), partial(self.progress.advance, bar),
        )  # fmt: skip
        return network, state

    def part(self, plan: LivePlan, folder: Path, banks: Banks, number: int) -> RTIL:
        """The network of a fold."""
        return self(banks, plan, folder / "fold" / str(number))[0]


def _texts(data: Path, plan: DataPlan) -> list[str]:
    """The texts that :func:`model.live.data.text_bank` chooses from, as they are read today."""
    read = read_texts(data, Protocol(comments=plan.chats // 3))
    return [sample.text for sample in read.samples]


def _checkpoint(
    network: RTIL,
    table: Calibration,
    banks: Banks,
    plan: LivePlan,
    measured: dict[str, dict[str, float]],
    tuned: dict[str, Tensor],
    places: tuple[Path, Path],
) -> Checkpoint:
    return Checkpoint(
        network=network,
        priors=banks.priors,
        text=tuned,
        calibration=table,
        trained=True,
        metrics=measured,
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
    cross: Annotated[
        bool, typer.Option(help="Four more trainings for the intervals of seed 0's voices.")
    ] = True,
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
        run(data, cache, text, out, plans, progress, cross)


if __name__ == "__main__":
    typer.run(main)

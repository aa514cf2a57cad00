"""``tonality train`` and ``tonality evaluate``: the research models on the field's data."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from dashboard import models_cli
from features.assets import Assets

if TYPE_CHECKING:
    from model.evaluation import Evaluation, SeedsEvaluation
    from model.metrics import Spread
    from model.presets import TrainingPlan
    from model.research_checkpoint import ResearchCheckpoint
    from model.text_states import TextStates

TEXT_ENCODER = "gte-small"

Data = Annotated[
    Path,
    typer.Option(
        help="An MMSA pickle, a MISA folder or a converted folder; with --name the folder of the corpora."
    ),
]
Name = Annotated[
    str | None,
    typer.Option(help="A data set by name, see 'python -m model.datasets list'."),
]
Device = Annotated[str, typer.Option(help="Where the network runs: auto, cuda or cpu.")]


def mount(app: typer.Typer) -> None:
    """Add the commands to the main command."""
    app.command()(train)
    app.command()(evaluate)


def train(
    preset: Annotated[str | None, typer.Argument(help="rtil, sati, svr or mitr.")] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="An MMSA pickle, a MISA folder or a converted folder; with --name the folder of the corpora."
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the checkpoints and results.")] = None,
    name: Name = None,
    variant: Annotated[
        str, typer.Option(help="'faithful', as the public code behaves, or 'intended'.")
    ] = "intended",
    epochs: Annotated[int | None, typer.Option(min=1, help="At most so many epochs.")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds, from 0.")] = 1,
    scheme: Annotated[
        str | None,
        typer.Option(
            help="'complete', 'masked' (parts lost) or 'distilled' (teacher and student)."
        ),
    ] = None,
    losing: Annotated[
        str | None,
        typer.Option(help="What is lost: steps at one 'rate', at 'mixed' rates, or 'subsets'."),
    ] = None,
    rate: Annotated[
        float | None, typer.Option(min=0.0, max=1.0, help="Share of steps that 'rate' loses.")
    ] = None,
    text: Annotated[
        str | None, typer.Option(help="'encoder' (words or ids), 'features', or 'auto'.")
    ] = None,
    scaling: Annotated[
        str | None, typer.Option(help="Of features: 'none', 'train' or 'utterance'.")
    ] = None,
    batch: Annotated[int | None, typer.Option(min=2, help="Samples of a batch.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Of the optimiser.")] = None,
    bf16: Annotated[bool | None, typer.Option("--bf16", help="Mixed precision.")] = None,
    compile: Annotated[
        bool | None, typer.Option("--compile", help="Use torch.compile; compiling takes minutes.")
    ] = None,
    device: Device = "auto",
    threads: Annotated[int, typer.Option(min=1, help="Threads of the arithmetic.")] = 1,
    list_presets: Annotated[bool, typer.Option("--list", help="List the presets.")] = False,
) -> None:
    """Train a research model, one checkpoint for each seed; a killed run goes on where it was.

    The epoch is selected on validation; the test split is judged once, at the end. What was measured
    lies in OUT/results.json, each seed's checkpoint and log in OUT/seed-N.

    Examples:  tonality train --list    tonality train svr --data aligned_50.pkl --seeds 5 --out runs/svr
    """
    from model.presets import PRESETS, training_plan

    if list_presets:
        for title, line in PRESETS.items():
            typer.echo(f"{title:5} {line}")
        return
    if preset is None or data is None or out is None:
        raise typer.BadParameter("name a preset (rtil, sati, svr or mitr), --data and --out")
    wished: dict[str, Any] = {
        "epochs": epochs, "scheme": scheme, "losing": losing, "rate": rate, "text": text,
        "scaling": scaling, "batch": batch, "learning_rate": learning_rate, "bf16": bf16,
        "compile": compile,
    }  # fmt: skip
    changes = {field: value for field, value in wished.items() if value is not None}
    plan = training_plan(preset, variant, **changes)
    found = _train(plan, data, name, out, seeds, device, threads)
    _write_results(out / "results.json", plan, found)
    _print_results(f"{preset} ({variant}) on {found[0].manifest.data}", found)
    typer.echo(f"checkpoints and results.json in {out}")


def _train(
    plan: TrainingPlan,
    data: Path,
    name: str | None,
    out: Path,
    seeds: int,
    device: str,
    threads: int,
) -> list[ResearchCheckpoint]:
    import torch

    from model.datasets import parse
    from model.research_runs import device_named, prepared, train_seed

    place = device_named(device)
    torch.set_num_threads(threads)
    whole = parse(data, name)
    inputs = prepared(whole, plan, lambda: _encoder(place))
    found = []
    with _progress() as progress:
        for seed in range(seeds):
            bar = progress.add_task(f"{plan.preset}, seed {seed}", total=plan.epochs)
            checkpoint = train_seed(
                whole, inputs, plan, seed, out / f"seed-{seed}", place,
                partial(progress.advance, bar),
            )  # fmt: skip
            best = checkpoint.manifest.best_epoch
            progress.update(bar, description=f"{plan.preset}, seed {seed}: best was epoch {best}")
            found.append(checkpoint)
    return found


def _encoder(device: str) -> TextStates:
    from model.research_runs import text_encoder

    models_cli.bring((TEXT_ENCODER,))
    return text_encoder(Assets().folder(TEXT_ENCODER), device)


def _progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}"))
    return Progress(
        *columns, TimeElapsedColumn(), TimeRemainingColumn(), console=Console(stderr=True)
    )


def _write_results(path: Path, plan: TrainingPlan, found: Sequence[ResearchCheckpoint]) -> None:
    import msgspec

    from model.research_runs import over_checkpoints

    results = {
        "plan": msgspec.to_builtins(plan),
        "data": found[0].manifest.data,
        "data_sha256": found[0].manifest.data_sha256,
        "seeds": [own.manifest.seed for own in found],
        **{
            split: msgspec.to_builtins(over_checkpoints(found, split))
            for split in ("valid", "test")
        },
        "each": {f"seed-{own.manifest.seed}": own.manifest.metrics for own in found},
        "best_epochs": [own.manifest.best_epoch for own in found],
    }
    part = path.with_suffix(".part")
    part.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    part.replace(path)


def _print_results(title: str, found: Sequence[ResearchCheckpoint]) -> None:
    from model.research_runs import over_checkpoints

    table = Table(title=title)
    for column in ("metric", "test: mean ± deviation over seeds"):
        table.add_column(column)
    for metric, spread in over_checkpoints(found).items():
        table.add_row(metric, str(spread))
    Console().print(table)


def evaluate(
    checkpoint: Annotated[
        Path, typer.Argument(help="A checkpoint's folder, or that of a training with its seeds.")
    ],
    data: Data,
    name: Name = None,
    protocol: Annotated[
        str, typer.Option(help="complete, A, B, C (missing data) or noise.")
    ] = "complete",
    split: Annotated[str, typer.Option(help="Which split is judged.")] = "test",
    as_json: Annotated[bool, typer.Option("--json", help="JSON instead of a table.")] = False,
    device: Device = "auto",
    threads: Annotated[int, typer.Option(min=1, help="Threads of the arithmetic.")] = 1,
) -> None:
    """Judge a research model under a protocol of missing data.

    A and B lose single steps at rates up to all and to 90 %; C loses whole modalities.

    Examples:  tonality evaluate runs/svr/seed-0 --data aligned_50.pkl --protocol C    tonality evaluate runs/svr --data aligned_50.pkl --protocol B --json
    """
    import msgspec

    from model.evaluation import over_evaluations

    folders = sorted(checkpoint.glob("seed-*")) or [checkpoint]
    judged, seeds = _judge(folders, data, name, protocol, split, device, threads)
    one = len(judged) == 1
    together = over_evaluations(judged, seeds)
    if as_json:
        typer.echo(msgspec.json.encode(judged[0] if one else together).decode())
    else:
        _print_table(together)


def _judge(
    folders: Sequence[Path],
    data: Path,
    name: str | None,
    protocol: str,
    split: str,
    device: str,
    threads: int,
) -> tuple[list[Evaluation], list[int]]:
    import torch

    from model.datasets import parse
    from model.evaluation import evaluate as judge
    from model.research_checkpoint import ResearchCheckpoint
    from model.research_runs import device_named

    place = device_named(device)
    torch.set_num_threads(threads)
    checkpoints = [ResearchCheckpoint.load(folder) for folder in folders]
    whole = parse(data, name)
    encoded = any(own.manifest.text_encoder for own in checkpoints)
    encoder = _encoder(place) if encoded else None
    with _progress() as progress:
        bar = progress.add_task(f"protocol {protocol}", total=None)
        judged = [
            judge(
                own, whole, protocol, encoder if own.manifest.text_encoder else None, place, split,
                partial(progress.advance, bar),
            )
            for own in checkpoints
        ]  # fmt: skip
        progress.update(bar, total=len(judged) * len(judged[0].conditions))
    return judged, [own.manifest.seed for own in checkpoints]


def _print_table(found: SeedsEvaluation) -> None:
    seeds = f"{len(found.seeds)} seeds" if len(found.seeds) > 1 else f"seed {found.seeds[0]}"
    table = Table(
        title=f"protocol {found.protocol}: {found.data}, {found.split} "
        f"({found.samples} samples), {seeds}"
    )
    table.add_column("condition")
    for metric in found.summary:
        table.add_column(metric)
    for condition, metrics in found.conditions.items():
        table.add_row(condition, *_cells(metrics, len(found.seeds)))
    table.add_section()
    table.add_row(found.summary_is, *_cells(found.summary, len(found.seeds)))
    Console().print(table)
    for note in found.notes:
        typer.echo(f"note: {note}")


def _cells(metrics: Mapping[str, Spread], seeds: int) -> list[str]:
    if seeds == 1:
        return [f"{spread.mean:.3g}" for spread in metrics.values()]
    return [f"{spread.mean:.3g} ± {spread.deviation:.2g}" for spread in metrics.values()]

"""``tonality train``: the research models on the field's data."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from dashboard.research_options import (
    DATA_HELP,
    Device,
    Modalities,
    Name,
    Threads,
    bars,
    data_of,
    encoder_of,
)

if TYPE_CHECKING:
    from model.research.checkpoint import ResearchCheckpoint
    from model.research.presets import TrainingPlan


def train(
    preset: Annotated[str | None, typer.Argument(help="rtil, sati, svr, mitr or text.")] = None,
    data: Annotated[Path | None, typer.Option(help=DATA_HELP)] = None,
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
    modalities: Modalities = None,
    leave_out: Annotated[
        list[str] | None,
        typer.Option(
            "--without", help="Leave a part out, by a name of --list; may be given more than once."
        ),
    ] = None,
    changed: Annotated[
        list[str] | None,
        typer.Option("--set", help="A field of the network, as 'feedforward=512'; repeatable."),
    ] = None,
    text: Annotated[
        str | None, typer.Option(help="'encoder' (words or ids), 'features', or 'auto'.")
    ] = None,
    encoder: Annotated[
        str | None,
        typer.Option(
            help="Of the text: gte-small, minilm, mpnet, a BERT or RoBERTa of the hub, a folder."
        ),
    ] = None,
    tune: Annotated[
        str | None,
        typer.Option(
            help="What of the encoder learns: 'frozen', 'upper:N' layers, 'all' or 'lora[:RANK]'."
        ),
    ] = None,
    encoder_rate: Annotated[
        float | None, typer.Option(help="Learning rate of what is tuned of the encoder.")
    ] = None,
    start: Annotated[
        Path | None,
        typer.Option(
            help="A checkpoint to begin with, or a training's folder: each seed from the same seed's."
        ),
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
    threads: Threads = 1,
    list_presets: Annotated[
        bool,
        typer.Option("--list", help="List the presets and the parts that --without leaves out."),
    ] = False,
) -> None:
    """Train a research model, one checkpoint for each seed; a killed run goes on where it was.

    The epoch is selected on validation; the test split is judged once, at the end. What was measured
    lies in OUT/results.json, each seed's checkpoint and log in OUT/seed-N.

    Words may learn from another data set first: train on it, then name that training as --start.

    Examples:  tonality train --list    tonality train svr --data aligned_50.pkl --seeds 5 --out runs/svr

    tonality train text --tune upper:4 --data CORPORA --name sst --epochs 1 --out runs/sst    tonality train text --tune upper:4 --start runs/sst --data CORPORA --name mosi-text --out runs/mosi
    """
    from model.research.ablations import without
    from model.research.presets import training_plan

    if list_presets:
        _list()
        return
    if preset is None or data is None or out is None:
        raise typer.BadParameter("name a preset (rtil, sati, svr, mitr or text), --data and --out")
    wished: dict[str, Any] = {
        "epochs": epochs, "scheme": scheme, "losing": losing, "rate": rate,
        "text": text or ("encoder" if encoder else None), "encoder": encoder, "tune": tune,
        "encoder_rate": encoder_rate,
        "scaling": scaling, "batch": batch, "learning_rate": learning_rate, "bf16": bf16,
        "compile": compile,
    }  # fmt: skip
    changes = {field: value for field, value in wished.items() if value is not None}
    plan = training_plan(preset, variant, **changes, changes=_settings(changed or ()))
    for part in leave_out or ():
        plan = without(plan, part)
    found = _train(plan, data, name, out, seeds, device, threads, start, modalities)
    _write_results(out / "results.json", plan, found)
    _print_results(f"{preset} ({variant}) on {found[0].manifest.data}", found)
    typer.echo(f"checkpoints and results.json in {out}")


def _list() -> None:
    from model.research.ablations import ABLATIONS
    from model.research.presets import PRESETS

    for title, line in PRESETS.items():
        typer.echo(f"{title:5} {line}")
    typer.echo("\nParts that --without leaves out:")
    for name, part in ABLATIONS.items():
        typer.echo(f"{name:14} {part.line} ({', '.join(part.presets)})")


def _settings(changed: Sequence[str]) -> dict[str, str | int | float]:
    """``("feedforward=512",)`` to fields and values."""
    import msgspec

    found: dict[str, str | int | float] = {}
    for words in changed:
        name, sign, value = words.partition("=")
        if not sign or not name:
            raise typer.BadParameter(f"--set {words}: write FIELD=VALUE, as feedforward=512")
        try:
            found[name] = msgspec.json.decode(value, type=int | float)
        except msgspec.MsgspecError:
            found[name] = value
    return found


def _train(
    plan: TrainingPlan,
    data: Path,
    name: str | None,
    out: Path,
    seeds: int,
    device: str,
    threads: int,
    start: Path | None = None,
    modalities: str | None = None,
) -> list[ResearchCheckpoint]:
    import torch

    from model.research.runs import device_named, prepared, train_seed
    from model.research.start import start_of

    place = device_named(device)
    torch.set_num_threads(threads)
    whole = data_of(data, name, modalities)
    begin = None if start is None else partial(start_of, start)
    if begin is not None:
        begin(0)  # say at once what cannot be read, not after the texts are encoded
    inputs = prepared(
        whole, plan, lambda: encoder_of(plan.encoder, plan.tune, place), out / "encoded"
    )
    found = []
    with bars() as progress:
        for seed in range(seeds):
            bar = progress.add_task(f"{plan.preset}, seed {seed}", total=plan.epochs)
            checkpoint = train_seed(
                whole, inputs, plan, seed, out / f"seed-{seed}", place,
                partial(progress.advance, bar), begin(seed) if begin else None,
            )  # fmt: skip
            best = checkpoint.manifest.best_epoch
            progress.update(bar, description=f"{plan.preset}, seed {seed}: best was epoch {best}")
            found.append(checkpoint)
    return found


def _write_results(path: Path, plan: TrainingPlan, found: Sequence[ResearchCheckpoint]) -> None:
    import msgspec

    from model.research.runs import over_checkpoints

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
    from model.research.runs import over_checkpoints

    table = Table(title=title)
    for column in ("metric", "test: mean ± deviation over seeds"):
        table.add_column(column)
    for metric, spread in over_checkpoints(found).items():
        table.add_row(metric, str(spread))
    Console().print(table)

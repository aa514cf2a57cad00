"""``tonality evaluate``: a research model under a protocol of missing data, or the live checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from dashboard import live_cli
from dashboard.research_options import (
    Data,
    Device,
    Modalities,
    Name,
    Threads,
    bars,
    data_of,
    encoder_of,
)

if TYPE_CHECKING:
    from model.metrics import Spread
    from model.research.evaluation import Evaluation, SeedsEvaluation


def evaluate(
    checkpoint: Annotated[
        Path,
        typer.Argument(help="A checkpoint's folder, that of a training with its seeds, or 'live'."),
    ],
    data: Data,
    name: Name = None,
    protocol: Annotated[
        str, typer.Option(help="complete, A, B, C (missing data) or noise.")
    ] = "complete",
    split: Annotated[str, typer.Option(help="Which split is judged.")] = "test",
    modalities: Modalities = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON instead of a table.")] = False,
    device: Device = "auto",
    threads: Threads = 1,
    cache: Annotated[
        Path, typer.Option(help="Of 'live': where the corpora's features are kept.")
    ] = live_cli.CACHE,
    folds: Annotated[
        bool,
        typer.Option(
            "--folds", help="Of 'live': train and judge the left-out actors again, twenty minutes."
        ),
    ] = False,
) -> None:
    """Judge a research model under a protocol of missing data, or the live checkpoint.

    A and B lose single steps at rates up to all and to 90 %; C loses whole modalities.

    Examples:  tonality evaluate runs/svr/seed-0 --data aligned_50.pkl --protocol C    tonality evaluate runs/svr --data aligned_50.pkl --protocol B --json    tonality evaluate live --data corpora
    """
    import msgspec

    if str(checkpoint) == live_cli.LIVE:
        live_cli.evaluate_live(data, cache, folds, as_json, threads)
        return

    from model.research.evaluation import over_evaluations

    folders = sorted(checkpoint.glob("seed-*")) or [checkpoint]
    judged, seeds = _judge(folders, data, name, protocol, split, device, threads, modalities)
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
    modalities: str | None = None,
) -> tuple[list[Evaluation], list[int]]:
    import torch

    from model.research.checkpoint import ResearchCheckpoint
    from model.research.evaluation import evaluate as judge
    from model.research.runs import device_named

    place = device_named(device)
    torch.set_num_threads(threads)
    checkpoints = [ResearchCheckpoint.load(folder) for folder in folders]
    whole = data_of(data, name, modalities)
    encoders = {
        (own.manifest.text_encoder, own.manifest.plan.tune): encoder_of(
            own.manifest.text_encoder, own.manifest.plan.tune, place
        )
        for own in checkpoints
        if own.manifest.text_encoder
    }
    with bars() as progress:
        bar = progress.add_task(f"protocol {protocol}", total=None)
        judged = [
            judge(
                own, whole, protocol,
                encoders.get((own.manifest.text_encoder, own.manifest.plan.tune)), place, split,
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

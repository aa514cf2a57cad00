"""``tonality corpora build`` and ``tonality evaluate live``: the live model's data and its table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console

from dashboard import models_cli

LIVE: Final = "live"
CACHE: Final = Path(".cache/corpora")
NEEDED: Final = ("gte-small", "face-landmarker", "whisper-base", "demo-clip")

app = typer.Typer(no_args_is_help=True, help="The corpora that the live model learns from.")


@app.callback()
def corpora() -> None:
    """The corpora that the live model learns from."""


@app.command()
def build(
    data: Annotated[Path, typer.Option(help="Folder of the corpora.")],
    cache: Annotated[Path, typer.Option(help="Where the features are kept.")] = CACHE,
    threads: Annotated[int, typer.Option(min=1, help="Threads of the recogniser.")] = 1,
) -> None:
    """Extract the features of RAVDESS, EMO-DB and FER2013 as live; a killed build goes on.

    Example:  tonality corpora build --data corpora
    """
    from model.corpora.building import build_missing

    models_cli.bring(NEEDED)
    build_missing(data, cache, threads)


def evaluate_live(data: Path, cache: Path, folds: bool, as_json: bool, threads: int) -> None:
    """Judge the live checkpoint on the corpora's test parts: what was to be reached, and what was."""
    import torch

    from model.live.report import measure
    from model.live.targets import rows, table

    models_cli.bring(NEEDED)
    torch.set_num_threads(threads)
    measured = measure(data, cache, folds=folds)
    if as_json:
        typer.echo(json.dumps(measured))
    else:
        Console().print(table(rows(measured)))

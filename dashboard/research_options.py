"""What ``tonality train`` and ``tonality evaluate`` share: options, data, text encoders, bars."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from dashboard import models_cli

if TYPE_CHECKING:
    from model.data.splits import SequenceData
    from model.text.states import TextStates

DATA_HELP: Final = (
    "An MMSA pickle, a MISA folder or a converted folder; with --name the folder of the corpora."
)
Data = Annotated[Path, typer.Option(help=DATA_HELP)]
Name = Annotated[
    str | None,
    typer.Option(help="A data set by name, see 'python -m model.data list'."),
]
Modalities = Annotated[
    str | None,
    typer.Option(
        help="Only these: 'text', 'audio,vision', ...; all that the data have by default."
    ),
]
Device = Annotated[str, typer.Option(help="Where the network runs: auto, cuda or cpu.")]
Threads = Annotated[int, typer.Option(min=1, help="Threads of the arithmetic.")]


def data_of(path: Path, name: str | None, modalities: str | None) -> SequenceData:
    """The data set of a path, by its name if one is given, with only ``modalities``, as ``"text,audio"``."""
    from model.data.datasets import parse

    whole = parse(path, name)
    if modalities is None:
        return whole
    return whole.only([own.strip() for own in modalities.split(",")])


def encoder_of(name: str, tune: str, device: str) -> TextStates:
    """A text encoder, fetched first where it is missing."""
    from model.text.choice import assets_for, load_encoder

    models_cli.bring(assets_for(name))
    return load_encoder(name, tune, device)


def bars() -> Progress:
    """Progress bars on standard error."""
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}"))
    return Progress(
        *columns, TimeElapsedColumn(), TimeRemainingColumn(), console=Console(stderr=True)
    )

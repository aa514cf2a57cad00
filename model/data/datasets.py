"""One way to all research data: files of the field, data sets of a folder, converted folders.

python -m model.data list
python -m model.data describe unaligned_50.pkl
python -m model.data convert unaligned_50.pkl mosi-unaligned
python -m model.data convert CORPORA mmmo.pkl --name mmmo --to mmsa
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.table import Table

from features.errors import CorpusError
from model import commands
from model.data import misa, mmsa, mmsa_files, plain, stored
from model.data.scaling import SCALINGS, Scaling, scaled
from model.data.splits import Moments, SequenceData
from model.data.stored import sha256

NAMED: Final[Mapping[str, Callable[[Path], SequenceData]]] = {
    "mosi-text": plain.mosi_text,
    "mosi-utterances": lambda data: plain.mosi_utterances(data),
    "mosi-utterances-in-context": lambda data: plain.mosi_utterances(data, context=3),
    "mmmo": lambda data: plain.aligned(data, "mmmo"),
    "pom": lambda data: plain.aligned(data, "pom"),
    "youtube": lambda data: plain.aligned(data, "youtube"),
    "sims-text": lambda data: plain.sims_text(data),
    "simsv2-text": lambda data: plain.sims_text(data, "simsv2"),
    "sims-text-en": lambda data: plain.sims_text(data, language="en"),
    "emobank": plain.emobank,
    "sst": lambda data: plain.spoken(data, "sst"),
    "ratings": lambda data: plain.spoken(data, "ratings"),
    "vader": lambda data: plain.spoken(data, "vader"),
    "meld": lambda data: plain.spoken(data, "meld"),
}

PICKLES: Final = (".pkl", ".pickle", ".p", ".dat")
BY_NAME: Final = (
    "; to read a data set out of the folder of the corpora, give that folder and a name (names: "
    "'python -m model.data list')"
)


def read(
    path: Path,
    name: str | None = None,
    scaling: Scaling = "none",
    moments: Mapping[str, Moments] | None = None,
) -> SequenceData:
    """A data set, finite and with masks; :class:`CorpusError` in one line where it is not one.

    ``path`` is an MMSA pickle, a MISA folder or a converted folder; or, with ``name`` (one of
    :data:`NAMED`), the folder of the corpora. ``scaling`` and ``moments`` as in
    :func:`model.data.scaling.scaled`.
    """
    return scaled(parse(path, name), scaling, moments)


def parse(path: Path, name: str | None = None) -> SequenceData:
    """Like :func:`read`, but as it is: features may hold NaN and infinities."""
    if name is not None:
        if name not in NAMED:
            raise CorpusError(f"no data set '{name}'; there are {', '.join(NAMED)}")
        return NAMED[name](path)
    if stored.found(path):
        return stored.parse(path)
    if path.is_dir() and misa.found(path):
        return replace(misa.parse(path), source=_folder_sha256(path))
    if path.is_file() and path.suffix in PICKLES:
        return replace(mmsa.parse(path), source=sha256(path))
    wanted = ", ".join(misa.FILES.values())
    reason = "no such file"
    if path.is_dir():
        reason = f"a folder without {wanted} or data.json{BY_NAME}"
    elif path.is_file():
        reason = f"no pickle ({', '.join(PICKLES)}){BY_NAME}"
    raise CorpusError(f"{path}: {reason}")


def _folder_sha256(folder: Path) -> str:
    digests = [sha256(folder / name) for name in misa.FILES.values()]
    return hashlib.sha256("".join(digests).encode()).hexdigest()


app = typer.Typer(add_completion=False, no_args_is_help=True, help="Research data sets.")
_console = Console()


@app.command("list")
def list_names() -> None:
    """Data sets that are read by name out of the folder of the corpora."""
    for name in NAMED:
        _console.print(name)


@app.command()
def describe(
    path: Annotated[Path, typer.Argument(help="File or folder, or the folder of the corpora.")],
    name: Annotated[str | None, typer.Option(help="A data set by name.")] = None,
    scaling: Annotated[str, typer.Option(help=f"One of {', '.join(SCALINGS)}.")] = "none",
) -> None:
    """Say what a data set holds."""
    if scaling not in SCALINGS:
        raise CorpusError(f"no scaling '{scaling}'; there are {', '.join(SCALINGS)}")
    data = read(path, name, scaling)
    table = Table(title=data.name)
    for column in ("split", "samples", "labels", *data.modalities):
        table.add_column(column)
    for title, split in data.splits.items():
        labels = f"{split.labels.min():g}..{split.labels.max():g}" if len(split) else "-"
        table.add_row(title, str(len(split)), labels, *_forms(data, title))
    _console.print(table)
    for what, count in data.counts.items():
        _console.print(f"{what}: {count}", markup=False)
    for note in data.notes:
        _console.print(f"note: {note}", markup=False)


def _forms(data: SequenceData, title: str) -> list[str]:
    split = data.splits[title]
    told = []
    for modality in data.modalities:
        forms = []
        if modality == "text" and split.text is not None:
            forms += ["words"] if split.text.raw is not None else []
            forms += [f"{split.text.tokens.ids.shape[1]} ids"] if split.text.tokens else []
        stream = split.streams.get(modality)
        if stream is not None:
            share = 100 * stream.valid.mean() if stream.valid.size else 0
            forms.append(f"{stream.values.shape[1]} x {stream.width}, {share:.0f} % valid")
        told.append(", ".join(forms))
    return told


@app.command()
def convert(
    path: Annotated[Path, typer.Argument(help="An MMSA pickle or a MISA folder.")],
    out: Annotated[Path, typer.Argument(help="Folder to write, or file with --to mmsa.")],
    name: Annotated[str | None, typer.Option(help="A data set by name.")] = None,
    to: Annotated[
        str,
        typer.Option(help="'safetensors', or 'mmsa', a pickle for tools that read nothing else."),
    ] = "safetensors",
) -> None:
    """Write a data set as safetensors and JSON, so that no pickle is read again; or for MMSA."""
    if to not in ("safetensors", "mmsa"):
        raise CorpusError(f"no format '{to}'; there are safetensors and mmsa")
    data = parse(path, name)
    (mmsa_files.write if to == "mmsa" else stored.save)(data, out)
    sizes = ", ".join(f"{title} {len(split)}" for title, split in data.splits.items())
    _console.print(f"{out}: {data.name}, {sizes}", markup=False, soft_wrap=True)


if __name__ == "__main__":
    commands.run(app)

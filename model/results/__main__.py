"""Runs the experiments on the research models, and makes the page of their results.

python -m model.results list
python -m model.results run --data DATA --out .cache/results [--group mosi] [--seeds 5]
python -m model.results page --records .cache/results --out docs/results
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

from model import commands

if TYPE_CHECKING:
    from model.text.states import TextStates

ENCODER = "gte-small"

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Experiments and their page.")


@app.command("list")
def list_groups() -> None:
    """The groups of experiments, in the order they are run."""
    from model.results.experiments import ABOUT, GROUPS

    for name, group in GROUPS.items():
        typer.echo(f"{name:13} {len(group):3} trainings a seed. {ABOUT[name]}")


@app.command()
def run(
    data: Annotated[Path, typer.Option(help="The folder of the corpora.")],
    out: Annotated[Path, typer.Option(help="Folder of the runs and of their records.")],
    group: Annotated[
        list[str] | None, typer.Option(help="Only this group; may be given more than once.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds, from 0.")] = 5,
) -> None:
    """Train and judge; a killed command goes on where it was, finished runs are not repeated."""
    import torch

    from model.results.experiments import experiments, ordered
    from model.results.runs import Runner

    torch.set_num_threads(1)
    runner = Runner(data, out, _encoder)
    queue = ordered(experiments(tuple(group or ())), seeds)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Bars(*columns, TimeElapsedColumn(), console=Console(stderr=True)) as bars:
        bar = bars.add_task("runs", total=len(queue))
        for own, seed in queue:
            done = runner.run(own, seed, lambda title, _: bars.update(bar, description=title))
            runner.write(own.group, range(seeds))
            bars.advance(bar)
            _say(own.group, own.key, seed, done.metrics)
    typer.echo(f"records in {out}; make the page with 'python -m model.results page'")


@app.command()
def page(
    out: Annotated[
        Path, typer.Option(help="Folder of the page, its plots and results.json.")
    ] = Path("docs/results"),
    records: Annotated[
        Path | None, typer.Option(help="Folder of the records; without it results.json is taken.")
    ] = None,
    add: Annotated[
        bool, typer.Option("--add", help="Keep the runs of results.json that the records lack.")
    ] = False,
) -> None:
    """Write the page with its tables and plots, and results.json where there are records."""
    from model.results.condensed import Results, condensed
    from model.results.page import write_page
    from model.results.records import read_records

    if records is not None:
        found = condensed(read_records(records), records)
        (Results.load(out).joined(found) if add else found).save(out)
    written = write_page(Results.load(out), out)
    typer.echo(f"{written}, with its plots beside it")


def _say(group: str, key: str, seed: int, metrics: dict[str, dict[str, dict[str, float]]]) -> None:
    first = next(iter(next(iter(metrics.values())).values()))
    told = " ".join(f"{name} {value:.3f}" for name, value in list(first.items())[:3])
    typer.echo(f"{group} {key} seed {seed}: {told}")


def _encoder() -> TextStates:
    from features.assets import Assets
    from model.research.runs import text_encoder

    return text_encoder(Assets().folder(ENCODER))


if __name__ == "__main__":
    commands.run(app)

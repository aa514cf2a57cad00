"""Learns how most people are at rest, and measures what a resting stretch changes.

    python -m model.live.resting build --data CORPORA [--cache .cache/corpora]
    python -m model.live.resting measure --data CORPORA [--cache .cache/corpora]

``build`` writes the means of neutral faces (FER2013's training pictures) and neutral voices (RAVDESS'
training actors); ``measure`` prints what a resting stretch changes on people who are not among them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from features.spec import FACE
from model import commands
from model.corpora.text import TRAIN
from model.resting import FILE, save

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Resting faces and voices.")


@app.callback()
def resting() -> None:
    """Resting faces and voices."""


@app.command()
def build(
    data: Annotated[Path, typer.Option(help="Folder of the corpora.")],
    cache: Annotated[Path, typer.Option(help="Extracted features.")] = Path(".cache/corpora"),
    out: Annotated[Path, typer.Option(help="The file to write.")] = FILE,
) -> None:
    """Write how most people are at rest."""
    from model.corpora.face import load_fer
    from model.corpora.voice import feature_path, load_voice, ravdess
    from model.live.samples import ClipVoice, Heard

    faces = load_fer(data, cache)
    chosen = (faces.split == TRAIN) & (faces.emotion == "neutral")
    heard, clips = Heard(), 0
    for clip in ravdess(data):
        known = feature_path(cache, clip).is_file()
        if known and clip.split == TRAIN and clip.emotion == "neutral":
            heard.add(ClipVoice(load_voice(cache, clip)).whole())
            clips += 1
    means = {name: state.mean for name, state in heard.state().items()}
    save({**means, FACE: faces.values[chosen].mean(0)}, out)
    typer.echo(f"{out}: {int(chosen.sum())} faces and {clips} clips at rest")


@app.command()
def measure(
    data: Annotated[Path, typer.Option(help="Folder of the corpora.")],
    cache: Annotated[Path, typer.Option(help="Extracted features.")] = Path(".cache/corpora"),
    checkpoint: Annotated[Path | None, typer.Option(help="Folder, if not the live one.")] = None,
    speech: Annotated[
        list[Path] | None, typer.Option(help="A file of ordinary speech, for the voice; repeat it.")
    ] = None,
) -> None:
    """Print what a rest changes; minutes on one core."""
    from features.assets import Assets
    from model.checkpoint import Checkpoint, default_checkpoint
    from model.live.resting_measures import CASES, FROWNS, Bench, actors, ordinary

    bench = Bench(Checkpoint.load(checkpoint or default_checkpoint()))
    for faces, frowns, cases in (("own", 0, list(CASES)), ("lent", FROWNS, ["face", "voice+face"])):
        measured = actors(data, cache, bench, frowns)
        for case in cases:
            for name, row in zip(
                ("no rest", "rest"), measured.table(bench.network, CASES[case]), strict=True
            ):
                values = "  ".join(
                    f"{key} {value:+.2f}" for key, value in row.items() if key != "auc"
                )
                typer.echo(f"{case:10s}  {faces} faces  {name:7s}  {values}  auc {row['auc']:.3f}")
    rows = list(ordinary(speech or [], Assets().folder("whisper-base"), bench)) if speech else []
    for name, plain, rested in rows:
        typer.echo(f"voice  {name}  no rest {plain:+.2f}  rest {rested:+.2f}")
    if rows:
        for name, column in (("no rest", 1), ("rest", 2)):
            scores = np.array([row[column] for row in rows], float)
            typer.echo(
                f"voice  {len(rows)} files  {name}  mean {scores.mean():+.2f}  spread {scores.std():.2f}"
            )


if __name__ == "__main__":
    commands.run(app)

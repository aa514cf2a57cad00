"""The ``tonality`` command."""

from __future__ import annotations

import logging
import sys
from importlib.metadata import version
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from dashboard import live_cli, models_cli, participants_cli
from dashboard.evaluate_cli import evaluate
from dashboard.options import (
    Device,
    Fps,
    Height,
    Language,
    Picture,
    Recogniser,
    RestSeconds,
    Sound,
    Source,
    TextOnly,
    Width,
    Words,
)
from dashboard.output import complain
from dashboard.overlay_cli import overlay
from dashboard.readiness import models_for
from dashboard.score_cli import score
from dashboard.train_cli import train
from features.errors import TonalityError

EPILOG = (
    "Scores run from -3 (very negative) to +3 (very positive). Nothing leaves this machine. "
    "Emotion inference at work and in schools is restricted in the EU; openSMILE may not be used in "
    "commercial products."
)
app = typer.Typer(
    help="Watch how a conversation feels while it happens: face, voice and words in one score.",
    epilog=EPILOG,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(models_cli.app, name="models")
app.add_typer(live_cli.app, name="corpora")
app.add_typer(participants_cli.app, name="participants")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"tonality {version('tonality')}, Apache-2.0")
        typer.echo("voice by openSMILE: not for commercial products (audEERING research licence)")
        typer.echo(
            "checkpoint trained on research data: not for commercial use (see the model card)"
        )
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Version and licences."),
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say more on stderr.")] = False,
) -> None:
    """Options of every command."""
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )


@app.command()
def run(
    source: Source = "demo",
    json: Annotated[bool, typer.Option("--json", help="One JSON line per revision.")] = False,
    duration: Annotated[
        float | None, typer.Option(min=0.0, help="Stop after this many seconds of it.")
    ] = None,
    picture: Picture = True,
    sound: Sound = True,
    words: Words = True,
    text_only: TextOnly = False,
    recogniser: Recogniser = "base",
    language: Language = "en",
    device: Device = "auto",
    width: Width = 640,
    height: Height = 480,
    fps: Fps = 30.0,
    purpose: Annotated[str, typer.Option(help="Why this is watched: shown; nothing is kept.")] = "",
    participant: Annotated[
        str | None,
        typer.Option(
            help="Begin with what 'tonality score --participant NAME' kept; changes nothing."
        ),
    ] = None,
    rest_seconds: RestSeconds = 0.0,
    smoothing: Annotated[
        float,
        typer.Option(min=0.0, max=5.0, help="Calmer scores, which lag by this many seconds more."),
    ] = 0.0,
) -> None:
    """Watch a source live, without a browser.

    A window is shown as soon as face and voice are in (dim), and again when its words are stable.
    text, voice and face are what the score changes by when they are hidden; shared is what stays then.
    Ends with the file, or with Ctrl-C.

    Examples:  tonality run --source demo    tonality run --source talk.mp4 --json
    """
    from capture.config import OTHER_SIDE, CaptureConfig
    from capture.sources import is_heard, open_source
    from dashboard.watching import watch

    own = OTHER_SIDE if is_heard(source) else CaptureConfig().participant
    config = CaptureConfig(
        source=source,
        picture=picture and not text_only,
        sound=sound,
        voice=not text_only,
        words=words,
        recogniser=recogniser,
        language=language,
        width=width,
        height=height,
        fps=fps,
        purpose=purpose,
        participant=participant or own,
        remembered=participant is not None,
        rest_s=rest_seconds,
    )
    open_source(config)  # what names nothing is said before anything is fetched or started
    models_cli.bring(models_for(config))
    if participant is not None:
        participants_cli.tell(participant)
    if is_heard(source):
        complain("whoever is heard must know that voice and words are read, and agree to it")
    watch(config, json, device, duration, smoothing)


app.command()(score)
app.command()(overlay)


@app.command()
def devices() -> None:
    """List cameras and microphones, by the names and numbers that '--source' takes."""
    from capture.devices import list_devices

    found = list_devices()
    console = Console()
    if found.rows():
        table = Table("source", "name", "details", title="Devices")
        for row in found.rows():
            table.add_row(*row)
        console.print(table)
    else:
        console.print("No camera and no microphone found; --source demo and files need neither.")
    for problem in found.problems:
        console.print(problem)


@app.command()
def doctor(
    json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """Say what is installed, which devices and models there are, what would fail and how to mend it."""
    from dashboard.doctor import doctor as examine

    raise typer.Exit(examine(json))


@app.command()
def bench(
    source: Source = "demo",
    seconds: Annotated[
        float, typer.Option(min=5.0, help="Length of each part, file and live.")
    ] = 60.0,
    json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
    recogniser: Recogniser = "base",
    device: Device = "auto",
) -> None:
    """Measure speed here: real-time factor of files, and live lag from window end to prediction."""
    from capture.config import CaptureConfig
    from dashboard.bench import measure, show

    config = CaptureConfig(source=source, recogniser=recogniser)
    models_cli.bring(models_for(config))
    result = measure(config, device, seconds)
    if json:
        typer.echo(_json(result))
    else:
        show(result)


def _json(value: object) -> str:
    import json as format_

    return format_.dumps(value, indent=2)


app.command()(train)
app.command()(evaluate)


def main() -> None:
    """Entry point: errors meant for people become one line and exit code 2."""
    try:
        app()
    except TonalityError as error:
        complain(error)
        sys.exit(2)


if __name__ == "__main__":
    main()

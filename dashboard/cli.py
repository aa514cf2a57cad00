"""The ``tonality`` command."""

from __future__ import annotations

import itertools
import logging
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from dashboard import models_cli, research_cli
from dashboard.readiness import models_for
from features.errors import TonalityError

if TYPE_CHECKING:
    from capture.config import CaptureConfig
    from dashboard.scoring import LineWriter
    from model.predictor import Predictor

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

Source = Annotated[
    str,
    typer.Option(
        help="'demo', 'webcam' (camera and microphone), 'webcam:1', 'microphone', "
        "'microphone:NAME', 'webcam:0+microphone:NAME', or the path of a media file."
    ),
]
Device = Annotated[str, typer.Option(help="Where the network runs: auto, cuda, mps or cpu.")]
Recogniser = Annotated[
    str, typer.Option(help="Speech recogniser: 'base', or 'tiny.en' for weak machines.")
]
Width = Annotated[int, typer.Option(min=16, help="Wished width of the camera's picture.")]
Height = Annotated[int, typer.Option(min=16, help="Wished height of the camera's picture.")]
Fps = Annotated[float, typer.Option(min=1, max=240, help="Wished pictures per second.")]
Picture = Annotated[bool, typer.Option("--picture/--no-picture", help="Use the picture.")]
Sound = Annotated[bool, typer.Option("--sound/--no-sound", help="Use the sound.")]
Words = Annotated[bool, typer.Option("--words/--no-words", help="Recognise words in the sound.")]
TextOnly = Annotated[
    bool,
    typer.Option(
        "--text-only",
        help="Read nothing but words: no face, no voice. Words alone are not biometric.",
    ),
]
Language = Annotated[str, typer.Option(help="Spoken language, or '' to detect it.")]


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
    purpose: Annotated[str, typer.Option(help="Why this is watched; kept with the session.")] = "",
) -> None:
    """Watch a source live, without a browser.

    A window is shown as soon as face and voice are in (dim), and again when its words are stable.
    Ends with the file, or with Ctrl-C.

    Examples:  tonality run --source demo    tonality run --source talk.mp4 --json
    """
    from capture.config import CaptureConfig
    from dashboard.watching import watch

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
    )
    models_cli.bring(models_for(config))
    watch(config, json, device, duration)


@app.command()
def score(
    paths: Annotated[list[str], typer.Argument(help="Media files.", metavar="PATH...")],
    format: Annotated[str, typer.Option(help="'jsonl' or 'csv'.")] = "jsonl",
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Write here instead of to stdout.")
    ] = None,
    picture: Picture = True,
    sound: Sound = True,
    words: Words = True,
    text_only: TextOnly = False,
    recogniser: Recogniser = "base",
    language: Language = "en",
    device: Device = "auto",
    participant: Annotated[str, typer.Option(help="Whose face and voice this is.")] = "me",
) -> None:
    """Score files as fast as possible: the same windows and scores as a live run over them.

    One line per window of 4 s, every half second. A file that cannot be read is named on stderr, the
    others are still scored, and the exit code is 2. The file to write appears at the end, whole.

    Examples:  tonality score a.mp4 b.wav -o out.jsonl    tonality score talk.mkv --format csv
    """
    from capture.config import CaptureConfig
    from capture.sources import is_device
    from dashboard.output import writing

    if format not in ("jsonl", "csv"):
        raise typer.BadParameter(f"'{format}' is neither jsonl nor csv", param_hint="--format")
    for path in filter(is_device, paths):
        raise TonalityError(f"{path} never ends; watch it with 'tonality run --source {path}'")
    configs = [
        CaptureConfig(
            source=path,
            session=session,
            participant=participant,
            picture=picture and not text_only,
            sound=sound,
            voice=not text_only,
            words=words,
            recogniser=recogniser,
            language=language,
            paced=False,
        )
        for path, session in zip(paths, _sessions(paths), strict=True)
    ]
    failed = 0
    with models_cli.termination_as_interrupt(), writing(out, paths) as stream:
        models_cli.bring(name for config in configs for name in models_for(config))
        from dashboard.scoring import LineWriter
        from model.predictor import Predictor

        predictor = Predictor(device=device)
        writer = LineWriter(stream, format)
        for config in configs:
            failed += not _score_one(config, predictor, writer)
        if failed == len(paths):
            raise typer.Exit(2)
    raise typer.Exit(2 if failed else 0)


def _score_one(config: CaptureConfig, predictor: Predictor, writer: LineWriter) -> bool:
    """Score one file with a progress bar on stderr; ``False`` and one line when it cannot be read."""
    from dashboard.scoring import score as score_source
    from dashboard.watching import named

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:.0f} of {task.total:.0f} s"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task(Path(config.source).name, total=0.0)

        def progress(done_s: float, all_s: float | None) -> None:
            bar.update(task, completed=done_s, total=all_s or done_s)

        losses: dict[str, int] = {}
        try:
            for prediction in score_source(config, predictor, progress, losses):
                writer.write(prediction)
        except TonalityError as error:
            bar.stop()
            complain(error)
            return False
    if losses:
        complain(f"{config.source}: lost on the way: {named(losses)}")
    return True


def _sessions(paths: Sequence[str]) -> list[str]:
    """A name for each file, by which its lines can be told from those of all others."""
    sessions: list[str] = []
    for path in map(Path, paths):
        numbered = (f"{path.stem}-{number}{path.suffix}" for number in itertools.count(2))
        names = itertools.chain([path.name], numbered)
        sessions.append(next(name for name in names if name not in sessions))
    return sessions


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
    seconds: Annotated[float, typer.Option(min=5.0, help="Length of the live part.")] = 60.0,
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


def complain(error: TonalityError | str) -> None:
    """One line on stderr, without a traceback."""
    sys.stderr.write(f"tonality: {error}\n")


research_cli.mount(app)


def main() -> None:
    """Entry point: errors meant for people become one line and exit code 2."""
    try:
        app()
    except TonalityError as error:
        complain(error)
        sys.exit(2)


if __name__ == "__main__":
    main()

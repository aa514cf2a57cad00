"""``tonality score``: media files, still pictures and text to lines of scores."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer
from msgspec.structs import replace

from capture.addresses import safe
from dashboard import models_cli
from dashboard.options import (
    Device,
    Language,
    Participant,
    Picture,
    Recogniser,
    RestSeconds,
    Sound,
    TextOnly,
    Words,
)
from dashboard.output import writing
from dashboard.readiness import FACE, INFERENCE, models_for
from dashboard.score_job import STDIN, Item, Job
from features.errors import TonalityError

if TYPE_CHECKING:
    from capture.config import CaptureConfig

FORMS: Final = ("jsonl", "csv")


def score(
    paths: Annotated[
        list[str] | None,
        typer.Argument(help="Films, sound files, pictures.", metavar="PATH", show_default=False),
    ] = None,
    text: Annotated[
        list[str] | None,
        typer.Option(help="A text file, a line a sample; '-' for standard input."),
    ] = None,
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
    participant: Participant = None,
    keep: Annotated[
        bool,
        typer.Option("--keep/--no-keep", help="Keep what is learned of --participant on disk."),
    ] = True,
    rest_seconds: RestSeconds = 0.0,
) -> None:
    """Score files as fast as possible: the same windows and scores as a live run over them.

    Films and sound files give one line per window of 4 s, every half second; a picture gives one
    line, by the face alone; a text one line per line, by the words alone. What cannot be read is
    named on stderr, the others are still scored, and the exit code is 2. The file to write appears at
    the end, whole.

    With --participant, all files are of one person, whose usual face and voice are carried from file
    to file and kept for the next time.

    Examples:  tonality score a.mp4 b.wav -o out.jsonl    tonality score *.jpg --format csv
    tonality score --text chat.txt    tonality score mon.mp4 tue.mp4 --participant anna
    """
    if format not in FORMS:
        raise typer.BadParameter(f"'{format}' is neither jsonl nor csv", param_hint="--format")
    files, texts = _items(paths or [], text or [])
    from capture.config import CaptureConfig

    config = CaptureConfig(
        participant=participant or CaptureConfig().participant,
        picture=picture and not text_only,
        sound=sound,
        voice=not text_only,
        words=words,
        recogniser=recogniser,
        language=language,
        paced=False,
        rest_s=rest_seconds,
    )
    groups = _grouped(files)
    if rest_seconds and all(stills for stills, _ in groups):
        raise typer.BadParameter(
            "only films and sound have first seconds", param_hint="--rest-seconds"
        )
    inputs = [item.name for item in (*files, *texts) if item.name != STDIN]
    with models_cli.termination_as_interrupt(), ExitStack() as held:
        stream = held.enter_context(writing(out, inputs))
        models_cli.bring(_models(config, groups))
        from dashboard.keeping import keeping
        from dashboard.scoring import LineWriter
        from model.predictor import Predictor

        keeper = held.enter_context(keeping(participant, keep))
        job = Job(config, Predictor(device=device), LineWriter(stream, format), keeper)
        for stills, items in groups:
            job.stills(items) if stills else job.media(items[0])
        for item in texts:
            job.text(item)
        if job.failed == len(files) + len(texts):
            raise typer.Exit(2)
    raise typer.Exit(2 if job.failed else 0)


def _items(paths: Sequence[str], texts: Sequence[str]) -> tuple[list[Item], list[Item]]:
    """What was named, with sessions; raises :class:`TonalityError` for what cannot be meant."""
    from capture.sources import is_device

    if not paths and not texts:
        raise typer.BadParameter("name at least one file, or a text by --text")
    for path in filter(is_device, paths):
        raise TonalityError(f"{path} never ends; watch it with 'tonality run --source {path}'")
    if texts.count(STDIN) > 1:
        raise typer.BadParameter("standard input can be read once", param_hint="--text")
    names = [*paths, *("stdin" if text == STDIN else text for text in texts)]
    items = [
        Item(name, session)
        for name, session in zip([*paths, *texts], _sessions(names), strict=True)
    ]
    return items[: len(paths)], items[len(paths) :]


def _sessions(paths: Sequence[str]) -> list[str]:
    """A name for each file, by which its lines can be told from those of all others."""
    sessions: list[str] = []
    for path in map(Path, map(safe, paths)):
        numbered = (f"{path.stem}-{number}{path.suffix}" for number in itertools.count(2))
        names = itertools.chain([path.name], numbered)
        sessions.append(next(name for name in names if name not in sessions))
    return sessions


def _grouped(items: Sequence[Item]) -> list[tuple[bool, list[Item]]]:
    """Pictures that follow each other together, everything else one by one; in order."""
    from capture.stills import still_kind

    groups: list[tuple[bool, list[Item]]] = []
    for item in items:
        still = item.name != "demo" and bool(still_kind(item.path))
        if still and groups and groups[-1][0]:
            groups[-1][1].append(item)
        else:
            groups.append((still, [item]))
    return groups


def _models(config: CaptureConfig, groups: Sequence[tuple[bool, list[Item]]]) -> Iterator[str]:
    yield INFERENCE
    for stills, items in groups:
        if stills and config.picture:
            yield FACE
        elif not stills:
            yield from models_for(replace(config, source=items[0].name))

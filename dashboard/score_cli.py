"""``tonality score``: media files, still pictures and text to lines of scores."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO, Final

import typer
from msgspec.structs import replace
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

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
from dashboard.output import complain, writing
from dashboard.readiness import FACE, INFERENCE, models_for
from features.errors import SourceError, TonalityError

if TYPE_CHECKING:
    from capture.config import CaptureConfig
    from capture.singles import Whose
    from dashboard.keeping import Keeper
    from dashboard.scoring import Learned, LineWriter
    from model.predictor import Predictor

FORMS: Final = ("jsonl", "csv")
STDIN: Final = "-"
TEXT_SUFFIXES: Final = (".txt", ".text", ".md", ".log", ".csv", ".tsv", ".json", ".jsonl")


@dataclass(frozen=True, slots=True)
class Item:
    """One thing to score: what the user named, and the name of its lines' session."""

    name: str
    session: str

    @property
    def path(self) -> Path:
        """Where it lies."""
        return Path(self.name).expanduser()


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


def mount(app: typer.Typer) -> None:
    """Give ``app`` the command."""
    app.command()(score)


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
    for path in map(Path, paths):
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


class Job:
    """Scores one thing after another and counts those that cannot be read."""

    def __init__(
        self, config: CaptureConfig, predictor: Predictor, writer: LineWriter, keeper: Keeper
    ) -> None:
        self.failed = 0
        self._config = config
        self._predictor = predictor
        self._writer = writer
        self._keeper = keeper

    def _fail(self, error: TonalityError | str) -> None:
        self.failed += 1
        complain(error)

    def media(self, item: Item) -> None:
        """A film or a sound file."""
        from dashboard.scoring import Learned
        from dashboard.scoring import score as score_source

        if item.path.suffix.lower() in TEXT_SUFFIXES and item.path.is_file():
            self._fail(f"{item.name}: looks like text; score its lines with --text {item.name}")
            return
        kept = self._config.source == "demo"  # the demo clip is nobody's recording
        learned = Learned()
        config = replace(self._config, source=item.name, session=item.session)
        with _bar("s") as (bar, task):

            def progress(done_s: float, all_s: float | None) -> None:
                bar.update(
                    task, completed=done_s, total=all_s or done_s, description=item.path.name
                )

            try:
                known = None if kept or not item.path.is_file() else self._keeper.known(item.path)
                lines = score_source(config, self._predictor, progress, learned, known)
                for prediction in lines:
                    self._writer.write(prediction)
            except TonalityError as error:
                bar.stop()
                self._fail(error)
                return
        self._learn(item, learned)

    def _learn(self, item: Item, learned: Learned) -> None:
        """Say what was lost and what was taken as rest; keep what is to be kept."""
        from dashboard.watching import named

        if learned.losses:
            complain(f"{item.name}: lost on the way: {named(learned.losses)}")
        if item.path.is_file():
            self._keeper.learn(item.path, learned.moments)
        if not self._config.rest_s:
            return
        seconds = self._config.rest_s
        taken = [
            f"{name} {learned.rest_s[name]:.1f} s"
            for name in ("face", "voice")
            if name in learned.rest_s
        ]
        if not taken:
            complain(
                f"{item.name}: no rest taken: less than 1 s of a face and of speech in {seconds:g} s"
            )
            return
        complain(f"{item.name}: rest taken from its first {seconds:g} s: {', '.join(taken)}")
        if self._keeper.participant is not None:  # one rest for all of one person's files
            self._keeper.learn_rest(item.path, learned.rest)
            self._config = replace(self._config, rest_s=0.0)

    def stills(self, items: Sequence[Item]) -> None:
        """Pictures, some at a time."""
        if not self._config.picture:
            for item in items:
                self._fail(f"{item.name}: holds only a picture, and the picture is switched off")
            return
        from capture.singles import StillReader
        from dashboard.singles import Stills
        from features.assets import Assets

        with closing(StillReader(Assets().folder(FACE))) as reader, _bar("pictures") as (bar, task):
            bar.update(task, total=len(items))
            stills = Stills(
                reader,
                self._predictor,
                lambda number: self._whose(items[number]),
                lambda number, moments: self._keeper.learn(items[number].path, {"face": moments}),
            )
            for seen in stills.score([item.path for item in items]):
                if seen.prediction is not None:
                    self._writer.write(seen.prediction)
                self.failed += seen.failed
                if seen.why:
                    complain(seen.why)
                bar.advance(task)

    def _whose(self, item: Item) -> Whose:
        from capture.singles import Whose

        known = self._keeper.known(item.path)
        if known is None:
            return Whose(item.session, self._config.participant, item.name)
        return Whose(
            item.session, self._config.participant, item.name, known.before(), known.resting()
        )

    def text(self, item: Item) -> None:
        """A text, a line a sample."""
        from capture.singles import Whose
        from dashboard.singles import read_lines, score_lines

        whose = Whose(item.session, self._config.participant, item.name)
        done = long = 0
        with _bar("lines") as (bar, task):
            try:
                with _opened(item) as stream:
                    for lines in read_lines(stream, item.name):
                        bar.update(task, total=done + len(lines), description=item.name)
                        for line in score_lines(lines, done, whose, self._predictor):
                            self._writer.write(line.prediction)
                            done, long = done + 1, long + line.cut
                            bar.advance(task)
            except TonalityError as error:
                bar.stop()
                self._fail(error)
        if not done:
            complain(f"{item.name}: holds no line")
        if long:
            complain(
                f"{item.name}: {long} of {done} lines are longer than is read (about 45 words)"
            )


@contextmanager
def _bar(unit: str) -> Iterator[tuple[Progress, TaskID]]:
    """A progress bar on stderr that vanishes at the end; nothing where stderr is no terminal."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn(f"{{task.completed:.0f}} of {{task.total:.0f}} {unit}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        yield bar, bar.add_task("", total=0.0)


@contextmanager
def _opened(item: Item) -> Iterator[BinaryIO]:
    """A text file or standard input; raises :class:`SourceError`."""
    if item.name == STDIN:
        yield sys.stdin.buffer
        return
    try:
        with item.path.open("rb") as stream:
            yield stream
    except OSError as error:
        raise SourceError(f"{item.name}: {error.strerror or error}") from error

"""What ``tonality score`` does with each thing that it was given: films, sound, pictures, texts."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

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

from capture.addresses import is_address, safe
from dashboard.output import complain
from dashboard.readiness import FACE
from features.errors import SourceError, TonalityError

if TYPE_CHECKING:
    from capture.config import CaptureConfig
    from capture.singles import Whose
    from dashboard.keeping import Keeper
    from dashboard.scoring import Learned, LineWriter
    from model.predictor import Predictor

STDIN: Final = "-"
TEXT_SUFFIXES: Final = (".txt", ".text", ".md", ".log", ".csv", ".tsv", ".json", ".jsonl")


@dataclass(frozen=True, slots=True)
class Item:
    """One thing to score: what the user named, and the name of its lines' session."""

    name: str
    session: str

    @property
    def shown(self) -> str:
        """Its name without what is secret in the address of a stream."""
        return safe(self.name)

    @property
    def path(self) -> Path:
        """Where it lies; as it is written, where nobody here has the name after a '~'."""
        try:
            return Path(self.name).expanduser()
        except RuntimeError:
            return Path(self.name)

    @property
    def is_file(self) -> bool:
        """Whether it is certainly a file; the demo clip is nobody's recording."""
        try:
            return self.name != "demo" and self.path.is_file()
        except OSError:  # it cannot be told; opening it says why
            return False

    @property
    def missing(self) -> bool:
        """Whether it is certainly nothing that can be scored."""
        if self.name == "demo" or is_address(self.name):
            return False
        try:
            return not self.name or not Path(self.name).expanduser().exists()
        except OSError:  # it cannot be told; opening it says why
            return False
        except RuntimeError:  # nobody here has the name after '~'
            return True


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

        if item.missing:
            self._fail(f"{item.name or 'empty name'}: no such file")
            return
        if item.path.suffix.lower() in TEXT_SUFFIXES and item.is_file:
            self._fail(f"{item.name}: looks like text; score its lines with --text {item.name}")
            return
        learned = Learned()
        config = replace(self._config, source=item.name, session=item.session)
        with _bar("s") as (bar, task):

            def progress(done_s: float, all_s: float | None) -> None:
                bar.update(
                    task, completed=done_s, total=all_s or done_s, description=Path(item.shown).name
                )

            try:
                known = self._keeper.known(item.path) if item.is_file else None
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
            complain(f"{item.shown}: lost on the way: {named(learned.losses)}")
        if item.is_file:
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
                f"{item.shown}: no rest taken: less than 1 s of a face and of speech in {seconds:g} s"
            )
            return
        complain(f"{item.shown}: rest taken from its first {seconds:g} s: {', '.join(taken)}")
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
                return
        if not done:
            self._fail(f"{item.name}: holds no line")
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
        raise SourceError(f"{item.shown}: {error.strerror or error}") from error

"""Scoring things without time: still pictures and lines of text, in batches, by the live network."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

from capture.singles import StillReader, Whose, text_window
from capture.stills import read_still
from features.clock import SystemClock
from features.errors import SourceError
from features.messages import Prediction, Window
from features.samples import FaceQuality
from features.statistics import Moments

if TYPE_CHECKING:
    from model.predictor import Predictor

BATCH: Final = 16
LINES: Final = 128  # sorted by length and scored together, so that little is padded
READ_BYTES: Final = 1 << 16
MAX_LINE_BYTES: Final = 1 << 20
WHY: Final = {
    FaceQuality.NO_FACE: "no face is found in it, so it has no score",
    FaceQuality.TOO_DARK: "it is too dark to read a face, so it has no score",
}


@dataclass(frozen=True, slots=True)
class Seen:
    """What came of a picture: its prediction, and why it has none or no score, else empty."""

    prediction: Prediction | None
    why: str = ""

    @property
    def failed(self) -> bool:
        """Whether it could not be read at all."""
        return self.prediction is None


class Stills:
    """Scores pictures some at a time. ``whose`` is asked and ``learn`` told by number, in order."""

    def __init__(
        self,
        reader: StillReader,
        predictor: Predictor,
        whose: Callable[[int], Whose],
        learn: Callable[[int, Moments], None] = lambda number, moments: None,
    ) -> None:
        self._reader = reader
        self._predictor = predictor
        self._whose = whose
        self._learn = learn
        self._clock = SystemClock()

    def score(self, paths: Sequence[Path]) -> Iterator[Seen]:
        """Every picture in order, bad ones too. Raises :class:`FeatureError` if the model fails."""
        for first in range(0, len(paths), BATCH):
            part = paths[first : first + BATCH]
            looked = [self._look(path, first + k) for k, path in enumerate(part)]
            windows = [window for window, _ in looked if window is not None]
            predicted = iter(self._predictor.predict(windows, self._clock.now_ns))
            for window, why in looked:
                yield Seen(None if window is None else next(predicted), why)

    def _look(self, path: Path, number: int) -> tuple[Window | None, str]:
        whose = self._whose(number)
        try:
            image = read_still(path, whose.source)
        except SourceError as error:
            return None, str(error)
        window, quality, moments = self._reader.window(image, whose)
        self._learn(number, moments)
        why = WHY.get(quality, "")
        return window, f"{whose.source}: {why}" if why else ""


def read_lines(stream: BinaryIO, name: str) -> Iterator[list[str]]:
    """Lines as they come, some at a time, without their ends; from a pipe, as soon as they are there.

    Raises :class:`SourceError` for what is not UTF-8 and for lines of more than a mebibyte.
    """
    rest, count = b"", 0
    read = getattr(stream, "read1", stream.read)
    while piece := read(READ_BYTES):
        *whole, rest = (rest + piece).split(b"\n")
        if len(rest) > MAX_LINE_BYTES:
            raise SourceError(f"{name}: line {count + len(whole) + 1} is longer than 1 MiB")
        if whole:
            yield [_text(line, name, count + k + 1) for k, line in enumerate(whole)]
        count += len(whole)
    if rest:
        yield [_text(rest, name, count + 1)]


def _text(line: bytes, name: str, number: int) -> str:
    try:
        text = line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        raise SourceError(f"{name}: line {number} is not UTF-8 text ({error.reason})") from None
    if "\x00" in text:
        raise SourceError(f"{name}: line {number} is not text; is it a media file?")
    return text.removesuffix("\r")


@dataclass(frozen=True, slots=True)
class Line:
    """A line's prediction, and whether the line was too long to be read whole."""

    prediction: Prediction
    cut: bool


def score_lines(
    lines: Sequence[str], first: int, whose: Whose, predictor: Predictor
) -> Iterator[Line]:
    """Predictions in the order of ``lines``, some at a time; ``seq`` counts from ``first``."""
    for start in range(0, len(lines), LINES):
        part = lines[start : start + LINES]
        windows = [text_window(line, whose, first + start + k) for k, line in enumerate(part)]
        order = sorted(range(len(part)), key=lambda k: len(windows[k].text))
        ordered = predictor.predict([windows[k] for k in order], SystemClock().now_ns)
        by_seq = {prediction.seq: prediction for prediction in ordered}
        cut = predictor.cut(windows)
        yield from (Line(by_seq[w.seq], too) for w, too in zip(windows, cut, strict=True))

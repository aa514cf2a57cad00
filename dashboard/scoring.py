"""Scoring files as fast as possible: the capture pipeline and the predictor in one process.

The same windows and the same scores as a live run over the same file; only the final revision of
each window is given.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TextIO

from capture.config import CaptureConfig
from capture.pipeline import Pipeline
from capture.sources import open_source
from dashboard.lines import json_line, prediction_line
from dashboard.rows import flat, writer
from features.clock import SystemClock
from features.messages import Prediction, Window
from features.participants import Participant
from features.rest import Rest
from features.statistics import Moments

if TYPE_CHECKING:
    from model.predictor import Predictor

BATCH = 16  # windows scored at once
Progress = Callable[[float, float | None], None]  # media seconds done, seconds in all if known


@dataclass(slots=True)
class Learned:
    """What a source said besides its scores, filled in at its end.

    Attributes:
        losses: what was lost on the way (broken packets, say).
        moments: what it said of the participant, by stream.
        rest: means at rest by stream, known before or taken here.
        rest_s: seconds of evidence behind those that were taken here.
    """

    losses: dict[str, int] = field(default_factory=dict)
    moments: dict[str, Moments] = field(default_factory=dict)
    rest: Rest = field(default_factory=dict)
    rest_s: dict[str, float] = field(default_factory=dict)


def score(
    config: CaptureConfig,
    predictor: Predictor,
    progress: Progress | None = None,
    learned: Learned | None = None,
    known: Participant | None = None,
) -> Generator[Prediction, None, None]:
    """Predictions of one source, in order. Raises ``TonalityError`` where it cannot be read.

    ``known`` is what is kept of the participant from earlier recordings.
    """
    pipeline = Pipeline(config, open_source(config), known=known)
    clock = SystemClock()
    waiting: list[Window] = []

    def on_tick() -> None:
        if progress is not None:
            progress(pipeline.position_s, pipeline.source.duration_s)

    with closing(pipeline.messages(on_tick=on_tick)) as messages:
        for message in messages:
            if isinstance(message, Window):
                waiting.append(message)
            if len(waiting) >= BATCH:
                yield from predictor.predict(waiting, clock.now_ns)
                waiting.clear()
    if waiting:
        yield from predictor.predict(waiting, clock.now_ns)
    if learned is not None:
        learned.losses.update(pipeline.losses())
        learned.moments.update(pipeline.moments())
        learned.rest, learned.rest_s = pipeline.resting()


class LineWriter:
    """Writes predictions as JSON lines or as CSV with one column per number, its header at once: a
    table without rows has one too."""

    def __init__(self, out: TextIO, form: str) -> None:
        self._out = out
        self._csv: csv.DictWriter[str] | None = writer(out) if form == "csv" else None

    def write(self, prediction: Prediction) -> None:
        """One prediction, one line; flushed, so that a reader in a pipe sees it at once."""
        if self._csv is None:
            self._out.write(json_line(prediction) + "\n")
        else:
            self._csv.writerow(flat(prediction_line(prediction)))
        self._out.flush()

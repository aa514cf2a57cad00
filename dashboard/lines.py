"""One prediction as one JSON line: the same for the command line, the page and the feed.

:class:`PredictionLine` is the one schema; what prints, streams or describes predictions asks here.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Annotated, Any, Final

import msgspec

from features.messages import MODALITIES, Prediction, Present

Score = Annotated[float, msgspec.Meta(ge=-3.0, le=3.0)]
DIGITS: Final = 4


class Contribution(msgspec.Struct, frozen=True):
    """Change of the score when a modality is hidden; 0 where it is absent."""

    text: float | None
    voice: float | None
    face: float | None


class PredictionLine(msgspec.Struct, frozen=True):
    """One prediction, as a line of ``tonality score --format jsonl`` has it.

    Scores lie in -3..3 and are null where nothing was seen, heard or said; times are media seconds,
    lags milliseconds. A later ``revision`` of the same ``seq`` of a participant replaces the earlier.
    ``contribution`` and ``shared`` add up to ``sentiment`` as printed: ``shared`` is what stays
    whichever single modality is hidden. ``rest`` is what the participant's resting face and voice
    changed in the score, null where none are set.
    """

    source: str
    session: str
    participant: str
    seq: int
    revision: int
    start_s: float
    end_s: float
    sentiment: Score | None
    low: Score | None
    high: Score | None
    present: Present
    contribution: Contribution
    shared: float
    rest: float | None
    text: str
    lag_ms: dict[str, float]


KEYS: Final = PredictionLine.__struct_fields__


def prediction_line(prediction: Prediction) -> dict[str, Any]:
    """The fields of :class:`PredictionLine`, in its order, ready for JSON.

    Rounding is for reading only: far below what the score can resolve.
    """
    parts = [_score(prediction.contribution.get(name, 0.0)) for name in MODALITIES]
    line = PredictionLine(
        source=prediction.source,
        session=prediction.session,
        participant=prediction.participant,
        seq=prediction.seq,
        revision=prediction.revision,
        start_s=round(prediction.start_s, 3),
        end_s=round(prediction.end_s, 3),
        sentiment=_score(prediction.sentiment),
        low=_score(prediction.low),
        high=_score(prediction.high),
        present=prediction.present,
        contribution=Contribution(*parts),
        shared=_left(_score(prediction.sentiment), parts),
        rest=_score(prediction.rest),
        text=" ".join(word.text for word in prediction.words),
        lag_ms={stage: round(ms, 1) for stage, ms in prediction.lag_ms.items()},
    )
    whole: dict[str, Any] = msgspec.to_builtins(line)
    return whole


def json_line(prediction: Prediction) -> str:
    """The line itself, without its end: the very characters, wherever it is printed or sent."""
    return json.dumps(prediction_line(prediction), ensure_ascii=False)


def page_line(prediction: Prediction) -> dict[str, Any]:
    """A prediction for browsers: :func:`prediction_line` and what each modality says alone."""
    line = prediction_line(prediction)
    line["alone"] = {name: _score(prediction.alone.get(name)) for name in MODALITIES}
    line["final"] = prediction.final
    line["coverage"] = prediction.coverage
    return line


def _score(value: float | None) -> float | None:
    return None if value is None else round(value, DIGITS)


def _left(score: float | None, parts: Iterable[float | None]) -> float:
    """What makes the printed parts add up to the printed score."""
    return 0.0 if score is None else round(score - sum(part or 0.0 for part in parts), DIGITS)

"""One prediction as one JSON line: the same for the command line, the page and the feed."""

from __future__ import annotations

from typing import Any

from features.messages import MODALITIES, Prediction

KEYS = (
    "source",
    "session",
    "participant",
    "seq",
    "revision",
    "start_s",
    "end_s",
    "sentiment",
    "low",
    "high",
    "present",
    "contribution",
    "text",
    "lag_ms",
)


def prediction_line(prediction: Prediction) -> dict[str, Any]:
    """The fields ``KEYS`` of a prediction, ready for JSON.

    Scores lie in -3..3 and are ``None`` where nothing was seen, heard or said; times are media
    seconds, lags milliseconds. Rounding is for reading only: far below what the score can resolve.
    """
    return {
        "source": prediction.source,
        "session": prediction.session,
        "participant": prediction.participant,
        "seq": prediction.seq,
        "revision": prediction.revision,
        "start_s": round(prediction.start_s, 3),
        "end_s": round(prediction.end_s, 3),
        "sentiment": _score(prediction.sentiment),
        "low": _score(prediction.low),
        "high": _score(prediction.high),
        "present": {name: getattr(prediction.present, name) for name in MODALITIES},
        "contribution": {
            name: _score(prediction.contribution.get(name, 0.0)) for name in MODALITIES
        },
        "text": " ".join(word.text for word in prediction.words),
        "lag_ms": {stage: round(ms, 1) for stage, ms in prediction.lag_ms.items()},
    }


def page_line(prediction: Prediction) -> dict[str, Any]:
    """A prediction for browsers: :func:`prediction_line` and what each modality says alone."""
    line = prediction_line(prediction)
    line["alone"] = {name: _score(prediction.alone.get(name)) for name in MODALITIES}
    line["final"] = prediction.final
    line["coverage"] = prediction.coverage
    return line


def _score(value: float | None) -> float | None:
    return None if value is None else round(value, 4)

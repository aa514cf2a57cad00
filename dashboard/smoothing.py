"""A calmer curve for a stated price: smoothing whose strength is the lag that it adds.

Each smoothed score is a mean of the scores before it and its own, in which a surer window (a narrower
interval) weighs more and an older one less: as much less as keeps the mean age of what the score says
at the lag asked for, and never above it. Nothing is smoothed across a gap, after which the lag grows
from zero. All numbers of a window are averaged by the same weights, so that contributions still add up;
the band is the mean band: it was calibrated for scores that are not smoothed.

``static/smoothing.js`` does the same in the page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from features.messages import MODALITIES

MAX_LAG_S: Final = 5.0
KEPT: Final = 120  # lines of one participant: a minute, far more than any lag reaches back
MIN_WIDTH: Final = 0.2  # an interval cut off at the scale's end is no surer for it
NUMBERS: Final = ("sentiment", "low", "high", "shared")


@dataclass(frozen=True, slots=True)
class Smoothed:
    """A smoothed prediction; ``lag_ms`` is the mean age of what it says, which smoothing added."""

    sentiment: float
    low: float
    high: float
    shared: float
    contribution: dict[str, float]
    lag_ms: float

    def line(self) -> dict[str, Any]:
        """Ready for JSON."""
        numbers = {name: round(getattr(self, name), 4) for name in NUMBERS}
        parts = {name: round(value, 4) for name, value in self.contribution.items()}
        return {**numbers, "contribution": parts, "lag_ms": round(self.lag_ms, 1)}


@dataclass(slots=True)
class _Mean:
    """A weighted mean that forgets just so much that its age stays at ``lag_s``."""

    lag_s: float
    weight: float = 0.0
    age_s: float = 0.0
    values: list[float] = field(default_factory=list)

    def take(self, values: Sequence[float], weight: float, passed_s: float) -> None:
        older_s = self.age_s + passed_s
        kept = self.weight
        if kept and older_s > self.lag_s:
            kept = min(kept, weight * self.lag_s / (older_s - self.lag_s))
        share = weight / (kept + weight)
        # Between the two, also in the last bit: a score must not leave the range of its inputs.
        self.values = [
            min(max(b - (1 - share) * (b - a), min(a, b)), max(a, b))
            for a, b in zip(self.values or values, values, strict=True)
        ]
        self.age_s = (1 - share) * older_s if kept else 0.0
        self.weight = kept + weight


def smooth(lines: Sequence[Mapping[str, Any]], lag_s: float) -> list[Smoothed | None]:
    """Smoothed predictions of one participant, from prediction lines in the order of ``seq``.

    ``None`` where a line has no score. Missing lines and lines without a score are gaps. A line that
    is revised changes its own and the later ones: smooth them again. ``lag_s`` 0 changes nothing.
    Raises ``ValueError`` for a lag outside 0 to :data:`MAX_LAG_S`.
    """
    if not 0.0 <= lag_s <= MAX_LAG_S:
        raise ValueError(f"a lag of {lag_s} s is outside 0 to {MAX_LAG_S} s")
    out: list[Smoothed | None] = []
    mean, last = _Mean(lag_s), None
    for line in lines:
        if line["sentiment"] is None:
            out.append(None)
            last = None
            continue
        if last is None or line["seq"] != last["seq"] + 1:
            mean, last = _Mean(lag_s), line
        passed_s = max(0.0, line["end_s"] - last["end_s"])
        width = max(MIN_WIDTH, line["high"] - line["low"])
        mean.take(_numbers(line), width**-2, passed_s)
        out.append(_smoothed(mean))
        last = line
    return out


class Smoother:
    """Smooths lines as they come, revisions too; remembers the last minutes of one participant."""

    def __init__(self, lag_s: float) -> None:
        """Raises ``ValueError`` like :func:`smooth`."""
        smooth([], lag_s)
        self.lag_s = lag_s
        self._lines: dict[int, Mapping[str, Any]] = {}
        self._smoothed: dict[int, Smoothed | None] = {}

    def add(self, line: Mapping[str, Any]) -> Smoothed | None:
        """Take a line, or a later revision of one; gives it smoothed, ``None`` without a score."""
        self._lines[line["seq"]] = line
        for seq in sorted(self._lines)[:-KEPT]:
            del self._lines[seq]
        order = sorted(self._lines)
        smoothed = smooth([self._lines[seq] for seq in order], self.lag_s)
        self._smoothed = dict(zip(order, smoothed, strict=True))
        return self.of(line["seq"])

    def of(self, seq: int) -> Smoothed | None:
        """A window as it is now: later revisions of earlier ones have changed it."""
        return self._smoothed.get(seq)


def _numbers(line: Mapping[str, Any]) -> list[float]:
    parts = line["contribution"]
    return [line[name] for name in NUMBERS] + [parts.get(name) or 0.0 for name in MODALITIES]


def _smoothed(mean: _Mean) -> Smoothed:
    sentiment, low, high, shared = mean.values[: len(NUMBERS)]
    parts = dict(zip(MODALITIES, mean.values[len(NUMBERS) :], strict=True))
    return Smoothed(sentiment, low, high, shared, parts, 1e3 * mean.age_s)

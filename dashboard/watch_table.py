"""The table of ``tonality run``: the last windows, what made each score, and what was lost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Protocol

from rich.table import Table
from rich.text import Text

from dashboard.lines import prediction_line
from dashboard.smoothing import Smoother
from features.messages import MODALITIES, Prediction, Status

ROWS: Final = 16


class Watched(Protocol):
    """What the table says of the session besides its scores."""

    status: Status | None

    @property
    def losses(self) -> dict[str, int]:
        """All that was lost so far, by name."""


class WatchTable:
    """Keeps the last windows and draws them; the parts of a row add up to its score as shown."""

    def __init__(self, source: str, smoother: Smoother) -> None:
        self._title = f"Tonality - {source}"
        if smoother.lag_s:
            self._title += f" - smoothed, adds up to {smoother.lag_s:g} s"
        self._smoother = smoother
        self._rows: dict[int, Prediction] = {}

    def add(self, prediction: Prediction) -> None:
        """Take a prediction; a later revision takes the place of the earlier."""
        self._rows[prediction.seq] = prediction
        self._smoother.add(prediction_line(prediction))
        for seq in sorted(self._rows)[:-ROWS]:
            del self._rows[seq]

    def render(self, watched: Watched) -> Table:
        """The table as it stands."""
        resting = any(prediction.rest is not None for prediction in self._rows.values())
        table = Table(title=self._title, caption=caption(watched), expand=True)
        table.add_column("time", justify="right", width=8)
        table.add_column("score", justify="right", width=6)
        table.add_column("80 % interval", width=15)
        for name in (*MODALITIES, "shared", *(["rest"] if resting else [])):
            table.add_column(name, justify="right", width=6)
        table.add_column("lag", justify="right", width=7)
        table.add_column("words", ratio=1, no_wrap=True, overflow="ellipsis")
        for _, prediction in sorted(self._rows.items()):
            table.add_row(*self._cells(prediction, resting))
        return table

    def _cells(self, prediction: Prediction, resting: bool) -> list[Text]:
        shown: Mapping[str, Any] = prediction_line(prediction)
        smoothed = self._smoother.of(prediction.seq) if self._smoother.lag_s else None
        if smoothed is not None:
            shown = {**shown, **smoothed.line()}
        score = shown["sentiment"]
        cells = [f"{prediction.end_s:.1f} s"]
        if score is None:
            cells += ["-", "nothing present"]
        else:
            cells += [f"{score:+.2f}", f"{shown['low']:+.2f} .. {shown['high']:+.2f}"]
        cells += parts(score, shown["contribution"], prediction)
        if resting:
            cells.append("-" if prediction.rest is None else f"{prediction.rest:+.2f}")
        lag = prediction.lag_ms.get("total")
        cells += ["" if lag is None else f"{lag / 1e3:.2f} s", prediction.text]
        texts = [Text(cell, style="" if prediction.final else "dim") for cell in cells]
        if score is not None:
            texts[1].stylize(colour(score))
        return texts


def parts(
    score: float | None, contribution: Mapping[str, float], prediction: Prediction
) -> list[str]:
    """Contributions and what is shared, in two decimals that add up to the score in two decimals."""
    there = [getattr(prediction.present, name) for name in MODALITIES]
    rounded = [round(contribution[name], 2) for name in MODALITIES]
    cells = [f"{v:+.2f}" if t else "-" for v, t in zip(rounded, there, strict=True)]
    if score is None:
        return [*cells, "-"]
    left = round(round(score, 2) - sum(v for v, t in zip(rounded, there, strict=True) if t), 2)
    return [*cells, f"{left + 0.0:+.2f}"]


def colour(score: float) -> str:
    """Blue for positive, orange for negative: apart for colour-blind eyes, and signed besides."""
    if abs(score) < 0.3:
        return "bold"
    return "bold dodger_blue2" if score > 0 else "bold dark_orange"


def caption(watched: Watched) -> str:
    """State, lamps, rest and losses in one line."""
    status = watched.status
    if status is None:
        return "starting the workers ... Ctrl-C stops"
    lamps = "   ".join(
        f"{name} {lamp.state}{' (' + lamp.why + ')' if lamp.why else ''}"
        for name, lamp in status.lamps.items()
    )
    lost = "".join(f"   {name} {count}" for name, count in watched.losses.items())
    return f"{status.state}   {lamps}{rest(status.gauges)}{lost}"


def rest(gauges: Mapping[str, float]) -> str:
    """How far the taking of a rest is, or what was taken; empty where none was asked for."""
    if left_s := gauges.get("rest s left", 0.0):
        return f"   taking the rest: {left_s:.0f} s left"
    taken = [
        f"{name} {gauges[key]:.1f} s" for name in MODALITIES if (key := f"rest {name} s") in gauges
    ]
    return f"   rest: {', '.join(taken)}" if taken else ""

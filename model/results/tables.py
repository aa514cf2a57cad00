"""Results as tables in Markdown: mean and deviation over seeds, and comparisons seed by seed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Final

from model.metrics import Spread
from model.results.condensed import Row, Run, mean_of

TITLES: Final = {
    "mae": "MAE ↓", "r": "r ↑", "acc2_has0": "Acc-2 Has0 ↑", "acc2_non0": "Acc-2 Non0 ↑",
    "f1_has0": "F1 Has0 ↑", "f1_non0": "F1 Non0 ↑", "acc5": "Acc-5 ↑", "acc7": "Acc-7 ↑",
    "acc": "Acc ↑", "f1": "F1 ↑",
}  # fmt: skip
FINE: Final = ("mae", "r")  # three decimals; shares in percent have one
NAMES: Final = {"rtil": "RTIL", "sati": "SATI", "svr": "SVR", "mitr": "MITR-DNet"}
T_95: Final = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306,
               9: 2.262}  # fmt: skip


def named(run: Run) -> str:
    """A model by its name in the papers, with what is not as usual."""
    name = NAMES.get(run.model, run.model)
    if run.variant == "mmsa":
        return f"{name} (MMSA)"
    return f"{name} (faithful)" if run.variant == "faithful" else name


def cell(spread: Spread | None, metric: str) -> str:
    """``.902 ± .012``, or a dash; a single run has no deviation."""
    if spread is None:
        return "–"
    digits = 3 if metric in FINE else 1
    mean = f"{spread.mean:.{digits}f}"
    return f"{mean} ± {spread.deviation:.{digits}f}" if spread.n > 1 else mean


def cells(spreads: Mapping[str, Spread], metrics: Sequence[str]) -> list[str]:
    """One cell for each metric."""
    return [cell(spreads.get(name), name) for name in metrics]


def titles(metrics: Sequence[str]) -> list[str]:
    """Heads of the columns, with the direction that is better."""
    return [TITLES.get(name, name) for name in metrics]


def markdown(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """A table whose first column is text and whose others are numbers."""
    rule = ["---", *["--:"] * (len(head) - 1)]
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, rule, *body)) + "\n"


def size(run: Run) -> str:
    """How many parameters, in words that can be read."""
    count = run.parameters
    if not count:
        return "–"
    return f"{count / 1e6:.2f} M" if count >= 1e5 else f"{count / 1e3:.1f} k"


def seconds(row: Row) -> str:
    """Seconds of the processor for an epoch, mean over the seeds."""
    own = [run.seconds_per_epoch for run in row.runs if run.seconds_per_epoch]
    return f"{fmean(own):.2g}" if own else "–"


@dataclass(frozen=True, slots=True)
class Difference:
    """``new - old``, seed by seed: mean, deviation, and the half width of its 95 % interval."""

    mean: float
    deviation: float
    n: int

    @property
    def half(self) -> float:
        """By Student's t; infinite for a single pair."""
        if self.n < 2:
            return math.inf
        return T_95.get(self.n - 1, 1.96) * self.deviation / math.sqrt(self.n)

    def verdict(self, metric: str) -> str:
        """Whether the new one is better, worse, or neither by what was measured."""
        if self.n < 2:
            return "one seed only" if self.n else "not measured"
        if abs(self.mean) <= self.half:
            return "no difference shown"
        lower_is_better = metric == "mae"
        return "better" if (self.mean < 0) == lower_is_better else "worse"

    def told(self, metric: str) -> str:
        """``-0.012 ± 0.008``."""
        digits = 3 if metric in FINE else 1
        if self.n < 2:
            return f"{self.mean:+.{digits}f}" if self.n else "–"
        return f"{self.mean:+.{digits}f} ± {self.deviation:.{digits}f}"


def paired(
    new: Row, old: Row, metric: str, protocol: str, condition: str | None
) -> tuple[Row, Row]:
    """Both cut to the seeds at which both were measured, so that means and difference agree."""
    one, other = (_by_seed(row, protocol, condition) for row in (new, old))
    both = one.keys() & other.keys()
    seeds = {seed for seed in both if metric in one[seed] and metric in other[seed]}
    return new.at(seeds), old.at(seeds)


def difference(new: Row, old: Row, metric: str, protocol: str, condition: str | None) -> Difference:
    """Both at the same seeds; ``condition`` None takes the mean over the protocol's conditions."""
    pair = paired(new, old, metric, protocol, condition)
    one, other = (_by_seed(row, protocol, condition) for row in pair)
    apart = [one[seed][metric] - other[seed][metric] for seed in sorted(one)]
    if not apart:
        return Difference(0.0, 0.0, 0)
    return Difference(fmean(apart), stdev(apart) if len(apart) > 1 else 0.0, len(apart))


def _by_seed(row: Row, protocol: str, condition: str | None) -> dict[int, Mapping[str, float]]:
    found: dict[int, Mapping[str, float]] = {}
    for run in row.runs:
        own = run.results.get(protocol, {})
        if condition is None and own:
            found[run.seed] = mean_of(own)
        elif condition is not None and condition in own:
            found[run.seed] = own[condition]
    return found

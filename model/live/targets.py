"""What the live checkpoint was to reach, and what of it was reached."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from rich.table import Table

from model.live.crossed import LEFT_OUT
from model.metrics import ERROR

Measures = Mapping[str, Mapping[str, float]]
COVERED: Final = (0.77, 0.83)
STEADY: Final = 0.3
AT_REST: Final = 0.5
WORDS: Final = "words alone"  # of the research run that is best on validation
BEHIND: Final = (
    ("MAE", "mae", 0.015, 3),
    ("Acc-2 Has0, %", "acc2_has0", 1.5, 1),
    ("Acc-2 Non0, %", "acc2_non0", 1.5, 1),
)
NOISE: Final = 2.0  # deviations of a difference that count as noise


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table; ``met`` is ``None`` where nothing was asked for, ``near`` where what is
    missing is less than the figure's standard error."""

    what: str
    target: str
    reached: str
    n: int
    met: bool | None
    near: bool = False


@dataclass(frozen=True, slots=True)
class Target:
    """A bound on one measure: at least (or at most) ``bound``."""

    what: str
    entry: str
    measure: str
    bound: float
    at_most: bool = False
    digits: int = 3

    def row(self, measured: Measures) -> Row | None:
        """The line, if it was measured."""
        found = measured.get(self.entry)
        if found is None or self.measure not in found:
            return None
        value = found[self.measure]
        met = value <= self.bound if self.at_most else value >= self.bound
        sign = "<=" if self.at_most else ">="
        error = found.get(f"{self.measure}{ERROR}")
        return Row(
            self.what, f"{sign} {self.bound:g}", figure(value, error, self.digits),
            round(found.get("n", 0)), met, not met and abs(value - self.bound) < (error or 0.0),
        )  # fmt: skip


def figure(value: float, error: float | None, digits: int) -> str:
    """A measure with its standard error, where that is known."""
    shown = f"{value:.{digits}f}"
    return shown if error is None else f"{shown} ± {error:.{digits}f}"


TARGETS: Final = (
    Target("MOSI test, the best encoder of words alone: MAE", WORDS, "mae", 0.62, at_most=True),
    Target("MOSI test, the best encoder of words alone: Acc-2 Has0, %", WORDS, "acc2_has0", 86.5, digits=1),
    Target("MOSI test, the best encoder of words alone: Acc-2 Non0, %", WORDS, "acc2_non0", 88.7, digits=1),
    Target("MELD dev as written, words alone: weighted F1 of 3 classes, %", "text meld dev", "weighted_f1_3", 64, digits=1),
    Target("RAVDESS, actors left out: balanced accuracy", "folds both streams", "balanced_read", 0.86),
    Target("RAVDESS, actors left out: AUC", "folds both streams", "auc_read", 0.96),
    Target("EMO-DB, happy against negative: AUC", "voice emodb, known speaker, both streams", "auc_happy", 0.86),
    Target("FER2013 public test, 3 classes: balanced accuracy", "face fer2013 public test", "balanced_3", 0.75),
    Target("silence, nobody in view, no words: windows with a score", "no evidence", "scored", 0, at_most=True, digits=0),
    Target("voice that speaks neutrally: deviation over windows", "swing of a neutral voice", "sd", STEADY, at_most=True),
)  # fmt: skip
BESIDE: Final = (
    ("FER2013 public test, faces moving as live: balanced accuracy", "face fer2013 public test moving", "balanced_3"),
    ("RAVDESS, actors left out, descriptors alone: balanced accuracy", "folds descriptors", "balanced_read"),
    ("RAVDESS, actors left out, descriptors alone: AUC", "folds descriptors", "auc_read"),
    ("RAVDESS, actors left out, encoder states alone: AUC", "folds states", "auc_read"),
    ("EMO-DB, by the emotions read: AUC", "voice emodb, known speaker, both streams", "auc_happy_read"),
    ("EMO-DB, descriptors alone: AUC", "voice emodb, known speaker, descriptors", "auc_happy"),
    ("first words of the test actors, held back as live: share within the 80 % interval", "first words held back", "coverage"),
    ("MELD dev without punctuation, as speech comes: weighted F1, %", "text meld dev as heard", "weighted_f1_3"),
    ("MOSI test with words heard wrongly: MAE", "text mosi test misheard", "mae"),
    ("MOSI test cut as windows cut speech: MAE", "text mosi test cut", "mae"),
    ("the same with what was said before, as live: MAE", "text mosi test running", "mae"),
)  # fmt: skip


def rows(measured: Measures) -> list[Row]:
    """The whole table out of the measures of :func:`model.live.evaluation.evaluate` and the folds."""
    found = [target.row(measured) for target in TARGETS]
    out = [*_shipped(measured), *(row for row in found if row is not None)]
    for what, entry, measure in BESIDE:
        if entry in measured:
            own = measured[entry]
            digits = 1 if what.endswith("%") else 3
            shown = figure(own[measure], own.get(f"{measure}{ERROR}"), digits)
            out.append(Row(what, "reported", shown, round(own.get("n", 0)), None))
    out += _each(measured, "neutral face ", _rest)
    out += _each(measured, "clips ", _subset)
    return out + _each(measured, "interval ", lambda name, own: _coverage(name, own, measured))


def _shipped(measured: Measures) -> list[Row]:
    """How the checkpoint, which must do without any of the three, reads words beside the best encoder
    that knows nothing else."""
    own, best = measured.get("text mosi test"), measured.get(WORDS)
    if own is None:
        return []
    out = []
    for name, key, most, digits in BEHIND:
        what, value = f"MOSI test, this checkpoint from words alone: {name}", own[key]
        error = own.get(f"{key}{ERROR}")
        target, met, near = "reported", None, False
        if best is not None:
            behind = value - best[key] if key == "mae" else best[key] - value
            target, met = f"within {most:g} of {best[key]:.{digits}f}", behind <= most
            near = not met and behind - most < best.get(f"{key}_apart{ERROR}", 0.0)
        out.append(Row(what, target, figure(value, error, digits), round(own["n"]), met, near))
    return out


def _each(
    measured: Measures, prefix: str, make: Callable[[str, Mapping[str, float]], Iterable[Row]]
) -> list[Row]:
    named = [(k.removeprefix(prefix), v) for k, v in measured.items() if k.startswith(prefix)]
    return [row for name, own in named for row in make(name, own)]


def _rest(name: str, own: Mapping[str, float]) -> list[Row]:
    n = round(own["n"])
    mean, spread = own["mean"], own["sd"]
    return [
        Row(f"speaks neutrally, {name}: mean of the face", f"within {AT_REST:g}", f"{mean:+.2f}", n,
            abs(mean) <= AT_REST),
        Row(f"speaks neutrally, {name}: deviation", f"<= {STEADY:g}", f"{spread:.2f}", n, spread <= STEADY),
    ]  # fmt: skip


def _subset(name: str, own: Mapping[str, float]) -> list[Row]:
    if "behind" not in own:
        return []
    behind, noise = own["behind"], own["noise"]
    shown = f"AUC {own['auc']:.3f}, best member {own['auc'] + behind:.3f}"
    target = f"not worse by more than {NOISE * noise:.3f}"
    return [Row(f"same clips, {name}", target, shown, round(own["n"]), behind <= NOISE * noise)]


def _coverage(name: str, own: Mapping[str, float], measured: Measures) -> list[Row]:
    """The four test actors say little of a share over people: theirs goes in with those left out."""
    share, n = own["coverage"], own["n"]
    what, beside = f"80 % interval, {name}", []
    others = measured.get(f"{LEFT_OUT}{name}")
    if others:
        tested = Row(
            f"{what}, test actors alone", "reported", f"{100 * share:.1f} %", round(n), None
        )
        beside.append(tested)
        share = (n * share + others["n"] * others["coverage"]) / (n + others["n"])
        what, n = f"{what}, every actor left out", n + others["n"]
    low, high = COVERED
    target = f"{100 * low:.0f} to {100 * high:.0f} %"
    return [Row(what, target, f"{100 * share:.1f} %", round(n), low <= share <= high), *beside]


def table(found: Iterable[Row]) -> Table:
    """The rows for people."""
    shown = Table("what", "to reach", "reached", "n", "", title="the live checkpoint")
    for row in found:
        mark = {True: "reached", False: "nearly" if row.near else "missed", None: ""}[row.met]
        shown.add_row(row.what, row.target, row.reached, str(row.n), mark)
    return shown

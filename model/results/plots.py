"""The plots of the results page: SVG, colours and markers that colour-blind readers can tell."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any, Final

from model.results.condensed import Row
from model.results.tables import Difference, named

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, with a marker each, so that neither alone has to tell them apart.
COLUMNS: Final = 3
STYLES: Final[Sequence[tuple[str, str]]] = (
    ("#0072B2", "o"), ("#D55E00", "s"), ("#009E73", "^"), ("#CC79A7", "D"), ("#000000", "x"),
    ("#E69F00", "v"), ("#56B4E9", "P"), ("#8C6D1F", "*"), ("#B2182B", ">"), ("#5E3C99", "h"),
    ("#7F7F7F", ""),
)  # fmt: skip
NAMES: Final = (
    "RTIL", "SATI", "SVR", "MITR-DNet", "ridge", "LF_DNN (MMSA)", "LMF (MMSA)", "TFN (MMSA)",
    "MFN (MMSA)", "MulT (MMSA)", "constant",
)  # fmt: skip
LOSING: Final = {
    "RTIL, masked": 0, "RTIL, distilled": 1, "MITR-DNet, masked": 2, "MITR-DNet, distilled": 3,
}  # fmt: skip


def style(name: str) -> dict[str, Any]:
    """The same look for the same model in every plot; only ours have whole lines."""
    place = LOSING.get(name, NAMES.index(name) if name in NAMES else len(NAMES) - 1)
    colour, marker = STYLES[place]
    line = "-" if place < NAMES.index("ridge") else ":" if name == "constant" else "--"
    return {
        "color": colour, "marker": marker, "linestyle": line, "markersize": 4.5, "linewidth": 1.3,
        "label": name,
    }  # fmt: skip


def missing_rates(
    rows: Mapping[str, Sequence[Row]], metrics: Mapping[str, str], path: Path
) -> None:
    """A panel for each data set: the metric over the share of lost steps, every model side by side."""
    figure, axes = _panels(len(rows))
    for axis, (data, own) in zip(axes, rows.items(), strict=True):
        for row in own:
            rates = sorted(row.one.results.get("B", {}), key=float)
            points = [row.spread("B", rate).get(metrics[data]) for rate in rates]
            there = [(float(rate), p) for rate, p in zip(rates, points, strict=True) if p]
            if there:
                axis.errorbar(
                    [rate for rate, _ in there], [p.mean for _, p in there],
                    [p.deviation for _, p in there], capsize=2, elinewidth=0.6,
                    **style(_label(row)),
                )  # fmt: skip
        title = metrics[data]
        axis.set(title=data, xlabel="share of steps lost (protocol B)", ylabel=title.upper())
    _save(figure, axes, path)


def learning_curves(rows: Mapping[str, Sequence[Row]], path: Path) -> None:
    """A panel for each experiment: loss on validation by epoch, mean of the seeds that still train."""
    figure, axes = _panels(len(rows))
    for axis, (title, own) in zip(axes, rows.items(), strict=True):
        for row in own:
            curves = [run.curve for run in row.runs if run.curve]
            longest = max((len(curve) for curve in curves), default=0)
            points = [
                fmean(curve[epoch][1] for curve in curves if epoch < len(curve))
                for epoch in range(longest)
            ]
            axis.plot(range(1, longest + 1), points, **style(_label(row)))
        axis.set(title=title, xlabel="epoch", ylabel="loss on validation")
    _save(figure, axes, path)


def differences(
    found: Mapping[str, Sequence[tuple[str, Difference]]], unit: str, path: Path
) -> None:
    """A panel for each model: what leaving a part out changes, with 95 % intervals over the seeds."""
    figure, axes = _panels(len(found), height=3.4)
    for axis, (title, own) in zip(axes, found.items(), strict=True):
        for place, (_, apart) in enumerate(own):
            half = 0.0 if math.isinf(apart.half) else apart.half
            axis.errorbar(
                apart.mean, -place, xerr=half, color="#0072B2", marker="o", capsize=3,
                linestyle="none",
            )  # fmt: skip
        axis.axvline(0, color="#000000", linewidth=0.8, linestyle=":")
        axis.set_yticks([-place for place in range(len(own))], [name for name, _ in own])
        axis.set(title=title, xlabel=unit)
    _save(figure, axes, path, legend=False)


def _label(row: Row) -> str:
    run = row.one
    return f"{named(run)}, {run.scheme}" if run.scheme in ("masked", "distilled") else named(run)


def _panels(count: int, height: float = 3.2) -> tuple[Figure, Sequence[Axes]]:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    matplotlib.rcParams |= {
        "font.size": 8.5, "svg.fonttype": "none", "svg.hashsalt": "tonality",
        "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.alpha": 0.3,
    }  # fmt: skip
    columns = min(count, COLUMNS)
    lines = -(-count // columns)
    figure, axes = pyplot.subplots(
        lines, columns, figsize=(3.7 * columns, height * lines), layout="constrained", squeeze=False
    )
    for spare in axes.flat[count:]:
        spare.set_visible(False)
    return figure, list(axes.flat[:count])


def _save(figure: Figure, axes: Sequence[Axes], path: Path, legend: bool = True) -> None:
    from matplotlib import pyplot

    if legend:
        shown = {
            label: handle
            for axis in axes
            for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)
        }
        figure.legend(
            shown.values(), shown.keys(), loc="outside lower center", ncols=min(6, len(shown)),
            frameon=False,
        )  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None}, facecolor="white")
    pyplot.close(figure)

"""The papers' claims, tested seed by seed: temporal term, fusion, teacher and student."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from model.results import plots
from model.results.condensed import Results, Row
from model.results.rows import constants, idle_pair, made_by, of, row_with
from model.results.tables import cells, difference, markdown, named, paired
from model.results.words import CLAIMS


def claims(results: Results, folder: Path) -> str:
    """What the papers claim, each asked of the runs."""
    parts = ["## The three claims\n", CLAIMS]
    parts += ["### Does the temporal term help under noise on the frames?\n", _temporal(results)]
    parts += ["### Does text-driven gated fusion beat concatenation?\n", _fusion(results)]
    parts += [
        "### Does teacher and student beat plain modality dropout?\n", _distillation(results, folder),
    ]  # fmt: skip
    return "\n".join(parts)


def _temporal(results: Results) -> str:
    rows = results.rows(of("temporal"))
    bars = constants(results)
    head = ["SVR on", "noise", "MAE with", "MAE without", "learned nothing (with, without)",
            "with - without", "n", "the term is"]  # fmt: skip
    body = []
    for data in dict.fromkeys(row.one.data for row in rows):
        new, old = (row_with(rows, data=data, without=part) for part in ("", "temporal"))
        if new is None or old is None:
            continue
        for level in sorted(new.one.results.get("noise", {}), key=float):
            body.append([data, level, *_compared(new, old, bars, "mae", "noise", level)])
    return "\n".join((markdown(head, body), _summed(body), made_by("temporal")))


def _fusion(results: Results) -> str:
    rows = results.rows(of("fusion"))
    bars = constants(results)
    head = ["model", "data", "metric", "own fusion", "concatenation",
            "learned nothing (own, concatenation)", "own - concatenation", "n",
            "its own fusion is"]  # fmt: skip
    body = []
    for data in dict.fromkeys(row.one.data for row in rows):
        for model in dict.fromkeys(row.one.model for row in rows):
            new, old = (
                row_with(rows, data=data, model=model, without=part) for part in ("", "fusion")
            )
            if new is None or old is None:
                continue
            for metric in ("mae", "r"):
                told = _compared(new, old, bars, metric, "complete", "")
                body.append([named(new.one), data, metric, *told])
    return "\n".join((markdown(head, body), _summed(body), made_by("fusion")))


def _distillation(results: Results, folder: Path) -> str:
    rows = results.rows(of("distillation"))
    bars = constants(results)
    head = ["model", "data", "judged by", "MAE distilled", "MAE dropout",
            "learned nothing (distilled, dropout)", "distilled - dropout", "n",
            "the teacher makes it"]  # fmt: skip
    body = []
    shown: dict[str, list[Row]] = {}
    for data in dict.fromkeys(row.one.data for row in rows):
        for model in dict.fromkeys(row.one.model for row in rows):
            new, old = (
                row_with(rows, data=data, model=model, scheme=scheme)
                for scheme in ("distilled", "masked")
            )
            if new is None or old is None:
                continue
            for protocol in ("complete", "B", "C"):
                told = _compared(new, old, bars, "mae", protocol, None)
                body.append([named(new.one), data, protocol, *told])
            pair = paired(old, new, "mae", "B", None)  # the plot is of the table's runs
            if pair[0].runs:
                shown.setdefault(data, []).extend(pair)
    if not body:
        return ""
    picture = ""
    if shown:
        ruled = dict.fromkeys(shown, "mae")
        plots.missing_rates(shown, ruled, folder / "missing-rates-trained.svg")
        picture = (
            "![MAE over the share of lost steps, trained with losses](missing-rates-trained.svg)\n"
        )
    return "\n".join((markdown(head, body), _summed(body), picture, made_by("distillation")))


def _summed(body: Sequence[Sequence[str]]) -> str:
    """How the comparisons of a table came out; the verdict is the last column."""
    found = Counter(row[-1] for row in body)
    told = ", ".join(f"{verdict} in {count}" for verdict, count in found.most_common())
    return f"**Answer**: of {len(body)} comparisons, {told}.\n" if body else ""


def _compared(
    new: Row, old: Row, bars: Sequence[Row], metric: str, protocol: str, condition: str | None
) -> list[str]:
    """Both means, both counts of idle seeds, difference, n and verdict, all of the common seeds."""
    pair = paired(new, old, metric, protocol, condition)
    spreads = [
        row.mean_over(protocol) if condition is None else row.spread(protocol, condition)
        for row in pair
    ]
    apart = difference(*pair, metric, protocol, condition)
    told = [apart.told(metric), str(apart.n), apart.verdict(metric)]
    return [*(cells(own, (metric,))[0] for own in spreads), idle_pair(pair, bars), *told]

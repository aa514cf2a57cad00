"""The papers' claims, tested seed by seed: temporal term, fusion, teacher and student."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from model.results import plots
from model.results.condensed import Results
from model.results.rows import idle_seeds, made_by, of, row_with
from model.results.tables import Difference, cells, difference, markdown, named
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
    constants = results.rows(of("sequences", model="constant"))
    head = ["SVR on", "noise", "MAE with", "MAE without", "learned nothing (with, without)",
            "with - without", "n", "the term is"]  # fmt: skip
    body = []
    for data in dict.fromkeys(row.one.data for row in rows):
        new, old = (row_with(rows, data=data, without=part) for part in ("", "temporal"))
        if new is None or old is None:
            continue
        for level in sorted(new.one.results.get("noise", {}), key=float):
            apart = difference(new, old, "mae", "noise", level)
            pair = (cells(row.spread("noise", level), ("mae",))[0] for row in (new, old))
            idle = ", ".join(str(idle_seeds(row, constants)) for row in (new, old))
            body.append([data, level, *pair, idle, *_told(apart, "mae")])
    return "\n".join((markdown(head, body), _summed(body), made_by("temporal")))


def _fusion(results: Results) -> str:
    rows = results.rows(of("fusion"))
    head = ["model", "data", "metric", "own fusion", "concatenation", "own - concatenation",
            "n", "its own fusion is"]  # fmt: skip
    body = []
    for data in dict.fromkeys(row.one.data for row in rows):
        for model in dict.fromkeys(row.one.model for row in rows):
            new, old = (
                row_with(rows, data=data, model=model, without=part) for part in ("", "fusion")
            )
            if new is None or old is None:
                continue
            for metric in ("mae", "r"):
                apart = difference(new, old, metric, "complete", "")
                pair = (cells(row.spread(), (metric,))[0] for row in (new, old))
                body.append([named(new.one), data, metric, *pair, *_told(apart, metric)])
    return "\n".join((markdown(head, body), _summed(body), made_by("fusion")))


def _distillation(results: Results, folder: Path) -> str:
    rows = results.rows(of("distillation"))
    head = ["model", "data", "judged by", "MAE distilled", "MAE dropout", "distilled - dropout",
            "n", "the teacher makes it"]  # fmt: skip
    body = []
    for data in dict.fromkeys(row.one.data for row in rows):
        for model in dict.fromkeys(row.one.model for row in rows):
            new, old = (
                row_with(rows, data=data, model=model, scheme=scheme)
                for scheme in ("distilled", "masked")
            )
            if new is None or old is None:
                continue
            for protocol in ("complete", "B", "C"):
                apart = difference(new, old, "mae", protocol, None)
                pair = (cells(row.mean_over(protocol), ("mae",))[0] for row in (new, old))
                body.append([named(new.one), data, protocol, *pair, *_told(apart, "mae")])
    shown = {
        data: own
        for data in dict.fromkeys(row.one.data for row in rows)
        if (own := [row for row in rows if row.one.data == data and row.one.results.get("B")])
    }
    if not shown:
        return ""
    plots.missing_rates(shown, dict.fromkeys(shown, "mae"), folder / "missing-rates-trained.svg")
    picture = "![MAE over the share of lost steps, trained with losses](missing-rates-trained.svg)"
    return "\n".join((markdown(head, body), _summed(body), f"{picture}\n", made_by("distillation")))


def _summed(body: Sequence[Sequence[str]]) -> str:
    """How the comparisons of a table came out; the verdict is the last column."""
    found = Counter(row[-1] for row in body)
    told = ", ".join(f"{verdict} in {count}" for verdict, count in found.most_common())
    return f"**Answer**: of {len(body)} comparisons, {told}.\n" if body else ""


def _told(apart: Difference, metric: str) -> list[str]:
    return [apart.told(metric), str(apart.n), apart.verdict(metric)]

"""Rows of results as the tables of the page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from model.results.condensed import Row, Run
from model.results.rows import idle_seeds
from model.results.tables import cells, markdown, named, seconds, size, titles

SOURCES: Final = {"file": "the file's columns", "gte-small": "gte-small", "": "none"}


def table(
    rows: Sequence[Row], bars: Sequence[Row], metrics: Sequence[str], extra: Sequence[str] = ()
) -> str:
    """Rows as a table: who, ``extra`` columns (``text``, ``utterances``), metrics, cost.

    ``bars``: the constants' rows, see :func:`idle_seeds`; a table need not show its own.
    """
    head = ["model", *extra, *titles(metrics), "n", "parameters", "s / epoch"]
    body = []
    for row in rows:
        told = {"text": source_of(row.one), "utterances": around(row.one.data)}
        found = cells(row.spread(), metrics)
        idle = idle_seeds(row, bars)
        if idle == len(row.runs):
            found = ["learned nothing", *["–"] * (len(metrics) - 1)]
        body.append(
            [
                named(row.one), *(told[name] for name in extra), *found,
                _count(row, idle), size(row.one), seconds(row),
            ]
        )  # fmt: skip
    return markdown(head, body)


def _count(row: Row, idle: int) -> str:
    n = len(row.runs)
    return f"{n}, of which {idle} learned nothing" if 0 < idle < n else str(n)


def source_of(run: Run) -> str:
    """What made the text of a run, and what of it learned."""
    source = SOURCES.get(run.encoder, run.encoder)
    return f"{source}, {run.tune}" if run.tune and run.tune != "frozen" else source


def around(data: str) -> str:
    """Whether utterances were seen in the context of their video."""
    return "in context" if data.endswith("in-context") else "alone"

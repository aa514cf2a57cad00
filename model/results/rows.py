"""Which runs a table shows, in which order, and which of them learned nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from model.results.condensed import Results, Row, Run
from model.results.experiments import MODELS

COMMAND: Final = "python -m model.results run --data DATA --out RESULTS"
ORDER: Final = ("constant", "ridge", *MODELS)


def of(group: str, **wished: object) -> Callable[[Run], bool]:
    """Keeps the runs of a group whose fields are as wished."""
    return lambda run: (
        run.group == group and all(getattr(run, name) == value for name, value in wished.items())
    )


def made_by(group: str) -> str:
    """The command behind a table."""
    return f"`{COMMAND} --group {group}`\n"


def placed(rows: Iterable[Row]) -> list[Row]:
    """Baselines first, then ours, then the models of other packages by name."""

    def place(row: Row) -> tuple[int, str]:
        model = row.one.model
        return (ORDER.index(model), "") if model in ORDER else (len(ORDER), model)

    return sorted(rows, key=place)


def row_with(rows: Sequence[Row], **wished: object) -> Row | None:
    """The first row whose run is as wished."""
    return next(
        (row for row in rows if all(getattr(row.one, k) == v for k, v in wished.items())), None
    )


def constants(results: Results) -> list[Row]:
    """The constants of all data sets, whichever group ran them: the bars of :func:`idle_seeds`."""
    return results.rows(lambda run: run.model == "constant")


def learned_nothing(row: Row, rows: Sequence[Row]) -> bool:
    """Whether no seed of a row learned anything, see :func:`idle_seeds`."""
    return idle_seeds(row, rows) == len(row.runs)


def idle_pair(pair: Iterable[Row], rows: Sequence[Row]) -> str:
    """``4, 2``: the idle seeds of both sides of a comparison."""
    return ", ".join(str(idle_seeds(row, rows)) for row in pair)


def idle_seeds(row: Row, rows: Sequence[Row]) -> int:
    """How many seeds were no better on validation than the constant that is best there.

    The constant's row among ``rows`` knows what that gives; only where the data set has none, the
    records of the row themselves. No runs have no idle seeds.
    """
    if not row.runs or row.one.model in ("constant", "ridge"):
        return 0
    same = (own for own in rows if own.one.model == "constant" and own.one.data == row.one.data)
    known = next((own.one.valid for own in same), {})
    return sum(_idle(run.valid, known) for run in row.runs)


def _idle(valid: Mapping[str, float], known: Mapping[str, float]) -> bool:
    for metric, sign in (("mae", 1.0), ("acc", -1.0)):
        own = valid.get(f"valid_{metric}", valid.get(metric))
        # The data set's bar first: older records of MMSA's models carry an easier one of their own.
        least = known.get(f"constant_{metric}", valid.get(f"constant_{metric}"))
        if own is not None and least is not None:
            return sign * own >= sign * least
    return False

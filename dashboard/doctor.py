"""``tonality doctor``: what is installed, what is there, what would fail and how to mend it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator

import msgspec
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from dashboard import checks
from dashboard.checks import Check, Health
from features.errors import TonalityError

logger = logging.getLogger(__name__)

FOLDED = ("package", "loads")
COLOURS = {Health.OK: "green", Health.WARN: "yellow", Health.FAIL: "red"}


class Report(msgspec.Struct, frozen=True):
    """What ``--json`` prints: whether the demo would run, and every check."""

    demo_runs: bool
    checks: list[Check]


def examine(all_checks: Iterable[Callable[[], Iterator[Check]]] = checks.ALL) -> Report:
    """Run every check; one that cannot run, for want of a package or a right, says so and fails."""
    found: list[Check] = []
    for check in all_checks:
        try:
            found += check()
        except (ImportError, OSError, RuntimeError, TonalityError) as error:
            logger.debug("%s stopped", check.__name__, exc_info=True)
            name = check.__name__.replace("_", " ")
            mend = "run 'make setup'" if isinstance(error, ImportError) else ""
            found.append(Check(name, Health.FAIL, checks.one_line(error), mend))
    return Report(all(check.state is not Health.FAIL for check in found), found)


def doctor(json: bool = False) -> int:
    """Print what was found, for people or as JSON; 0 when the demo would run, 1 otherwise."""
    report = examine()
    if json:
        typer.echo(msgspec.json.format(msgspec.json.encode(report), indent=1).decode())
    else:
        _show(report)
    return 0 if report.demo_runs else 1


def _show(report: Report) -> None:
    console = Console()
    table = Table("", "what", "found, and how to mend it", box=None, pad_edge=False)
    for check in _folded(report.checks):
        state = f"[{COLOURS[check.state]}]{check.state.value}[/]"
        mend = f"\n-> {check.mend}" if check.mend else ""
        table.add_row(state, escape(check.name), escape(check.detail + mend))
    console.print(table)
    told = (
        "The demo would run." if report.demo_runs else "The demo would not run: mend what failed."
    )
    console.print(told)


def _folded(found: list[Check]) -> list[Check]:
    """Long rows of the same kind of thing become one where nothing is wrong with them."""
    rest = list(found)
    folded = []
    for kind in FOLDED:
        fine = [c for c in rest if c.name.startswith(f"{kind} ") and c.state is Health.OK]
        rest = [c for c in rest if c not in fine]
        if fine:
            named = ", ".join(f"{c.name.split()[1]} {c.detail}".removesuffix(" yes") for c in fine)
            folded.append(Check(f"{kind}: {len(fine)}", Health.OK, named))
    return folded + rest

"""What leaving a part out, or changing it, does to a whole model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from model.research.ablations import ABLATIONS
from model.results import plots
from model.results.condensed import Results, Row, Run
from model.results.experiments import ALONE
from model.results.rows import constants, idle_pair, idle_seeds, made_by, of
from model.results.tables import Difference, cells, difference, markdown, named, paired, titles

METRICS: Final = ("mae", "r", "acc2_has0")


def ablations(results: Results, folder: Path) -> str:
    """What each part is worth, and the plot of it."""
    rows = results.rows(of("ablations"))
    if not rows:
        return ""
    parts = [
        "## Ablations\n",
        f"Parts that have to do with time on MMMO's sequences (audio, vision), all others on MOSI's "
        f"utterances ({ALONE}: gte-small, audio, vision); complete data at test; each seed against the "
        "whole model with the same seed: a line with a change is of the seeds that both have, *MAE of the "
        "whole* too. MITR-DNet is trained distilled here, as published.\n",
    ]
    bars = constants(results)
    plotted: dict[str, list[tuple[str, Difference]]] = {}
    body = []
    for model, data in dict.fromkeys((row.one.model, row.one.data) for row in rows):
        own = [row for row in rows if (row.one.model, row.one.data) == (model, data)]
        whole = min(
            (row for row in own if not row.one.without),
            key=lambda row: len(row.one.changes),
            default=None,
        )
        if whole is None:
            continue
        for row in own:
            title = "whole" if row is whole else _part(row.one)
            told = _alone(row, bars) if row is whole else _against(row, whole, bars)
            body.append([named(row.one), data, title, *told])
            apart = difference(row, whole, "mae", "complete", "")
            if row is not whole and apart.n:
                plotted.setdefault(f"{named(row.one)}, {data}", []).append((title, apart))
    head = ["model", "data", "change", *titles(METRICS), "MAE of the whole",
            "learned nothing (changed, whole)", "MAE against whole", "the change is",
            "n"]  # fmt: skip
    parts.append(markdown(head, body))
    if plotted:
        plots.differences(
            plotted, "MAE less the whole model's (right: worse)", folder / "ablations.svg"
        )
        parts.append(
            "![What each change does to the MAE](ablations.svg)\n\nBars are 95 % intervals.\n"
        )
    lines = [f"- `{name}`: {part.line}" for name, part in ABLATIONS.items()]
    parts += ["\n".join(lines) + "\n", made_by("ablations")]
    parts.append("From the command line: `tonality train rtil --without gate ...`.\n")
    return "\n".join(parts)


def _alone(whole: Row, bars: Sequence[Row]) -> list[str]:
    """The cells of a whole model, which has nothing to stand against."""
    idle = f"–, {idle_seeds(whole, bars)}"
    return [*cells(whole.spread(), METRICS), "–", idle, "–", "–", str(len(whole.runs))]


def _against(row: Row, whole: Row, bars: Sequence[Row]) -> list[str]:
    """The cells of a changed model: all of the seeds that it shares with the whole one."""
    new, old = paired(row, whole, "mae", "complete", "")
    apart = difference(new, old, "mae", "complete", "")
    return [
        *cells(new.spread(), METRICS), *cells(old.spread(), ("mae",)),
        idle_pair((new, old), bars), apart.told("mae"), apart.verdict("mae"), str(apart.n),
    ]  # fmt: skip


def _part(run: Run) -> str:
    if run.without:
        return f"without {run.without}"
    return ", ".join(f"{name} {value}" for name, value in run.changes.items())

"""Puts the results page together, in the order in which it is read."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from model.results import plots
from model.results.ablated import ablations
from model.results.claims import claims
from model.results.condensed import Results
from model.results.experiments import ALONE, SEQUENCES, UTTERANCES
from model.results.rows import of
from model.results.standings import mosi, sequences, text_only
from model.results.words import HEAD, LIMITS, PEER_SETS, PEERS, SHORT

PAGE: Final = "README.md"


def write_page(results: Results, folder: Path) -> Path:
    """The page and its plots, into ``folder``."""
    parts = [
        HEAD.format(host=results.host),
        SHORT,
        text_only(results),
        mosi(results),
        sequences(results, folder),
        claims(results, folder),
        ablations(results, folder),
        _curves(results, folder),
        LIMITS.format(peers=_peers_missing(results)),
    ]
    path = folder / PAGE
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(part for part in parts if part).rstrip() + "\n", encoding="utf-8")
    return path


def _peers_missing(results: Results) -> str:
    """Which of MMSA's models have no run on which data."""
    known = {(run.model, run.data) for run in results.runs if run.variant == "mmsa"}
    gaps = []
    for data in PEER_SETS:
        gone = [name for name in PEERS if (name, data) not in known]
        if gone:
            gaps.append(
                f"on {data} {'all of them' if len(gone) == len(PEERS) else ', '.join(gone)}"
            )
    if not gaps:
        return "Those that MMSA has and that need no weights of the hub are all here."
    return (
        f"Of MMSA's models, these were not trained when this page was made: {'; '.join(gaps)}. "
        "`python -m model.results.peers --data DATA --out RESULTS --seeds 5` trains them."
    )


def _curves(results: Results, folder: Path) -> str:
    panels = {
        "MOSI T+A+V, gte-small": of("mosi-words", modalities="TAV", data=ALONE),
        "MOSI T+A+V, file's text, context": of("mosi", modalities="TAV", data=UTTERANCES),
        **{data: of("sequences", data=data) for data in SEQUENCES},
    }
    rows = {
        title: [row for row in results.rows(keep) if any(run.curve for run in row.runs)]
        for title, keep in panels.items()
    }
    shown = {title: own for title, own in rows.items() if own}
    if not shown:
        return ""
    plots.learning_curves(shown, folder / "learning-curves.svg")
    return (
        "## Learning curves\n\n![Loss on validation by epoch](learning-curves.svg)\n\n"
        "Mean over the seeds that had not stopped yet.\n"
    )

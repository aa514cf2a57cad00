"""How all models stand on each data set, complete and with parts lost."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from model.results import plots
from model.results.condensed import Results, Row, Run
from model.results.experiments import MODELS, SEQUENCES
from model.results.listing import around, table
from model.results.rows import constants, learned_nothing, made_by, placed
from model.results.tables import cells, markdown, named, seconds, titles
from model.results.words import MOSI_WARNING, PUBLISHED, SEQUENCES_NOTE, TEXT_NOTE

REGRESSION: Final = ("mae", "r", "acc2_has0", "acc2_non0", "f1_non0", "acc7")


def text_only(results: Results) -> str:
    """Every encoder on the words of MOSI."""
    rows = results.rows(lambda run: run.data == "mosi-text")
    if not rows:
        return ""
    rows.sort(key=lambda row: row.spread()["mae"].mean if row.spread() else 9.0)
    metrics = ("mae", "r", "acc2_has0", "acc2_non0", "f1_has0", "f1_non0", "acc5", "acc7")
    head = ["model", "encoder", "tuned", "first learned on", *titles(metrics), "n", "s / epoch"]
    body = [
        [
            named(row.one), row.one.encoder or "–", row.one.tune or "–", row.one.start or "–",
            *cells(row.spread(), metrics), str(len(row.runs)), seconds(row),
        ]
        for row in rows
    ]  # fmt: skip
    published = [
        [f"*{name}*", encoder, "*published*", "–", *(own.get(m, "–") for m in metrics), "–", "–"]
        for name, encoder, own in PUBLISHED
    ]
    command = "`python -m model.results.encoders --data DATA --out RESULTS`\n"
    title = "## CMU-MOSI, standard split, text only\n"
    return "\n".join((title, TEXT_NOTE, markdown(head, [*body, *published]), command))


def mosi(results: Results) -> str:
    """MOSI's utterances, by the modalities that were given."""
    groups = ("mosi-words", "mosi-single", "mosi-context", "mosi", "faithful", "peers")
    parts = ["## CMU-MOSI, utterance sequences, split by bc-LSTM's videos\n", MOSI_WARNING]
    bars = constants(results)
    for letters, title in (
        ("TAV", "Text, audio and vision"), ("TA", "Text and audio"), ("T", "Text"),
        ("A", "Audio"), ("V", "Vision"),
    ):  # fmt: skip
        rows = results.rows(
            lambda run: run.group in groups and run.modalities == letters  # noqa: B023 - called at once
            and run.data.startswith("mosi-utterances")
        )  # fmt: skip
        if rows:
            parts += [f"### {title}\n", table(_by_source(rows), bars, REGRESSION, _extra(rows))]
    parts.append(_beaten(results))
    parts.append(
        "\n".join(
            made_by(name)
            for name in ("mosi-words", "mosi-single", "mosi-context", "mosi", "faithful")
        )
    )
    return "\n".join(parts)


def _by_source(rows: Sequence[Row]) -> list[Row]:
    return sorted(placed(rows), key=lambda row: (row.one.data, row.one.encoder != "gte-small"))


def _extra(rows: Sequence[Row]) -> tuple[str, ...]:
    """Columns that tell rows apart; with one modality there is no text, or nothing but."""
    told = ["utterances"] if len({row.one.data for row in rows}) > 1 else []
    return (*told, "text") if any(row.one.encoder for row in rows) else tuple(told)


def _beaten(results: Results) -> str:
    """Whether the best network beats the ridge on the file's columns, in numbers."""
    rows = [
        row
        for row in results.rows(lambda run: run.group in ("mosi", "mosi-words", "mosi-context"))
        if row.one.modalities == "TAV" and row.one.model in MODELS and row.spread()
    ]
    told: list[str] = []
    for source, name in (("file", "the file's own text"), ("gte-small", "gte-small's text")):
        own = [row for row in rows if row.one.encoder == source]
        if own:
            best = min(own, key=lambda row: row.spread()["mae"].mean)
            found = cells(best.spread(), ("mae", "r", "acc2_has0"))
            told.append(
                f"With {name}, the best of ours with all three modalities is {named(best.one)} "
                f"(utterances {around(best.one.data)}): MAE {found[0]}, r {found[1]}, "
                f"Acc-2 Has0 {found[2]}."
            )
    return (
        " ".join(told) + " The mark to beat, a ridge on all of the file's columns fitted on all 62 "
        "training videos: MAE .947, r .626, Acc-2 Has0 77.8; the ridges here are fitted on the videos "
        "that the networks see.\n"
    )


def sequences(results: Results, folder: Path) -> str:
    """The sets of sequences, complete and with parts lost, and their plot."""
    groups = ("sequences", "faithful", "peers")
    parts = ["## ICT-MMMO, POM and YouTube, audio and vision\n", SEQUENCES_NOTE]
    curves: dict[str, list[Row]] = {}
    bars = constants(results)
    for data in SEQUENCES:
        rows = placed(results.rows(lambda run: run.group in groups and run.data == data))  # noqa: B023 - called at once
        if not rows:
            continue
        metrics = ("acc", "f1") if data == "youtube" else ("mae", "r", "acc2_has0", "acc7")
        parts += [f"### {data}\n", table(rows, bars, metrics), _lost(rows, bars, metrics[:2])]
        curves[data] = [
            row for row in rows if row.one.results.get("B") and not learned_nothing(row, bars)
        ]
    if any(curves.values()):
        shown = {data: own for data, own in curves.items() if own}
        ruled = {data: "acc" if data == "youtube" else "mae" for data in shown}
        plots.missing_rates(shown, ruled, folder / "missing-rates.svg")
        parts.append(
            "![Metrics of every model over the share of lost steps](missing-rates.svg)\n\n"
            "Bars are deviations over the seeds. MAE: lower is better; accuracy: higher.\n"
        )
    parts.append(made_by("sequences"))
    return "\n".join(parts)


def _lost(rows: Sequence[Row], bars: Sequence[Row], metrics: Sequence[str]) -> str:
    """The same models with parts lost: means of B and C, and C's subsets."""
    head = ["parts lost", "training", *(f"B mean: {t}" for t in titles(metrics))]
    subsets = [("a", "audio"), ("v", "vision")]
    head += [f"{title} only: {t}" for _, title in subsets for t in titles(metrics)]
    body = []
    for row in rows:
        if row.one.results.get("B") and not learned_nothing(row, bars):
            body.append(
                [
                    named(row.one), _training(row.one), *cells(row.mean_over("B"), metrics),
                    *(c for name, _ in subsets for c in cells(row.spread("C", name), metrics)),
                ]
            )  # fmt: skip
    return markdown(head, body) if body else ""


def _training(run: Run) -> str:
    if run.scheme in ("", "complete"):
        return "complete" if run.scheme else "–"
    lost = {"subsets": "modalities lost", "mixed": "steps lost", "rate": "steps lost"}
    return f"{run.scheme}, {lost.get(run.losing, run.losing)}"

"""Puts the results page together: what each experiment asked, its table, its plot, its verdict."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from model.research.ablations import ABLATIONS
from model.results import plots as results_plots
from model.results.condensed import Results, Row, Run
from model.results.experiments import ALONE, MODELS, SEQUENCES, UTTERANCES
from model.results.tables import (
    Difference,
    cells,
    difference,
    markdown,
    named,
    seconds,
    size,
    titles,
)
from model.results.words import (
    CLAIMS,
    HEAD,
    LIMITS,
    MOSI_WARNING,
    PEER_SETS,
    PEERS,
    PUBLISHED,
    SEQUENCES_NOTE,
    SHORT,
    TEXT_NOTE,
)

PAGE: Final = "README.md"
REGRESSION: Final = ("mae", "r", "acc2_has0", "acc2_non0", "f1_non0", "acc7")
COMMAND: Final = "python -m model.results run --data DATA --out RESULTS"
ORDER: Final = ("constant", "ridge", *MODELS)
SOURCES: Final = {"file": "the file's columns", "gte-small": "gte-small", "": "none"}


def write_page(results: Results, folder: Path) -> Path:
    """The page and its plots, into ``folder``."""
    parts = [
        HEAD.format(host=results.host),
        SHORT,
        _text_only(results),
        _mosi(results),
        _sequences(results, folder),
        _claims(results, folder),
        _ablations(results, folder),
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


def _source(run: Run) -> str:
    source = SOURCES.get(run.encoder, run.encoder)
    return f"{source}, {run.tune}" if run.tune and run.tune != "frozen" else source


def _table(rows: Sequence[Row], metrics: Sequence[str], extra: Sequence[str] = ()) -> str:
    head = ["model", *extra, *titles(metrics), "n", "parameters", "s / epoch"]
    body = []
    for row in rows:
        told = {"text": _source(row.one), "utterances": _around(row.one.data)}
        found = cells(row.spread(), metrics)
        idle = idle_seeds(row, rows)
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


def learned_nothing(row: Row, rows: Sequence[Row]) -> bool:
    """Whether no seed of a row learned anything, see :func:`idle_seeds`."""
    return idle_seeds(row, rows) == len(row.runs)


def idle_seeds(row: Row, rows: Sequence[Row]) -> int:
    """How many seeds were no better on validation than the constant that is best there.

    The constant's row among ``rows`` knows what that gives, or the records of the row themselves.
    """
    if row.one.model in ("constant", "ridge"):
        return 0
    same = (own for own in rows if own.one.model == "constant" and own.one.data == row.one.data)
    known = next((own.one.valid for own in same), {})
    return sum(_idle(run.valid, known) for run in row.runs)


def _idle(valid: Mapping[str, float], known: Mapping[str, float]) -> bool:
    for metric, sign in (("mae", 1.0), ("acc", -1.0)):
        own = valid.get(f"valid_{metric}", valid.get(metric))
        least = valid.get(f"constant_{metric}", known.get(f"constant_{metric}"))
        if own is not None and least is not None:
            return sign * own >= sign * least
    return False


def _around(data: str) -> str:
    return "in context" if data.endswith("in-context") else "alone"


def _training(run: Run) -> str:
    if run.scheme in ("", "complete"):
        return "complete" if run.scheme else "–"
    lost = {"subsets": "modalities lost", "mixed": "steps lost", "rate": "steps lost"}
    return f"{run.scheme}, {lost.get(run.losing, run.losing)}"


def _text_only(results: Results) -> str:
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


def _mosi(results: Results) -> str:
    groups = ("mosi-words", "mosi-single", "mosi-context", "mosi", "faithful", "peers")
    parts = ["## CMU-MOSI, utterance sequences, split by bc-LSTM's videos\n", MOSI_WARNING]
    for letters, title in (
        ("TAV", "Text, audio and vision"), ("TA", "Text and audio"), ("T", "Text"),
        ("A", "Audio"), ("V", "Vision"),
    ):  # fmt: skip
        rows = results.rows(
            lambda run: run.group in groups and run.modalities == letters  # noqa: B023 - called at once
            and run.data.startswith("mosi-utterances")
        )  # fmt: skip
        if rows:
            parts += [f"### {title}\n", _table(_by_source(rows), REGRESSION, _extra(rows))]
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
                f"(utterances {_around(best.one.data)}): MAE {found[0]}, r {found[1]}, "
                f"Acc-2 Has0 {found[2]}."
            )
    return (
        " ".join(told) + " The mark to beat, a ridge on all of the file's columns fitted on all 62 "
        "training videos: MAE .947, r .626, Acc-2 Has0 77.8; the ridges here are fitted on the videos "
        "that the networks see.\n"
    )


def _sequences(results: Results, folder: Path) -> str:
    groups = ("sequences", "faithful", "peers")
    parts = ["## ICT-MMMO, POM and YouTube, audio and vision\n", SEQUENCES_NOTE]
    curves: dict[str, list[Row]] = {}
    for data in SEQUENCES:
        rows = placed(results.rows(lambda run: run.group in groups and run.data == data))  # noqa: B023 - called at once
        if not rows:
            continue
        metrics = ("acc", "f1") if data == "youtube" else ("mae", "r", "acc2_has0", "acc7")
        parts += [f"### {data}\n", _table(rows, metrics), _lost(rows, metrics[:2])]
        curves[data] = [
            row for row in rows if row.one.results.get("B") and not learned_nothing(row, rows)
        ]
    if any(curves.values()):
        shown = {data: own for data, own in curves.items() if own}
        ruled = {data: "acc" if data == "youtube" else "mae" for data in shown}
        results_plots.missing_rates(shown, ruled, folder / "missing-rates.svg")
        parts.append(
            "![Metrics of every model over the share of lost steps](missing-rates.svg)\n\n"
            "Bars are deviations over the seeds. MAE: lower is better; accuracy: higher.\n"
        )
    parts.append(made_by("sequences"))
    return "\n".join(parts)


def _lost(rows: Sequence[Row], metrics: Sequence[str]) -> str:
    """The same models with parts lost: means of B and C, and C's subsets."""
    head = ["parts lost", "training", *(f"B mean: {t}" for t in titles(metrics))]
    subsets = [("a", "audio"), ("v", "vision")]
    head += [f"{title} only: {t}" for _, title in subsets for t in titles(metrics)]
    body = []
    for row in rows:
        if row.one.results.get("B") and not learned_nothing(row, rows):
            body.append(
                [
                    named(row.one), _training(row.one), *cells(row.mean_over("B"), metrics),
                    *(c for name, _ in subsets for c in cells(row.spread("C", name), metrics)),
                ]
            )  # fmt: skip
    return markdown(head, body) if body else ""


def _claims(results: Results, folder: Path) -> str:
    parts = ["## The three claims\n", CLAIMS]
    parts += ["### Does the temporal term help under noise on the frames?\n", _temporal(results)]
    parts += ["### Does text-driven gated fusion beat concatenation?\n", _fusion(results)]
    parts += [
        "### Does teacher and student beat plain modality dropout?\n", _distillation(results, folder),
    ]  # fmt: skip
    return "\n".join(parts)


def _pair(rows: Sequence[Row], **wished: object) -> Row | None:
    return next(
        (row for row in rows if all(getattr(row.one, k) == v for k, v in wished.items())), None
    )


def _temporal(results: Results) -> str:
    rows = results.rows(of("temporal"))
    constants = results.rows(of("sequences", model="constant"))
    head = ["SVR on", "noise", "MAE with", "MAE without", "learned nothing (with, without)",
            "with - without", "n", "the term is"]  # fmt: skip
    body = []
    for data in dict.fromkeys(row.one.data for row in rows):
        new, old = (_pair(rows, data=data, without=part) for part in ("", "temporal"))
        if new is None or old is None:
            continue
        for level in sorted(new.one.results.get("noise", {}), key=float):
            apart = difference(new, old, "mae", "noise", level)
            pair = (cells(row.spread("noise", level), ("mae",))[0] for row in (new, old))
            idle = ", ".join(str(idle_seeds(row, constants)) for row in (new, old))
            body.append([data, level, *pair, idle, *_told(apart, "mae")])
    return "\n".join((markdown(head, body), _summed(body), made_by("temporal")))


def _summed(body: Sequence[Sequence[str]]) -> str:
    """How the comparisons of a table came out; the verdict is the last column."""
    found = Counter(row[-1] for row in body)
    told = ", ".join(f"{verdict} in {count}" for verdict, count in found.most_common())
    return f"**Answer**: of {len(body)} comparisons, {told}.\n" if body else ""


def _told(apart: Difference, metric: str) -> list[str]:
    return [apart.told(metric), str(apart.n), apart.verdict(metric)]


def _fusion(results: Results) -> str:
    rows = results.rows(of("fusion"))
    head = ["model", "data", "metric", "own fusion", "concatenation", "own - concatenation",
            "n", "its own fusion is"]  # fmt: skip
    body = []
    for data in dict.fromkeys(row.one.data for row in rows):
        for model in dict.fromkeys(row.one.model for row in rows):
            new, old = (
                _pair(rows, data=data, model=model, without=part) for part in ("", "fusion")
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
                _pair(rows, data=data, model=model, scheme=scheme)
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
    results_plots.missing_rates(
        shown, dict.fromkeys(shown, "mae"), folder / "missing-rates-trained.svg"
    )
    picture = "![MAE over the share of lost steps, trained with losses](missing-rates-trained.svg)"
    return "\n".join((markdown(head, body), _summed(body), f"{picture}\n", made_by("distillation")))


def _ablations(results: Results, folder: Path) -> str:
    rows = results.rows(of("ablations"))
    if not rows:
        return ""
    parts = [
        "## Ablations\n",
        f"Parts that have to do with time on MMMO's sequences (audio, vision), all others on MOSI's "
        f"utterances ({ALONE}: gte-small, audio, vision); complete data at test; each seed against the "
        "whole model with the same seed. MITR-DNet is trained distilled here, as published.\n",
    ]
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
            apart = difference(row, whole, "mae", "complete", "")
            told = ["–", "–"] if row is whole else [apart.told("mae"), apart.verdict("mae")]
            found = cells(row.spread(), ("mae", "r", "acc2_has0"))
            body.append([named(row.one), data, title, *found, *told, str(len(row.runs))])
            if row is not whole and apart.n:
                plotted.setdefault(f"{named(row.one)}, {data}", []).append((title, apart))
    head = ["model", "data", "change", *titles(("mae", "r", "acc2_has0")), "MAE against whole",
            "the change is", "n"]  # fmt: skip
    parts.append(markdown(head, body))
    if plotted:
        results_plots.differences(
            plotted, "MAE less the whole model's (right: worse)", folder / "ablations.svg"
        )
        parts.append(
            "![What each change does to the MAE](ablations.svg)\n\nBars are 95 % intervals.\n"
        )
    lines = [f"- `{name}`: {part.line}" for name, part in ABLATIONS.items()]
    parts += ["\n".join(lines) + "\n", made_by("ablations")]
    parts.append("From the command line: `tonality train rtil --without gate ...`.\n")
    return "\n".join(parts)


def _part(run: Run) -> str:
    if run.without:
        return f"without {run.without}"
    return ", ".join(f"{name} {value}" for name, value in run.changes.items())


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
    results_plots.learning_curves(shown, folder / "learning-curves.svg")
    return (
        "## Learning curves\n\n![Loss on validation by epoch](learning-curves.svg)\n\n"
        "Mean over the seeds that had not stopped yet.\n"
    )

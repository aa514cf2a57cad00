"""The model card of the live checkpoint, written from what is recorded in it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from model.checkpoint import Checkpoint
from model.live.card_words import BEGINNING, DATA, FAILS, TRAINING
from model.live.crossed import LEFT_OUT
from model.live.targets import Row, rows

CARD: Final = "MODEL_CARD.md"
Measures = Mapping[str, Mapping[str, float]]
TEXTS: Final = (
    "mosi test", "mosi test misheard", "mosi test cut", "mosi test running", "sst test",
    "vader held out", "vader held out as heard",
)  # fmt: skip
STREAMS: Final = ("both streams", "descriptors", "states")
VOICES: Final = (
    "ravdess, known speaker", "ravdess, first words", "emodb, known speaker",
)  # fmt: skip


def card(checkpoint: Checkpoint) -> str:
    """The card in Markdown."""
    measured = checkpoint.metrics
    settings = checkpoint.settings
    counts = (
        f"Training and validation together: {settings.get('voice_clips', '?')} voice clips with speech "
        f"in them, copies at another speed among them, {settings.get('faces', '?')} faces, moved copies of one video's "
        f"among them, {settings.get('texts', '?')} texts, cuts and misheard copies among them."
    )
    parts = [
        BEGINNING, DATA, counts, TRAINING, _reached(rows(measured)), _seeds(measured),
        _texts(measured), _voices(measured), _left_out(measured), _clips(measured),
        _faces(measured), _intervals(measured), _sizes(measured), FAILS,
    ]  # fmt: skip
    return "\n\n".join(part.strip() for part in parts if part) + "\n"


def _table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    rule = ["---"] * len(head)
    return "\n".join("| " + " | ".join(line) + " |" for line in (head, rule, *lines))


def _reached(found: Sequence[Row]) -> str:
    marks = {True: "yes", False: "**no**", None: ""}
    within = {True: " (within ±)", False: ""}
    lines = [
        (r.what, r.target, r.reached, str(r.n), f"{marks[r.met]}{within[r.near]}") for r in found
    ]
    missed = sum(row.met is False for row in found)
    near = sum(row.near for row in found)
    close = f", {near} of them by less than one standard error" if near else ""
    return (
        "## What was to be reached, and what was\n"
        "`tonality evaluate live --data CORPORA` prints this table; test parts that training never "
        f"read. {missed} of {sum(row.met is not None for row in found)} are missed{close}. ± is one standard error by "
        "the chance of which texts or pictures were asked, or of voices which people; what another training would "
        "give is under Seeds. Whether a checkpoint that is behind another is so within it goes by the error of "
        "their difference. *Noise* of the same clips is over clips.\n\n"
        + _table(("what", "to reach", "reached", "n", "reached?"), lines)
    )


def _seeds(measured: Measures) -> str:
    shown = (
        ("text mosi test", "mae"), ("text mosi test", "acc2_non0"), ("text meld dev", "weighted_f1_3"),
        ("voice ravdess, known speaker, both streams", "auc_read"),
        ("voice ravdess, known speaker, both streams", "balanced_read"),
        ("voice emodb, known speaker, both streams", "auc_happy"),
        ("face fer2013 public test", "balanced_3"), ("clips voice+face", "auc"),
    )  # fmt: skip
    lines = []
    for entry, key in shown:
        own = measured.get(f"seeds {entry}", {})
        if key in own:
            lines.append((entry, key, f"{own[key]:.3f}", f"{own[f'{key}_sd']:.3f}"))
    count = round(measured.get("seeds text mosi test", {}).get("seeds", 0))
    if count < 2:  # one alone says nothing of how seeds differ
        return ""
    return (
        f"### Seeds\nThe network was trained with {count} seeds over the same tuned text encoder; "
        "seed 0 ships, whatever the others reached.\n\n"
        + _table(("part", "measure", "mean", "deviation"), lines)
    )


def _texts(measured: Measures) -> str:
    lines = []
    for name in TEXTS:
        own = measured.get(f"text {name}")
        if own:
            acc = f"{own['acc2_has0']:.1f} / {own['acc2_non0']:.1f}"
            numbers = (f"{own['mae']:.3f}", f"{own['r']:.3f}", acc, f"{own['acc7']:.1f}")
            lines.append((name, f"{own['n']:.0f}", *numbers))
    meld, heard = (measured.get(f"text meld dev{form}") for form in ("", " as heard"))
    after = (
        f"\n\nMELD dev (n {meld['n']:.0f}, utterances out of their dialogue): weighted F1 of three "
        f"classes {meld['weighted_f1_3']:.1f} by the class that words are read for, r {meld['r']:.2f}; "
        f"without punctuation, as speech comes, {heard['weighted_f1_3']:.1f} and {heard['r']:.2f}."
        if meld and heard else ""
    )  # fmt: skip
    return (
        "### Words alone\nAcc-2: negative against not negative / against positive, zeros left out. "
        "*misheard*: one word in ten replaced by one spelled alike, lost or doubled; *cut*: 6 to 14 "
        "words out of each utterance, under the whole one's label; *running*: the same with what was said "
        "before them, as windows are read. VADER's texts keep their punctuation and emoticons, *as heard* "
        "they have none. SST's line flatters a little: VADER's film snippets are made of the Treebank's sentences, and "
        "of the 12,000 VADER texts that each tuning drew 106 hold 182 of the 2,210 that are tested, as snippets of "
        "several sentences were not recognised. They are now; the tunings were not repeated.\n\n"
        + _table(("", "n", "MAE", "r", "Acc-2", "Acc-7"), lines) + after
    )  # fmt: skip


def _voices(measured: Measures) -> str:
    lines = []
    for name in VOICES:
        for streams in STREAMS:
            own = measured.get(f"voice {name}, {streams}")
            if own:
                keys = ("auc", "auc_happy", "balanced", "auc_read", "balanced_read")
                lines.append((name, streams, f"{own['n']:.0f}", *(f"{own[k]:.3f}" for k in keys)))
    return (
        "### Voice alone\nPositive (happy, calm) against negative (angry, sad, fearful, disgust) by the "
        "score and by the emotions that the voice is read for; balanced accuracy of the sign. RAVDESS: "
        "actors 17 to 20; EMO-DB: German, five speakers, never trained on. *Known speaker*: after up to 90 s of "
        "the same speaker's other clips; *first words*: after none, and not held back.\n\n"
        + _table(
            ("", "streams", "n", "AUC", "happy AUC", "balanced", "AUC read", "balanced read"), lines
        )
    )


def _left_out(measured: Measures) -> str:
    own = {k.removeprefix("folds "): v for k, v in measured.items() if k.startswith("folds ")}
    if not own:
        return ""
    lines = [
        (name, f"{v['n']:.0f}", f"{v['auc_read']:.3f}", f"{v['balanced_read']:.3f}")
        for name, v in own.items() if name != "actors"
    ]  # fmt: skip
    spread = own["actors"]
    return (
        "### Every actor left out once\n`python -m model.live.folds --data CORPORA`: the voice's "
        f"reading alone, learned five times on four fifths of the actors, {_of_seeds(own)}; by the emotions "
        "read, after up to 90 s of the same actor's other clips. Women and men are means of single actors, whose "
        "balanced accuracies "
        f"lie between {spread['least']:.2f} and {spread['greatest']:.2f} (deviation "
        f"{spread['sd']:.2f}).\n\n" + _table(("", "n", "AUC", "balanced"), lines)
    )


def _of_seeds(folds: Measures) -> str:
    own = folds["both streams"]
    if own.get("seeds", 1) < 2:
        return "one seed"
    return (
        f"mean of {own['seeds']:.0f} seeds (deviation of the first line {own['auc_read_sd']:.3f} and "
        f"{own['balanced_read_sd']:.3f})"
    )


def _clips(measured: Measures) -> str:
    lines = [
        (k.removeprefix("clips "), f"{v['n']:.0f}", f"{v['auc']:.3f}", f"{v['balanced']:.3f}",
         f"{v['mae']:.2f}")
        for k, v in measured.items() if k.startswith("clips ")
    ]  # fmt: skip
    return (
        "### Voice, face and (neutral) words of the same clips\nRAVDESS actors 17 to 20; faces made of "
        "action units, whose ranks were mapped onto blendshapes over all actors, so easier than live.\n\n"
        + _table(("", "n", "AUC", "balanced", "MAE"), lines)
    )


def _faces(measured: Measures) -> str:
    lines = [
        (k.removeprefix("neutral face "), f"{v['n']:.0f}", f"{v['mean']:+.2f}", f"{v['sd']:.2f}")
        for k, v in measured.items() if k.startswith("neutral face ")
    ]  # fmt: skip
    return (
        "### Neutral people who speak, face alone\nThe first is trained on; all were seen when webcam "
        "offsets were measured and before the shares of still faces were chosen: no independent test.\n\n"
        + _table(("video", "windows", "mean", "deviation"), lines)
    )


def _intervals(measured: Measures) -> str:
    lines = [
        (k.removeprefix("interval "), f"{v['n']:.0f}", f"{v['half_width']:.2f}", f"{100 * v['coverage']:.1f} %")
        for k, v in measured.items() if k.startswith("interval ")
    ]  # fmt: skip
    others = "; ".join(
        f"{k.removeprefix(LEFT_OUT)} {100 * v['coverage']:.1f} % of {v['n']:.0f} windows"
        for k, v in measured.items() if k.startswith(LEFT_OUT)
    )  # fmt: skip
    after = (
        "\n\nOf actors who were left out, each of five parts judged by the width that the others' residuals ask "
        f"for: {others}." if others else ""
    )  # fmt: skip
    return (
        "### Intervals of 80 %\nHalf widths from validation parts, by which nothing else was chosen "
        "(no epoch is picked). Those with words and another modality are judged on synthetic windows "
        "that agree, and are never narrower than the surest member alone.\n\n"
        + _table(("subset", "n", "half width", "covered on test"), lines)
        + after
    )


def _sizes(measured: Measures) -> str:
    own = {k.removeprefix("size "): v for k, v in measured.items() if k.startswith("size ")}
    if len(own) < 2:
        return ""
    keys = [key for key in next(iter(own.values())) if key not in ("parameters", "ms")]
    lines = [
        (name, f"{v['parameters'] / 1e3:.0f} k", f"{v['ms']:.1f}", *(f"{v[k]:.3f}" for k in keys))
        for name, v in own.items()
    ]
    return (
        "### Sizes\n`python -m model.live.training --data CORPORA --size medium --size small --no-cross`, seed 0. "
        "Milliseconds of the network alone for one window; the text "
        "encoder below it takes the same for all.\n\n"
        + _table(("size", "parameters", "ms a window", *keys), lines)
    )

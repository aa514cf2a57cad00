"""Reads the research sets that come as CSV and npz: utterances, word-aligned sequences, texts."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Literal

import numpy as np

from features.errors import CorpusError
from features.text import plain
from model.corpora import text as corpora_text
from model.corpora.features_cache import load_arrays
from model.corpora.text import MOSI_FILE, rows
from model.data.splits import TEST, TRAIN, VALID, SequenceData, Split
from model.data.streams import Stream, Text, observed

UTTERANCES_FILE: Final = "mosi/mosi_utterance_features.npz"
ALIGNED_FILES: Final = {
    name: f"mfn_wordaligned_seq/{name}.npz" for name in ("mmmo", "pom", "youtube")
}
SIMS_FILES: Final = {"sims": "ch_sims/sims.csv.gz", "simsv2": "ch_sims/simsv2.csv.gz"}
EMOBANK_FILE: Final = "emobank/emobank.csv.gz"

MosiSplit = Literal["standard", "bclstm"]
LEARNED: Final = ("text", "vision")  # outputs of networks that were trained on bc-LSTM's videos
HELD_OUT_IN: Final = 6  # every sixth video of bc-LSTM's training is held out
TRAITS: Final = 17
CLASSES: Final = 3
FIELD_NAMES: Final = {"audio": "audio", "vision": "video"}
SPLITS: Final = (TRAIN, VALID, TEST)


def mosi_text(data: Path) -> SequenceData:
    """CMU-MOSI's transcripts, the standard split 1284/229/686, labels -3..3 (Zadeh et al. 2016).

    Words are lower-case without punctuation, as they come live.
    """
    found = list(rows(data / MOSI_FILE, ("id", "text", "label", "split_std")))
    return _texts("mosi-text", found, "text", "split_std", "label", (-3.0, 3.0))


def mosi_utterances(
    data: Path,
    split: MosiSplit = "bclstm",
    context: int = 0,
    streams: Sequence[str] = ("text", "audio", "vision"),
    allow_leak: bool = False,
    sentences: np.ndarray | None = None,
) -> SequenceData:
    """CMU-MOSI with one vector per utterance: text 100, audio 73, vision 100 columns.

    Each sample is an utterance between its ``context`` neighbours on either side in its video (Poria
    et al. 2017), ``T = 2 * context + 1``, itself in the middle; masked where the video ends. ``raw``
    holds its own words only. ``bclstm`` has 1447 utterances of 62 videos for training, of which
    every sixth video is held out as valid, and 752 of 31 other videos for test.

    The columns of text and vision are outputs of networks that were trained with the labels of the
    62 videos, and 24 of the 31 standard test videos are among these: with ``standard`` they are
    refused unless ``allow_leak`` says that a leaky number is wanted. For the same reason validation
    on ``bclstm`` flatters, vision most of all (ridge on its columns: r .66 on valid, .08 on test;
    text .85 and .61): what is chosen by it trusts vision too much.

    ``sentences (2199, D)``, in the order of :func:`mosi_sentences`, stand in for the text's columns.
    """
    leaking = [name for name in LEARNED if name in streams]
    if split == "standard" and leaking and not allow_leak:
        raise CorpusError(
            f"{UTTERANCES_FILE}: the columns of {' and '.join(leaking)} come from networks that "
            "were trained with labels of the standard split's test videos; use the split 'bclstm', "
            "or the stream 'audio' alone"
        )
    column = {"standard": "split_std", "bclstm": "split_bclstm"}[split]
    table = list(rows(data / MOSI_FILE, ("id", "video_id", "clip", "text", "label", column)))
    arrays = _arrays(data / UTTERANCES_FILE, ("id", "label", "text", "audio", "video"))
    if [row["id"] for row in table] != arrays["id"].tolist():
        raise CorpusError(f"{data / UTTERANCES_FILE}: other utterances than {MOSI_FILE}")
    videos = np.array([row["video_id"] for row in table])
    neighbours = _neighbours(videos, [int(row["clip"]) for row in table], context)
    if sentences is not None:
        arrays["text"] = sentences
    own = {"text": "text", "audio": "audio", "vision": "video"}
    sequences = {name: _around(arrays[own[name]], neighbours) for name in streams}
    raw = tuple(plain(row["text"]) for row in table)
    whole = Split(
        tuple(arrays["id"].tolist()),
        arrays["label"].astype(np.float32),
        Text(raw, None, sequences.get("text")) if "text" in streams else None,
        sequences.get("audio"),
        sequences.get("vision"),
    )
    names = np.array([row[column] for row in table])
    if split == "bclstm":
        held = _held_out(sorted(set(videos[names == TRAIN].tolist())))
        names = np.where(np.isin(videos, held), VALID, names)
    notes: tuple[str, ...] = ()
    if leaking and split == "standard":
        notes = ("text and vision columns were trained on test videos: no number here is honest",)
    elif leaking:
        notes = ("text and vision columns were trained with the validation videos' labels",)
    splits = {name: whole.select(names == name) for name in SPLITS}
    around = f"-context-{context}" if context else ""
    return SequenceData(f"mosi-utterances-{split}{around}", splits, notes=notes)


def mosi_sentences(data: Path) -> list[str]:
    """The words of CMU-MOSI's utterances, in the order of the table."""
    return [plain(row["text"]) for row in rows(data / MOSI_FILE, ("text",))]


def aligned(data: Path, name: str, trait: int = 0) -> SequenceData:
    """ICT-MMMO, POM or YouTube: 20 word-aligned steps of audio (COVAREP) and vision (FACET).

    From Zadeh et al. 2018 (MFN). ``mmmo``: sentiment 1..5. ``pom``: 17 ratings 1..7, whose order no
    source states; ``trait`` is the column that becomes the label, all are in ``extra``. ``youtube``:
    3 classes, whose order no source states. Padding may come first; steps that are zero throughout
    are not valid. Text is left out: its training part does not exist in the published files.
    """
    path = data / ALIGNED_FILES[name]
    keys = [f"{kind}_{split}" for split in SPLITS for kind in (*FIELD_NAMES.values(), "y")]
    arrays = _arrays(path, keys)
    splits = {}
    for split in SPLITS:
        y = arrays[f"y_{split}"].astype(np.float32)
        streams = {}
        for modality, kind in FIELD_NAMES.items():
            values = arrays[f"{kind}_{split}"]
            width = arrays[f"{kind}_{TRAIN}"].shape[-1]
            if values.ndim != 3 or len(values) != len(y) or values.shape[2] != width:
                raise CorpusError(
                    f"{path}: '{kind}_{split}' has shape {values.shape}; "
                    f"expected ({len(y)}, T, {width})"
                )
            streams[modality] = observed(values)
        labels, extra = _labels(path, name, split, y, trait)
        ids = tuple(f"{name}/{split}/{row}" for row in range(len(y)))
        splits[split] = Split(ids, labels, None, streams["audio"], streams["vision"], extra)
    low, high = {"mmmo": (1.0, 5.0), "pom": (1.0, 7.0), "youtube": (0.0, 2.0)}[name]
    title = f"pom-{trait}" if name == "pom" else name
    return SequenceData(title, splits, low, high, CLASSES if name == "youtube" else 0)


def _labels(
    path: Path, name: str, split: str, y: np.ndarray, trait: int
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    columns = {"mmmo": 1, "pom": TRAITS, "youtube": CLASSES}[name]
    if y.reshape(len(y), -1).shape[1] != columns:
        raise CorpusError(
            f"{path}: 'y_{split}' has shape {y.shape}; expected ({len(y)}, {columns})"
        )
    if name == "youtube":
        return y.argmax(1).astype(np.float32), {}
    if name == "mmmo":
        return y.reshape(-1), {}
    if not 0 <= trait < TRAITS:
        raise CorpusError(f"{path}: trait {trait}; expected 0 to {TRAITS - 1}")
    return y[:, trait].copy(), {f"trait{i}": y[:, i].copy() for i in range(TRAITS)}


def sims_text(
    data: Path, version: str = "sims", language: Literal["zh", "en"] = "zh"
) -> SequenceData:
    """Transcripts of CH-SIMS (``sims``, 1368/456/457) or CH-SIMS v2 (``simsv2``), labels -1..1.

    ``zh`` is as spoken, ``en`` a machine's translation. Labels are those of all modalities together.
    """
    path = data / SIMS_FILES[version]
    found = list(rows(path, ("id", f"text_{language}", "label", "split")))
    name = f"{version}-text-{language}"
    return _texts(name, found, f"text_{language}", "split", "label", (-1.0, 1.0), as_spoken=False)


def emobank(data: Path) -> SequenceData:
    """EmoBank, 10,062 sentences: valence 1..5 as label; arousal and dominance in ``extra``.

    Buechel and Hahn 2017; the official split.
    """
    found = list(rows(data / EMOBANK_FILE, ("id", "split", "V", "A", "D", "text")))
    for row in found:
        row["split"] = VALID if row["split"] == "dev" else row["split"]
    further = {"A": "arousal", "D": "dominance"}
    scale = (1.0, 5.0)
    return _texts("emobank", found, "text", "split", "V", scale, further, as_spoken=False)


def spoken(data: Path, name: str) -> SequenceData:
    """``sst``, ``vader``, ``meld`` or ``ratings`` as :mod:`model.corpora.text` reads them, -3..3.

    MELD has no test part; that of VADER are the film snippets of the Treebank's test.
    """
    samples = {
        "sst": corpora_text.sst, "vader": corpora_text.vader, "meld": corpora_text.meld,
        "ratings": corpora_text.ratings,
    }  # fmt: skip
    splits = {}
    read = samples[name](data)
    for part in SPLITS:
        own = corpora_text.part(read, part)
        if own:
            ids = tuple(f"{name}/{part}/{row}" for row in range(len(own)))
            labels = np.array([sample.label for sample in own], np.float32)
            splits[part] = Split(ids, labels, Text(tuple(sample.text for sample in own)))
    return SequenceData(f"{name}-text", splits)


def _texts(
    name: str,
    found: Sequence[Mapping[str, str]],
    text: str,
    split: str,
    label: str,
    scale: tuple[float, float],
    further: Mapping[str, str] | None = None,
    as_spoken: bool = True,
) -> SequenceData:
    splits = {}
    for part in SPLITS:
        own = [row for row in found if row[split] == part]
        extra = {
            title: np.array([float(row[column]) for row in own], np.float32)
            for column, title in (further or {}).items()
        }
        splits[part] = Split(
            tuple(row["id"] for row in own),
            np.array([float(row[label]) for row in own], np.float32),
            Text(tuple(plain(row[text]) if as_spoken else row[text] for row in own)),
            extra=extra,
        )
    return SequenceData(name, splits, *scale)


def _arrays(path: Path, keys: Sequence[str]) -> dict[str, np.ndarray]:
    if not path.is_file():
        raise CorpusError(f"{path}: no such file; --data names the folder of the corpora")
    try:
        arrays = load_arrays(path)
    except (ValueError, OSError, EOFError) as error:
        raise CorpusError(f"{path}: cannot be read as npz: {error}") from error
    for key in keys:
        if key not in arrays:
            raise CorpusError(f"{path}: expected the key '{key}'; found {', '.join(arrays)}")
    return arrays


def _neighbours(videos: np.ndarray, clips: Sequence[int], context: int) -> np.ndarray:
    """``(N, 2 * context + 1)`` rows of the utterances around each, -1 where the video has none."""
    order = sorted(range(len(videos)), key=lambda row: (videos[row], clips[row]))
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    found = np.full((len(videos), 2 * context + 1), -1, np.int64)
    for offset in range(-context, context + 1):
        other = place + offset
        there = (other >= 0) & (other < len(order))
        row = np.asarray(order)[np.clip(other, 0, len(order) - 1)]
        there &= videos[row] == videos
        found[there, offset + context] = row[there]
    return found


def _around(values: np.ndarray, neighbours: np.ndarray) -> Stream:
    valid = neighbours >= 0
    shown = np.where(valid[..., None], values[np.maximum(neighbours, 0)], 0)
    return Stream(shown.astype(np.float32), valid, valid)


def _held_out(videos: Sequence[str]) -> list[str]:
    """Every sixth of the videos, in an order that says nothing about them."""
    shuffled = sorted(videos, key=lambda video: hashlib.sha256(video.encode()).digest())
    return shuffled[::HELD_OUT_IN]

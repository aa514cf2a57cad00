"""Writes feature files of the MMSA format: what :mod:`model.data.mmsa` reads, the other way.

For tools of the field that read nothing else, so that they see the same samples as the networks here.
The format knows neither which steps were taken away (they are zero) nor classes (they are written as
numbers), and has one label scale for all but CH-SIMS, to which labels are moved.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any, Final

import numpy as np

from features.errors import CorpusError
from model.data.mmsa import FURTHER, LABELS, SPLITS
from model.data.splits import SequenceData, Split

ANNOTATIONS: Final = ("Negative", "Neutral", "Positive")
PROTOCOL: Final = 4
OF_MODALITY: Final = {name: key for key, name in FURTHER.items() if name != "class"}


def write(data: SequenceData, path: Path) -> None:
    """Write a data set as one pickle of arrays, lists and strings.

    Labels become -3..3, or stay -1..1 where there are CH-SIMS's labels of each modality too. A
    modality that the data set lacks becomes zeros of width 1, which readers take for missing. Raises
    :class:`CorpusError` where a split is missing and for words without any features.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = path.with_name(f"{path.name}.part")
    whole.write_bytes(pickle.dumps(tree(data), PROTOCOL))
    whole.replace(path)


def tree(data: SequenceData) -> dict[str, dict[str, Any]]:
    """The content of such a file, by split and key."""
    missing = [name for name in SPLITS if name not in data.splits]
    if missing:
        raise CorpusError(
            f"{data.name} has no '{missing[0]}' split; the MMSA format needs all three"
        )
    if not data.widths:
        raise CorpusError(f"{data.name} has words only; the MMSA format needs features")
    if not data.classes and not _as_sims(data):
        data = data.on_scale(-3.0, 3.0)
    return {name: part(data.splits[name], data) for name in SPLITS}


def _as_sims(data: SequenceData) -> bool:
    own = data.splits[SPLITS[0]].extra
    return (data.low, data.high) == (-1.0, 1.0) and all(name in own for name in OF_MODALITY)


def part(split: Split, data: SequenceData) -> dict[str, Any]:
    """One split of such a file; ``data`` tells what its labels are."""
    signs = split.labels if data.classes else np.sign(split.labels) + 1
    classes = split.extra.get("class", signs.astype(np.float32))
    named = not data.classes or data.classes == len(ANNOTATIONS)
    made: dict[str, Any] = {
        "id": list(split.ids),
        LABELS: split.labels,
        "classification_labels": classes,
        "annotations": [ANNOTATIONS[int(sign)] if named else str(int(sign)) for sign in signs],
        **_text(split),
    }
    steps = max(stream.values.shape[1] for stream in split.streams.values())
    for modality in ("text", "audio", "vision"):
        stream = split.streams.get(modality)
        empty = np.zeros((len(split), steps, 1), np.float32)
        made[modality] = empty if stream is None else stream.values
        if modality != "text":
            none = np.zeros(len(split), np.int64)
            made[f"{modality}_lengths"] = (none if stream is None else stream.lengths).tolist()
    if _as_sims(data):
        made |= {key: split.extra[name] for name, key in OF_MODALITY.items()}
    return made


def _text(split: Split) -> dict[str, Any]:
    """Words (empty where unknown, for tools that ask for them) and BERT's ids, mask and segments."""
    words = split.text.raw if split.text is not None else None
    made: dict[str, Any] = {"raw_text": np.array(words or [""] * len(split), dtype=np.str_)}
    tokens = split.text.tokens if split.text is not None else None
    if tokens is not None:
        segments = np.zeros_like(tokens.ids)
        made["text_bert"] = np.stack([tokens.ids, tokens.valid, segments], 1).astype(np.float32)
    return made

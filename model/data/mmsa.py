"""Reads feature files of the MMSA format: ``aligned_50.pkl``, ``unaligned_50.pkl``, ``unaligned_39.pkl``.

A pickle of ``{"train": {...}, "valid": {...}, "test": {...}}`` (Yu et al. 2020; github thuiar/MMSA),
with, per split of N samples:

``regression_labels``      ``(N,)``, -3..3 (MOSI, MOSEI) or -1..1 (CH-SIMS)
``audio``, ``vision``      ``(N, T, D)``, zero where padded
``audio_lengths``, ``vision_lengths``  N integers, in unaligned files
``text_bert``              ``(N, 3, T)``: BERT ids, mask, segments; or
``text``                   ``(N, T, D)`` features
``raw_text``, ``id``       N strings
``classification_labels``, and for CH-SIMS ``regression_labels_T``, ``_A``, ``_V``
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from features.errors import CorpusError
from model.data import pickles
from model.data.splits import TEST, TRAIN, VALID, SequenceData, Split
from model.data.streams import Stream, Text, Tokens, observed, tokens_of

SPLITS: Final = (TRAIN, VALID, TEST)
LABELS: Final = "regression_labels"
FURTHER: Final = {
    "classification_labels": "class",
    "regression_labels_T": "text",
    "regression_labels_A": "audio",
    "regression_labels_V": "vision",
}
BERT_UNKNOWN: Final = 100  # [UNK] of bert-base-uncased and bert-base-chinese alike
BERT_IDS: Final = 30_522  # the larger of the two vocabularies


def parse(path: Path) -> SequenceData:
    """All splits of a file of this format, as they are; features may hold NaN and infinities.

    Raises :class:`CorpusError` that says which key or shape was expected and what was found.
    """
    tree = pickles.load(path)
    if not isinstance(tree, dict) or not set(SPLITS) <= set(tree):
        raise CorpusError(f"{path}: expected the keys {_list(SPLITS)}; found {_keys(tree)}")
    counts: dict[str, int] = {}
    splits = {name: _Part(f"{path}: {name}", tree[name], counts, name).split() for name in SPLITS}
    _agree(path, splits)
    sims = any("text" in split.extra for split in splits.values())
    low, high = (-1.0, 1.0) if sims else (-3.0, 3.0)
    for name, split in splits.items():
        if len(split) and not (low <= split.labels.min() and split.labels.max() <= high):
            raise CorpusError(
                f"{path}: {name}: '{LABELS}' lie in {split.labels.min():g}..{split.labels.max():g}; "
                f"expected {low:g}..{high:g}"
            )
    return SequenceData(path.stem, splits, low, high, counts=counts)


class _Part:
    """One split: its arrays by key, checked as they are taken."""

    def __init__(self, where: str, part: Any, counts: dict[str, int], name: str) -> None:
        self.where, self.counts, self.name = where, counts, name
        if not isinstance(part, dict):
            raise CorpusError(f"{where}: expected a dictionary; found {type(part).__name__}")
        self.part: Mapping[str, Any] = part
        self.labels = self._numbers(LABELS)

    def split(self) -> Split:
        further = {own: self._numbers(key) for key, own in FURTHER.items() if key in self.part}
        return Split(
            ids=self._ids(),
            labels=self.labels,
            text=self._text(),
            audio=self._stream("audio", "audio_lengths"),
            vision=self._stream("vision", "vision_lengths"),
            extra=further,
        )

    def _take(self, key: str) -> Any:
        if key not in self.part:
            raise CorpusError(f"{self.where}: expected the key '{key}'; found {_keys(self.part)}")
        return self.part[key]

    def _numbers(self, key: str) -> np.ndarray:
        try:
            values = np.asarray(self._take(key), dtype=np.float32)
        except (TypeError, ValueError) as error:
            raise CorpusError(f"{self.where}: '{key}' does not hold numbers") from error
        flat = values.reshape(-1) if values.ndim == 2 and values.shape[1] == 1 else values
        expected = len(getattr(self, "labels", flat))
        if flat.shape != (expected,):
            raise CorpusError(
                f"{self.where}: '{key}' has shape {values.shape}; expected ({expected},)"
            )
        if not np.isfinite(flat).all():
            raise CorpusError(f"{self.where}: '{key}' holds labels that are no numbers")
        return flat

    def _array(self, key: str, shape: str) -> np.ndarray:
        """A numeric array of N samples and three axes; ``shape`` names them for people."""
        values = self._take(key)
        if not isinstance(values, np.ndarray) or values.dtype.kind not in "fiub":
            kind = getattr(values, "dtype", type(values).__name__)
            raise CorpusError(f"{self.where}: '{key}' is {kind}; expected an array of numbers")
        if values.ndim != 3 or len(values) != len(self.labels):
            expected = shape.replace("N", str(len(self.labels)))
            raise CorpusError(
                f"{self.where}: '{key}' has shape {values.shape}; expected {expected}"
            )
        return values

    def _stream(self, key: str, lengths_key: str) -> Stream:
        values = self._array(key, "(N, T, D)")
        lengths = self._lengths(lengths_key, values.shape[1])
        stream = observed(values, lengths)
        if lengths is not None:
            self._count(key, "blank_steps", int(lengths.sum()) - int(stream.valid.sum()))
            self._count(key, "beyond_length", int(np.any(values != 0, axis=2).sum())
                        - int(stream.valid.sum()))  # fmt: skip
        return stream

    def _lengths(self, key: str, steps: int) -> np.ndarray | None:
        if key not in self.part:
            return None
        lengths = self._numbers(key).astype(np.int64)
        wrong = np.flatnonzero((lengths < 0) | (lengths > steps))
        if len(wrong):
            row = int(wrong[0])
            raise CorpusError(
                f"{self.where}: '{key}' says {lengths[row]} for sample {row}; "
                f"expected 0 to {steps}, the steps there are"
            )
        return lengths

    def _count(self, key: str, what: str, number: int) -> None:
        if number > 0:
            self.counts[f"{self.name}.{key}.{what}"] = number

    def _text(self) -> Text:
        raw = self._strings("raw_text") if "raw_text" in self.part else None
        tokens = self._tokens() if "text_bert" in self.part else None
        features = observed(self._array("text", "(N, T, D)")) if "text" in self.part else None
        if raw is None and tokens is None and features is None:
            raise CorpusError(
                f"{self.where}: expected one of the keys 'text_bert', 'text', 'raw_text'; "
                f"found {_keys(self.part)}"
            )
        return Text(raw, tokens, features)

    def _tokens(self) -> Tokens:
        bert = self._array("text_bert", "(N, 3, T)")
        if bert.shape[1] != 3:
            raise CorpusError(
                f"{self.where}: 'text_bert' has shape {bert.shape}; "
                f"expected ({len(self.labels)}, 3, T): ids, mask and segments"
            )
        ids, valid = bert[:, 0].astype(np.int64), bert[:, 1] > 0.5
        if ids.size and (ids.min() < 0 or ids.max() >= BERT_IDS):
            raise CorpusError(
                f"{self.where}: 'text_bert' has ids from {ids.min()} to {ids.max()}; "
                f"expected 0 to {BERT_IDS - 1}"
            )
        return tokens_of(ids, valid, BERT_UNKNOWN)

    def _ids(self) -> tuple[str, ...]:
        if "id" not in self.part:
            return tuple(f"{self.name}/{row}" for row in range(len(self.labels)))
        return self._strings("id")

    def _strings(self, key: str) -> tuple[str, ...]:
        found = self._take(key)
        items = found.tolist() if isinstance(found, np.ndarray) else found
        if not isinstance(items, list | tuple) or len(items) != len(self.labels):
            size = len(items) if isinstance(items, list | tuple) else type(items).__name__
            raise CorpusError(
                f"{self.where}: '{key}' has {size} entries; expected {len(self.labels)}"
            )
        return tuple(spelled(item) for item in items)


def spelled(item: object) -> str:
    """A string of a pickle, whatever wrote it."""
    return item.decode("utf-8", "replace") if isinstance(item, bytes) else str(item)


def _agree(path: Path, splits: Mapping[str, Split]) -> None:
    """All splits have features of one width."""
    for modality, stream in splits[TRAIN].streams.items():
        for name, split in splits.items():
            other = split.streams.get(modality)
            if other is None or other.width != stream.width:
                found = "none" if other is None else other.width
                raise CorpusError(
                    f"{path}: {name}: '{modality}' has width {found}; expected {stream.width}, "
                    f"as in '{TRAIN}'"
                )


def _keys(item: Any) -> str:
    if not isinstance(item, dict):
        return f"a {type(item).__name__}"
    return _list([str(key)[:40] for key in list(item)[:20]]) or "none"


def _list(names: Any) -> str:
    return ", ".join(f"'{name}'" for name in names)

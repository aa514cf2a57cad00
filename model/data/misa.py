"""Reads the folders of MISA and RTIL: ``train.pkl``, ``dev.pkl``, ``test.pkl``, word-aligned.

Each is a list of ``((word_ids, visual, acoustic, words), label, segment)`` (Hazarika et al. 2020;
github declare-lab/MISA): ``visual (T, D)`` and ``acoustic (T, D)`` at the T words, which the writer
already scaled within each utterance; ``label (1, 1)``, or ``(1, 7)`` for MOSEI with the sentiment
first and six emotions after it. ``word_ids`` point into a GloVe table of another file and are not read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from features.errors import CorpusError
from model.data import pickles
from model.data.mmsa import spelled
from model.data.splits import TEST, TRAIN, VALID, SequenceData, Split
from model.data.streams import Stream, Text

FILES: Final = {TRAIN: "train.pkl", VALID: "dev.pkl", TEST: "test.pkl"}
EMOTIONS: Final = ("happy", "sad", "anger", "surprise", "disgust", "fear")  # of CMU-MOSEI
FORM: Final = "((word_ids, visual, acoustic, words), label, segment)"


@dataclass(frozen=True, slots=True)
class _Sample:
    vision: np.ndarray
    audio: np.ndarray
    words: str
    label: np.ndarray
    segment: str


def found(folder: Path) -> bool:
    """Whether this is a folder of this format."""
    return all((folder / name).is_file() for name in FILES.values())


def parse(folder: Path) -> SequenceData:
    """All splits of a folder; features may hold NaN and infinities.

    Labels are -3..3, or classes where all of them are 0 or 1 (UR_FUNNY). Raises
    :class:`CorpusError` that says which sample is not as expected and what was found.
    """
    samples = {name: _samples(folder / file) for name, file in FILES.items()}
    widths = tuple(part.shape[1] for part in _pair(samples[TRAIN][0]))
    for name, own in samples.items():
        for row, sample in enumerate(own):
            sizes = tuple(part.shape[1] for part in _pair(sample))
            if sizes != widths:
                raise CorpusError(
                    f"{folder / FILES[name]}: sample {row}: visual and acoustic have widths "
                    f"{sizes}; expected {widths}, as in {FILES[TRAIN]}"
                )
    splits = {name: _split(own) for name, own in samples.items()}
    labels = np.concatenate([split.labels for split in splits.values()])
    if labels.min() < -3 or labels.max() > 3:
        raise CorpusError(
            f"{folder}: labels lie in {labels.min():g}..{labels.max():g}; expected -3..3"
        )
    classes = 2 if set(np.unique(labels).tolist()) <= {0.0, 1.0} else 0
    return SequenceData(folder.name, splits, classes=classes)


def _pair(sample: _Sample) -> tuple[np.ndarray, np.ndarray]:
    return sample.vision, sample.audio


def _samples(path: Path) -> list[_Sample]:
    items = pickles.load(path)
    if not isinstance(items, list) or not items:
        raise CorpusError(f"{path}: expected a list of {FORM}; found {_shape(items)}")
    samples = [_sample(f"{path}: sample {row}", item) for row, item in enumerate(items)]
    for row, sample in enumerate(samples):
        if sample.label.size != samples[0].label.size:
            raise CorpusError(
                f"{path}: sample {row}: a label of {sample.label.size} numbers; "
                f"expected {samples[0].label.size}, as in sample 0"
            )
    return samples


def _sample(where: str, item: Any) -> _Sample:
    if not isinstance(item, tuple | list) or len(item) != 3 or not _features_like(item[0]):
        raise CorpusError(f"{where}: expected {FORM}; found {_shape(item)}")
    (_, visual, acoustic, words), label, segment = item
    vision, audio = _steps(where, "visual", visual), _steps(where, "acoustic", acoustic)
    if not len(vision) == len(audio) == len(words):
        raise CorpusError(
            f"{where}: {len(words)} words, {len(vision)} visual and {len(audio)} acoustic steps; "
            "expected as many of each"
        )
    try:
        numbers = np.asarray(label, dtype=np.float32).reshape(-1)
    except (TypeError, ValueError) as error:
        raise CorpusError(f"{where}: the label does not hold numbers") from error
    if numbers.size not in (1, 7) or not np.isfinite(numbers).all():
        raise CorpusError(f"{where}: a label of {numbers.size} numbers; expected 1, or 7 for MOSEI")
    return _Sample(
        vision, audio, " ".join(spelled(word) for word in words), numbers, spelled(segment)
    )


def _features_like(item: Any) -> bool:
    return (
        isinstance(item, tuple | list)
        and len(item) == 4
        and isinstance(item[3], tuple | list | np.ndarray)
    )


def _steps(where: str, name: str, values: Any) -> np.ndarray:
    array = values if isinstance(values, np.ndarray) else np.zeros(0, object)
    if array.ndim != 2 or array.dtype.kind not in "fiu":
        raise CorpusError(f"{where}: {name} is {_shape(values)}; expected numbers (T, D)")
    return array


def _split(samples: Sequence[_Sample]) -> Split:
    labels = np.stack([sample.label for sample in samples])
    extra = dict(zip(EMOTIONS, labels.T[1:].copy(), strict=False))
    return Split(
        ids=tuple(sample.segment for sample in samples),
        labels=labels[:, 0].copy(),
        text=Text(raw=tuple(sample.words for sample in samples)),
        audio=padded([sample.audio for sample in samples]),
        vision=padded([sample.vision for sample in samples]),
        extra=extra,
    )


def padded(sequences: Sequence[np.ndarray]) -> Stream:
    """Sequences ``(T_n, D)`` of any lengths to one stream, padded at the end.

    Steps that the writer scaled may be zero and are data, so lengths alone say what is valid.
    """
    steps = max(1, *(len(own) for own in sequences))
    values = np.zeros((len(sequences), steps, sequences[0].shape[1]), np.float32)
    valid = np.zeros(values.shape[:2], bool)
    for row, own in enumerate(sequences):
        with np.errstate(over="ignore"):
            values[row, : len(own)] = own
        valid[row, : len(own)] = True
    return Stream(values, valid, valid)


def _shape(item: Any) -> str:
    if isinstance(item, np.ndarray):
        return f"an array {item.shape} of {item.dtype}"
    size = f" of {len(item)}" if isinstance(item, tuple | list | dict) else ""
    return f"a {type(item).__name__}{size}"

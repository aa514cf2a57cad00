"""Brings features to one scale by what the training split knows, and mends what is not a number.

Research files hold NaN and infinities (COVAREP's logarithms of silence). They are counted and become
zero *after* scaling, which is the training mean; without scaling they become zero, as in MMSA.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Final, Literal

import numpy as np

from model.data.splits import TRAIN, Moments, SequenceData, Split
from model.data.streams import Stream

Scaling = Literal["none", "train", "utterance"]
SCALINGS: Final[tuple[Scaling, ...]] = ("none", "train", "utterance")
BLOCK: Final = 256  # samples at a time, in double precision
CONSTANT: Final = 1e-6  # a feature that deviates less says nothing

_log = logging.getLogger(__name__)


def scaled(
    data: SequenceData, scaling: Scaling = "none", moments: Mapping[str, Moments] | None = None
) -> SequenceData:
    """The same data, finite throughout.

    ``none`` leaves features as they are (MMSA); ``train`` gives each one zero mean and unit deviation
    by the training split's known steps (EMT-DLFR and MITR-DNet on CH-SIMS), or by ``moments`` where
    they are given (a checkpoint's); ``utterance`` does so within each sample (MISA, RTIL).
    ``counts`` then says, by ``SPLIT.MODALITY``, how many known values were no numbers.
    """
    if scaling == "train" and moments is None:
        moments = {name: moments_of(stream) for name, stream in data.splits[TRAIN].streams.items()}
    counts = dict(data.counts)
    splits = {}
    for name, split in data.splits.items():
        for modality, stream in split.streams.items():
            odd = int((~np.isfinite(stream.values[stream.known])).sum())
            if odd:
                counts[f"{name}.{modality}.not_finite"] = odd
                _log.warning("%s: %d values of %s in %s are no numbers and were set to the mean or 0",
                             data.name, odd, modality, name)  # fmt: skip
        splits[name] = _split(split, scaling, moments or {})
    used = dict(moments or {}) if scaling == "train" else {}
    return replace(data, splits=splits, counts=counts, moments=used)


def _split(split: Split, scaling: Scaling, moments: Mapping[str, Moments]) -> Split:
    done = {}
    for modality, stream in split.streams.items():
        if scaling == "utterance":
            done[modality] = by_utterance(stream)
        elif scaling == "train":
            done[modality] = by_moments(stream, moments[modality])
        else:
            done[modality] = _as_they_are(stream)
    return split.with_streams(done)


def moments_of(stream: Stream) -> Moments:
    """Mean and deviation of each feature over the known steps, leaving out what is no number.

    A feature that does not vary, or is never known, gets deviation 1.
    """
    total = np.zeros(stream.width)
    count = np.zeros(stream.width)
    for values, number in _blocks(stream):
        total += values.sum((0, 1))
        count += number.sum((0, 1))
    mean = total / np.maximum(count, 1)
    squares = np.zeros(stream.width)
    for values, number in _blocks(stream):
        squares += np.square(np.where(number, values - mean, 0)).sum((0, 1))
    deviation = np.sqrt(squares / np.maximum(count, 1))
    return Moments(mean, np.where(deviation > CONSTANT, deviation, 1.0))


def by_moments(stream: Stream, moments: Moments) -> Stream:
    """``(values - mean) / deviation`` where known; raises ValueError for another width."""
    if stream.width != len(moments.mean):
        raise ValueError(f"{stream.width} features, but moments of {len(moments.mean)}")
    made = np.zeros_like(stream.values)
    for start, (values, number) in zip(_starts(stream), _blocks(stream), strict=True):
        done = np.where(number, (values - moments.mean) / moments.deviation, 0)
        made[start : start + BLOCK] = done
    return Stream(made, stream.valid, stream.known)


def by_utterance(stream: Stream) -> Stream:
    """Zero mean and unit deviation within each sample's known steps."""
    made = np.zeros_like(stream.values)
    for start, (values, number) in zip(_starts(stream), _blocks(stream), strict=True):
        count = np.maximum(number.sum(1, keepdims=True), 1)
        mean = values.sum(1, keepdims=True) / count
        spread = np.where(number, values - mean, 0)
        deviation = np.sqrt(np.square(spread).sum(1, keepdims=True) / count)
        made[start : start + BLOCK] = spread / np.where(deviation > CONSTANT, deviation, 1.0)
    return Stream(made, stream.valid, stream.known)


def _as_they_are(stream: Stream) -> Stream:
    sound = stream.known[..., None] & np.isfinite(stream.values)
    return Stream(np.where(sound, stream.values, np.float32(0)), stream.valid, stream.known)


def _starts(stream: Stream) -> range:
    return range(0, len(stream), BLOCK)


def _blocks(stream: Stream) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Samples in blocks, ``(n, T, D) float64``, and which values are known numbers; others are 0."""
    for start in _starts(stream):
        values = stream.values[start : start + BLOCK].astype(np.float64)
        number = stream.known[start : start + BLOCK, :, None] & np.isfinite(values)
        yield np.where(number, values, 0), number

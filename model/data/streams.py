"""Sequences with explicit masks: features in time, tokens, and the forms of a text.

Two masks go with each sequence, both ``(N, T) bool``: ``valid`` is where the sample has a step at all
(not padding), ``known`` is where that step is given to a network. Readers give ``known = valid``;
a protocol of missing data takes away from ``known`` only. Values where nothing is known are zero and
never to be read.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True, slots=True, eq=False)
class Stream:
    """Features in time: ``values (N, T, D) float32``, ``valid (N, T) bool``, ``known (N, T) bool``."""

    values: np.ndarray
    valid: np.ndarray
    known: np.ndarray

    def __post_init__(self) -> None:
        if self.values.ndim != 3 or self.values.dtype != np.float32:
            raise ValueError(f"values are {self.values.dtype} {self.values.shape}, not float32 NTD")
        _check_masks(self.valid, self.known, self.values.shape[:2])

    def __len__(self) -> int:
        return len(self.values)

    @property
    def width(self) -> int:
        """Features of one step."""
        return int(self.values.shape[2])

    @property
    def lengths(self) -> np.ndarray:
        """``(N,) int64``: the last valid step, counted from 1; 0 where there is none."""
        return lengths_of(self.valid)

    @property
    def missing(self) -> np.ndarray:
        """``(N, T) bool``: there is such a step, and it was taken away."""
        return np.asarray(self.valid & ~self.known)

    def select(self, rows: np.ndarray) -> Stream:
        """The samples of the given rows, which may repeat."""
        return Stream(self.values[rows], self.valid[rows], self.known[rows])

    def keep(self, known: np.ndarray) -> Stream:
        """The same sequence with less known: ``known (N, T) bool``; the rest becomes zero."""
        still = self.known & known
        return Stream(np.where(still[..., None], self.values, np.float32(0)), self.valid, still)


@dataclass(frozen=True, slots=True, eq=False)
class Tokens:
    """Words as a tokenizer's ids: ``ids (N, T) int64`` and three masks ``(N, T) bool``.

    ``fixed`` marks what carries no word ([CLS] and [SEP]); ``unknown`` is the id of [UNK].
    """

    ids: np.ndarray
    valid: np.ndarray
    known: np.ndarray
    fixed: np.ndarray
    unknown: int

    def __post_init__(self) -> None:
        _check_masks(self.valid, self.known, self.ids.shape)
        if self.fixed.shape != self.ids.shape:
            raise ValueError(f"fixed {self.fixed.shape} does not fit ids {self.ids.shape}")

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def lengths(self) -> np.ndarray:
        """``(N,) int64``, with the fixed tokens."""
        return lengths_of(self.valid)

    @property
    def missing(self) -> np.ndarray:
        """``(N, T) bool``: a token that was replaced by [UNK]."""
        return np.asarray(self.valid & ~self.known)

    def select(self, rows: np.ndarray) -> Tokens:
        """The samples of the given rows, which may repeat."""
        masks = (self.valid[rows], self.known[rows], self.fixed[rows])
        return Tokens(self.ids[rows], *masks, self.unknown)

    def keep(self, known: np.ndarray) -> Tokens:
        """The same text with fewer words known: the others become [UNK], fixed tokens stay."""
        still = self.known & (known | self.fixed)
        ids = np.where(self.valid & ~still, self.unknown, self.ids)
        return Tokens(ids, self.valid, still, self.fixed, self.unknown)

    def hide(self) -> Tokens:
        """No text at all: nothing is known, not even that it begins and ends."""
        nothing = self.keep(np.zeros_like(self.valid))
        return replace(nothing, known=np.zeros_like(self.valid))


@dataclass(frozen=True, slots=True, eq=False)
class Text:
    """What is known of the words, in one to three forms: as spoken, as tokens, as features."""

    raw: tuple[str, ...] | None = None
    tokens: Tokens | None = None
    features: Stream | None = None

    def __post_init__(self) -> None:
        if len({len(form) for form in self._forms()}) != 1:
            raise ValueError("the forms of a text are not of one number of samples")

    def _forms(self) -> list[Tokens | Stream | tuple[str, ...]]:
        return [form for form in (self.raw, self.tokens, self.features) if form is not None]

    def __len__(self) -> int:
        return len(self._forms()[0])

    @property
    def sequence(self) -> Tokens | Stream | None:
        """The form that has steps: tokens where there are any, else features, else nothing."""
        return self.tokens if self.tokens is not None else self.features

    def select(self, rows: np.ndarray) -> Text:
        """The samples of the given rows, which may repeat."""
        return Text(
            None if self.raw is None else tuple(self.raw[row] for row in rows.tolist()),
            None if self.tokens is None else self.tokens.select(rows),
            None if self.features is None else self.features.select(rows),
        )


def tokens_of(ids: np.ndarray, valid: np.ndarray, unknown: int) -> Tokens:
    """Tokens ``(N, T)`` as BERT's tokenizer gives them, all known, with [UNK]'s id.

    The first and the last valid one of a sample, [CLS] and [SEP], carry no word.
    """
    places = np.arange(valid.shape[1])[None]
    last = np.where(valid, places, -1).max(1, initial=-1)
    first = np.where(valid, places, valid.shape[1]).min(1, initial=valid.shape[1])
    fixed = valid & ((places == first[:, None]) | (places == last[:, None]))
    return Tokens(ids.astype(np.int64), valid, valid, fixed, unknown)


def lengths_of(valid: np.ndarray) -> np.ndarray:
    """``(N, T) bool`` to ``(N,) int64``: one after the last true step; 0 where none is."""
    last = valid.shape[1] - np.argmax(valid[:, ::-1], axis=1)
    return np.where(valid.any(1), last, 0).astype(np.int64)


def observed(values: np.ndarray, lengths: np.ndarray | None = None) -> Stream:
    """Features ``(N, T, D)`` with the mask that follows from them, all of it known.

    A step is valid where it lies before its sample's length, if lengths are known, and is not zero
    throughout: extractors of the field write zeros where they found nobody, and padding is zero too.
    """
    valid = np.asarray(np.any(values != 0, axis=2))
    if lengths is not None:
        valid &= np.arange(values.shape[1])[None] < lengths[:, None]
    with np.errstate(over="ignore"):
        shown = np.where(valid[..., None], values, 0).astype(np.float32)
    return Stream(shown, valid, valid)


def _check_masks(valid: np.ndarray, known: np.ndarray, shape: tuple[int, ...]) -> None:
    for name, mask in (("valid", valid), ("known", known)):
        if mask.dtype != bool or mask.shape != shape:
            raise ValueError(f"{name} is {mask.dtype} {mask.shape}, not bool {shape}")
    if bool((known & ~valid).any()):
        raise ValueError("a step is known that is not valid")

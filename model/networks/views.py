"""What a network of sequences takes and gives: three modalities with masks, one contract for all.

The order of the modalities is text, voice (audio), face (vision). Two masks must not be confused:
``valid`` says where the recording has a step at all (the rest is padding), ``known`` which of these
steps a network is shown (the rest is lost).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import torch
from torch import Tensor

from features.errors import FeatureError
from model.data.splits import MODALITIES

Tensors: TypeAlias = tuple[Tensor, Tensor, Tensor]
Widths: TypeAlias = tuple[int, int, int]


@dataclass(frozen=True, slots=True, eq=False)
class SequenceBatch:
    """A batch of B samples: ``values`` per modality ``(B, T, D)``, ``valid`` ``(B, T) bool``.

    Text is token states or word vectors. The modalities may have different numbers of steps
    (unaligned) or the same (word-aligned), at least one. A sample without a modality has no valid
    step there.
    """

    values: Tensors
    valid: Tensors

    def __len__(self) -> int:
        return len(self.values[0])

    @property
    def widths(self) -> Widths:
        """Columns of each modality."""
        text, voice, face = (value.shape[-1] for value in self.values)
        return text, voice, face

    def select(self, rows: Tensor | slice) -> SequenceBatch:
        """The given samples, which may repeat."""
        return SequenceBatch(
            three(v[rows] for v in self.values), three(m[rows] for m in self.valid)
        )

    def to(self, device: torch.device | str) -> SequenceBatch:
        """The same batch on another device."""
        return SequenceBatch(
            three(v.to(device) for v in self.values), three(m.to(device) for m in self.valid)
        )

    def known_of(self, present: Tensor) -> Tensors:
        """The steps that are known when only the modalities in ``present (B, 3) bool`` are there."""
        return three(mask & present[:, m : m + 1] for m, mask in enumerate(self.valid))


def batch_of(parts: Sequence[tuple[Tensor, Tensor] | None], widths: Widths) -> SequenceBatch:
    """A batch from ``(values, valid)`` per modality; None where the data set has no such modality.

    One that is absent gets the steps of the first that is there, none of them valid, in the width
    that the network was made with (at least 1). Raises :class:`FeatureError` if all are None.
    """
    there = [part for part in parts if part is not None]
    if not there:
        raise FeatureError("samples without text, audio and vision: there is nothing to learn from")
    first, mask = there[0]
    filled = [
        (first.new_zeros(*mask.shape, width), torch.zeros_like(mask)) if part is None else part
        for part, width in zip(parts, widths, strict=True)
    ]
    return SequenceBatch(three(v for v, _ in filled), three(m for _, m in filled))


@dataclass(frozen=True, slots=True, eq=False)
class Representations:
    """What a network says and how it sees the samples, for losses and for distillation.

    Attributes:
        prediction: ``(B,)`` for a regression, ``(B, K)`` logits for K classes.
        fused: ``(B, R)``, what the prediction was made of.
        pooled: one vector per modality, ``(B, R)`` each.
        steps: the sequences before pooling, ``(B, T, R)`` each, at the batch's own steps.
    """

    prediction: Tensor
    fused: Tensor
    pooled: Tensors
    steps: Tensors


class SequenceNetwork(Protocol):
    """Any network here: a module that takes any subset of steps and modalities."""

    @property
    def widths(self) -> Widths:
        """Columns that each modality must have."""
        ...

    @property
    def representation(self) -> int:
        """R, the width of what :class:`Representations` holds."""
        ...

    def __call__(self, batch: SequenceBatch, known: Tensors | None = None) -> Representations:
        """The batch as seen through ``known`` (``(B, T) bool`` each), by default all of it."""
        ...


def seen(batch: SequenceBatch, known: Tensors | None, widths: Widths, steps: int) -> Tensors:
    """``known`` cut down to valid steps, after checking the batch against the network.

    Raises :class:`FeatureError` for widths and masks that do not fit and for more than ``steps``.
    """
    parts = zip(MODALITIES, batch.values, batch.valid, known or batch.valid, widths, strict=True)
    for name, value, valid, mask, width in parts:
        if value.ndim != 3 or value.shape[-1] != width or valid.shape != value.shape[:2]:
            raise FeatureError(
                f"{name} has shape {tuple(value.shape)} with a mask of {tuple(valid.shape)}; "
                f"the network expects (samples, steps, {width}) and (samples, steps)"
            )
        if mask.shape != valid.shape:
            raise FeatureError(
                f"the mask of what is known of {name} has shape {tuple(mask.shape)}, "
                f"its sequence {tuple(valid.shape)}"
            )
        if not 1 <= value.shape[1] <= steps:
            raise FeatureError(f"{name} has {value.shape[1]} steps; the network takes 1 to {steps}")
    if known is None:
        return batch.valid
    return three(mask & valid for mask, valid in zip(known, batch.valid, strict=True))


def three(tensors: Iterable[Tensor]) -> Tensors:
    """Exactly one tensor per modality."""
    text, voice, face = tensors
    return text, voice, face

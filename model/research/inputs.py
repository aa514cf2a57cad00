"""Splits of research data as networks take them: texts encoded once, parts lost as a plan says."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor

from features.errors import FeatureError
from model.data.protocols import SEEDS_A, Condition, Damage, training_b
from model.data.scaling import scaled
from model.data.splits import MODALITIES, Moments, SequenceData, Split
from model.data.streams import Text
from model.networks.views import SequenceBatch, Tensors, Widths, three
from model.research.network_input import labels_of, network_input, text_tokens
from model.research.presets import TrainingPlan
from model.research.text_inputs import encoder_name, encoder_sha256, one_text, with_tokens
from model.text.cache import cut, remembered
from model.text.encoder import Tokens
from model.text.states import TextStates
from model.text.tunable import TunableText

ENCODED: Final = 64  # texts that are encoded at a time


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """Samples, and which of their steps a network is shown.

    Where ``encoder`` is tuned, the text's values are what lies below the part that learns, until
    :meth:`encoded`.
    """

    batch: SequenceBatch
    known: Tensors
    encoder: TunableText | None = None

    def select(self, rows: Tensor, device: torch.device) -> Seen:
        """The samples of some rows on a device."""
        known = three(mask[rows].to(device) for mask in self.known)
        return Seen(self.batch.select(rows).to(device), known, self.encoder)

    def encoded(self) -> Seen:
        """With the encoder's states as text, as it is now; they carry its gradient."""
        if self.encoder is None:
            return self
        words, valid = self.batch.values[0], self.batch.valid[0]
        lower = words.float() if words.is_floating_point() else words
        states = self.encoder.upper(lower, valid).masked_fill(~valid.unsqueeze(-1), 0.0)
        others = (
            own.float() for own in self.batch.values[1:]
        )  # what is absent had the text's type
        values = three((states, *others))
        return Seen(SequenceBatch(values, self.batch.valid), self.known)

    def trimmed(self) -> Seen:
        """Without the steps that are padding in all samples; at least one step is left."""
        ends = [
            int(mask.any(0).nonzero().amax()) + 1 if mask.any() else 1 for mask in self.batch.valid
        ]
        values, valid = (
            three(own[:, :end] for own, end in zip(parts, ends, strict=True))
            for parts in (self.batch.values, self.batch.valid)
        )
        known = three(mask[:, :end] for mask, end in zip(self.known, ends, strict=True))
        return Seen(SequenceBatch(values, valid), known, self.encoder)


@dataclass(frozen=True, slots=True)
class LabelScale:
    """Labels ``low..high`` or classes, and the targets of a network: -3..3, or -1..1 as they are."""

    low: float
    high: float
    classes: int = 0

    def targets(self, split: Split) -> Tensor:
        """``(N,) float32`` on the network's scale, or ``(N,) int64``."""
        labels = labels_of(split, self.classes)
        return labels if self._same else (labels - self.low) * self._slope - 3.0

    def labels(self, predictions: np.ndarray) -> np.ndarray:
        """``(N,)`` or logits ``(N, K)`` to what the labels are."""
        if self.classes:
            return np.asarray(predictions.argmax(1))
        return predictions if self._same else (predictions + 3.0) / self._slope + self.low

    @property
    def outputs(self) -> int:
        """Numbers that a network has to give for a sample."""
        return self.classes or 1

    @property
    def _same(self) -> bool:
        return bool(self.classes) or (self.low, self.high) in ((-1.0, 1.0), (-3.0, 3.0))

    @property
    def _slope(self) -> float:
        return 6.0 / (self.high - self.low)


def scaled_for(
    data: SequenceData, plan: TrainingPlan, moments: Mapping[str, Moments] | None = None
) -> SequenceData:
    """The data on the plan's scale.

    Samples of a single step cannot be scaled within themselves: they would all become zero. They are
    scaled by the training split.
    """
    single = all(
        stream.values.shape[1] == 1
        for split in data.splits.values()
        for stream in split.streams.values()
    )
    scaling = "train" if plan.scaling == "utterance" and single else plan.scaling
    return scaled(data, scaling, moments)


def wants_encoder(data: SequenceData, choice: str) -> bool:
    """Whether texts are to be encoded; Chinese words, which the encoder does not know, are not.

    Raises :class:`FeatureError` for a choice that the data cannot fulfil.
    """
    split = next(iter(data.splits.values()))
    own = split.text
    words = own is not None and (own.raw is not None or own.tokens is not None)
    features = own is not None and own.features is not None
    if (choice == "encoder" and not words) or (choice == "features" and own and not features):
        wanted = "words or ids" if choice == "encoder" else "text features"
        raise FeatureError(f"{data.name} has no {wanted}; choose the other source of text")
    if choice != "auto":
        return choice == "encoder"
    return words and not (features and own is not None and _chinese(own))


def _chinese(own: Text) -> bool:
    return any("\u4e00" <= letter <= "\u9fff" for letter in "".join((own.raw or ())[:50]))


class Inputs:
    """Makes inputs of one data set; what an encoder says of texts is kept in memory.

    Args:
        data: the data set, scaled.
        encoder: of the text, or None where text is the file's own features.
        cache: folder where the states of whole texts are kept for other runs.
        bf16: encode in mixed precision.

    Attributes:
        data: the data set, its words as tokens where they are encoded.
        tuned: the encoder, where some of it learns.
        cache: as given.
    """

    def __init__(
        self,
        data: SequenceData,
        encoder: TextStates | None,
        cache: Path | None = None,
        bf16: bool = False,
    ) -> None:
        self.data = one_text(data) if encoder is None else with_tokens(data, encoder)
        self.encoder = encoder
        learns = isinstance(encoder, TunableText) and bool(encoder.learning())
        self.tuned = encoder if isinstance(encoder, TunableText) and learns else None
        self._device = _device_of(encoder)
        self.cache, self._bf16 = cache, bf16
        self._kept: dict[str, Seen] = {}

    @property
    def widths(self) -> Widths:
        """Columns of each modality; 1 where the data set has none."""
        found = dict(self.data.widths)
        if self.encoder is not None:
            found["text"] = self.encoder.width
        words, voice, face = (found.get(name, 1) for name in MODALITIES)
        return words, voice, face

    def complete(self, name: str) -> Seen:
        """A split as it is."""
        if name not in self._kept:
            self._kept[name] = self.see(self.data.splits[name], cache=self.cache)
        return self._kept[name]

    def lost(self, name: str, plan: TrainingPlan, seed: int, draw: int) -> Seen:
        """A split with parts lost as the plan has it, the same for the same draw."""
        key = f"{name} {seed} {draw}"
        if key not in self._kept:
            split = self.data.splits[name]
            self._kept[key] = self.see(damage(split, plan, seed, draw).apply(split))
        return self._kept[key]

    def see(self, split: Split, widths: Widths | None = None, cache: Path | None = None) -> Seen:
        """Samples as a network of these widths takes them; those of :attr:`data` by default."""
        encoded = self.encoder is not None and split.text is not None
        states = self._states(split, cache) if encoded else None
        batch, known = network_input(split, widths or self.widths, states)
        return Seen(batch, known, self.tuned if encoded else None)

    def _states(self, split: Split, cache: Path | None) -> Tensor:
        tokens = text_tokens(split)
        if self.tuned is None:
            called = f"{encoder_name(self.encoder)} {encoder_sha256(self.encoder)}"
        elif self.tuned.kept < 0:
            return tokens.ids.unsqueeze(-1)
        else:
            called = f"{self.tuned.sha256} below {self.tuned.kept}"
        called += " bf16" if self._bf16 else ""
        return remembered(cache, called, tokens, lambda: self._compute(tokens))

    @torch.no_grad()
    def _compute(self, tokens: Tokens) -> Tensor:
        """States ``(N, T, D)``, those below a tuned part in half precision."""
        assert self.encoder is not None
        encode = self.encoder if self.tuned is None else self.tuned.lower
        kind = torch.float32 if self.tuned is None else torch.float16
        states = torch.zeros(*tokens.ids.shape, self.encoder.width, dtype=kind)
        order = tokens.mask.sum(1).argsort(stable=True)
        for rows in blocks(order, ENCODED):
            part = cut(tokens, rows).to(self._device)
            with torch.autocast(self._device.type, torch.bfloat16, enabled=self._bf16):
                found = encode(part.ids, part.mask)
            found = found.masked_fill(~part.mask[..., None], 0.0)
            states[rows, : part.ids.shape[1]] = found.to("cpu", kind)
        return states


def _device_of(encoder: object) -> torch.device:
    if isinstance(encoder, torch.nn.Module):
        return next(encoder.parameters()).device
    return torch.device("cpu")


def blocks(rows: Tensor, size: int) -> list[Tensor]:
    """Rows in pieces of ``size``; the last one may be smaller."""
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def damage(split: Split, plan: TrainingPlan, seed: int, draw: int) -> Damage:
    """What a plan takes away. The published training draws the same masks for every seed."""
    if plan.losing == "mixed":
        return training_b(split, seed, draw)
    if plan.losing == "subsets":
        return _subsets(split, seed, draw)
    chance = np.random.default_rng([seed, draw])
    drawn = tuple(chance.integers(2**31, size=3).tolist())
    seeds = SEEDS_A if plan.draws == 1 else (drawn[0], drawn[1], drawn[2])
    return Condition("training", plan.rate, seeds).draw(split)


def _subsets(split: Split, seed: int, draw: int) -> Damage:
    """Each sample keeps a random part of its modalities, at least one."""
    chance = np.random.default_rng([seed, draw])
    present = split.present
    kept = present & (chance.random(present.shape) < 0.5)
    none = ~kept.any(1)
    kept[none] = present[none]
    sequences = (split.text.sequence if split.text else None, split.audio, split.vision)
    known = {
        name: sequence.valid & kept[:, m : m + 1]
        for m, (name, sequence) in enumerate(zip(MODALITIES, sequences, strict=True))
        if sequence is not None
    }
    return Damage(known)


def fingerprint(split: Split) -> str:
    """SHA-256 over the labels, words, ids and features of a split."""
    found = hashlib.sha256(split.labels.tobytes())
    if split.text is not None:
        found.update("\n".join(split.text.raw or ()).encode())
        if split.text.tokens is not None:
            found.update(split.text.tokens.ids.tobytes())
    for name, stream in sorted(split.streams.items()):
        found.update(f"{name} {stream.values.shape}".encode())
        found.update(np.ascontiguousarray(stream.values).tobytes())
        found.update(np.ascontiguousarray(stream.known).tobytes())
    return found.hexdigest()

"""Missing and noisy inputs as the literature tests them, named, seeded and told by masks.

A :class:`Condition` is one way to damage a split. It draws its masks for the whole split at once, so
that they depend on the seed and on nothing else: not on batches, workers or order. The masks are
small; :meth:`Damage.apply` uses them on any part of the split.

=====  =======================================  =========================================  ==========
name   conditions                               text, audio and vision                     summary
=====  =======================================  =========================================  ==========
A      TFR-Net, EMT-DLFR, MITR-DNet: one rate   each step by itself; three seeds; one      AUILC over
       for all, 0..1 (CH-SIMS 0...5)            model per rate, trained at that rate       the rates
B      LNLN: one rate for all, 0...9            each step by itself; one seed; one model   mean over
                                                for all, trained by :func:`training_b`     the rates
C      GCNet, DMD, CorrKD: every subset of      whole modalities                           mean over
       modalities                                                                          subsets
noise  RTIL: Gaussian noise, several            features only (tokens take none); the      each
       deviations                               masks stay
=====  =======================================  =========================================  ==========

A lost token becomes [UNK], except [CLS] and [SEP]; a lost frame becomes zero; both are ``valid`` and
not ``known``. A and B draw as the published code does, so that on the published files the masks are
the published ones (but for frames that are blank in the file, which are never known here).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from statistics import fmean
from typing import Final

import numpy as np

from features.errors import TonalityError
from model.data.splits import MODALITIES, SequenceData, Split
from model.data.streams import Stream, Tokens
from model.metrics import auilc

SEEDS_A: Final = (111, 1111, 11111)  # of text, audio and vision, in all published runs
SEED_B: Final = 1111
RATES_A: Final = tuple(step / 10 for step in range(11))
RATES_A_SIMS: Final = RATES_A[:6]
RATES_B: Final = RATES_A[:10]
NOISES: Final = (0.25, 0.5, 1.0, 2.0)  # in the units of the features, so scale them first
PROTOCOLS: Final = ("complete", "A", "B", "C", "noise")


class ProtocolError(TonalityError):
    """A protocol does not exist or does not suit the data."""


@dataclass(frozen=True, slots=True, eq=False)
class Damage:
    """What a condition does to the samples of a split.

    ``known``: a mask ``(N, T) bool`` by modality, for those that lose steps; ``hidden``: modalities
    that are gone; ``noise``: deviation, and ``seeds (N,)`` of each sample's noise.
    """

    known: Mapping[str, np.ndarray] = field(default_factory=dict)
    hidden: frozenset[str] = frozenset()
    noise: float = 0.0
    seeds: np.ndarray = field(default_factory=lambda: np.zeros((0, 2), np.int64))

    def select(self, rows: np.ndarray) -> Damage:
        """The same for some of the samples."""
        known = {name: mask[rows] for name, mask in self.known.items()}
        return Damage(
            known, self.hidden, self.noise, self.seeds[rows] if self.noise else self.seeds
        )

    def apply(self, split: Split) -> Split:
        """The damaged samples; ``split`` has as many as the masks, its labels stay."""
        text = split.text
        if text is not None:
            raw = text.raw
            if "text" in self.hidden and raw is not None:
                raw = ("",) * len(raw)
            text = replace(text, raw=raw, tokens=self._tokens(text.tokens))
        streams = {name: self._stream(name, own) for name, own in split.streams.items()}
        return replace(split, text=text).with_streams(streams)

    def _tokens(self, tokens: Tokens | None) -> Tokens | None:
        if tokens is None:
            return None
        return tokens.hide() if "text" in self.hidden else tokens.keep(self._mask("text", tokens))

    def _mask(self, modality: str, sequence: Tokens | Stream) -> np.ndarray:
        if modality in self.hidden:
            return np.zeros_like(sequence.valid)
        mask = self.known.get(modality, sequence.valid)
        if mask.shape != sequence.valid.shape:
            raise ProtocolError(
                f"a mask of {modality} has shape {mask.shape}, its sequence {sequence.valid.shape}"
            )
        return mask

    def _stream(self, modality: str, stream: Stream) -> Stream:
        kept = stream.keep(self._mask(modality, stream))
        if not self.noise:
            return kept
        place = MODALITIES.index(modality)
        drawn = [
            np.random.default_rng([*seed, place]).standard_normal(kept.values.shape[1:])
            for seed in self.seeds.tolist()
        ]
        added = np.asarray(drawn, np.float32).reshape(kept.values.shape) * np.float32(self.noise)
        return replace(
            kept, values=np.where(kept.known[..., None], kept.values + added, np.float32(0))
        )


@dataclass(frozen=True, slots=True)
class Condition:
    """One way to damage a split, by name.

    ``rate`` is the share of steps that is lost, drawn with ``seeds`` of text, audio and vision;
    ``hidden`` are modalities that are gone; ``noise`` is a deviation.
    """

    name: str
    rate: float = 0.0
    seeds: tuple[int, int, int] = SEEDS_A
    hidden: frozenset[str] = frozenset()
    noise: float = 0.0

    def draw(self, split: Split) -> Damage:
        """The masks for a whole split; the same each time."""
        rates = {name: np.full(len(split), self.rate) for name in MODALITIES}
        known = _draw(split, rates, self.seeds) if self.rate > 0 else {}
        rows = np.arange(len(split))
        seeds = np.stack([np.full(len(split), self.seeds[0]), rows], 1)
        return Damage(known, self.hidden, self.noise, seeds)

    def apply(self, split: Split) -> Split:
        """The whole split, damaged."""
        return self.draw(split).apply(split)


@dataclass(frozen=True, slots=True)
class Plan:
    """A protocol on a data set: its conditions, and how their results become one.

    ``one_model_each`` says that a model is trained and tested at each condition.
    """

    name: str
    conditions: tuple[Condition, ...]
    one_model_each: bool = False

    def summary(self, results: Sequence[Mapping[str, float]]) -> dict[str, float]:
        """Metrics of each condition, in order, to those of the protocol.

        A: the area under each metric over the rate (AUILC), whose scale is the range of the rates.
        All others: the plain mean.
        """
        if len(results) != len(self.conditions):
            raise ProtocolError(
                f"protocol {self.name}: {len(results)} results, not {len(self.conditions)}"
            )
        rates = [condition.rate for condition in self.conditions]
        put_together = self._area(rates) if self.name == "A" else fmean
        return {key: put_together([own[key] for own in results]) for key in results[0]}

    @staticmethod
    def _area(rates: Sequence[float]) -> Callable[[Sequence[float]], float]:
        return lambda scores: auilc(rates, scores)


def protocol(
    name: str, data: SequenceData, seed: int | None = None, rates: Sequence[float] | None = None
) -> Plan:
    """A protocol by name (one of :data:`PROTOCOLS`) for a data set.

    ``seed`` replaces the published seeds, ``rates`` the published rates of A and B; those of A are
    told by the labels' scale, so ask before moving CH-SIMS to another. Raises
    :class:`ProtocolError` for names that do not exist.
    """
    seeds = SEEDS_A if seed is None else (seed, 10 * seed + 1, 100 * seed + 11)
    if name == "complete":
        return Plan(name, (Condition("complete"),))
    if name == "A":
        own = RATES_A_SIMS if data.high <= 1 and not data.classes else RATES_A
        return Plan(name, tuple(_at(rate, seeds) for rate in rates or own), one_model_each=True)
    if name == "B":
        one = SEED_B if seed is None else seed
        return Plan(name, tuple(_at(rate, (one, one, one)) for rate in rates or RATES_B))
    if name == "C":
        return Plan(name, tuple(_subset(kept, data) for kept in subsets(data.modalities)))
    if name == "noise":
        levels = (0.0, *NOISES)
        return Plan(name, tuple(Condition(f"noise {n:g}", seeds=seeds, noise=n) for n in levels))
    raise ProtocolError(f"no protocol '{name}'; there are {', '.join(PROTOCOLS)}")


def _at(rate: float, seeds: tuple[int, int, int]) -> Condition:
    return Condition(f"r={rate:g}", rate, seeds)


def _subset(kept: Sequence[str], data: SequenceData) -> Condition:
    return Condition("+".join(kept), hidden=frozenset(set(data.modalities) - set(kept)))


def subsets(modalities: Sequence[str]) -> list[tuple[str, ...]]:
    """All subsets but the empty one: single modalities first, all of them last."""
    return [
        kept for size in range(1, len(modalities) + 1) for kept in combinations(modalities, size)
    ]


def training_b(split: Split, seed: int, epoch: int) -> Damage:
    """LNLN's training corruption for one epoch, drawn anew as its paper means it.

    Half of the samples (drawn for each modality by itself) stay whole in a modality; each other one
    loses every step with its own rate, uniform over 0..1.
    """
    chance = np.random.default_rng([seed, epoch])
    rates = {}
    for name in MODALITIES:
        own = chance.uniform(size=len(split))
        own[chance.permutation(len(split))[: len(split) // 2]] = 0.0
        rates[name] = own
    seeds = chance.integers(2**31, size=3).tolist()
    return Damage(_draw(split, rates, (seeds[0], seeds[1], seeds[2])))


def _draw(
    split: Split, rates: Mapping[str, np.ndarray], seeds: tuple[int, int, int]
) -> dict[str, np.ndarray]:
    """Masks by modality: a step stays known where a uniform number is above its sample's rate.

    NumPy's legacy generator, because the published masks were drawn by it; its numbers are frozen.
    """
    known = {}
    for (name, sequence), seed in zip(_sequences(split).items(), seeds, strict=True):
        if sequence is not None:
            drawn = np.random.RandomState(seed).uniform(size=sequence.valid.shape)
            kept = drawn > rates[name][:, None]
            if isinstance(sequence, Tokens):
                kept |= sequence.fixed
            known[name] = sequence.valid & kept
    return known


def _sequences(split: Split) -> dict[str, Tokens | Stream | None]:
    text = split.text.sequence if split.text is not None else None
    if split.text is not None and text is None:
        raise ProtocolError(
            "text is words only, which have no steps to lose; give it tokens or features first"
        )
    forms = {"text": text, "audio": split.audio, "vision": split.vision}
    return {name: forms[name] for name in MODALITIES}

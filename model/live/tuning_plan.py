"""What a tuning run learns from and in which order: protocol, samples, steps."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import torch
from torch import Tensor

from model.corpora import text as corpora
from model.corpora.text import TRAIN, VALID, TextSample, part

POOL: Final = 50  # batches that are sorted by length together, so that padding stays small


class Protocol(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that shapes the result, written beside it.

    Attributes:
        layers: how many upper layers learn.
        seed: of shuffling, sampling, cuts, dropout.
        phrases: how many SST phrases are drawn.
        ratings: how many VADER texts are drawn.
        limit: at most so many training samples of each corpus (0: all); for trials.
        precision: of matrix products in training, ``float32`` or ``bfloat16``.
        batch: texts a step.
        epochs: passes over the texts of stage 1; 0 where ``start`` has been through it.
        comments: how many texts of GoEmotions are drawn.
        sentences: how many of EmoBank.
        cuts: how many cuts are made of each text of MOSI that is long enough.
        teachers: SHA-256 of the teachers' weights; empty for none.
        taught: share of what the teachers say in the score that is learned, where people rated; where
            they called it negative or positive, all of it is the teachers'.
        taught_neutral: the same where they called it neutral.
        start: SHA-256 of tuned layers to begin with instead of the encoder's own.
        mosi_epochs: passes over MOSI in a run of stage 2.
        mixed: texts of stage 1 in each of them, as a multiple of MOSI's.
        mosi_runs: runs of stage 2, each from the end of stage 1; the mean of their weights is the result.
        written: share of the texts, where people wrote them, that keep punctuation and emoticons.
        misheard: share of the texts in which words are heard wrongly, and how many of their words.
        sides: weight of the cross entropy of negative, neutral and positive, of texts with a class.
        chats: weight of the score's error of such texts: their class is no number, and they are far
            from what the teachers learned.
        rate: peak learning rate of the layers in stage 1; half of it in stage 2.
        head_rate: that of the linear head.
        decay: weight decay.
        cut_words: least and greatest length of texts cut as windows cut speech.
        save_every_s: seconds between saved states.
    """

    layers: int = 12
    seed: int = 0
    phrases: int = 25_000
    ratings: int = 12_000
    comments: int = 6_000
    sentences: int = 6_000
    cuts: int = 3
    teachers: str = ""
    taught: float = 0.5
    taught_neutral: float = 0.5
    limit: int = 0
    precision: str = "bfloat16"
    batch: int = 64
    epochs: int = 1
    start: str = ""
    mosi_epochs: int = 3
    mixed: float = 1.0
    mosi_runs: int = 2
    written: float = 0.5
    misheard: tuple[float, float] = (0.3, 0.12)
    sides: float = 0.5
    chats: float = 0.3
    rate: float = 1e-4
    head_rate: float = 1e-3
    decay: float = 0.01
    cut_words: tuple[int, int] = (6, 14)
    save_every_s: float = 120.0

    @property
    def dtype(self) -> torch.dtype:
        """The precision as PyTorch names it."""
        return {"float32": torch.float32, "bfloat16": torch.bfloat16}[self.precision]

    @property
    def key(self) -> str:
        """Hash of the protocol: states of another one are not gone on with."""
        return hashlib.sha256(msgspec.json.encode(self, order="deterministic")).hexdigest()[:16]


class Texts(msgspec.Struct, frozen=True):
    """The samples of a run, and which of them serve what (indices into ``samples``).

    ``said`` are the same texts before words in them were heard wrongly, and unpunctuated, ``taught (n,)`` what teachers
    say of these.
    """

    samples: list[TextSample]
    said: list[str]
    general: list[int]
    mosi: list[int]
    valid: list[int]
    taught: np.ndarray | None = None

    @property
    def labels(self) -> Tensor:
        """``(n,) float32``."""
        return torch.tensor([sample.label for sample in self.samples])

    @property
    def sides(self) -> Tensor:
        """``(n,) int64``: 0, 1, 2 for negative, neutral, positive; -1 where only a number is known."""
        return torch.tensor([corpora.side(sample) for sample in self.samples])

    def targets(self, rated: float, neutral: float) -> Tensor:
        """``(n,) float32``: the scores to learn, a share ``rated`` of them the teachers' where people
        rated, ``neutral`` where they called it that, all of them where they gave a side; the labels
        where there are no teachers."""
        if self.taught is None:
            return self.labels
        shares = torch.tensor([1.0, neutral, 1.0, rated])  # by side, unknown last
        weight = shares[self.sides]
        return torch.lerp(self.labels, torch.from_numpy(self.taught), weight)


class Step(msgspec.Struct, frozen=True):
    """One update: its texts and the share of the peak rate; ``judge`` asks for validation after it,
    ``ends`` says that a stage (0) or a run of stage 2 (1, 2, ...) is complete with it."""

    indices: list[int]
    rate: float
    judge: bool
    ends: int | None = None


def read_texts(data: Path, protocol: Protocol) -> Texts:
    """Read all corpora, add the cuts, drop apostrophes here and there (MOSI and some speakers do)."""
    seed = protocol.seed
    chance = random.Random(seed)
    general: list[TextSample] = []
    for samples, wanted in (
        (part(corpora.sst(data), TRAIN), 0),
        (corpora.sst_phrases(data), protocol.phrases),
        (part(corpora.vader(data), TRAIN), protocol.ratings),
        (part(corpora.meld(data), TRAIN), 0),
        (part(corpora.emorynlp(data), TRAIN), 0),
        (part(corpora.emobank(data), TRAIN), protocol.sentences),
        (part(corpora.goemotions(data), TRAIN), protocol.comments),
    ):
        most = min(count or len(samples) for count in (wanted, protocol.limit, len(samples)))
        general += chance.sample(samples, min(most, len(samples)))
    general = corpora.without_apostrophes(general, 0.3, seed)
    everything = corpora.mosi(data)
    own = part(everything, TRAIN)
    own += [
        sample
        for number in range(protocol.cuts)
        for sample in corpora.window_cuts(
            part(everything, TRAIN), protocol.cut_words, seed + number
        )
    ]
    valid = part(everything, VALID)
    said = [sample.text for sample in general + own + valid]
    general, own = (_partly_misheard(texts, protocol) for texts in (general, own))
    general = corpora.as_written(general, protocol.written, seed + 4)
    ends = np.cumsum([len(general), len(own), len(valid)]).tolist()
    return Texts(
        general + own + valid,
        said,
        list(range(ends[0])),
        list(range(ends[0], ends[1])),
        list(range(ends[1], ends[2])),
    )


def plan(texts: Texts, lengths: Callable[[int], int], protocol: Protocol) -> list[Step]:
    """All steps of both stages, the same for the same seed; rates warm up and fall in each stage."""
    chance = random.Random(protocol.seed + 1)
    first = [
        batch
        for _ in range(protocol.epochs)
        for batch in batches(texts.general, lengths, protocol.batch, chance)
    ]
    last = len(first) - 1
    steps = [
        Step(b, slope(i, len(first)), i == last, 0 if i == last else None)
        for i, b in enumerate(first)
    ]
    for run in range(1, protocol.mosi_runs + 1):
        steps += _second(texts, lengths, protocol, chance, run)
    return steps


def _second(
    texts: Texts,
    lengths: Callable[[int], int],
    protocol: Protocol,
    chance: random.Random,
    run: int,
) -> list[Step]:
    """The steps of one run of stage 2; every epoch is judged."""
    made: list[list[int]] = []
    ends = []
    others = min(round(protocol.mixed * len(texts.mosi)), len(texts.general))
    for _ in range(protocol.mosi_epochs):
        mixed = texts.mosi + chance.sample(texts.general, others)
        made += batches(mixed, lengths, protocol.batch, chance)
        ends.append(len(made) - 1)
    return [
        Step(batch, 0.5 * slope(i, len(made)), i in ends, run if i == ends[-1] else None)
        for i, batch in enumerate(made)
    ]


def _partly_misheard(samples: list[TextSample], protocol: Protocol) -> list[TextSample]:
    share, rate = protocol.misheard
    wrong = corpora.misheard(samples, rate, protocol.seed + 2)
    chance = random.Random(protocol.seed + 3)
    pairs = zip(samples, wrong, strict=True)
    return [noisy if chance.random() < share else own for own, noisy in pairs]


def slope(step: int, steps: int) -> float:
    """Share of the peak rate: up over the first tenth, then down to nearly nothing."""
    warm = max(1, steps // 10)
    return min((step + 1) / warm, (steps - step) / max(1, steps - warm))


def batches(
    indices: Sequence[int], lengths: Callable[[int], int], size: int, chance: random.Random
) -> list[list[int]]:
    """Shuffled batches of texts of like length."""
    order = list(indices)
    chance.shuffle(order)
    made = []
    for start in range(0, len(order), size * POOL):
        pool = sorted(order[start : start + size * POOL], key=lengths)
        made += [pool[i : i + size] for i in range(0, len(pool), size)]
    chance.shuffle(made)
    return made

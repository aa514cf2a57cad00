"""What every reader of research data gives: samples with labels, in splits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from features.errors import FeatureError
from model.data.streams import Stream, Text, Tokens

MODALITIES: Final = ("text", "audio", "vision")
TRAIN: Final = "train"
VALID: Final = "valid"
TEST: Final = "test"


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """N samples. ``labels (N,) float32``; ``extra`` are further targets ``(N,) float32`` by name.

    A modality that the data set does not have is None.
    """

    ids: tuple[str, ...]
    labels: np.ndarray
    text: Text | None = None
    audio: Stream | None = None
    vision: Stream | None = None
    extra: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        parts = {"labels": self.labels, "text": self.text, "audio": self.audio}
        parts |= {"vision": self.vision, **self.extra}
        for name, own in parts.items():
            if own is not None and len(own) != len(self.ids):
                raise ValueError(f"{name} has {len(own)} samples, not {len(self.ids)}")

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def streams(self) -> dict[str, Stream]:
        """All sequences of features by modality."""
        text = self.text.features if self.text is not None else None
        found = {"text": text, "audio": self.audio, "vision": self.vision}
        return {name: stream for name, stream in found.items() if stream is not None}

    @property
    def modalities(self) -> tuple[str, ...]:
        """Those that the data set has, in the order of :data:`MODALITIES`."""
        return tuple(name for name in MODALITIES if getattr(self, name) is not None)

    @property
    def present(self) -> np.ndarray:
        """``(N, 3) bool`` in the order of :data:`MODALITIES`: at least one step tells something."""
        columns = [
            self._words_known(),
            *(
                np.zeros(len(self), bool) if stream is None else stream.known.any(1)
                for stream in (self.audio, self.vision)
            ),
        ]
        return np.stack(columns, 1)

    def _words_known(self) -> np.ndarray:
        if self.text is None:
            return np.zeros(len(self), bool)
        sequence = self.text.sequence
        if isinstance(sequence, Tokens):
            return np.asarray((sequence.known & ~sequence.fixed).any(1))
        if sequence is not None:
            return np.asarray(sequence.known.any(1))
        return np.array([bool(words.strip()) for words in self.text.raw or ()], bool)

    def select(self, rows: np.ndarray | Sequence[int]) -> Split:
        """The samples of the given rows (numbers or a mask), which may repeat."""
        chosen = np.asarray(rows)
        chosen = np.flatnonzero(chosen) if chosen.dtype == bool else chosen.astype(np.int64)
        return Split(
            tuple(self.ids[row] for row in chosen.tolist()),
            self.labels[chosen],
            None if self.text is None else self.text.select(chosen),
            None if self.audio is None else self.audio.select(chosen),
            None if self.vision is None else self.vision.select(chosen),
            {name: own[chosen] for name, own in self.extra.items()},
        )

    def with_tokens(self, tokens: Tokens) -> Split:
        """The same samples with their words as tokens, so that a protocol can take some away."""
        text = Text(tokens=tokens) if self.text is None else replace(self.text, tokens=tokens)
        return replace(self, text=text)

    def with_streams(self, streams: Mapping[str, Stream]) -> Split:
        """The same samples with other features for the modalities named."""
        text = self.text
        if text is not None and "text" in streams:
            text = replace(text, features=streams["text"])
        audio, vision = streams.get("audio", self.audio), streams.get("vision", self.vision)
        return replace(self, text=text, audio=audio, vision=vision)


@dataclass(frozen=True, slots=True, eq=False)
class Moments:
    """Mean and deviation of each feature, ``(D,) float64``, over the known steps of the training."""

    mean: np.ndarray
    deviation: np.ndarray


@dataclass(frozen=True, slots=True, eq=False)
class SequenceData:
    """A data set by splits. Labels lie in ``low..high``, or are classes ``0..classes - 1``.

    ``counts`` says what was found odd while reading; ``moments`` what features were scaled by;
    ``notes`` what a result on this data has to say.
    """

    name: str
    splits: Mapping[str, Split]
    low: float = -3.0
    high: float = 3.0
    classes: int = 0
    source: str = ""
    counts: Mapping[str, int] = field(default_factory=dict)
    moments: Mapping[str, Moments] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def modalities(self) -> tuple[str, ...]:
        """Those that every split has."""
        own = [set(split.modalities) for split in self.splits.values()]
        return tuple(name for name in MODALITIES if all(name in found for found in own))

    def only(self, modalities: Sequence[str]) -> SequenceData:
        """The same samples with these modalities alone; the name says so where some are left out.

        Raises :class:`FeatureError` for a modality that the data set does not have.
        """
        strange = set(modalities) - set(self.modalities)
        if strange or not modalities:
            raise FeatureError(
                f"{self.name} has no '{min(strange, default='')}'; "
                f"choose among {', '.join(self.modalities)}"
            )
        kept = tuple(name for name in self.modalities if name in modalities)
        if kept == self.modalities:
            return self
        splits = {
            name: replace(
                split,
                text=split.text if "text" in kept else None,
                audio=split.audio if "audio" in kept else None,
                vision=split.vision if "vision" in kept else None,
            )
            for name, split in self.splits.items()
        }
        return replace(self, splits=splits, name=f"{self.name} ({'+'.join(kept)})")

    @property
    def widths(self) -> dict[str, int]:
        """Features of one step, by modality, for those that have features."""
        first = next(iter(self.splits.values()))
        return {name: stream.width for name, stream in first.streams.items()}

    def on_scale(self, low: float = -3.0, high: float = 3.0) -> SequenceData:
        """Labels moved linearly to ``low..high``; classes stay as they are."""
        if self.classes:
            return self
        slope = (high - low) / (self.high - self.low)
        moved = {
            name: replace(
                split,
                labels=(low + slope * (split.labels.astype(np.float64) - self.low)).astype(
                    np.float32
                ),
            )
            for name, split in self.splits.items()
        }
        return replace(self, splits=moved, low=low, high=high)

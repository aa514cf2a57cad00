"""The files that the peers are trained on: the data sets of the page, some with encoded words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from features.errors import TonalityError
from model.data.datasets import read
from model.data.splits import SequenceData, Split
from model.data.streams import Stream
from model.research.inputs import Inputs
from model.text.states import TextStates

SETS: Final = (
    "mosi-utterances", "mosi-utterances-in-context", "mosi-utterances+gte-small", "mmmo", "pom",
    "youtube",
)  # fmt: skip


def peer_data(name: str, corpora: Path, encoder: Callable[[], TextStates]) -> SequenceData:
    """One of :data:`SETS`, scaled by its training split, as the peers are given it."""
    if name not in SETS:
        raise TonalityError(f"no set '{name}'; there are {', '.join(SETS)}")
    own, _, encoded = name.partition("+")
    data = read(corpora, own, "train")
    return with_states(data, encoder()) if encoded else data


def with_states(data: SequenceData, encoder: TextStates) -> SequenceData:
    """The same data with the encoder's states of each token as the features of the text."""
    inputs = Inputs(data, encoder)
    splits = {}
    for name in data.splits:
        batch = inputs.complete(name).batch
        valid = batch.valid[0].numpy()
        steps = int(np.flatnonzero(valid.any(0)).max()) + 1
        states = Stream(batch.values[0].numpy()[:, :steps], valid[:, :steps], valid[:, :steps])
        split = inputs.data.splits[name]
        assert split.text is not None
        splits[name] = replace(split, text=replace(split.text, tokens=None, features=states))
    return replace(data, splits=_one_length(splits))


def _one_length(splits: Mapping[str, Split]) -> dict[str, Split]:
    """Texts of all splits in as many steps as the longest, their words at the end."""
    steps = max(split.streams["text"].values.shape[1] for split in splits.values())
    made = {}
    for name, split in splits.items():
        text = split.streams["text"]
        made[name] = split.with_streams({"text": in_front(text, steps)})
    return made


def in_front(stream: Stream, steps: int) -> Stream:
    """The same sequences in ``steps`` steps with their padding first, so that they end at the last."""
    size, _, width = stream.values.shape
    values, valid = np.zeros((size, steps, width), np.float32), np.zeros((size, steps), bool)
    for row, length in enumerate(stream.lengths.tolist()):
        values[row, steps - length :] = stream.values[row, :length]
        valid[row, steps - length :] = stream.valid[row, :length]
    return Stream(values, valid, valid)

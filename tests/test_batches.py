"""Samples of a split on their way into a network."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from features.errors import FeatureError
from model.data.splits import Split
from model.data.streams import Stream, Text
from model.research.batches import sequence_batch
from tests.made_sequences import make_network

ROWS = np.array([2, 0])


def stream(seed: int, steps: int, width: int) -> Stream:
    rng = np.random.default_rng(seed)
    valid = np.arange(steps) < np.array([steps, 2, 3])[:, None]
    values = np.where(valid[..., None], rng.normal(size=(3, steps, width)), 0).astype(np.float32)
    return Stream(values, valid, valid)


def split(text: Stream | None, audio: Stream | None, vision: Stream | None) -> Split:
    words = Text(raw=("a", "b", "c"), features=text)
    return Split(("0", "1", "2"), np.zeros(3, np.float32), words, audio, vision)


def test_rows_keep_their_values_and_masks() -> None:
    known = np.array([[True, False, True, True, True]] * 3)
    parts = (stream(0, 4, 12), stream(1, 5, 6).keep(known), stream(2, 7, 7))
    batch, shown = sequence_batch(split(*parts), ROWS, (12, 6, 7))
    for part, values, valid, mask in zip(parts, batch.values, batch.valid, shown, strict=True):
        np.testing.assert_array_equal(values.numpy(), part.values[ROWS])
        np.testing.assert_array_equal(valid.numpy(), part.valid[ROWS])
        np.testing.assert_array_equal(mask.numpy(), part.known[ROWS])
    view = make_network("mitr", "intended")(batch, shown)
    assert bool(torch.isfinite(view.prediction).all())


def test_encoded_text_replaces_the_features_and_is_known() -> None:
    states, valid = torch.randn(2, 9, 12), torch.ones(2, 9, dtype=torch.bool)
    batch, shown = sequence_batch(
        split(stream(0, 4, 300), None, stream(2, 7, 7)), ROWS, (12, 6, 7), (states, valid)
    )
    assert torch.equal(batch.values[0], states) and torch.equal(shown[0], valid)
    assert batch.widths == (12, 6, 7)
    assert not batch.valid[1].any() and not shown[1].any(), "there is no audio"


def test_text_alone_reaches_every_network() -> None:
    states, valid = torch.randn(2, 9, 12), torch.ones(2, 9, dtype=torch.bool)
    batch, shown = sequence_batch(split(None, None, None), ROWS, (12, 6, 7), (states, valid))
    for name in ("rtil", "sati", "svr", "mitr"):
        for variant in ("faithful", "intended"):
            view = make_network(name, variant)(batch, shown)
            assert bool(torch.isfinite(view.prediction).all())


def test_samples_of_nothing_are_refused() -> None:
    with pytest.raises(FeatureError, match="nothing to learn from"):
        sequence_batch(split(None, None, None), ROWS, (12, 6, 7))

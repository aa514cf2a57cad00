"""Scaling: by training statistics or within an utterance, over known steps and real numbers only.

Run time: about 1 s.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.data.scaling import BLOCK, by_moments, by_utterance, moments_of, scaled
from model.data.splits import Moments, SequenceData, Split
from model.data.streams import Stream

MEAN: Final = np.array([5.0, -1e4, 0.0])
SCALE: Final = np.array([0.1, 300.0, 2.0])


def stream(size: int, steps: int = 6, seed: int = 0, holes: float = 0.3) -> Stream:
    chance = np.random.default_rng(seed)
    values = MEAN + SCALE * chance.standard_normal((size, steps, 3))
    valid = chance.uniform(size=(size, steps)) > holes
    values[~valid] = 0
    return Stream(values.astype(np.float32), valid, valid)


def data(**splits: Stream) -> SequenceData:
    made = {}
    for name, own in splits.items():
        ids = tuple(f"{name}{row}" for row in range(len(own)))
        made[name] = Split(ids, np.zeros(len(own), np.float32), audio=own)
    return SequenceData("made", made)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.integers(2, 2 * BLOCK + 3))
def test_training_statistics_leave_out_what_is_not_known(seed: int, size: int) -> None:
    own = stream(size, seed=seed)
    found = moments_of(own)
    known = own.values[own.valid].astype(np.float64)
    assert np.allclose(found.mean, known.mean(0), rtol=1e-9)
    if len(known) > 1:
        assert np.allclose(found.deviation, known.std(0), rtol=1e-6)


def test_valid_and_test_are_scaled_by_training_only() -> None:
    train, test = stream(300, seed=1), stream(40, seed=2)
    done = scaled(data(train=train, test=test), "train")
    moments = moments_of(train)
    for name, own in (("train", train), ("test", test)):
        audio = done.splits[name].audio
        assert audio is not None
        expected = (own.values - moments.mean) / moments.deviation
        assert np.allclose(audio.values[own.valid], expected[own.valid], atol=1e-4)
        assert not audio.values[~own.valid].any()
    other = scaled(data(train=train, test=stream(40, seed=3)), "train")
    assert np.array_equal(other.moments["audio"].mean, done.moments["audio"].mean)
    assert not scaled(data(train=train)).moments


def test_given_statistics_are_used_as_they_are() -> None:
    own = stream(9)
    moments = {"audio": Moments(np.ones(3), np.full(3, 2.0))}
    done = scaled(data(test=own), "train", moments).splits["test"].audio
    assert done is not None
    assert np.allclose(done.values[own.valid], (own.values[own.valid] - 1) / 2)
    with pytest.raises(ValueError, match="3 features, but moments of 2"):
        by_moments(own, Moments(np.ones(2), np.ones(2)))


def test_what_is_no_number_becomes_the_mean_and_is_counted() -> None:
    own = stream(50, holes=0.0)
    spoiled = own.values.copy()
    spoiled[0, 0, 0], spoiled[0, 1, 1], spoiled[1, 0, 2] = np.nan, -np.inf, np.inf
    odd = Stream(spoiled, own.valid, own.known)
    done = scaled(data(train=odd), "train")
    audio = done.splits["train"].audio
    assert audio is not None
    assert np.isfinite(audio.values).all()
    assert audio.values[0, 0, 0] == audio.values[0, 1, 1] == audio.values[1, 0, 2] == 0
    assert done.counts == {"train.audio.not_finite": 3}
    rest = own.values.astype(np.float64)
    keep = np.ones(own.valid.shape, bool)
    keep[0, 0] = False
    assert done.moments["audio"].mean[0] == pytest.approx(rest[keep][:, 0].mean())
    plain = scaled(data(train=odd)).splits["train"].audio
    assert plain is not None
    assert plain.values[0, 1, 1] == 0 and plain.values[0, 1, 0] == own.values[0, 1, 0]


def test_features_that_never_vary_become_zero_and_do_not_explode() -> None:
    values = np.full((4, 3, 2), 7.0, np.float32)
    values[..., 1] = np.arange(12).reshape(4, 3)
    mask = np.ones((4, 3), bool)
    constant = Stream(values, mask, mask)
    for done in (by_moments(constant, moments_of(constant)), by_utterance(constant)):
        assert not done.values[..., 0].any()
        assert np.abs(done.values[..., 1]).max() < 3
    nothing = Stream(
        np.zeros((2, 3, 2), np.float32), np.zeros((2, 3), bool), np.zeros((2, 3), bool)
    )
    assert not by_moments(nothing, moments_of(nothing)).values.any()
    assert not by_utterance(nothing).values.any()


def test_within_an_utterance_each_sample_stands_alone() -> None:
    own = stream(BLOCK + 5, holes=0.4)
    done = by_utterance(own)
    for row in range(len(own)):
        known = own.values[row][own.valid[row]].astype(np.float64)
        if len(known) > 1:
            expected = (known - known.mean(0)) / known.std(0)
            assert np.allclose(done.values[row][own.valid[row]], expected, atol=1e-3)
    few = by_utterance(own.select(np.arange(3)))
    assert np.array_equal(few.values, done.values[:3])

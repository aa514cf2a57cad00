"""Windows to tensors: normalisation, pooling in time, masks."""

from __future__ import annotations

from dataclasses import fields

import msgspec
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from features.errors import FeatureError
from features.messages import Present, Statistics, StreamData
from features.spec import FACE, LIVE, PITCH_COLUMN, STATES, VOICE, VOICED_COLUMNS
from features.statistics import RunningStatistics
from model.networks.inputs import (
    CLIP,
    Prior,
    Sample,
    blend,
    collate,
    normalise,
    pool_voice,
    prepare,
)
from tests.made_windows import EVERYTHING, make_priors, make_window


def test_blend_weighs_participant_and_prior_by_their_seconds() -> None:
    prior = Prior(np.array([1.0, 2.0]), np.array([4.0, 9.0]), 10.0)
    own = Statistics(np.array([4.0, 2.0]), np.array([1.0, 1.0]), 30.0)
    mean, scale = blend(own, prior)
    np.testing.assert_allclose(mean, [3.25, 2.0])
    np.testing.assert_allclose(scale, np.sqrt([(30 * 1 + 10 * 4) / 40, (30 * 1 + 10 * 9) / 40]))


def test_blend_is_the_prior_before_anything_was_seen() -> None:
    prior = Prior(np.array([1.0]), np.array([4.0]), 10.0)
    unseen = Statistics(np.array([77.0]), np.array([77.0]), 0.0)
    for statistics in (None, unseen):
        mean, scale = blend(statistics, prior)
        assert (mean[0], scale[0]) == (1.0, 2.0)


def test_a_column_that_never_moves_does_not_blow_up() -> None:
    own = Statistics(np.zeros(1), np.zeros(1), 1e9)
    scaling = blend(own, Prior(np.zeros(1), np.ones(1), 1.0))
    values = normalise(np.array([[0.0], [5.0]]), np.ones(2, bool), scaling)
    assert values.tolist() == [[0.0], [CLIP]]


@given(seed=st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_normalised_with_its_own_statistics_a_stream_has_zero_mean_and_unit_variance(
    seed: int,
) -> None:
    rng = np.random.default_rng(seed)
    values = (rng.normal(size=(500, 3)) * rng.uniform(0.1, 50, 3) + rng.normal(size=3) * 20).astype(
        np.float32
    )
    mask = rng.random(500) < 0.7
    own = Statistics(values[mask].mean(0), values[mask].var(0), 1e6)
    out = normalise(values, mask, blend(own, Prior(np.zeros(3), np.ones(3), 1e-6)))
    np.testing.assert_allclose(out[mask].mean(0), 0.0, atol=0.01)
    np.testing.assert_allclose(out[mask].std(0), 1.0, atol=0.01)
    assert not out[~mask].any()


def test_voiced_columns_are_pooled_over_voiced_frames_only() -> None:
    values = np.ones((20, 25), np.float32)
    values[:, VOICED_COLUMNS] = 3.0
    values[4:10, VOICED_COLUMNS] = 0.0  # unvoiced
    values[10:, VOICED_COLUMNS] = 0.0
    mask = np.ones(20, bool)
    mask[:2] = False
    pooled, valid = pool_voice(values, mask, (np.zeros(25), np.ones(25)), 10)
    assert valid.tolist() == [True, True]
    assert pooled[0, PITCH_COLUMN] == 3.0, "not thinned out by unvoiced frames"
    assert pooled[0, 0] == 1.0
    assert pooled[0, -1] == pytest.approx(2 / 8)
    assert pooled[1, PITCH_COLUMN] == 0.0 and pooled[1, -1] == 0.0


def test_statistics_of_voiced_columns_count_voiced_frames_only() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(5, 2, (300, 25)).astype(np.float32)
    values[:, PITCH_COLUMN] = np.abs(values[:, PITCH_COLUMN]) + 1
    values[rng.random(300) < 0.6, VOICED_COLUMNS] = 0.0
    mask = rng.random(300) < 0.7
    running = RunningStatistics(25, 100, voiced=True)
    for first in range(0, 300, 50):
        part = slice(first, first + 50)
        running.add(StreamData(values[part], mask[part]))
    state = running.state()
    voiced = values[mask & (values[:, PITCH_COLUMN] > 0)]
    np.testing.assert_allclose(state.mean[:PITCH_COLUMN], values[mask].mean(0)[:PITCH_COLUMN], 1e-4)
    np.testing.assert_allclose(state.mean[VOICED_COLUMNS], voiced.mean(0)[VOICED_COLUMNS], 1e-4)
    np.testing.assert_allclose(state.variance[VOICED_COLUMNS], voiced.var(0)[VOICED_COLUMNS], 1e-3)
    assert state.seconds == pytest.approx(mask.sum() / 100)


def test_shapes_follow_the_spec() -> None:
    sample = prepare(make_window().streams, make_window().statistics, EVERYTHING, make_priors())
    assert sample.voice.shape == (40, 26)
    assert sample.states.shape == (16, 512)
    assert sample.face.shape == (40, 65)
    assert all(getattr(sample, n).dtype == np.float32 for n in ("voice", "states", "face"))


@given(seed=st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_what_lies_at_masked_steps_changes_nothing(seed: int) -> None:
    window = make_window(seed, known=0.5)
    rng = np.random.default_rng(seed)
    dirty = {}
    for name, data in window.streams.items():
        values = data.values.copy()
        values[~data.mask] = rng.choice([np.nan, np.inf, 1e9, -3.0])
        dirty[name] = StreamData(values, data.mask)
    clean = prepare(window.streams, window.statistics, EVERYTHING, make_priors())
    same = prepare(dirty, window.statistics, EVERYTHING, make_priors())
    for field in fields(Sample):
        np.testing.assert_array_equal(getattr(clean, field.name), getattr(same, field.name))


def test_half_precision_from_the_wire_is_taken() -> None:
    window = make_window()
    states = window.streams[STATES]
    half = {**window.streams, STATES: StreamData(states.values.astype(np.float16), states.mask)}
    out = prepare(half, window.statistics, EVERYTHING, make_priors())
    full = prepare(window.streams, window.statistics, EVERYTHING, make_priors())
    np.testing.assert_allclose(out.states, full.states, atol=0.01)


def test_a_modality_without_a_valid_step_is_missing_whatever_the_window_says() -> None:
    window = make_window(hidden=(FACE, VOICE))
    sample = prepare(window.streams, window.statistics, EVERYTHING, make_priors())
    assert sample.present.tolist() == [True, True, False], "the voice still has its states"
    window = make_window(hidden=(VOICE, STATES))
    sample = prepare(window.streams, window.statistics, EVERYTHING, make_priors())
    assert sample.present.tolist() == [True, False, True]


def test_absent_by_the_window_is_absent() -> None:
    window = make_window(present=Present(text=False, voice=False, face=True))
    sample = prepare(window.streams, window.statistics, window.present, make_priors())
    assert sample.present.tolist() == [False, False, True]


def test_streams_that_do_not_fit_are_refused_by_name() -> None:
    window = make_window()
    face = window.streams[FACE]
    narrow = {**window.streams, FACE: StreamData(face.values[:, :5], face.mask)}
    with pytest.raises(FeatureError, match=r"'face' has shape \(40, 5\).*\(40, 65\)"):
        prepare(narrow, window.statistics, EVERYTHING, make_priors())
    without = {k: v for k, v in window.streams.items() if k != STATES}
    with pytest.raises(FeatureError, match="without the stream 'states'"):
        prepare(without, window.statistics, EVERYTHING, make_priors())
    broken = face.values.copy()
    broken[np.flatnonzero(face.mask)[0], 3] = np.nan
    poisoned = {**window.streams, FACE: StreamData(broken, face.mask)}
    with pytest.raises(FeatureError, match="not numbers"):
        prepare(poisoned, window.statistics, EVERYTHING, make_priors())
    wild = msgspec.structs.replace(window.statistics[FACE], mean=np.full(65, np.nan, np.float32))
    with pytest.raises(FeatureError, match="statistics of 'face'"):
        prepare(window.streams, {FACE: wild}, EVERYTHING, make_priors())


def test_how_a_face_looks_may_be_unknown() -> None:
    window = make_window()
    face = window.streams[FACE]
    values = face.values.copy()
    values[:, 58:] = np.nan
    unseen = {**window.streams, FACE: StreamData(values, face.mask)}
    sample = prepare(unseen, window.statistics, EVERYTHING, make_priors())
    whole = prepare(window.streams, window.statistics, EVERYTHING, make_priors())
    np.testing.assert_array_equal(sample.face[:, :58], whole.face[:, :58])
    assert np.isnan(sample.face[face.mask, 58:]).all()


def test_collate_stacks_and_counts_text_without_tokens_as_missing() -> None:
    windows = [make_window(seed) for seed in range(2)]
    samples = [prepare(w.streams, w.statistics, w.present, make_priors()) for w in windows]
    mask = torch.tensor([[True, True, False], [False, False, False]])
    batch = collate(samples, torch.zeros(2, 3, 384), mask)
    assert len(batch) == 2
    assert batch.face.shape == (2, LIVE.steps(FACE), 65)
    assert batch.present.tolist() == [[True, True, True], [False, True, True]]

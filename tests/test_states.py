"""Pooling of encoder states onto the grid of cells."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from features.samples import StateChunk
from features.states import CONTEXT_S, StatePooler, merge
from features.utterance import FRAME_S, SpeechTrack


def track(speech: list[tuple[float, float]], end_s: float, origin_s: float = 0.0) -> SpeechTrack:
    """Voice activity that is sure of speech where the middle of a frame lies in a stretch."""
    found = SpeechTrack(origin_s)
    for frame in range(round((end_s - origin_s) / FRAME_S)):
        middle_s = origin_s + (frame + 0.5) * FRAME_S
        found.add(1.0 if any(low <= middle_s < high for low, high in speech) else 0.0)
    return found


def ramp(seconds: float, start_s: float = 0.0) -> np.ndarray:
    """States whose first column is the media time of their middle."""
    count = round(seconds * 50)
    times = start_s + (np.arange(count) + 0.5) * 0.02
    return np.stack([times, np.ones(count)], axis=1).astype(np.float32)


def test_a_cell_is_the_mean_of_the_states_whose_middle_lies_in_it() -> None:
    chunk = StatePooler().add(ramp(1.0), 0.0, 1.0, track([(0, 1)], 1.0))
    assert chunk is not None
    assert chunk.cells == (0, 1, 2, 3)
    assert chunk.values.dtype == np.float16
    np.testing.assert_allclose(chunk.values[:, 0], [0.125, 0.375, 0.625, 0.875], atol=0.011)
    np.testing.assert_array_equal(chunk.values[:, 1], 1)


def test_cells_need_speech_in_half_of_them() -> None:
    chunk = StatePooler().add(ramp(2.0), 0.0, 2.0, track([(0.5, 0.95)], 2.0))
    assert chunk is not None
    assert chunk.cells == (2, 3)
    assert StatePooler().add(ramp(2.0), 0.0, 2.0, track([], 2.0)) is None


def test_a_window_that_begins_within_a_cell_does_not_give_it() -> None:
    chunk = StatePooler().add(ramp(1.0, 0.1), 0.1, 1.1, track([(0, 2)], 2.0))
    assert chunk is not None
    assert chunk.cells == (1, 2, 3)
    np.testing.assert_allclose(chunk.values[:, 0], [0.375, 0.625, 0.875], atol=0.011)


def test_a_cell_is_given_anew_until_enough_was_heard_behind_it() -> None:
    pooler, speech = StatePooler(), track([(0, 4)], 4.0)
    first = pooler.add(ramp(1.1), 0.0, 1.1, speech)
    assert pooler.settled_s == 0
    second = pooler.add(ramp(2.0), 0.0, 2.0, speech)
    assert pooler.settled_s == 0.75 <= 2.0 - CONTEXT_S
    third = pooler.add(ramp(2.0), 0.0, 2.0, speech)
    assert first is not None and second is not None and third is not None
    assert first.cells == (0, 1, 2, 3)
    assert second.cells == (0, 1, 2, 3, 4, 5, 6, 7)
    assert third.cells == (3, 4, 5, 6, 7)
    pooler.settle(2.1)
    assert pooler.settled_s == 2.0
    assert pooler.add(ramp(2.1), 0.0, 2.1, speech) is None, "the utterance is over"


def test_padding_behind_the_sound_is_not_looked_at() -> None:
    states = np.concatenate([ramp(1.0), np.full((450, 2), 1e4, np.float32)])
    chunk = StatePooler().add(states, 0.0, 1.0, track([(0, 9)], 9.0))
    assert chunk is not None
    assert chunk.values.max() <= 1


def test_merge_keeps_the_last_value_of_a_cell() -> None:
    one = StateChunk((1, 2), np.ones((2, 3), np.float16))
    two = StateChunk((2, 5), np.zeros((2, 3), np.float16))
    both = merge([one, two])
    assert both is not None
    assert both.cells == (1, 2, 5)
    np.testing.assert_array_equal(both.values, [[1] * 3, [0] * 3, [0] * 3])
    assert merge([]) is None


@given(
    st.floats(0, 1000),
    st.lists(st.tuples(st.floats(0, 0.9), st.floats(0.02, 3)), min_size=1, max_size=6),
)
def test_any_passes_give_wholly_covered_cells_right_and_settled_ones_no_more(
    origin_s: float, passes: list[tuple[float, float]]
) -> None:
    pooler = StatePooler()
    end_s = origin_s
    speech = track([(0, 1e9)], origin_s + 30, origin_s)
    for back, forth in passes:
        start_s = max(origin_s, end_s - back)
        end_s += forth
        settled_s = pooler.settled_s
        relative = ramp(end_s - start_s + 0.02)  # times from the window's start keep float16 exact
        chunk = pooler.add(relative, start_s, end_s, speech)
        for cell, value in zip(chunk.cells, chunk.values, strict=True) if chunk else ():
            assert start_s <= cell / 4 + 1e-5
            assert (cell + 1) / 4 <= end_s + 1e-5
            assert abs(float(value[0]) - ((cell + 0.5) / 4 - start_s)) < 0.015
            assert cell / 4 >= settled_s
        assert pooler.settled_s == max(settled_s, np.floor((end_s - CONTEXT_S) * 4 + 1e-6) / 4)

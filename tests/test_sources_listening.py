"""Blocks of a microphone onto a contiguous line: counting, gaps, stalls, drift."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from capture.listening import Block, Listening
from capture.source import Item, Sound
from features.samples import Lost, Returned
from tests.sources_media import samples


def noise(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0.1, 0.5, count).astype(np.float32)


def notices(items: list[Item]) -> list[Item]:
    return [i for i in items if not isinstance(i, Sound)]


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.integers(1, 4_000), min_size=1, max_size=40),
    st.lists(st.floats(0, 0.08), min_size=40, max_size=40),
)
def test_late_callbacks_change_nothing(sizes: list[int], late_s: list[float]) -> None:
    total = noise(sum(sizes))
    listening, items, at = Listening(), [], 0
    for size, late in zip(sizes, late_s, strict=False):
        arrived_s = (at + size) / 16_000 + (late if at else 0.0)
        items += listening.add(Block(arrived_s, total[at : at + size], 16_000))
        at += size
    heard = samples(items)
    assert at - 1600 < len(heard) <= at
    np.testing.assert_array_equal(heard, total[: len(heard)])
    assert not notices(items)


def steady(
    listening: Listening, start_s: float, seconds: float, rate_hz: int = 48_000
) -> list[Item]:
    """Blocks of 50 ms, each arriving as its last sample sounds."""
    items: list[Item] = []
    for k in range(round(seconds * 20)):
        block = noise(rate_hz // 20, k)
        items += listening.add(Block(start_s + (k + 1) / 20, block, rate_hz))
    return items


def test_sound_begins_at_zero_however_late_the_device() -> None:
    heard = samples(steady(Listening(), 0.73, 1.0))
    assert not heard[: int(0.72 * 16_000)].any()
    assert heard[int(0.74 * 16_000) :].min() > 0.0


def test_sound_from_before_the_beginning_is_cut() -> None:
    total, listening = noise(3_200), Listening()
    items = listening.add(Block(0.05, total[:1_600], 16_000))
    items += listening.add(Block(0.15, total[1_600:], 16_000))
    np.testing.assert_array_equal(samples(items), total[800:2_400])
    assert not notices(items)


def test_a_stall_is_lost_filled_and_taken_back() -> None:
    listening = Listening()
    items = steady(listening, 0.0, 1.0)
    assert listening.quiet(1.4) == []
    items += listening.quiet(1.51)
    (lost,) = notices(items)
    assert isinstance(lost, Lost)
    assert (lost.modality, lost.reason) == ("sound", "no sound arrives")
    assert lost.time_s == pytest.approx(1.0, abs=0.001)
    for now_s in np.arange(1.6, 3.0, 0.05):
        items += listening.quiet(float(now_s))
    assert len(samples(items)) >= 2.6 * 16_000  # time goes on
    items += steady(listening, 3.0, 1.0)
    assert notices(items)[1:] == [Returned("sound", pytest.approx(3.0, abs=0.001))]
    heard = samples(items)
    assert len(heard) == pytest.approx(4.0 * 16_000, abs=1_700)
    assert not heard[int(1.02 * 16_000) : int(2.98 * 16_000)].any()
    assert heard[int(3.02 * 16_000) :].min() > 0.0


def test_a_device_that_never_gives_anything_is_lost() -> None:
    (lost,) = notices(Listening().quiet(0.6))
    assert isinstance(lost, Lost)


def test_refused_blocks_are_silence_of_their_length() -> None:
    listening = Listening()
    items = steady(listening, 0.0, 1.0)
    items += listening.add(Block(1.35, noise(2_400), 48_000, missed=6 * 2_400))
    assert notices(items) == []  # too short to call the sound lost; the count says it
    items += steady(listening, 1.35, 1.0)
    heard = samples(items)
    assert not heard[int(1.02 * 16_000) : int(1.28 * 16_000)].any()
    assert heard[int(1.32 * 16_000) :].min() > 0.0
    assert listening.counts.counts == {"sound blocks missed": 1}


def test_sound_lost_inside_the_card_is_made_up_for() -> None:
    listening = Listening()
    items = steady(listening, 0.0, 3.0) + steady(listening, 3.5, 4.0)
    assert notices(items) == []
    assert listening.counts.counts == {"sound gaps": 1}
    assert len(samples(items)) == pytest.approx(7.5 * 16_000, abs=1_700)


def test_a_card_that_runs_ahead_is_cut() -> None:
    listening, items = Listening(), []
    for k in range(600):  # 30 s that arrive in 29.7
        items += listening.add(Block((k + 1) / 20 * 0.99, noise(800), 16_000))
    assert listening.counts.counts["sound overlaps"] >= 1
    assert len(samples(items)) == pytest.approx(29.7 * 16_000, abs=0.2 * 16_000)


def test_old_sound_handed_over_at_once_is_left_out() -> None:
    """A server that was stopped for two seconds gives what it kept, then goes on in real time."""
    listening = Listening()
    items = steady(listening, 0.0, 1.0) + listening.quiet(1.6)
    for k in range(45):
        items += listening.add(Block(3.0 + k / 1_000, noise(800, k), 16_000))
    for k in range(40):
        items += listening.add(Block(3.05 + (k + 1) / 20, noise(800, k), 16_000))
    assert [type(n) for n in notices(items)] == [Lost, Returned]
    assert len(samples(items)) == pytest.approx(5.05 * 16_000, abs=0.2 * 16_000)


def test_blocks_too_late_for_the_silence_in_their_place_are_no_return() -> None:
    """Given 0.8 s late each, they would be found lost again at every look."""
    listening = Listening()
    items = steady(listening, 0.0, 1.0) + listening.quiet(1.6)
    for k in range(20):
        items += listening.quiet(1.8 + k / 20)
        items += listening.add(Block(1.05 + k / 20, noise(2_400, k), 48_000))
    assert [type(n) for n in notices(items)] == [Lost]
    assert listening.counts.counts == {"sound blocks late": 20}
    items += steady(listening, 3.0, 1.0)
    assert [type(n) for n in notices(items)] == [Lost, Returned]
    assert len(samples(items)) == pytest.approx(4.0 * 16_000, abs=1_700)


def test_blocks_that_run_a_little_late_are_a_return() -> None:
    listening = Listening()
    items = steady(listening, 0.0, 1.0)
    for k in range(40):
        items += listening.quiet(2.0 + k / 20)
        items += listening.add(Block(1.75 + k / 20, noise(2_400, k), 48_000))
    assert [type(n) for n in notices(items)] == [Lost, Returned]
    assert samples(items)[-16_000:].min() > 0.0


def test_another_rate_in_the_middle() -> None:
    listening = Listening()
    items = steady(listening, 0.0, 1.0, 48_000) + steady(listening, 1.0, 1.0, 44_100)
    heard = samples(items)
    assert len(heard) == pytest.approx(2.0 * 16_000, abs=1_700)
    assert heard[2_000:].min() > 0.0

"""Downmix, resampler and the contiguous line."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from capture.sound import CHUNK, Resampler, SoundLine, downmix
from capture.source import Sound
from tests.sources_media import tone

RATES = st.sampled_from([8_000, 11_025, 16_000, 22_050, 32_000, 44_100, 48_000, 96_000])
CUTS = st.lists(st.integers(0, 5_000), min_size=1, max_size=30)


def cut(total: np.ndarray, sizes: list[int]) -> list[np.ndarray]:
    pieces, at = [], 0
    for size in sizes:
        pieces.append(total[at : at + size])
        at += size
    return [*pieces, total[at:]]


def resampled(pieces: list[np.ndarray], rate_hz: int) -> np.ndarray:
    resampler = Resampler(rate_hz)
    return np.concatenate([*(resampler.feed(p) for p in pieces), resampler.finish()])


@settings(max_examples=60, deadline=None)
@given(RATES, CUTS, st.integers(0, 40_000))
def test_cutting_changes_nothing_and_the_length_is_right(
    rate_hz: int, sizes: list[int], length: int
) -> None:
    total = np.random.default_rng(length).uniform(-0.5, 0.5, length).astype(np.float32)
    whole = resampled([total], rate_hz)
    np.testing.assert_array_equal(resampled(cut(total, sizes), rate_hz), whole)
    assert abs(len(whole) - length * 16_000 / rate_hz) <= 1


@settings(max_examples=60, deadline=None)
@given(CUTS, CUTS)
def test_the_line_gives_back_what_was_written(sizes: list[int], gaps: list[int]) -> None:
    line, chunks, expected = SoundLine(), [], []
    rng = np.random.default_rng(1)
    for size, gap in zip(sizes, gaps, strict=False):
        piece = rng.uniform(-1, 1, size).astype(np.float32)
        chunks += line.write_at(line.end + gap, piece)
        expected += [np.zeros(gap, np.float32), piece]
    assert all(len(c.samples) == CHUNK for c in chunks)
    chunks += line.rest()
    starts = np.cumsum([0] + [len(c.samples) for c in chunks])[:-1]
    assert [round(c.start_s * 16_000) for c in chunks] == list(starts)
    np.testing.assert_array_equal(joined(chunks), np.concatenate(expected))


def joined(chunks: list[Sound]) -> np.ndarray:
    return np.concatenate([np.zeros(0, np.float32), *(c.samples for c in chunks)])


def test_overlap_is_cut() -> None:
    line = SoundLine()
    line.write(np.ones(100, np.float32))
    line.write_at(90, np.full(20, 2, np.float32))
    line.write_at(50, np.full(20, 3, np.float32))
    assert line.end == 110
    np.testing.assert_array_equal(line.rest()[0].samples, [1] * 100 + [2] * 10)


@pytest.mark.parametrize("rate_hz", [8_000, 44_100, 48_000])
def test_a_tone_stays_the_tone(rate_hz: int) -> None:
    heard = resampled([tone(1.0, rate_hz)[0]], rate_hz)
    middle = slice(2_000, 14_000)
    np.testing.assert_allclose(heard[middle], tone(1.0, 16_000)[0][middle], atol=2e-3)


def test_what_16_khz_cannot_hold_is_filtered_out() -> None:
    heard = resampled([tone(1.0, 48_000, hz=12_000)[0]], 48_000)
    assert np.abs(heard[2_000:14_000]).max() < 1e-3  # an alias would be a tone of 4 kHz


def test_downmix_keeps_the_dialogue_of_surround_sound() -> None:
    names = ["FL", "FR", "FC", "LFE", "BL", "BR"]
    dialogue = np.zeros((6, 10), np.float32)
    dialogue[2] = 0.5
    np.testing.assert_allclose(downmix(dialogue, names), 0.5 * 0.7071)
    rumble = np.zeros((6, 10), np.float32)
    rumble[3] = 1.0
    assert not downmix(rumble, names).any()
    assert downmix(np.ones((6, 10), np.float32), names).max() <= 1.0


def test_downmix_of_stereo_and_unknown_layouts_is_the_mean() -> None:
    channels = np.array([[1.0, 0.0], [0.0, 0.5]], np.float32)
    np.testing.assert_allclose(downmix(channels, ["FL", "FR"]), [0.5, 0.25])
    np.testing.assert_allclose(downmix(np.eye(4, dtype=np.float32)), [0.25] * 4)

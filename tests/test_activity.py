"""Speech activity: the stream against faster-whisper's own run over the whole sound."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from faster_whisper.vad import get_vad_model
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from features.activity import FRAME_SAMPLES, SpeechActivity
from features.errors import FeatureError

RATE_HZ = 16_000


@pytest.fixture(scope="module")
def speech(demo_clip: Path) -> np.ndarray:
    """The demo clip's sound, 16 kHz mono."""
    resampler = av.AudioResampler("flt", "mono", RATE_HZ)
    with av.open(str(demo_clip)) as clip:
        frames = [out for f in clip.decode(audio=0) for out in resampler.resample(f)]
    return np.concatenate([f.to_ndarray()[0] for f in frames + resampler.resample(None)])


@pytest.fixture(scope="module")
def expected(speech: np.ndarray) -> np.ndarray:
    # A frame more than is compared: faster-whisper overwrites the tail of the last one with zeros.
    count = len(speech) // FRAME_SAMPLES
    return get_vad_model()(speech[: count * FRAME_SAMPLES].copy()).ravel()[:-1]


def streamed(sound: np.ndarray, cuts: list[int]) -> np.ndarray:
    activity = SpeechActivity(origin_s=1.5)
    got: list[np.ndarray] = []
    for piece in np.split(sound, cuts):
        chunk = activity.feed(piece)
        if chunk is not None:
            assert chunk.origin_s == 1.5
            assert chunk.first == sum(map(len, got))
            got.append(chunk.probability)
    return np.concatenate(got)


@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(cuts=st.lists(st.integers(0, 90_000), max_size=40).map(sorted))
def test_stream_equals_the_whole_sound_for_any_cut(
    speech: np.ndarray, expected: np.ndarray, cuts: list[int]
) -> None:
    got = streamed(speech, cuts)
    assert got.dtype == np.float32
    assert len(got) == len(speech) // FRAME_SAMPLES
    np.testing.assert_allclose(got[: len(expected)], expected, atol=2e-6, rtol=0)


def test_state_is_carried_over_long_batches(speech: np.ndarray) -> None:
    long = np.tile(speech, 8)  # more than one batch of 1,000 frames
    once = streamed(long, [])
    often = streamed(long, list(range(1600, len(long), 1600)))
    np.testing.assert_allclose(once, often, atol=2e-6, rtol=0)


def test_speech_is_speech_and_noise_is_not(speech: np.ndarray) -> None:
    noise = 0.1 * np.random.default_rng(1).standard_normal(5 * RATE_HZ).astype(np.float32)
    tone = 0.3 * np.sin(np.arange(5 * RATE_HZ) * 2 * np.pi * 440 / RATE_HZ).astype(np.float32)
    assert streamed(speech, []).mean() > 0.5
    assert streamed(np.zeros(5 * RATE_HZ, np.float32), []).max() < 0.1
    assert streamed(noise, []).mean() < 0.1
    assert streamed(tone, []).mean() < 0.1


def test_incomplete_frames_wait() -> None:
    activity = SpeechActivity()
    assert activity.feed(np.zeros(0, np.float32)) is None
    assert activity.feed(np.zeros(511, np.float32)) is None
    chunk = activity.feed(np.zeros(514, np.float32))
    assert chunk is not None
    assert (chunk.first, chunk.probability.shape) == (0, (2,))
    assert activity.feed(np.zeros(510, np.float32)) is None
    chunk = activity.feed(np.zeros(1, np.float32))
    assert chunk is not None
    assert (chunk.first, chunk.probability.shape) == (2, (1,))


@pytest.mark.parametrize(
    ("sound", "reason"),
    [
        (np.zeros((100, 2), np.float32), "one axis"),
        (np.array([0.0, np.nan], np.float32), "not numbers"),
    ],
)
def test_bad_sound_is_refused(sound: np.ndarray, reason: str) -> None:
    with pytest.raises(FeatureError, match=reason):
        SpeechActivity().feed(sound)

"""Voice: the stream of descriptors against the opensmile package's own run over the whole sound."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import av
import numpy as np
import opensmile
import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from features.errors import FeatureError
from features.samples import VoiceChunk
from features.spec import DESCRIPTORS
from features.voice import VoiceExtractor

RATE_HZ = 16_000
DEADLINE_S = 30.0


@pytest.fixture(scope="module")
def speech(demo_clip: Path) -> np.ndarray:
    """The demo clip's sound, 16 kHz mono."""
    resampler = av.AudioResampler("flt", "mono", RATE_HZ)
    with av.open(str(demo_clip)) as clip:
        frames = [out for f in clip.decode(audio=0) for out in resampler.resample(f)]
    return np.concatenate([f.to_ndarray()[0] for f in frames + resampler.resample(None)])


def whole_file(sound: np.ndarray) -> np.ndarray:
    smile = opensmile.Smile(
        opensmile.FeatureSet.eGeMAPSv02, opensmile.FeatureLevel.LowLevelDescriptors
    )
    assert tuple(smile.feature_names) == DESCRIPTORS
    return smile.process_signal(sound, RATE_HZ).to_numpy(np.float32)


def streamed(sound: np.ndarray, cuts: list[int]) -> np.ndarray:
    """Descriptors of the sound fed in the pieces between the cuts; checks the chunks' numbers."""
    chunks: list[VoiceChunk] = []
    voice = VoiceExtractor(chunks.append, origin_s=2.5)
    for piece in np.split(sound, cuts):
        voice.feed(piece)
    voice.finish(DEADLINE_S)
    assert all(chunk.origin_s == 2.5 for chunk in chunks)
    counts = [len(chunk.values) for chunk in chunks]
    assert [chunk.first for chunk in chunks] == [sum(counts[:i]) for i in range(len(counts))]
    return np.concatenate([chunk.values for chunk in chunks] or [np.zeros((0, 25), np.float32)])


def test_stream_equals_whole_file_to_the_last_bit(speech: np.ndarray) -> None:
    expected = whole_file(speech)
    got = streamed(speech, list(range(1600, len(speech), 1600)))
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, expected)
    assert np.ptp(got, axis=0).min() > 0  # speech moves every descriptor


@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(cuts=st.lists(st.integers(0, 24_000), max_size=12).map(sorted))
def test_result_does_not_depend_on_how_sound_is_cut(speech: np.ndarray, cuts: list[int]) -> None:
    sound = speech[16_000:40_000]
    np.testing.assert_array_equal(streamed(sound, cuts), whole_file(sound))


@pytest.mark.parametrize("samples", [0, 1, 160, 400, 959])
def test_sound_too_short_for_a_frame_gives_none(speech: np.ndarray, samples: int) -> None:
    assert streamed(speech[20_000 : 20_000 + samples], []).shape == (0, 25)


def test_a_clip_of_a_fifth_of_a_second(speech: np.ndarray) -> None:
    sound = speech[20_000:23_200]
    np.testing.assert_array_equal(streamed(sound, [700]), whole_file(sound))


def test_two_streams_at_once_do_not_disturb_each_other(speech: np.ndarray) -> None:
    sounds = [speech[:48_000], speech[30_000:78_000]]
    chunks: list[list[VoiceChunk]] = [[], []]
    voices = [VoiceExtractor(got.append) for got in chunks]
    for start in range(0, 48_000, 1600):
        for voice, sound in zip(voices, sounds, strict=True):
            voice.feed(sound[start : start + 1600])
    for voice in voices:
        voice.finish(DEADLINE_S)
    for got, sound in zip(chunks, sounds, strict=True):
        values = np.concatenate([chunk.values for chunk in got])
        np.testing.assert_array_equal(values, whole_file(sound))


def test_frames_come_while_the_sound_still_runs(speech: np.ndarray) -> None:
    enough = threading.Event()

    def note(chunk: VoiceChunk) -> None:
        if chunk.first + len(chunk.values) >= 90:
            enough.set()

    voice = VoiceExtractor(note)
    voice.feed(speech[:RATE_HZ])
    assert enough.wait(DEADLINE_S)  # 1 s of sound gives 0.9 s of frames before the end is known
    voice.close()


def test_slow_reader_holds_the_feeder_back_and_loses_nothing(speech: np.ndarray) -> None:
    go = threading.Event()
    frames: list[int] = []

    def slow(chunk: VoiceChunk) -> None:
        assert go.wait(DEADLINE_S)
        frames.append(len(chunk.values))

    sound = np.tile(speech, 2)
    voice = VoiceExtractor(slow)
    feeder = threading.Thread(target=voice.feed, args=(sound,))
    feeder.start()
    feeder.join(0.3)
    assert feeder.is_alive()  # 11 s do not fit into the ring of 2 s
    go.set()
    feeder.join(DEADLINE_S)
    assert not feeder.is_alive()
    voice.finish(DEADLINE_S)
    assert sum(frames) == len(whole_file(sound))


def test_error_of_the_reader_reaches_the_feeder(speech: np.ndarray) -> None:
    def broken(_chunk: VoiceChunk) -> None:
        raise KeyError("reader broke")

    voice = VoiceExtractor(broken)
    with pytest.raises(KeyError, match="reader broke"):
        for _ in range(20):
            voice.feed(speech)
    voice.close()
    voice = VoiceExtractor(broken)
    voice.feed(speech[:RATE_HZ])
    with pytest.raises(KeyError, match="reader broke"):
        voice.finish(DEADLINE_S)


def test_a_dead_opensmile_is_told_to_the_feeder(speech: np.ndarray) -> None:
    first = threading.Event()
    voice = VoiceExtractor(lambda _chunk: first.set())
    voice.feed(speech[:RATE_HZ])
    assert first.wait(DEADLINE_S)
    voice._smile.abort()
    with pytest.raises(FeatureError, match="stopped before the end"):
        for _ in range(20):
            voice.feed(speech)
    voice.close()


def test_louder_than_full_scale_is_clipped_not_wrapped() -> None:
    tone = np.sin(np.arange(RATE_HZ) * 2 * np.pi * 200 / RATE_HZ).astype(np.float32)
    loud = streamed(3 * tone, [])
    full = np.clip(3 * tone, -1, 32767 / 32768)
    np.testing.assert_array_equal(loud, whole_file(full))


@pytest.mark.parametrize(
    ("sound", "reason"),
    [
        (np.zeros((2, 100), np.float32), "one axis"),
        (np.array([0.0, np.nan], np.float32), "not numbers"),
        (np.array([np.inf], np.float32), "not numbers"),
    ],
)
def test_bad_sound_is_refused(sound: np.ndarray, reason: str) -> None:
    voice = VoiceExtractor(lambda _chunk: None)
    with pytest.raises(FeatureError, match=reason):
        voice.feed(sound)
    voice.close()


def test_close_and_finish_at_any_moment(speech: np.ndarray) -> None:
    for number in range(30):
        voice = VoiceExtractor(lambda _chunk: None)
        if number % 3:
            voice.feed(speech[: 3000 * number])
        if number % 2:
            voice.finish(DEADLINE_S)
            voice.finish(DEADLINE_S)
        voice.close()
        voice.close()
        with pytest.raises(FeatureError, match="after the end"):
            voice.feed(speech[:10])
    assert not [thread for thread in threading.enumerate() if thread.name == "voice"]


def test_memory_stays_flat(speech: np.ndarray) -> None:
    process = psutil.Process()
    voice = VoiceExtractor(lambda _chunk: None)
    minute = np.resize(speech, 60 * RATE_HZ)
    voice.feed(minute[: 30 * RATE_HZ])
    before = process.memory_info().rss
    voice.feed(minute)
    voice.feed(minute)
    grown = process.memory_info().rss - before
    voice.finish(DEADLINE_S)
    assert grown < 8_000_000  # levels that grow would take 12 MB a minute


def test_silent_on_the_terminal_and_at_exit_even_when_left_open() -> None:
    code = (
        "import numpy as np; from features.voice import VoiceExtractor\n"
        "voice = VoiceExtractor(lambda chunk: None)\n"
        "voice.feed(np.zeros(16000, np.float32))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, timeout=60, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")

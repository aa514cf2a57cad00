"""Windows and alignment: what goes in late, early or in odd portions comes out the same."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from features import spec as specs
from features import wire
from features.messages import Window
from features.samples import (
    ActivityChunk,
    FaceQuality,
    FaceSample,
    Lost,
    SpeechUpdate,
    StateChunk,
    VoiceChunk,
    Word,
)
from features.spec import LIVE
from features.text import plain
from features.tracks import PAUSE_S, REACH_S, REACH_WORDS
from features.windows import Sample, Windower, WindowerConfig

WIDTH = {s.name: s.width for s in LIVE.streams}


def windower(lossless: bool = False, **options: bool) -> Windower:
    config = WindowerConfig("s", "me", "test", lossless=lossless, **options)
    return Windower(config, origin_ns=0 if lossless else 1)


def face(time_s: float, value: float | None) -> FaceSample:
    values = None if value is None else np.full(WIDTH["face"], value, np.float32)
    quality = FaceQuality.NO_FACE if value is None else FaceQuality.OK
    return FaceSample(time_s, quality, faces=int(value is not None), values=values)


def media(duration_s: float, seed: int = 0) -> list[tuple[float, Sample]]:
    """Every sample of a clip with the time at which its extractor would give it."""
    random = np.random.default_rng(seed)
    items: list[tuple[float, Sample]] = []
    for k in range(int(duration_s * 15)):
        items.append((k / 15 + 0.02, face(k / 15, float(random.random()))))
    for k in range(int(duration_s * 10)):
        chunk = random.random((10, WIDTH["voice"]), np.float32)
        items.append((k / 10 + 0.15, VoiceChunk(0.0, k * 10, chunk)))
    frames = int(duration_s / 0.032) + 1
    for k in range(frames):
        speaks = np.full(1, float((k // 40) % 2), np.float32)
        items.append((k * 0.032 + 0.04, ActivityChunk(0.0, k, speaks)))
    for k in range(1, int(duration_s) + 1):
        word = Word(f"word{k}", k - 0.7, k - 0.4)
        values = random.random((2, WIDTH["states"])).astype(np.float16)
        cells = StateChunk((4 * k - 7, 4 * k - 3), values)  # the first anew, and then it is settled
        update = SpeechUpdate((word,), (), float(k), float(k), cells, k - 1.0)
        items.append((k + 1.3, update))
    return sorted(items, key=lambda item: item[0])


def finals(windows: list[Window]) -> dict[int, Window]:
    return {w.seq: w for w in windows if w.final}


def same(a: Window, b: Window) -> None:
    assert (a.seq, a.start_s, a.end_s, a.text, a.present) == (
        b.seq,
        b.start_s,
        b.end_s,
        b.text,
        b.present,
    )
    for name in WIDTH:
        np.testing.assert_array_equal(a.streams[name].values, b.streams[name].values)
        np.testing.assert_array_equal(a.streams[name].mask, b.streams[name].mask)
        np.testing.assert_array_equal(a.statistics[name].mean, b.statistics[name].mean)
        np.testing.assert_array_equal(a.statistics[name].variance, b.statistics[name].variance)


def run_live(items: list[tuple[float, Sample]], tick_s: float, end_s: float) -> list[Window]:
    cutter, out, now_s = windower(), [], 0.0
    pending = list(items)
    while pending:
        now_s += tick_s
        while pending and pending[0][0] <= now_s:
            cutter.add(pending.pop(0)[1])
        out += cutter.advance(now_s)
    return out + cutter.finish(end_s)


def run_lossless(items: list[tuple[float, Sample]], end_s: float) -> list[Window]:
    cutter, out = windower(lossless=True), []
    for _, sample in items:
        cutter.add(sample)
        out += cutter.advance(math.inf)
    return out + cutter.finish(end_s)


@settings(max_examples=15, deadline=None)
@given(
    duration_s=st.floats(0.2, 9.0),
    tick_s=st.floats(0.02, 0.9),
    seed=st.integers(0, 1000),
)
def test_live_and_lossless_agree_on_every_final_window(
    duration_s: float, tick_s: float, seed: int
) -> None:
    items = media(duration_s, seed)
    live = finals(run_live(items, tick_s, duration_s))
    file = finals(run_lossless(items, duration_s))
    assert live.keys() == file.keys() == set(range(math.ceil(duration_s / LIVE.hop_s - 1e-6)))
    for seq, window in file.items():
        same(window, live[seq])


@settings(max_examples=10, deadline=None)
@given(tick_s=st.floats(0.02, 0.6), seed=st.integers(0, 100))
def test_revisions_rise_and_end_with_one_final(tick_s: float, seed: int) -> None:
    windows = run_live(media(6.0, seed), tick_s, 6.0)
    for seq in range(12):
        revisions = [w for w in windows if w.seq == seq]
        assert [w.revision for w in revisions] == list(range(len(revisions)))
        assert [w.final for w in revisions] == [False] * (len(revisions) - 1) + [True]
    ends = [w.end_s for w in windows if w.final]
    assert ends == sorted(ends)


def test_first_revision_comes_without_words_and_the_final_one_with_them() -> None:
    windows = [w for w in run_live(media(6.0), 0.05, 6.0) if w.seq == 7]
    assert len(windows) >= 2
    assert "word4" not in windows[0].text
    assert "word4" in windows[-1].text and windows[-1].final


def test_a_window_is_published_when_its_lateness_is_over_and_says_what_is_missing() -> None:
    cutter = windower(words=False)
    for _, sample in media(4.0):
        if not isinstance(sample, FaceSample):
            cutter.add(sample)
    before = [w for w in cutter.advance(4.0 + 0.39) if w.seq == 7]
    after = [w for w in cutter.advance(4.0 + 0.41) if w.seq == 7]
    assert not before
    assert len(after) == 1 and not after[0].present.face and after[0].present.voice
    assert not after[0].final
    overdue = [w for w in cutter.advance(4.0 + 10.1) if w.seq == 7]
    assert overdue[0].final and cutter.late_windows == 8


def test_a_lost_camera_is_not_waited_for() -> None:
    cutter = windower(words=False)
    for time_s, sample in media(4.0):
        if isinstance(sample, FaceSample) and time_s > 2.0:
            continue
        cutter.add(sample)
    cutter.add(Lost("picture", 2.0, "the camera was pulled out"))
    windows = finals(cutter.advance(4.0))
    assert windows[3].present.face and windows[3].age_s.face is not None
    last = windows[max(windows)]
    assert last.age_s.face is not None and last.age_s.face > 1.0


def test_nothing_seen_heard_or_said_is_nothing_present() -> None:
    cutter = windower(lossless=True)
    for k in range(30):
        cutter.add(face(k / 15, None))
    cutter.add(VoiceChunk(0.0, 0, np.ones((200, WIDTH["voice"]), np.float32)))
    cutter.add(ActivityChunk(0.0, 0, np.zeros(63, np.float32)))
    for window in cutter.finish(2.0):
        assert not window.present.any()
        assert not window.streams["voice"].values.any()
        assert window.statistics["voice"].seconds == 0.0


@settings(max_examples=25, deadline=None)
@given(rate=st.floats(4.0, 60.0), slope=st.floats(-2.0, 2.0))
def test_faces_of_any_rate_are_interpolated_onto_the_grid(rate: float, slope: float) -> None:
    cutter = windower(lossless=True, voice=False, words=False)
    for k in range(int(4.2 * rate) + 1):
        cutter.add(face(k / rate, slope * k / rate))
    window = finals(cutter.advance(math.inf))[7]
    stream = window.streams[specs.FACE]
    assert stream.mask.all()
    np.testing.assert_allclose(stream.values[:, 0], slope * np.arange(40) / 10, atol=1e-5)


def test_faces_are_not_joined_across_a_gap() -> None:
    cutter = windower(lossless=True, voice=False, words=False)
    for k in range(60):
        absent = 15 <= k < 30
        cutter.add(face(k / 15, None if absent else 1.0))
    stream = cutter.finish(4.0)[7].streams[specs.FACE]
    assert not stream.mask[10:20].any() and stream.mask[:9].all() and stream.mask[21:38].all()


def test_statistics_count_every_step_once() -> None:
    items = media(8.0)
    last = finals(run_lossless(items, 8.0))[15]
    chunks = [s.values for _, s in items if isinstance(s, VoiceChunk)]
    speech = np.array([(int((k + 0.5) / 3.2) // 40) % 2 for k in range(800)], bool)
    spoken = np.concatenate(chunks)[speech]
    np.testing.assert_allclose(last.statistics["voice"].mean, spoken.mean(axis=0), rtol=1e-4)
    np.testing.assert_allclose(last.statistics["voice"].variance, spoken.var(axis=0), rtol=1e-3)
    assert last.statistics["voice"].seconds == len(spoken) / 100


def test_memory_stays_bounded_over_an_hour_of_faces() -> None:
    cutter = windower(lossless=True, voice=False, words=False)
    for k in range(3600 * 2):
        cutter.add(face(k / 2, 0.5))
        cutter.advance(math.inf)
    assert len(cutter._face._times) < 20
    assert len(cutter._open) < 4


def test_every_window_fits_the_wire() -> None:
    for window in run_lossless(media(3.0), 3.0):
        frames = wire.encode(window, "test", 0)
        _, back = wire.decode([bytes(f) for f in frames])
        assert isinstance(back, Window)
        same(window, back)
        assert back.age_s == window.age_s


@st.composite
def speeches(draw: st.DrawFn) -> list[Word]:
    """Words one after another, some behind a pause, some at the end of a sentence."""
    words, at_s = [], 0.0
    for k in range(draw(st.integers(0, 120))):
        at_s += draw(st.sampled_from((0.05, 0.1, 0.3, 0.69, 0.71, 3.0)))
        end = draw(st.sampled_from(("", "", "", ",", ".", "?", '."')))
        words.append(Word(f"w{k}{end}", at_s, at_s + draw(st.sampled_from((0.1, 0.2, 0.4)))))
        at_s = words[-1].end_s
    return words


@given(speeches(), st.integers(1, 40))
def test_the_text_is_the_running_utterance(words: list[Word], portion: int) -> None:
    cutter = windower(lossless=True, face=False)
    out: list[Window] = []
    for first in range(0, len(words), portion):
        part = tuple(words[first : first + portion])
        cutter.add(SpeechUpdate(part, (), part[-1].end_s, part[-1].end_s))
        out += cutter.advance(math.inf)
    out += cutter.finish(words[-1].end_s if words else 1.0)
    for window in out:
        said = [w for w in words if (w.start_s + w.end_s) / 2 < window.end_s]
        own = [w for w in said if (w.start_s + w.end_s) / 2 >= window.end_s - LIVE.length_s]
        read = window.text.split()
        assert window.words == tuple(own) and window.present.text == bool(own) == bool(read)
        assert len(read) >= len(own) and len(read) <= max(len(own), REACH_WORDS)
        running = said[len(said) - len(read) :]
        assert read == [plain(w.text) for w in running], "the newest words, in order"
        for before, word in pairwise(running[: len(running) - len(own) + 1]):
            assert word.start_s - before.end_s < PAUSE_S, "no pause in it"
            assert plain(before.text) == before.text.rstrip(","), "no end of a sentence in it"
            assert before.start_s >= window.end_s - REACH_S
        if running and len(running) < min(len(said), REACH_WORDS):
            before, word = said[-len(running) - 1], running[0]
            over = word.start_s - before.end_s > PAUSE_S - 1e-5
            ended = before.text.rstrip('"')[-1] in ".?"
            assert over or ended or before.start_s < window.end_s - REACH_S, "as far as it goes"


def test_text_only_holds_words_and_nothing_of_the_voice() -> None:
    cutter = windower(lossless=True, face=False, voice=False)
    out = []
    for _, sample in media(6.0):
        cutter.add(sample)
        out += cutter.advance(math.inf)
    out += cutter.finish(6.0)
    assert len(out) == 12 and "word4" in out[-1].text
    for window in out:
        assert not (window.present.voice or window.present.face)
        assert not any(stream.mask.any() for stream in window.streams.values())


def test_lost_sound_goes_on_as_silence_and_cuts_no_word_off() -> None:
    cutter = windower()
    items = media(6.0)
    out = []
    for time_s, sample in items:
        if time_s > 4.4:
            break
        cutter.add(sample)
    cutter.add(Lost("sound", 4.4, "the microphone was pulled out"))
    out += cutter.advance(4.4)
    for time_s, sample in items:
        if time_s > 4.4:
            cutter.add(sample)
    out += cutter.advance(7.0)
    same_as = finals(run_lossless(items, 6.0))
    for seq, window in finals(out).items():
        same(window, same_as[seq])


def test_a_number_that_is_none_never_reaches_the_statistics() -> None:
    broken = []
    for time_s, sample in media(4.0):
        if isinstance(sample, VoiceChunk) and sample.first == 200:
            sample.values[3, 5] = np.nan
        if (
            isinstance(sample, FaceSample)
            and 1.0 < sample.time_s < 1.1
            and sample.values is not None
        ):
            sample.values[7] = np.inf
        broken.append((time_s, sample))
    for window in run_lossless(broken, 4.0):
        for stream in window.streams.values():
            assert np.isfinite(stream.values).all()
        for statistics in window.statistics.values():
            assert np.isfinite(statistics.mean).all() and np.isfinite(statistics.variance).all()


def test_one_picture_a_second_is_enough_for_a_face() -> None:
    cutter = windower(lossless=True, voice=False, words=False)
    for k in range(6):
        cutter.add(face(float(k), 1.0))
    assert finals(cutter.advance(math.inf))[7].streams[specs.FACE].mask.all()

"""Files as sources: times, order, pace, and every bad input with its one line."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from capture.decoding import Timeline
from capture.file import FileSource
from capture.probing import Media
from capture.source import SAMPLE_RATE_HZ, End, Picture, Sound
from features.errors import SourceError
from features.samples import Lost
from tests.sources_media import HandClock, due_s, pictures, read_all, samples, tone, write_media

TENTHS = [k / 10 for k in range(20)]


def fast(path: Path, **options: bool) -> FileSource:
    return FileSource(path, paced=False, **options)


def items_of(path: Path, **options: bool) -> list:
    with fast(path, **options) as source:
        return read_all(source)


def refusal(path: Path, **options: bool) -> str:
    with pytest.raises(SourceError) as caught:
        items_of(path, **options)
    text = str(caught.value)
    assert "\n" not in text
    assert str(path) in text
    return text


# What comes.


def test_pictures_and_sound_in_the_order_of_time(tmp_path: Path) -> None:
    path = write_media(tmp_path / "a.mkv", TENTHS, sound=tone(2.0, 48_000, 2), layout="stereo")
    with fast(path) as source:
        assert (source.has_picture, source.has_sound, source.live) == (True, True, False)
        assert source.duration_s == pytest.approx(2.0, abs=0.05)
        items = read_all(source)
        assert source.origin_ns == 0
        assert source.dropped == {}
        assert isinstance(source.read(0.0), End)
    assert [due_s(i) for i in items] == sorted(due_s(i) for i in items)
    assert [p.time_s for p in pictures(items)] == pytest.approx(TENTHS)
    assert pictures(items)[0].image.shape == (48, 64, 3)
    brightness = [p.image.mean() for p in pictures(items)]
    assert brightness == sorted(brightness)
    heard = samples(items)
    assert len(heard) == 2 * 16_000
    np.testing.assert_allclose(heard[2_000:30_000], tone(2.0, 16_000)[0][2_000:30_000], atol=3e-3)
    assert all(len(i.samples) == 1600 for i in items[:-2] if isinstance(i, Sound))


def test_the_same_items_every_time_and_either_half_alone(demo_clip: Path) -> None:
    once, again = items_of(demo_clip), items_of(demo_clip)
    assert [due_s(i) for i in once] == [due_s(i) for i in again]
    only_pictures, only_sound = items_of(demo_clip, sound=False), items_of(demo_clip, picture=False)
    assert [p.time_s for p in pictures(only_pictures)] == [p.time_s for p in pictures(once)]
    np.testing.assert_array_equal(samples(only_sound), samples(once))
    assert not samples(only_pictures).size
    assert not pictures(only_sound)
    assert len(pictures(once)) == 87  # 5.77 s at 15 Hz
    assert once[-1].time_s == pytest.approx(5.78, abs=0.01)


def test_variable_frame_rate_keeps_its_times(tmp_path: Path) -> None:
    times = [0.0, 0.04, 0.3, 0.31, 0.9, 1.0, 1.033, 1.066, 1.1, 2.5]
    items = items_of(write_media(tmp_path / "vfr.mkv", times))
    got = [p.time_s for p in pictures(items)]
    assert got == pytest.approx([0.0, 0.3, 0.9, 1.0, 1.066, 2.5])


def test_media_time_starts_where_the_media_starts(tmp_path: Path) -> None:
    late = [5.0 + t for t in TENTHS]
    path = write_media(tmp_path / "a.ts", late)
    times = [p.time_s for p in pictures(items_of(path))]
    assert times == pytest.approx(TENTHS, abs=0.002)


def test_sound_that_starts_later_is_preceded_by_silence(tmp_path: Path) -> None:
    path = write_media(
        tmp_path / "a.mkv", TENTHS, sound=tone(1.0, 16_000), rate_hz=16_000, sound_start_s=0.55
    )
    items = items_of(path)
    heard = samples(items)
    assert len(heard) == round(items[-1].time_s * 16_000)
    assert not heard[: 16_000 * 54 // 100].any()
    assert np.abs(heard[16_000 * 56 // 100 : 16_000 * 60 // 100]).max() > 0.4
    assert not heard[16_000 * 156 // 100 :].any()
    assert [due_s(i) for i in items] == sorted(due_s(i) for i in items)


def test_a_gap_in_the_sound_is_silence(tmp_path: Path) -> None:
    path = tmp_path / "gap.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=16_000, layout="mono")
        for start_s in (0.0, 2.0):
            pcm = (tone(1.0, 16_000) * 32767).astype(np.int16)
            frame = av.AudioFrame.from_ndarray(pcm, format="s16", layout="mono")
            frame.sample_rate, frame.time_base = 16_000, Fraction(1, 16_000)
            frame.pts = round(start_s * 16_000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    heard = samples(items_of(path))
    assert len(heard) == 3 * 16_000
    assert not heard[16_000:32_000].any()
    np.testing.assert_allclose(heard[:16_000], heard[32_000:], atol=1e-4)


@pytest.mark.parametrize(
    ("rate_hz", "layout", "channels"),
    [(8_000, "mono", 1), (44_100, "stereo", 2), (48_000, "5.1", 6)],
)
def test_any_rate_and_channels(tmp_path: Path, rate_hz: int, layout: str, channels: int) -> None:
    total = np.zeros((channels, rate_hz), np.float32)
    total[2 if channels == 6 else slice(None)] = tone(1.0, rate_hz)[
        0
    ]  # 5.1: dialogue in the centre
    path = write_media(tmp_path / "a.wav", sound=total, rate_hz=rate_hz, layout=layout)
    with fast(path) as source:
        assert (source.has_picture, source.has_sound) == (False, True)
        heard = samples(read_all(source))
    assert len(heard) == 16_000
    gain = 0.7071 if channels == 6 else 1.0
    expected = gain * tone(1.0, 16_000)[0]
    np.testing.assert_allclose(heard[2_000:14_000], expected[2_000:14_000], atol=4e-3)


def test_compressed_sound_lies_where_it_should(tmp_path: Path) -> None:
    click = np.zeros((1, 48_000), np.float32)
    click[0, 24_000:24_100] = 0.9
    path = write_media(tmp_path / "a.mp4", TENTHS, sound=click, sound_codec="aac")
    heard = np.abs(samples(items_of(path)))
    assert int(heard.argmax()) == pytest.approx(8_000, abs=80)  # the encoder's priming is cut


def test_4k_is_scaled_down(tmp_path: Path) -> None:
    path = write_media(tmp_path / "4k.mp4", [0.0, 0.1, 0.2], size=(3840, 2160))
    assert [p.image.shape for p in pictures(items_of(path))] == [(720, 1280, 3)] * 3


def test_a_clip_of_a_fifth_of_a_second(tmp_path: Path) -> None:
    path = write_media(
        tmp_path / "short.mp4", [0.0, 0.1], sound=tone(0.2, 48_000), sound_codec="aac"
    )
    items = items_of(path)
    assert len(pictures(items)) == 2
    assert items[-1].time_s == pytest.approx(0.2, abs=0.03)
    assert len(samples(items)) == round(items[-1].time_s * 16_000)


def test_a_phone_held_upright(tmp_path: Path) -> None:
    path = write_media(tmp_path / "phone.mp4", [0.0, 0.1], size=(64, 32))
    identity = b"".join(v.to_bytes(4, "big") for v in (1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30))
    quarter = b"".join(
        (v & 0xFFFFFFFF).to_bytes(4, "big")
        for v in (0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30)
    )
    data = path.read_bytes()
    at = data.index(identity, data.index(b"tkhd"))
    path.write_bytes(data[:at] + quarter + data[at + len(identity) :])
    assert pictures(items_of(path))[0].image.shape == (64, 32, 3)


def test_rotation_turns_the_right_way(tmp_path: Path) -> None:
    path = tmp_path / "phone.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 32, "yuv420p"
        image = np.zeros((32, 64, 3), np.uint8)
        image[:, :32] = 220  # bright on the left as stored
        container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    identity = b"".join(v.to_bytes(4, "big") for v in (1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30))
    clockwise = b"".join(
        (v & 0xFFFFFFFF).to_bytes(4, "big")
        for v in (0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30)
    )
    data = path.read_bytes()
    at = data.index(identity, data.index(b"tkhd"))
    path.write_bytes(data[:at] + clockwise + data[at + len(identity) :])
    shown = pictures(items_of(path))[0].image
    assert shown[:20].mean() > 180  # x goes to y: the left edge is shown on top
    assert shown[-20:].mean() < 40


def test_a_cover_picture_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "song.mp3"
    with av.open(str(path), "w") as container:
        audio = container.add_stream("mp3", rate=44_100, layout="mono")
        cover = container.add_stream("mjpeg", rate=1)
        cover.width = cover.height = 32
        cover.pix_fmt = "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        container.mux(cover.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8))))
        container.mux(cover.encode())
        pcm = (tone(0.5, 44_100) * 32767).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(pcm, format="s16p", layout="mono")
        frame.sample_rate = 44_100
        container.mux(audio.encode(frame))
        container.mux(audio.encode())
    with fast(path) as source:
        assert (source.has_picture, source.has_sound) == (False, True)
        items = read_all(source)
    assert len(samples(items)) == pytest.approx(8_000, abs=1_000)
    assert "the sound is switched off" in refusal(path, sound=False)


def test_a_stream_without_times_or_duration(tmp_path: Path) -> None:
    raw = write_media(tmp_path / "raw.h264", [k / 30 for k in range(30)], codec="libx264")
    with fast(raw) as source:
        assert source.duration_s == pytest.approx(1.0, abs=0.3)
        times = [p.time_s for p in pictures(read_all(source))]
    assert times == sorted(set(times))
    assert len(times) >= 12


def test_damage_in_the_middle_is_skipped_and_counted(tmp_path: Path, demo_clip: Path) -> None:
    data = bytearray(demo_clip.read_bytes())
    rng = np.random.default_rng(0)
    for at in range(300_000, 500_000, 2_000):
        data[at : at + 300] = rng.bytes(300)
    path = tmp_path / "broken.mp4"
    path.write_bytes(data)
    with fast(path) as source:
        items = read_all(source)
        assert source.dropped["broken packets"] > 0
    assert items[-1].time_s == pytest.approx(5.78, abs=0.05)
    assert len(samples(items)) == round(items[-1].time_s * 16_000)
    times = [p.time_s for p in pictures(items)]
    assert times == sorted(set(times))


# The timeline.


def test_stamps_that_cannot_be_true_go_on_from_the_last() -> None:
    timeline = Timeline(Media(Path("x"), 0, None, start_s=10.0, duration_s=5.0))
    placed = [timeline.place(s, 0.1) for s in (10.0, None, 10.2, 9_999.0, 9_999.1, 0.0, 0.1)]
    assert placed == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6])


def test_a_leap_of_hours_is_not_believed() -> None:
    timeline = Timeline(Media(Path("x"), 0, None, start_s=0.0, duration_s=1e9))
    placed = [timeline.place(s, 0.1) for s in (0.0, 500.0, 90_000.0, 90_000.1)]
    assert placed == pytest.approx([0.0, 500.0, 500.1, 500.2])


def test_negative_stamps_stay_before_zero() -> None:
    timeline = Timeline(Media(Path("x"), 0, None, start_s=0.0, duration_s=5.0))
    assert timeline.place(-0.04, 0.04) == pytest.approx(-0.04)
    assert timeline.place(0.0, 0.04) == 0.0


# Pace and loop.


def test_paced_items_come_when_they_are_due(tmp_path: Path) -> None:
    path = write_media(tmp_path / "a.mkv", TENTHS, sound=tone(2.0, 48_000))
    clock = HandClock()
    with FileSource(path, clock=clock) as source:
        assert source.live
        assert source.origin_ns == 0
        while not isinstance(item := source.read(1.0), End):
            passed_s = (clock.ns - source.origin_ns) / 1e9
            assert passed_s == pytest.approx(due_s(item), abs=1e-6)
    assert all(s <= 1.0 for s in clock.slept_s)


def test_paced_read_keeps_its_timeout_and_loses_nothing(tmp_path: Path) -> None:
    path = write_media(tmp_path / "a.mkv", [0.0, 1.0, 1.5])
    clock = HandClock()
    with FileSource(path, clock=clock) as source:
        assert source.read(0.3) is not None
        before = clock.ns
        assert [source.read(0.3) for _ in range(3)] == [None] * 3
        assert (clock.ns - before) / 1e9 == pytest.approx(0.9)
        assert due_s(source.read(0.3)) == pytest.approx(1.0)
        clock.advance(10.0)  # a reader that comes late gets what is due at once
        before = clock.ns
        assert due_s(source.read(0.0)) == pytest.approx(1.5)
        assert clock.ns == before


def test_a_loop_goes_on_without_a_seam(tmp_path: Path) -> None:
    path = write_media(tmp_path / "a.mkv", TENTHS, sound=tone(1.93, 48_000))
    once = items_of(path)
    length_s = once[-1].time_s
    with fast(path, loop=True) as source:
        assert source.duration_s is None
        items = []
        while not items or due_s(items[-1]) < 3.2 * length_s:
            items.append(source.read(0.0))
    assert [due_s(i) for i in items] == sorted(due_s(i) for i in items)
    times = [p.time_s for p in pictures(items)]
    assert times[20:40] == pytest.approx([length_s + t for t in times[:20]])
    assert times == sorted(set(times))
    heard, pass_length = samples(items), round(length_s * 16_000)
    np.testing.assert_array_equal(heard[:pass_length], heard[pass_length : 2 * pass_length])


def test_close_before_open_twice_and_read_after() -> None:
    source = FileSource(Path("nowhere.mp4"))
    source.close()
    source.close()
    with pytest.raises(SourceError, match="before it was opened"):
        source.read(0.0)


# What is refused.


def test_missing_folder_empty_and_text(tmp_path: Path) -> None:
    assert "no such file" in refusal(tmp_path / "none.mp4")
    assert "is a folder" in refusal(tmp_path)
    (tmp_path / "empty.mp4").touch()
    assert "is empty" in refusal(tmp_path / "empty.mp4")
    (tmp_path / "text.mp4").write_text("This is no film at all.\n" * 50)
    assert "not a media file" in refusal(tmp_path / "text.mp4")
    os.mkfifo(tmp_path / "pipe.mp4")
    assert "not a regular file" in refusal(tmp_path / "pipe.mp4")


def test_half_a_file(tmp_path: Path) -> None:
    whole = write_media(tmp_path / "a.mp4", TENTHS)
    (tmp_path / "half.mp4").write_bytes(whole.read_bytes()[:200])
    assert "not a media file" in refusal(tmp_path / "half.mp4")


def test_a_file_of_which_nothing_can_be_decoded(tmp_path: Path) -> None:
    data = bytearray(write_media(tmp_path / "a.mp4", TENTHS, codec="libx264").read_bytes())
    start = data.index(b"mdat") + 4
    end = data.index(b"moov") - 4
    data[start:end] = b"\xff" * (end - start)
    (tmp_path / "noise.mp4").write_bytes(data)
    with fast(tmp_path / "noise.mp4") as source:
        for reason in ("nothing in it could be decoded", "cannot be read any further"):
            with pytest.raises(SourceError, match=reason):
                source.read(0.0)
        assert source.dropped["broken packets"] > 0


def test_a_path_that_may_not_be_read(tmp_path: Path) -> None:
    path = write_media(tmp_path / "a.mkv", TENTHS)
    path.chmod(0)
    superuser = os.geteuid() == 0
    try:
        if superuser:
            os.seteuid(65_534)  # permissions do not bind the superuser
        assert "may not be read" in refusal(path)
    finally:
        if superuser:
            os.seteuid(0)


def test_halves_that_are_switched_off(tmp_path: Path) -> None:
    silent = write_media(tmp_path / "silent.mp4", TENTHS)
    blind = write_media(tmp_path / "blind.wav", sound=tone(0.5, 8_000), rate_hz=8_000)
    assert "the picture is switched off" in refusal(silent, picture=False)
    assert "the sound is switched off" in refusal(blind, sound=False)
    with fast(silent) as source:
        assert (source.has_picture, source.has_sound) == (True, False)
        assert not samples(read_all(source)).size


def test_subtitles_alone(tmp_path: Path) -> None:
    path = tmp_path / "lines.srt"
    path.write_text("1\n00:00:00,000 --> 00:00:02,000\nHello.\n\n")
    assert "neither picture nor sound" in refusal(path)


def test_a_playlist_reaches_nowhere(tmp_path: Path) -> None:
    path = tmp_path / "list.m3u8"
    path.write_text("#EXTM3U\n#EXTINF:2,\nhttp://127.0.0.1:9/never.ts\n#EXT-X-ENDLIST\n")
    refusal(path)


def test_names_with_colons_are_files(tmp_path: Path) -> None:
    path = write_media(tmp_path / "call 10:30.mkv", TENTHS)
    assert len(pictures(items_of(path))) == 20


def test_a_picture_that_ends_first_is_said_once_in_its_place(tmp_path: Path) -> None:
    path = write_media(tmp_path / "short.mkv", TENTHS, sound=tone(5.0, 16_000), rate_hz=16_000)
    items = items_of(path)
    lost = [n for n, item in enumerate(items) if isinstance(item, Lost)]
    assert len(lost) == 1
    assert 1.9 < items[lost[0]].time_s < 2.2
    assert not any(isinstance(item, Picture) for item in items[lost[0] :])
    assert samples(items).size == 5 * SAMPLE_RATE_HZ

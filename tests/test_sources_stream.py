"""Streams by their address, from a real server on this machine: paced, named, broken, secret."""

from __future__ import annotations

import functools
import http.server
import itertools
import math
import threading
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import av
import numpy as np
import pytest

from capture.addresses import is_address, shown
from capture.config import CaptureConfig
from capture.source import SAMPLE_RATE_HZ, End, Item, Picture, Sound
from capture.sources import open_source
from capture.stream import Playout, StreamSource
from features.clock import SystemClock
from features.errors import SourceError
from features.samples import Lost, Returned
from tests.sources_media import HandClock, read_all, samples, tone, write_media

LENGTH_S = 1.2


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Nothing on the terminal."""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("www")
    times_s = [i / 25 for i in range(round(LENGTH_S * 25))]
    write_media(folder / "talk.mkv", times_s, sound=tone(LENGTH_S, 48_000))
    (folder / "words.mkv").write_text("no media at all")
    handler = functools.partial(Quiet, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join(5)


def test_pictures_and_sound_come_at_their_own_pace(address: str) -> None:
    source = open_source(CaptureConfig(source=f"{address}/talk.mkv?key=secret"))
    assert isinstance(source, StreamSource)
    begun_ns = SystemClock().now_ns()
    with source:
        items = read_all(source)
    passed_s = (SystemClock().now_ns() - begun_ns) / 1e9
    pictures = [item for item in items if isinstance(item, Picture)]
    sound = [item for item in items if isinstance(item, Sound)]
    assert source.has_picture and source.has_sound and source.live
    assert isinstance(items[-1], End)
    assert 12 <= len(pictures) <= 19  # on the 15 Hz grid
    assert all(a.time_s < b.time_s for a, b in itertools.pairwise(pictures))
    assert all(a.end_s == pytest.approx(b.start_s) for a, b in itertools.pairwise(sound))
    heard = np.concatenate([chunk.samples for chunk in sound])
    assert np.abs(heard[len(heard) // 2 :]).max() > 0.3
    assert passed_s > LENGTH_S - 0.3  # not as fast as it can be fetched
    assert source.name.endswith("/talk.mkv")


def test_what_is_not_wanted_is_left_out(address: str) -> None:
    with StreamSource(f"{address}/talk.mkv", picture=False) as source:
        items = read_all(source)
    assert not any(isinstance(item, Picture) for item in items)
    assert any(isinstance(item, Sound) for item in items)


@pytest.mark.parametrize("path", ["words.mkv", "nothing.mkv"])
def test_what_cannot_be_opened_is_said_in_one_line(address: str, path: str) -> None:
    secret = address.replace("//", "//user:pass@")
    with pytest.raises(SourceError) as caught:
        StreamSource(f"{secret}/{path}").open()
    assert str(caught.value).startswith(f"{address}/{path}: cannot be opened (")
    assert "pass" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_addresses_are_told_from_files_and_shown_without_secrets() -> None:
    assert is_address("rtsp://user:pass@camera.local:554/live")
    assert not any(is_address(one) for one in ("talk.mp4", "file:///etc/passwd", "http://", "demo"))
    assert shown("rtsp://user:pass@camera.local:554/live?key=1") == "rtsp://camera.local:554/live"
    assert shown("http://[::1]:80/a") == "http://[::1]:80/a"


RATE_HZ, BLOCK = 48_000, 1024
Way = Callable[[float], float]  # when what is stamped so many seconds arrives


def sound_frame(number: int) -> Any:
    frame = av.AudioFrame.from_ndarray(np.full((1, BLOCK), 9_000, np.int16), "s16", "mono")
    frame.sample_rate, frame.time_base, frame.pts = RATE_HZ, Fraction(1, RATE_HZ), number * BLOCK
    return frame


def picture_frame(number: int, rate_hz: int) -> Any:
    frame = av.VideoFrame.from_ndarray(np.full((8, 8, 3), 99, np.uint8), "rgb24")
    frame.time_base, frame.pts = Fraction(1, rate_hz), number
    return frame


def played(
    sound: Way, pictures: Way | None = None, seconds: float = 24.0, rate_hz: int = 25
) -> tuple[StreamSource, list[tuple[float, Item]]]:
    """What a stream gives, and when, whose frames arrive as said, on a clock moved by hand."""
    pictures = pictures or sound
    arrivals: list[tuple[float, float, Any]] = []
    for k in range(round(seconds * RATE_HZ / BLOCK)):
        end_s = (k + 1) * BLOCK / RATE_HZ  # a block is there when its last sample has sounded
        arrivals.append((sound(end_s), end_s, sound_frame(k)))
    for k in range(round(seconds * rate_hz)):
        arrivals.append((pictures(k / rate_hz), k / rate_hz, picture_frame(k, rate_hz)))
    arrivals.sort(key=lambda arrival: arrival[:2])
    clock, stop, items = HandClock(), threading.Event(), []
    source = StreamSource("http://nowhere/live", clock=clock)
    source.has_picture = source.has_sound = True
    source._origin.set(begun_ns := clock.now_ns())  # as if opened; what follows hands by itself
    for at, _, frame in arrivals:
        while (now_s := (clock.now_ns() - begun_ns) / 1e9) < at:
            while (item := source.read(0.0)) is not None:
                items.append((now_s, item))
            clock.advance(0.01)
        source._hand(frame, stop)
        while (item := source.read(0.0)) is not None:
            items.append((now_s, item))
    return source, items


def late_from(at_s: float, by_s: float) -> Way:
    return lambda stamp_s: stamp_s + (by_s if stamp_s > at_s else 0.0)


def bursts(length_s: float, late_s: float = 0.0) -> Way:
    """Bursts of which the first is cut off: all others come later than it promised."""
    return lambda stamp_s: (
        stamp_s if stamp_s < 0.1 else math.ceil(stamp_s / length_s) * length_s + late_s
    )


def stalled(at_s: float, by_s: float, speed: float = math.inf) -> Way:
    """Held up once; the rest comes at ``speed`` until it has caught up."""
    return lambda stamp_s: (
        stamp_s if stamp_s < at_s else max(stamp_s, at_s + by_s + (stamp_s - at_s) / speed)
    )


def sound_of(items: list[tuple[float, Item]]) -> np.ndarray:
    return samples([item for _, item in items])


def notices(items: list[tuple[float, Item]], modality: str) -> list[type]:
    every = (item for _, item in items)
    return [type(i) for i in every if isinstance(i, Lost | Returned) and i.modality == modality]


@pytest.mark.parametrize(
    ("sound", "pictures", "lost_s"),
    [
        pytest.param(late_from(8, 0.4), None, 0.5, id="paused for 0.4 s"),
        pytest.param(late_from(8, 0.8), None, 2.0, id="paused for 0.8 s"),
        pytest.param(late_from(8, 3.0), None, 4.2, id="paused for 3 s"),
        pytest.param(bursts(0.2, 0.3), None, 1.7, id="bursts of 0.2 s that come 0.3 s late"),
        pytest.param(bursts(0.6), None, 1.7, id="bursts of 0.6 s"),
        pytest.param(bursts(1.0), None, 3.0, id="bursts of 1 s"),
        pytest.param(lambda s: s + 0.8, lambda s: s, 2.0, id="sound sent after its pictures"),
        pytest.param(lambda s: s * 1.04, None, 1.5, id="a slow clock"),
    ],
)
def test_a_stream_that_falls_behind_is_heard_again(
    sound: Way, pictures: Way | None, lost_s: float
) -> None:
    _, items = played(sound, pictures)
    heard = sound_of(items)
    assert np.count_nonzero(heard[-10 * SAMPLE_RATE_HZ :]) > 9.5 * SAMPLE_RATE_HZ
    assert np.count_nonzero(heard == 0) < lost_s * SAMPLE_RATE_HZ
    assert len(notices(items, "sound")) <= 8  # until it is known that the lateness lasts


def test_falling_behind_is_one_gap_and_keeps_pictures_and_sound_together() -> None:
    _, items = played(late_from(8, 0.8))
    assert notices(items, "sound") == [Lost, Returned]
    late_s = [now_s - item.time_s for now_s, item in items if isinstance(item, Picture)][-100:]
    assert max(map(abs, late_s)) < 0.1
    assert len(sound_of(items)) == pytest.approx(24.8 * SAMPLE_RATE_HZ, abs=0.2 * SAMPLE_RATE_HZ)


@pytest.mark.parametrize(
    ("way", "lost_s"),
    [
        pytest.param(stalled(8, 0.4), 0.01, id="jitter of 0.4 s"),
        pytest.param(stalled(8, 0.8), 0.7, id="0.8 s, then all at once"),
        pytest.param(stalled(8, 3.0), 3.0, id="3 s, then all at once"),
        pytest.param(stalled(8, 3.0, speed=4.0), 4.0, id="3 s, caught up with over a second"),
    ],
)
def test_a_stream_that_catches_up_has_one_gap_and_no_lag_for_good(way: Way, lost_s: float) -> None:
    source, items = played(way)
    heard = sound_of(items)
    assert np.count_nonzero(heard == 0) < lost_s * SAMPLE_RATE_HZ
    assert len(heard) == pytest.approx(24 * SAMPLE_RATE_HZ, abs=0.2 * SAMPLE_RATE_HZ)
    assert notices(items, "sound") in ([], [Lost, Returned])
    assert not source.dropped.keys() - {"sound blocks late"}


def test_sound_sent_after_its_pictures_is_played_with_them() -> None:
    _, items = played(lambda s: s + 0.8, lambda s: s)
    late_s = [now_s - item.end_s for now_s, item in items if isinstance(item, Sound)][-50:]
    assert max(late_s) < 0.15  # pictures that wait for it do not hold it up
    late_s = [now_s - item.time_s for now_s, item in items if isinstance(item, Picture)][-50:]
    assert max(late_s) < 0.1


def test_only_pictures_of_the_grid_are_converted(monkeypatch: pytest.MonkeyPatch) -> None:
    converted: list[float] = []

    def upright(frame: Any) -> np.ndarray:
        converted.append(frame.time)
        return np.zeros((8, 8, 3), np.uint8)

    monkeypatch.setattr("capture.stream.upright", upright)
    _, items = played(lambda s: s, seconds=2.0, rate_hz=60)
    assert len(converted) == 30
    assert sum(isinstance(item, Picture) for _, item in items) in (29, 30)


def rested(playout: Playout, early_s: float, seconds: float, held_up: bool = False) -> float:
    """The delay after a time of stamps that come early."""
    start_s = 100.0 - (playout.delay_s or 0.0)
    for k in range(round(seconds * 20)):
        playout.place(start_s + k / 20, 100.0 - early_s + k / 20, held_up)
    assert playout.delay_s is not None
    return playout.delay_s


def begun(catches_up: bool = True) -> Playout:
    playout = Playout(catches_up)
    assert playout.place(98.0, 99.0) == 99.0
    return playout


def test_delay_that_is_needed_no_more_is_given_back_after_ten_seconds() -> None:
    assert rested(begun(), early_s=0.8, seconds=9.9) == 1.0
    assert rested(begun(), early_s=0.8, seconds=15.0) == pytest.approx(0.2)
    assert rested(begun(), early_s=0.2, seconds=60.0) == 1.0  # not for so little


def test_delay_stays_where_the_sender_waits_for_us_and_in_recordings() -> None:
    assert rested(begun(), early_s=0.8, seconds=60.0, held_up=True) == 1.0
    assert rested(begun(catches_up=False), early_s=0.8, seconds=60.0) == 1.0


def test_lateness_apart_by_more_than_ten_seconds_is_no_falling_behind() -> None:
    playout = begun()
    for at_s in (100.0, 111.0, 122.0):
        playout.place(at_s - 1.0, at_s + 0.8)
        assert playout.delay_s == 1.0
    playout.place(124.0, 125.8)
    assert playout.delay_s == pytest.approx(1.8)


def test_stamps_that_leap_begin_a_new_count() -> None:
    playout = begun()
    assert playout.place(5_000.0, 100.0) == 100.0
    assert playout.place(0.0, 101.0) == 101.0

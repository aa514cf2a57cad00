"""A browser's frames on their way through the page's process to a source: times, losses, the end."""

from __future__ import annotations

import asyncio
import stat
import threading
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from aiortc.mediastreams import MediaStreamError
from hypothesis import given
from hypothesis import strategies as st

from capture.browser import BrowserSource
from capture.config import CaptureConfig
from capture.relay import EndHead, PictureHead, SoundHead, decode, encode, image_of
from capture.source import End, Item, Picture, Sound
from capture.sources import is_device, open_source
from dashboard.browser import Mine
from dashboard.relay import LEFT, Relay
from dashboard.tracks import MediaClock, PictureMessages, SoundMessages
from features.clock import NS_PER_S
from features.errors import MessageError, SourceError
from features.samples import Lost, Returned
from tests.sources_media import samples

DEADLINE_S = 60.0
BLOCK = 960  # 20 ms at 48 kHz


def block(k: int) -> Any:
    """Stereo, as Opus is decoded: the value says which block it is."""
    data = np.full((1, 2 * BLOCK), 1_000 + k % 100, np.int16)
    frame = av.AudioFrame.from_ndarray(data, format="s16", layout="stereo")
    frame.sample_rate, frame.pts, frame.time_base = 48_000, k * BLOCK, Fraction(1, 48_000)
    return frame


def picture(k: int, still: bool = False, size: tuple[int, int] = (64, 48)) -> Any:
    data = np.full((size[1], size[0], 3), 0 if still else 40 + k % 200, np.uint8)
    frame = av.VideoFrame.from_ndarray(data, format="rgb24")
    frame.pts, frame.time_base = k * 3_000, Fraction(1, 90_000)
    return frame


class Track:
    """Frames in their own time, as a browser sends them, until it is ended or held up."""

    def __init__(self, make: Callable[[int], Any], period_s: float) -> None:
        self.make, self.period_s = make, period_s
        self.ended = self.held = False
        self._next = 0
        self._begun = 0.0

    async def recv(self) -> Any:
        self._begun = self._begun or time.monotonic()
        while True:
            await asyncio.sleep(
                max(0.0, self._begun + self._next * self.period_s - time.monotonic())
            )
            if self.ended:
                raise MediaStreamError
            self._next += 1
            if not self.held:
                return self.make(self._next - 1)


class Browser:
    """A relay that is fed by two tracks in an event loop of its own, as on the page."""

    def __init__(
        self, folder: Path, video: Any = picture, audio: Any = block, gone_s: float = DEADLINE_S
    ) -> None:
        self.relay = Relay(folder, gone_s)
        self.video, self.audio = Track(video, 1 / 30), Track(audio, 0.02)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.relay.start()
        for sink, track in ((self.relay.video, self.video), (self.relay.audio, self.audio)):
            if track.make is not None:
                sink.addTrack(track)
                self._loop.call_soon_threadsafe(sink.start)

    def close(self) -> None:
        self.relay.close()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(DEADLINE_S)


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    browser = Browser(tmp_path)
    yield browser
    browser.close()


def read_until(source: BrowserSource, found: Callable[[list[Item]], bool]) -> list[Item]:
    items: list[Item] = []
    deadline = time.monotonic() + DEADLINE_S
    while not found(items):
        assert time.monotonic() < deadline, items[-5:]
        item = source.read(0.1)
        if item is not None:
            items.append(item)
    return items


def has(kind: type, modality: str = "") -> Callable[[list[Item]], bool]:
    return lambda items: any(
        isinstance(i, kind) and getattr(i, "modality", "") == modality for i in items
    )


def test_pictures_and_sound_arrive_on_one_clock(browser: Browser, tmp_path: Path) -> None:
    assert stat.S_IMODE(browser.relay.folder.stat().st_mode) == 0o700  # nobody else may listen in
    with BrowserSource(str(browser.relay.folder)) as source:
        assert source.live and source.has_picture and source.has_sound
        items = read_until(source, lambda items: sum(isinstance(i, Picture) for i in items) >= 15)
        seen = [i for i in items if isinstance(i, Picture)]
        now_s = (time.monotonic_ns() - source.origin_ns) / NS_PER_S
    assert seen[0].image.shape == (48, 64, 3)
    assert all(a.time_s < b.time_s for a, b in pairwise(seen))
    assert seen[-1].time_s <= now_s
    sounds = [i for i in items if isinstance(i, Sound)]
    heard = samples(items)
    assert sounds[0].start_s == 0.0  # contiguous from zero on
    assert np.median(heard) > 0.02  # and what was sent, at its height
    assert heard.max() == pytest.approx(1_099 / 32_768, abs=0.004)


def test_each_is_lost_and_comes_back(browser: Browser) -> None:
    with BrowserSource(str(browser.relay.folder)) as source:
        read_until(source, has(Picture))
        browser.video.held = True
        lost = read_until(source, has(Lost, "picture"))[-1]
        assert isinstance(lost, Lost) and "no new picture" in lost.reason
        browser.video.held = False
        assert isinstance(read_until(source, has(Picture))[-2], Returned)
        browser.audio.held = True
        read_until(source, has(Lost, "sound"))
        browser.audio.held = False
        read_until(source, has(Returned, "sound"))
        gauges = source.gauges
    assert set(gauges) == {"browser pictures jitter ms", "browser sound jitter ms"}


def test_a_camera_switched_off_in_the_browser_is_lost_however_many_black_pictures_come(
    tmp_path: Path,
) -> None:
    browser = Browser(tmp_path, video=lambda k: picture(k, still=k > 20))
    with BrowserSource(str(browser.relay.folder)) as source:
        lost = read_until(source, has(Lost, "picture"))[-1]
        assert isinstance(lost, Lost) and "is the camera off" in lost.reason
        after = read_until(source, lambda items: sum(isinstance(i, Sound) for i in items) >= 10)
    assert not any(isinstance(i, Picture | Returned) for i in after)
    browser.close()


def test_a_browser_without_a_camera_says_what_to_do(tmp_path: Path) -> None:
    browser = Browser(tmp_path, video=None)
    with BrowserSource(str(browser.relay.folder)) as source:
        lost = read_until(source, has(Lost, "picture"))[-1]
    assert isinstance(lost, Lost) and "gives no camera" in lost.reason and "allow it" in lost.reason
    browser.close()


def test_a_browser_that_leaves_ends_the_source_and_leaves_nothing(tmp_path: Path) -> None:
    browser = Browser(tmp_path, gone_s=1.0)
    with BrowserSource(str(browser.relay.folder)) as source:
        read_until(source, has(Picture))
        browser.video.ended = browser.audio.ended = True
        assert isinstance(read_until(source, has(End))[-1], End)
        assert isinstance(source.read(0.0), End)
        assert source.ending == LEFT
    browser.close()
    assert list(tmp_path.iterdir()) == []


def test_a_worker_that_begins_again_goes_on(browser: Browser) -> None:
    for _ in range(2):
        with BrowserSource(str(browser.relay.folder)) as source:
            items = read_until(source, lambda items: has(Picture)(items) and has(Sound)(items))
        assert next(i for i in items if isinstance(i, Sound)).start_s == 0.0


def test_sound_alone_brings_no_picture(browser: Browser) -> None:
    with BrowserSource(str(browser.relay.folder), picture=False) as source:
        assert not source.has_picture
        items = read_until(source, lambda items: sum(isinstance(i, Sound) for i in items) >= 5)
    assert not any(isinstance(i, Picture) for i in items)


def test_without_a_page_or_a_browser_it_says_so(tmp_path: Path) -> None:
    assert is_device("browser")
    with pytest.raises(SourceError, match="started on the page"):
        open_source(CaptureConfig(source="browser")).open()
    with pytest.raises(SourceError, match="neither picture nor sound"):
        BrowserSource(str(tmp_path), open_s=0.1).open()
    with pytest.raises(SourceError, match="TMPDIR"):
        BrowserSource("/" + "long" * 30).open()


def test_a_block_that_was_lost_is_said_to_be_missing() -> None:
    messages = SoundMessages()
    heads = [messages.make(k * 20_000_000, block(k))[0] for k in (0, 1, 4, 5)]
    assert [h.missed for h in heads if isinstance(h, SoundHead)] == [0, 0, 2 * BLOCK, 0]
    assert messages.gaps == 1


def test_large_pictures_are_made_smaller_and_keep_their_colours() -> None:
    made = PictureMessages().make(0, picture(100, size=(2561, 1441)))
    assert made is not None
    head, body = decode([bytes(part) for part in encode(*made)])
    assert isinstance(head, PictureHead)
    assert (head.width, head.height) == (1280, 720)
    assert abs(int(image_of(head, body).mean()) - 140) <= 2


@given(st.lists(st.floats(0.0, 0.3), min_size=2, max_size=80))
def test_the_jitter_of_the_way_does_not_reach_the_stamps(late_s: list[float]) -> None:
    clock = MediaClock()
    clock.stamp(0.0, NS_PER_S)  # one that was not late
    stamps = [
        clock.stamp((k + 1) / 50, NS_PER_S + round(((k + 1) / 50 + late) * NS_PER_S))
        for k, late in enumerate(late_s)
    ]
    due = [NS_PER_S + round((k + 1) / 50 * NS_PER_S) for k in range(len(late_s))]
    assert np.allclose(stamps, due, atol=2)


def test_a_clock_that_drifts_is_followed() -> None:
    clock = MediaClock()
    for k in range(50 * 60):
        arrived_ns = round(k / 50 * 1.001 * NS_PER_S)  # the browser's clock is slow
        stamped_ns = clock.stamp(k / 50, arrived_ns)
    assert 0 <= arrived_ns - stamped_ns < 0.02 * NS_PER_S


@pytest.mark.parametrize(
    "frames",
    [
        [b""],
        [b"junk", b""],
        [b"x" * 5000, b""],
        encode(PictureHead(at_ns=0, width=64, height=48), b"too short"),
        encode(PictureHead(at_ns=0, width=63, height=48), b"0" * 4536),
        encode(PictureHead(at_ns=0, width=10_000, height=2), b"0" * 30_000),
        encode(SoundHead(at_ns=0, rate_hz=1), b""),
        encode(SoundHead(at_ns=0, rate_hz=8_000), b"0" * 100_000),
        encode(EndHead(at_ns=0), b"body"),
    ],
)
def test_what_is_not_ours_is_refused(frames: list[Any]) -> None:
    with pytest.raises(MessageError):
        decode([bytes(frame) for frame in frames])


def test_a_device_that_is_open_and_not_wanted_is_too_much(tmp_path: Path) -> None:
    relay = Relay(tmp_path)
    words_alone, all_three = Mine(relay, (False, True)), Mine(relay, (True, True))
    relay.audio.addTrack(Track(block, 0.02))
    assert not words_alone.too_much and not all_three.too_much
    relay.video.addTrack(Track(picture, 0.1))
    assert words_alone.too_much and not all_three.too_much
    relay.close()

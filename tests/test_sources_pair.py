"""Camera and microphone on one clock."""

from __future__ import annotations

import threading
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from capture.microphone import MicrophoneSource
from capture.opencv import open_camera
from capture.pair import Pair
from capture.portaudio import OnBlock
from capture.source import Item, Picture, Sound
from capture.webcam import Webcam
from features.clock import SystemClock
from features.errors import SourceError
from features.samples import Lost
from features.threads import OwnedThread
from tests.sources_media import due_s, pictures, samples, write_media


class SteadyDevice:
    """Blocks of 50 ms at the pace of the wall clock, from a thread of its own, like PortAudio."""

    rate_hz = 16_000

    def __init__(self) -> None:
        self.closed = False
        self.mute = threading.Event()

    def open(self, device: str, on_block: OnBlock) -> SteadyDevice:
        self._on_block = on_block
        self._thread = OwnedThread("steady device", self._run).start()
        return self

    def _run(self, stop: threading.Event) -> None:
        clock = SystemClock()
        begun_ns = clock.now_ns()
        for k in range(1_000_000):
            if stop.wait(max(0.0, (k + 1) / 20 - (clock.now_ns() - begun_ns) / 1e9)):
                return
            if not self.mute.is_set():
                self._on_block(np.full((800, 1), 0.25, np.float32))

    def close(self) -> None:
        self.closed = True
        self._thread.close()


def refused(*_: object) -> SteadyDevice:
    raise SourceError("there is no microphone (`tonality devices` lists what there is)")


@pytest.fixture
def film(tmp_path: Path) -> Path:
    return write_media(tmp_path / "camera.mkv", [k / 30 for k in range(200)])


def read_until(pair: Pair, done: object, seconds: float) -> list[Item]:
    """Items until ``done`` says that there are enough, or ``seconds`` have passed."""
    clock = SystemClock()
    deadline_ns = clock.now_ns() + int(seconds * 1e9)
    items: list[Item] = []
    while clock.now_ns() < deadline_ns and not done(items):  # type: ignore[operator]
        if (item := pair.read(0.5)) is not None:
            items.append(item)
    return items


def made(film: Path, device: SteadyDevice) -> Pair:
    return Pair(
        partial(Webcam, str(film), factory=open_camera),
        partial(MicrophoneSource, "", factory=device.open),
        "webcam",
    )


def test_pictures_and_sound_share_one_beginning(film: Path) -> None:
    device = SteadyDevice()
    with made(film, device) as pair:
        assert pair.has_picture
        assert pair.has_sound
        assert pair.live
        begun_ns = pair.origin_ns
        assert 0 < begun_ns <= SystemClock().now_ns()
        items = read_until(
            pair, lambda got: len(pictures(got)) > 3 and len(samples(got)) > 9_600, 20
        )
        now_s = (SystemClock().now_ns() - begun_ns) / 1e9
    heard = samples(items)
    assert len(heard) > 9_600
    assert len(pictures(items)) > 3
    assert min(due_s(i) for i in items if isinstance(i, Picture)) >= 0
    assert max(due_s(i) for i in items) <= now_s + 0.11
    assert heard[3_200:].min() == pytest.approx(0.25)
    assert device.closed


def test_one_that_fails_leaves_the_other_running(film: Path) -> None:
    device = SteadyDevice()
    with made(film, device) as pair:
        assert read_until(pair, lambda got: any(isinstance(i, Sound) for i in got), 20)
        device.mute.set()
        items = read_until(pair, lambda got: any(isinstance(i, Lost) for i in got), 20)
        lost = items[-1]
        assert isinstance(lost, Lost)
        assert lost.modality == "sound"
        more = read_until(pair, lambda got: len(pictures(got)) > 1, 20)
        assert len(pictures(more)) > 1
        assert {"camera pictures", "sound blocks refused"} <= set(pair.dropped)


def test_a_missing_microphone_leaves_no_camera_open(film: Path) -> None:
    cameras = []

    def opening(*words: object) -> object:
        cameras.append(open_camera(*words))  # type: ignore[arg-type]
        return cameras[-1]

    pair = Pair(
        partial(Webcam, str(film), factory=opening),
        partial(MicrophoneSource, "", factory=refused),
        "webcam",
    )
    with pytest.raises(SourceError, match="there is no microphone"):
        pair.open()
    assert cameras
    assert not cameras[0].isOpened()
    pair.close()

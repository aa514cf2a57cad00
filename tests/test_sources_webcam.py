"""A camera that works, freezes, stands still, is pulled out, and comes back."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from capture.opencv import open_camera
from capture.source import Item, Picture
from capture.webcam import Webcam
from features.errors import SourceError
from features.samples import Lost, Returned
from tests.sources_media import HandClock, pictures, write_media

WAIT_S = 20.0
RNG = np.random.default_rng(0)


def noise() -> np.ndarray:
    return RNG.integers(0, 255, (12, 16, 3), dtype=np.uint8)


class ScriptedCamera:
    """``read`` blocks, like a driver, until the test feeds what comes next."""

    def __init__(self, *first: np.ndarray) -> None:
        self.released = threading.Event()
        self._frames: queue.Queue[np.ndarray | None] = queue.Queue()
        self._fed = len(first)
        self._asked = 0
        self._changed = threading.Condition()
        for image in first:
            self._frames.put(image)

    def read(self) -> tuple[bool, np.ndarray | None]:
        with self._changed:
            self._asked += 1
            self._changed.notify_all()
        image = self._frames.get(timeout=WAIT_S)
        return image is not None, image

    def release(self) -> None:
        self.released.set()

    def feed(self, image: np.ndarray) -> None:
        """Give a picture and wait until it was taken care of."""
        self.push(image)
        with self._changed:
            assert self._changed.wait_for(lambda: self._asked > self._fed, WAIT_S)

    def push(self, image: np.ndarray) -> None:
        self._fed += 1
        self._frames.put(image)

    def fail(self) -> None:
        self._frames.put(None)


class Bench:
    """A webcam on a clock moved by hand, and the cameras that its factory gives out in turn."""

    def __init__(self, *cameras: ScriptedCamera | SourceError) -> None:
        self.clock = HandClock()
        self.opened = threading.Semaphore(0)
        self._cameras = list(cameras)
        self.source = Webcam(3, factory=self.factory, clock=self.clock)

    def factory(self, index: int | str, width: int, height: int, fps: float) -> ScriptedCamera:
        assert (index, width, height, fps) == (3, 640, 480, 30.0)
        camera = self._cameras.pop(0) if len(self._cameras) > 1 else self._cameras[0]
        self.opened.release()
        if isinstance(camera, SourceError):
            raise camera
        return camera

    def film(self, camera: ScriptedCamera, image: np.ndarray, after_s: float = 0.1) -> None:
        self.clock.advance(after_s)
        camera.feed(image)


@pytest.fixture
def made() -> Iterator[list[ScriptedCamera]]:
    cameras: list[ScriptedCamera] = []
    yield cameras
    for camera in cameras:
        camera.fail()  # nobody is left inside a read


def camera(made: list[ScriptedCamera], *first: np.ndarray) -> ScriptedCamera:
    made.append(ScriptedCamera(*first))
    return made[-1]


def close(bench: Bench, made: list[ScriptedCamera]) -> None:
    for one in made:
        one.fail()
    bench.source.close()


def test_pictures_are_rgb_stamped_by_arrival_and_on_the_grid(made: list[ScriptedCamera]) -> None:
    cam = camera(made, noise())
    bench = Bench(cam)
    bench.source.open()
    assert bench.source.live
    assert bench.source.has_picture
    assert not bench.source.has_sound
    assert bench.source.origin_ns == bench.clock.now_ns()
    images = [noise() for _ in range(30)]
    got: list[Item] = []
    for image in images:
        bench.film(cam, image, 1 / 30)
        if (item := bench.source.read(0.0)) is not None:
            got.append(item)
    times = [p.time_s for p in pictures(got)]
    assert times == pytest.approx([k / 30 for k in (1, *range(2, 31, 2))])
    np.testing.assert_array_equal(pictures(got)[0].image, images[0][:, :, ::-1])
    close(bench, made)
    assert cam.released.is_set()


def test_a_frozen_camera_is_lost_after_08_s_and_taken_back(made: list[ScriptedCamera]) -> None:
    cam = camera(made, noise())
    bench = Bench(cam)
    bench.source.open()
    bench.film(cam, noise())
    assert isinstance(bench.source.read(WAIT_S), Picture)
    bench.clock.advance(0.79)
    assert bench.source.read(0.0) is None
    bench.clock.advance(0.02)
    lost = bench.source.read(0.0)
    assert isinstance(lost, Lost)
    assert lost.modality == "picture"
    assert lost.time_s == pytest.approx(0.91)
    assert "camera 3: no new picture for 0.8 s" in lost.reason
    assert bench.source.read(0.0) is None
    bench.film(cam, noise())
    assert bench.source.read(WAIT_S) == Returned("picture", pytest.approx(1.01))
    assert isinstance(bench.source.read(WAIT_S), Picture)
    close(bench, made)


def test_a_camera_pulled_out_is_opened_again_until_it_is_back(made: list[ScriptedCamera]) -> None:
    first, second = camera(made, noise()), camera(made, noise())
    gone = SourceError("camera 3 cannot be opened: there is no /dev/video3")
    bench = Bench(first, gone, gone, second)
    bench.source.open()
    bench.film(first, noise())
    assert isinstance(bench.source.read(WAIT_S), Picture)
    first.fail()
    assert first.released.wait(WAIT_S)
    bench.clock.advance(0.81)
    lost = bench.source.read(WAIT_S)
    assert isinstance(lost, Lost)
    assert "pulled out" in lost.reason or "cannot be opened" in lost.reason
    for _ in range(4):
        assert bench.opened.acquire(timeout=WAIT_S)
    bench.film(second, noise())
    assert isinstance(bench.source.read(WAIT_S), Returned)
    assert isinstance(bench.source.read(WAIT_S), Picture)
    assert bench.source.dropped["camera reopened"] == 3
    close(bench, made)


def test_a_blink_of_the_connection_is_not_even_mentioned(made: list[ScriptedCamera]) -> None:
    first, second = camera(made, noise()), camera(made)
    bench = Bench(first, second)
    bench.source.open()
    bench.film(first, noise())
    assert isinstance(bench.source.read(WAIT_S), Picture)
    first.fail()
    bench.film(second, noise(), 0.5)
    assert isinstance(bench.source.read(WAIT_S), Picture)
    close(bench, made)


def test_a_picture_that_stands_still_is_no_picture(made: list[ScriptedCamera]) -> None:
    first, second = camera(made, noise()), camera(made)
    bench = Bench(first, second)
    bench.source.open()
    image = noise()
    got: list[Item] = []
    for _ in range(12):
        bench.film(first, image)
        if (item := bench.source.read(0.0)) is not None:
            got.append(item)
    assert len(pictures(got)) == 8
    assert isinstance(got[8], Lost)
    assert "stands still" in got[8].reason
    assert len(got) == 9
    bench.film(first, image, 5.0)  # after five seconds it is opened again, to wake up its driver
    assert bench.source.read(0.0) is None
    first.push(image)
    assert first.released.wait(WAIT_S)
    bench.film(second, noise())
    assert isinstance(bench.source.read(WAIT_S), Returned)
    assert isinstance(bench.source.read(WAIT_S), Picture)
    close(bench, made)


def test_a_thread_hung_in_the_driver_is_left_behind(made: list[ScriptedCamera]) -> None:
    hung, fresh = camera(made, noise()), camera(made)
    bench = Bench(hung, fresh)
    bench.source.open()
    bench.film(hung, noise())
    assert isinstance(bench.source.read(WAIT_S), Picture)
    bench.clock.advance(16.0)
    assert isinstance(bench.source.read(0.0), Lost)
    bench.film(fresh, noise())
    assert isinstance(bench.source.read(WAIT_S), Returned)
    hung.fail()
    assert hung.released.wait(WAIT_S)
    close(bench, made)


def test_the_newest_pictures_win(made: list[ScriptedCamera]) -> None:
    cam = camera(made, noise())
    bench = Bench(cam)
    bench.source.open()
    for _ in range(10):
        bench.film(cam, noise())
    left = [bench.source.read(0.0) for _ in range(5)]
    assert [p.time_s for p in pictures(left[:4])] == pytest.approx([0.7, 0.8, 0.9, 1.0])
    assert left[4] is None
    assert bench.source.dropped["camera pictures"] == 6
    close(bench, made)


def test_busy_and_silent_cameras_are_refused_in_one_line(made: list[ScriptedCamera]) -> None:
    busy = SourceError("camera 3 cannot be opened: it is in use by another program")
    with pytest.raises(SourceError, match="in use"):
        Bench(busy).source.open()
    mute = camera(made)
    mute.fail()
    with pytest.raises(SourceError, match="opens but gives no picture") as caught:
        Bench(mute).source.open()
    assert "\n" not in str(caught.value)
    assert mute.released.is_set()


def test_a_camera_that_is_not_there(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SourceError) as caught:
        Webcam(97).open()
    text = str(caught.value)
    assert text.startswith("camera 97 cannot be opened: ")
    assert text.endswith("(`tonality devices` lists what there is)")
    assert "\n" not in text
    assert capfd.readouterr().err == ""  # OpenCV's own complaints stay inside


def test_opencv_itself_through_a_loss_and_back(tmp_path: Path) -> None:
    """A video stands in for the device: it ends, is away, and is there again."""
    path = write_media(tmp_path / "camera.mkv", [k / 30 for k in range(60)])
    away = tmp_path / "away.mkv"
    with Webcam(str(path), factory=open_camera) as source:
        first = source.read(WAIT_S)
        assert isinstance(first, Picture)
        assert first.image.shape == (48, 64, 3)
        path.rename(away)
        assert isinstance(until(source, Lost), Lost)
        away.rename(path)
        assert isinstance(until(source, Returned), Returned)
        assert isinstance(source.read(WAIT_S), Picture)


def until(source: Webcam, kind: type[Item]) -> Item | None:
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        item = source.read(0.5)
        if isinstance(item, kind):
            return item
    return None

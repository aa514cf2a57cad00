"""Whole pictures through shared memory: newest first, never torn, gone with their reader."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from capture import frames
from capture.config import CaptureConfig
from capture.frames import PREFIX, SLOTS, FrameReader, FrameWriter
from capture.pair import Pair
from capture.pipeline import Pipeline
from capture.sources import open_source
from capture.webcam import Webcam
from features.errors import SourceError
from features.threads import OwnedThread
from tests.browser import ROOT, eventually


@pytest.fixture
def ring() -> FrameReader:
    reader = FrameReader((64, 48))
    yield reader  # type: ignore[misc]
    reader.close()


def image(value: int, width: int = 64, height: int = 48) -> np.ndarray:
    return np.full((height, width, 3), value, np.uint8)


def test_the_newest_picture_is_given_once_and_what_was_missed_is_counted(ring: FrameReader) -> None:
    writer = FrameWriter(ring.path)
    assert ring.newest() is None
    for value in range(1, 8):
        writer.write(value / 10, image(value))
    frame = ring.newest()
    assert frame is not None
    assert (frame.number, frame.time_s, frame.writer) == (7, 0.7, os.getpid())
    assert frame.image.shape == (48, 64, 3) and (frame.image == 7).all()
    assert ring.newest() is None
    for value in range(8, 8 + 3 * SLOTS):
        writer.write(value / 10, image(value))
    frame = ring.newest()
    assert frame is not None and frame.number == 7 + 3 * SLOTS
    assert ring.missed == 3 * SLOTS - 1


def test_colours_sizes_and_greys_come_out_right(ring: FrameReader) -> None:
    writer = FrameWriter(ring.path)
    blue = np.zeros((20, 30, 3), np.uint8)
    blue[..., 0] = 200  # as OpenCV has it
    writer.write(0.0, blue, bgr=True)
    frame = ring.newest()
    assert frame is not None and frame.image.shape == (20, 30, 3)
    assert frame.image[5, 5].tolist() == [0, 0, 200]
    writer.write(0.1, np.full((10, 10), 90, np.uint8))
    frame = ring.newest()
    assert frame is not None and frame.image[0, 0].tolist() == [90, 90, 90]
    writer.write(0.2, image(50, 640, 480))  # ten times what fits
    frame = ring.newest()
    assert frame is not None and frame.image.nbytes <= 64 * 48 * 3
    assert frame.image.shape[1] / frame.image.shape[0] == pytest.approx(640 / 480, rel=0.05)
    assert (frame.image == 50).all()


def test_whoever_rests_is_not_filmed(ring: FrameReader) -> None:
    writer = FrameWriter(ring.path)
    writer.resting = True
    writer.write(0.0, image(1))
    assert (ring.newest(), writer.written) == (None, 0)


def test_pictures_are_never_torn() -> None:
    """A writer as fast as it can be, against a reader: every picture is of one colour."""
    reader = FrameReader((320, 240), slots=3)
    writer = FrameWriter(reader.path)
    pictures = [image(value, 320, 240) for value in range(0, 256, 5)]

    def write(stop: threading.Event) -> None:
        while not stop.is_set():
            for n, picture in enumerate(pictures):
                writer.write(float(n), picture)

    thread = OwnedThread("writer", write).start()
    try:
        seen = 0

        def one() -> bool:
            nonlocal seen
            frame = reader.newest()
            if frame is not None:
                assert frame.image.min() == frame.image.max() == round(frame.time_s) * 5
                seen += 1
            return seen >= 20

        while not one():
            thread.check()
    finally:
        thread.close()
        reader.close()


def test_the_file_is_ours_alone_and_goes_with_its_reader_or_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frames, "MEMORY", tmp_path)
    killed = tmp_path / f"{PREFIX}999999999-abc"
    killed.touch()
    reader = FrameReader((8, 8))
    assert stat.S_IMODE(Path(reader.path).stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == [Path(reader.path).name]
    reader.close()
    reader.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["", "short", "x" * 400])
def test_what_is_no_ring_is_refused_in_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "file"
    path.write_text(text)
    with pytest.raises(SourceError, match=r"ring of frames|cannot be shared") as refused:
        FrameWriter(str(path))
    assert "\n" not in str(refused.value)
    with pytest.raises(SourceError, match="cannot be shared"):
        FrameWriter(str(tmp_path / "missing"))


class Camera:
    """Gives thirty pictures a second of a clock that goes on with each."""

    def __init__(self) -> None:
        self.count = 0
        self.pause = threading.Event()

    def read(self) -> tuple[bool, np.ndarray]:
        self.pause.wait(1 / 90)
        self.count += 1
        return True, image(self.count % 250)[..., ::-1]

    def release(self) -> None:
        pass


def test_a_camera_shares_every_picture_also_those_that_are_not_read(ring: FrameReader) -> None:
    camera = Camera()
    source = Webcam(0, factory=lambda *_: camera)
    source.frames = FrameWriter(ring.path)
    with source:
        begun = camera.count
        taken = 0

        def filmed() -> bool:
            nonlocal taken
            taken += source.read(0.0) is not None
            return source.frames is not None and source.frames.written > 40

        eventually(filmed)
        assert camera.count - begun >= 40
    assert taken < source.frames.written / 2  # fifteen a second are read
    pair = Pair(lambda **_: Webcam(0), lambda **_: source, "both")  # type: ignore[arg-type, return-value]
    assert pair.shares_all


def test_files_share_what_they_give_through_a_worker_of_its_own(
    ring: FrameReader, demo_clip: Path
) -> None:
    """In another process, as the capture worker does it."""
    program = """
import sys
from capture.config import CaptureConfig
from capture.frames import FrameWriter
from capture.reader import Reader
from capture.sources import open_source
source = open_source(CaptureConfig(source=sys.argv[1], sound=False, paced=False))
source.frames = FrameWriter(sys.argv[2])
with source:
    for _ in range(9):
        Reader(source, None, None, print)._take_picture(source.read(5.0), None)
"""
    subprocess.run(
        [sys.executable, "-c", program, str(demo_clip), ring.path], cwd=ROOT, check=True, timeout=60
    )
    frame = ring.newest()
    assert frame is not None and frame.number == 9
    assert frame.time_s == pytest.approx(8 / 15, abs=0.07)
    assert frame.image.std() > 5


def test_a_configuration_names_the_file() -> None:
    config = CaptureConfig(source="demo", frames="/somewhere")
    source = open_source(config)
    assert source.frames is None and not source.shares_all
    assert Pipeline(config, source).source.frames is None

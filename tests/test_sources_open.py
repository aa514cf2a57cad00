"""From what the user wrote to the right source."""

from __future__ import annotations

from pathlib import Path

import pytest

from capture.config import CaptureConfig
from capture.demo import DemoSource
from capture.file import FileSource
from capture.microphone import MicrophoneSource
from capture.pair import Pair
from capture.source import End, Source
from capture.sources import open_source
from capture.webcam import Webcam
from features.errors import SourceError
from tests.sources_media import HandClock, write_media


def made(source: str, **options: bool) -> Source:
    return open_source(CaptureConfig(source=source, **options))


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("demo", DemoSource),
        ("webcam", Pair),
        ("webcam:1", Pair),
        ("microphone", MicrophoneSource),
        ("microphone:USB mic", MicrophoneSource),
        ("webcam:0+microphone:2", Pair),
        ("webcam+microphone", Pair),
    ],
)
def test_names(text: str, kind: type[Source]) -> None:
    source = made(text)
    assert type(source) is kind
    assert source.name == text
    assert source.live
    source.close()


def test_halves_that_are_off_are_not_made() -> None:
    camera = made("webcam:2+microphone:USB", sound=False)
    assert isinstance(camera, Webcam)
    assert camera.index == 2
    microphone = made("webcam:2+microphone:USB", picture=False)
    assert isinstance(microphone, MicrophoneSource)
    assert microphone.device == "USB"
    assert camera.name == microphone.name == "webcam:2+microphone:USB"
    with pytest.raises(SourceError, match="the sound is switched off"):
        made("microphone", sound=False)


@pytest.mark.parametrize(
    "text", ["nothing.mp4", "", "webcam:x", "webcam+tuba", "microphone:", "x" * 5_000]
)
def test_what_is_neither_name_nor_file(text: str) -> None:
    with pytest.raises(SourceError) as caught:
        made(text).open()
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_path_is_told_the_names() -> None:
    with pytest.raises(SourceError, match=r"nothing.mp4: no such file, and none of demo, webcam"):
        made("nothing.mp4")


def test_the_home_of_nobody_holds_no_file() -> None:
    with pytest.raises(SourceError, match=r"~nobody-here/x.mp4: no such file"):
        made("~nobody-here/x.mp4")


def test_a_file(tmp_path: Path) -> None:
    path = write_media(tmp_path / "a.mkv", [0.0, 0.1])
    source = made(str(path), paced=False)
    assert isinstance(source, FileSource)
    assert source.name == str(path)
    with source:
        assert not source.live


def test_the_demo_loops_when_paced_and_ends_when_not(demo_clip: Path) -> None:
    assert demo_clip.exists()
    with open_source(CaptureConfig(source="demo"), HandClock()) as source:
        assert source.name == "demo"
        assert source.has_picture
        assert source.has_sound
        assert source.duration_s is None
        items = [source.read(60.0) for _ in range(300)]  # 5.8 s hold about 145
        assert not any(isinstance(i, End) for i in items)
    with made("demo", paced=False) as source:
        assert source.duration_s == pytest.approx(5.78, abs=0.01)
        items = [source.read(0.0) for _ in range(300)]
        assert isinstance(items[-1], End)

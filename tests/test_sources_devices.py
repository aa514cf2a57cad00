"""Listing devices: cameras by their names, problems in words."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from capture import devices, portaudio
from capture.devices import Camera, Devices, list_devices
from capture.portaudio import Microphone
from features.errors import SourceError


def node(folder: Path, number: int, name: str, index: int) -> None:
    made = folder / f"video{number}"
    made.mkdir()
    (made / "name").write_text(f"{name}\n")
    (made / "index").write_text(f"{index}\n")


def test_linux_cameras_by_name_without_metadata_nodes(tmp_path: Path) -> None:
    node(tmp_path, 10, "Second: camera", 0)
    node(tmp_path, 2, "First camera", 0)
    node(tmp_path, 3, "First camera", 1)  # metadata of the same camera
    (tmp_path / "videox").mkdir()
    assert devices._named_cameras(tmp_path) == [
        Camera(2, "First camera"),
        Camera(10, "Second: camera"),
    ]
    assert devices._named_cameras(tmp_path / "none") == []


def test_elsewhere_cameras_are_probed_and_given_back() -> None:
    released = []

    class Opened:
        def __init__(self, index: int) -> None:
            self.index = index

        def release(self) -> None:
            released.append(self.index)

    def opening(index: int, *_: object) -> Opened:
        if index not in (0, 3):
            raise SourceError("none")
        return Opened(index)

    assert [c.index for c in devices._probed_cameras(opening)] == [0, 3]
    assert released == [0, 3]


def test_rows_can_be_given_to_source() -> None:
    found = Devices(
        [Camera(1, "Cam")],
        [Microphone(4, "Mic", 1, 48_000, True), Microphone(5, "Line", 2, 44_100)],
    )
    assert found.rows() == [
        ("webcam:1", "Cam", "picture"),
        ("microphone:4", "Mic", "1 channel, 48000 Hz, default"),
        ("microphone:5", "Line", "2 channels, 44100 Hz"),
    ]


def test_this_machine_can_be_looked_at() -> None:
    found = list_devices()
    assert all("\n" not in problem for problem in found.problems)
    for row in found.rows():
        assert row[0].startswith(("webcam:", "microphone:"))


def test_without_portaudio_the_fix_is_named() -> None:
    """In a process in which the library cannot be found."""
    program = """
import ctypes.util
ctypes.util.find_library = lambda name: None
from capture.devices import list_devices
print(*list_devices().problems, sep="\\n")
"""
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    if sys.platform == "linux":
        assert ended.stdout.strip().endswith("`dnf install portaudio`)")
        assert ended.stdout.startswith("microphones need the PortAudio library: install it")
        assert "apt install libportaudio2" in ended.stdout


@pytest.fixture
def three(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = [
        Microphone(0, "USB Audio", 1, 48_000),
        Microphone(4, "USB Audio 2", 2, 44_100, default=True),
        Microphone(7, "Built-in", 2, 44_100),
    ]
    monkeypatch.setattr(portaudio, "microphones", lambda: inputs)


@pytest.mark.parametrize(
    ("text", "index"), [("", 4), ("7", 7), ("USB Audio", 0), ("built", 7), ("audio 2", 4)]
)
def test_microphones_by_index_name_and_part(three: None, text: str, index: int) -> None:
    assert portaudio.find(text).index == index


def test_unknown_and_ambiguous_microphones(three: None, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SourceError, match=r"there is no microphone 'tuba' \(`tonality devices`"):
        portaudio.find("tuba")
    with pytest.raises(
        SourceError, match="may be any of 0: USB Audio, 4: USB Audio 2; give its number"
    ):
        portaudio.find("usb")
    monkeypatch.setattr(portaudio, "microphones", list)
    with pytest.raises(SourceError, match="there is no microphone "):
        portaudio.find("")


def test_the_own_rate_comes_first_and_16_khz_last() -> None:
    def formats(channels: int, rate_hz: int) -> list[tuple[int, int]]:
        return portaudio._formats(Microphone(0, "m", channels, rate_hz))

    assert formats(1, 48_000) == [(48_000, 1), (16_000, 1)]
    assert formats(4, 44_100) == [(44_100, 1), (44_100, 2), (44_100, 4), (16_000, 1)]
    assert formats(1, 16_000) == [(16_000, 1)]

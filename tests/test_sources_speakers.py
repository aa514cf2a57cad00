"""What this machine plays, as a source: found by name, and heard through a real sound server."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from capture import devices, portaudio, speakers
from capture.config import CaptureConfig
from capture.microphone import MicrophoneSource
from capture.portaudio import Microphone, Stream
from capture.sources import is_device, open_source
from capture.speakers import PULSE_VARIABLE, Speaker, find, open_speakers
from features.errors import SourceError
from tests.sound_server import Recorder, SoundServer
from tests.test_sources_microphone import (  # noqa: F401 - fixtures
    ROOT,
    SERVER,
    likeness,
    server,
    speech,
)

INPUTS = [
    Microphone(0, "Built-in Microphone", 1, 48_000, default=True),
    Microphone(3, "Speakers (Realtek) [Loopback]", 2, 48_000),
    Microphone(5, "BlackHole 2ch", 2, 44_100),
]


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Inputs as other systems list them, without ALSA's way to a sound server."""
    monkeypatch.setattr(portaudio, "microphones", lambda: INPUTS)
    monkeypatch.setattr(speakers, "microphones", lambda: INPUTS)
    monkeypatch.setattr(devices, "microphones", lambda: INPUTS)


def test_loopback_inputs_are_what_is_played_and_no_microphones(elsewhere: None) -> None:
    found = devices.list_devices()
    assert [m.name for m in found.microphones] == ["Built-in Microphone"]
    assert found.rows()[-2:] == [
        ("speakers:3", "what you hear: Speakers (Realtek) [Loopback]", "2 channels, 48000 Hz"),
        ("speakers:5", "what you hear: BlackHole 2ch", "2 channels, 44100 Hz"),
    ]


@pytest.mark.parametrize(
    ("text", "index"), [("", 3), ("5", 5), ("blackhole", 5), ("realtek", 3), ("BlackHole 2ch", 5)]
)
def test_speakers_by_name_and_part(elsewhere: None, text: str, index: int) -> None:
    assert find(text).index == index


def test_unknown_and_missing_speakers_say_what_to_do(
    elsewhere: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SourceError, match=r"there is no output 'tuba' \(`tonality devices`"):
        find("tuba")
    with pytest.raises(SourceError, match=r"output 'l' may be any of 3: .*, 5: .*its whole name"):
        find("l")
    monkeypatch.setattr(speakers, "speakers", list)
    for system, mend in (
        ("linux", "libasound2-plugins"), ("darwin", "blackhole-2ch"), ("win32", "Stereo Mix"),
    ):  # fmt: skip
        monkeypatch.setattr(sys, "platform", system)
        with pytest.raises(SourceError, match=f"what is played cannot be heard: .*{mend}") as told:
            find("")
        assert "\n" not in str(told.value)


def test_a_listed_loopback_input_is_opened_as_it_is(
    elsewhere: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Microphone] = []

    def open_input(microphone: Microphone, on_block: object) -> object:
        opened.append(microphone)
        return object()

    monkeypatch.setattr(speakers, "open_input", open_input)
    open_speakers("BlackHole", lambda data: None)
    assert [(one.index, one.rate_hz, one.channels) for one in opened] == [(5, 44_100, 2)]


def test_a_monitor_is_named_to_the_sound_server_only_while_it_is_opened(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pulse = Microphone(7, "pulse", 32, 44_100)
    monkeypatch.setattr(speakers, "microphones", lambda: [pulse])
    monkeypatch.setattr(speakers, "_monitors", lambda: [Speaker("a.monitor", "A", 48_000, 2, True)])
    named: list[tuple[int, int, str | None]] = []

    def open_input(microphone: Microphone, on_block: object) -> Stream:
        named.append((microphone.index, microphone.rate_hz, os.environ.get(PULSE_VARIABLE)))
        raise SourceError("in use")

    monkeypatch.setattr(speakers, "open_input", open_input)
    for before in (None, "mine"):
        if before is not None:
            monkeypatch.setenv(PULSE_VARIABLE, before)
        with pytest.raises(SourceError, match="in use"):
            open_speakers("", lambda data: None)
        assert os.environ.get(PULSE_VARIABLE) == before
    assert named == [(7, 48_000, "a.monitor")] * 2


def test_speakers_are_a_source_by_name() -> None:
    source = open_source(CaptureConfig(source="speakers:room"))
    assert isinstance(source, MicrophoneSource)
    assert (source.name, source.device, source.live) == ("speakers:room", "room", True)
    assert "speakers reopened" in source.dropped
    assert is_device("speakers") and is_device("speakers:x")
    with pytest.raises(SourceError, match="gives only sound"):
        open_source(CaptureConfig(source="speakers", sound=False))


LISTING = """
from capture.devices import list_devices
print(*list_devices().rows(), sep="\\n")
"""


@SERVER
def test_what_an_output_plays_is_heard(
    server: SoundServer,  # noqa: F811
    tmp_path: Path,
    speech: tuple[Path, np.ndarray],  # noqa: F811
) -> None:
    """Two outputs: the speech goes to the second, which is not what a microphone would hear."""
    wav, spoken = speech
    server.add_output("headset", "Headset")
    listed = subprocess.run(
        [sys.executable, "-c", LISTING], env=server.environment, cwd=ROOT, capture_output=True,
        text=True, timeout=60, check=True,
    ).stdout  # fmt: skip
    assert "('speakers:headset.monitor', 'what you hear: Headset', '2 channels" in listed
    recorder = Recorder(server, tmp_path / "heard.npy", "speakers|headset")
    try:
        recorder.until("quiet")
        server.play(wav, "headset")
        recorder.until("loud")
        recorder.until("quiet")
        recorder.finish()
    finally:
        recorder.kill()
    assert likeness(np.load(tmp_path / "heard.npy"), spoken) > 0.95

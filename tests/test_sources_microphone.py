"""Microphones: scripted for what goes wrong, and a real sound server for what is heard."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import wave
from collections.abc import Iterator
from pathlib import Path
from subprocess import PIPE

import numpy as np
import pytest

from capture import portaudio
from capture.file import FileSource
from capture.microphone import BLOCKS_QUEUED, MicrophoneSource
from capture.portaudio import OnBlock
from capture.source import Item, Sound
from features.errors import SourceError
from features.samples import Lost, Returned
from tests.sound_server import Recorder, SoundServer, missing_tools
from tests.sources_media import HandClock, read_all, samples

ROOT = Path(__file__).parents[1]
SERVER = pytest.mark.skipif(
    sys.platform != "linux" or bool(missing_tools()),
    reason=f"needs PulseAudio and PortAudio on Linux; missing: {missing_tools()}",
)


class ScriptedDevice:
    """Hands blocks over when the test says so."""

    def __init__(self, rate_hz: int = 48_000) -> None:
        self.rate_hz = rate_hz
        self.closed = 0
        self.refuse: str = ""
        self.on_block: OnBlock = lambda data: None

    def open(self, device: str, on_block: OnBlock) -> ScriptedDevice:
        if self.refuse:
            raise SourceError(self.refuse)
        self.on_block = on_block
        on_block(np.zeros((self.rate_hz // 20, 1), np.float32))  # before the beginning
        return self

    def close(self) -> None:
        self.closed += 1


def made(rate_hz: int = 48_000) -> tuple[ScriptedDevice, HandClock, MicrophoneSource]:
    device, clock = ScriptedDevice(rate_hz), HandClock()
    source = MicrophoneSource("USB", factory=device.open, clock=clock)
    source.open()
    return device, clock, source


def speak(device: ScriptedDevice, clock: HandClock, blocks: int, channels: int = 1) -> None:
    for _ in range(blocks):
        clock.advance(0.05)
        device.on_block(np.full((device.rate_hz // 20, channels), 0.25, np.float32))


def drain(source: MicrophoneSource) -> list[Item]:
    items: list[Item] = []
    while (item := source.read(0.0)) is not None:
        items.append(item)
    return items


@pytest.mark.parametrize(("rate_hz", "channels"), [(16_000, 1), (44_100, 2), (48_000, 1)])
def test_blocks_become_contiguous_sound(rate_hz: int, channels: int) -> None:
    device, clock, source = made(rate_hz)
    assert source.live
    assert source.has_sound
    assert not source.has_picture
    assert source.origin_ns == clock.now_ns()
    speak(device, clock, 40, channels)
    heard = samples(drain(source))
    assert len(heard) >= 1.9 * 16_000
    np.testing.assert_allclose(heard[2_000:], 0.25, atol=1e-3)
    source.close()
    source.close()
    assert device.closed == 1


def test_a_stalled_device_is_lost_opened_again_and_taken_back() -> None:
    device, clock, source = made()
    speak(device, clock, 20)
    drain(source)
    device.refuse = "microphone 'USB' cannot be opened: Device unavailable"
    clock.advance(0.6)
    lost, *_ = [i for i in drain(source) if not isinstance(i, Sound)]
    assert isinstance(lost, Lost)
    assert lost.reason == "microphone: no sound arrives"
    clock.advance(1.0)  # the keeper opens it again, in vain at first
    first = wait_for_reopening(source, device)
    assert first >= 1
    speak(device, clock, 20)
    items = drain(source)
    (back,) = [i for i in items if not isinstance(i, Sound)]
    assert back == Returned("sound", pytest.approx(clock_s(clock, source) - 1.0, abs=0.002))
    assert isinstance(items[-1], Sound)
    assert items[-1].end_s == pytest.approx(clock_s(clock, source), abs=0.13)
    source.close()


def clock_s(clock: HandClock, source: MicrophoneSource) -> float:
    return (clock.now_ns() - source.origin_ns) / 1e9


def wait_for_reopening(source: MicrophoneSource, device: ScriptedDevice) -> int:
    for _ in range(400):
        source.read(0.05)
        if device.closed:
            device.refuse = ""
        if source.dropped["microphone reopened"]:
            return source.dropped["microphone reopened"]
    raise AssertionError("never opened again")


def test_a_reader_that_sleeps_too_long_gets_silence_and_is_told() -> None:
    device, clock, source = made()
    speak(device, clock, BLOCKS_QUEUED + 100)
    assert source.dropped["sound blocks refused"] == 100
    drained = drain(source)
    speak(device, clock, 20)
    items = drained + drain(source)
    heard = samples(items)
    assert len(heard) == pytest.approx((BLOCKS_QUEUED + 120) * 800, abs=1_700)
    assert [type(i) for i in items if not isinstance(i, Sound)] == [Lost, Returned]
    gap = heard[int(10.1 * 16_000) : int(14.9 * 16_000)]
    assert not gap.any()
    source.close()


def test_a_stream_that_does_not_end_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with ALSA's way to PulseAudio whose server was killed, now and then."""
    monkeypatch.setattr(portaudio, "GIVE_UP_S", 0.05)
    left: list[str] = []
    monkeypatch.setattr(portaudio, "_leave_behind", lambda: left.append("one"))
    before, freed = portaudio._Open.streams, threading.Event()
    ended: list[str] = []

    class Stuck:
        def start(self) -> None: ...

        def close(self, ignore_errors: bool) -> None:
            assert freed.wait(60)
            ended.append("stuck")

    class Fine(Stuck):
        def close(self, ignore_errors: bool) -> None:
            ended.append("fine")

    try:
        stream, other = portaudio.Stream(Stuck(), 48_000), portaudio.Stream(Fine(), 48_000)
        for each in (stream, other, stream):
            each.close()
        assert (left, ended) == (["one"], ["fine"])
        assert portaudio._Open.streams == before + 1, "PortAudio must not be begun anew"
    finally:
        freed.set()
        portaudio._Open.streams = before


def test_no_such_microphone_is_one_line() -> None:
    with pytest.raises(SourceError) as caught:
        MicrophoneSource("no such device").open()
    assert "\n" not in str(caught.value)
    assert "microphone" in str(caught.value)


# A real server: what is played is what is heard.


@pytest.fixture
def server(tmp_path: Path) -> Iterator[SoundServer]:
    running = SoundServer(tmp_path)
    yield running
    running.stop()


@pytest.fixture
def speech(tmp_path: Path, demo_clip: Path) -> tuple[Path, np.ndarray]:
    """The demo's speech as a file of 16 bits at 16 kHz, and its samples."""
    with FileSource(demo_clip, picture=False, paced=False) as source:
        heard = samples(read_all(source))[: 3 * 16_000]
    with wave.open(str(tmp_path / "speech.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes((heard * 32767).astype(np.int16).tobytes())
    return tmp_path / "speech.wav", heard


@SERVER
def test_speech_through_a_real_sound_server(
    server: SoundServer, tmp_path: Path, speech: tuple[Path, np.ndarray]
) -> None:
    wav, spoken = speech
    recorder = Recorder(server, tmp_path / "heard.npy", "default")
    try:
        recorder.until("quiet")
        server.play(wav)
        recorder.until("loud")
        recorder.until("quiet")
        recorder.until("quiet")
        recorder.finish()
    finally:
        recorder.kill()
    heard = np.load(tmp_path / "heard.npy")
    assert likeness(heard, spoken) > 0.95


def likeness(heard: np.ndarray, spoken: np.ndarray) -> float:
    """Median over half seconds of speech of how alike each is to its like in ``heard``, at most 1.

    By halves of a second, because a sound server on a busy machine may lose a moment of its own.
    """
    pieces = np.split(spoken, range(8_000, len(spoken), 8_000))
    loud = [piece for piece in pieces if np.abs(piece).max() > 0.05]
    return float(np.median([_greatest_correlation(heard, piece) for piece in loud]))


def _greatest_correlation(heard: np.ndarray, piece: np.ndarray) -> float:
    """The greatest normalised correlation over all shifts."""
    cross = np.correlate(heard, piece, "valid")
    energy = np.convolve(heard.astype(np.float64) ** 2, np.ones(len(piece)), "valid")
    return float((cross / np.sqrt(np.maximum(energy, 1e-6) * (piece @ piece))).max())


@SERVER
def test_a_real_server_that_stalls_and_one_that_dies(server: SoundServer, tmp_path: Path) -> None:
    recorder = Recorder(server, tmp_path / "heard.npy")
    try:
        recorder.until("quiet")
        server.process.send_signal(signal.SIGSTOP)
        assert "sound" in recorder.until("Lost")
        server.process.send_signal(signal.SIGCONT)
        recorder.until("Returned")
        server.stop()
        recorder.until("Lost")
        server.start()
        recorder.until("Returned")
        assert "'microphone reopened': 0" not in recorder.finish()
    finally:
        recorder.kill()


LISTING = """
import sys
from capture.portaudio import microphones, open_microphone
stream = None
for line in sys.stdin:
    if line.strip() == "open":
        stream = open_microphone("default", lambda data: None)
    elif line.strip() == "close":
        stream.close()
        stream.close()
    print([m.name for m in microphones()], flush=True)
"""


@SERVER
def test_a_microphone_that_is_plugged_in_later_is_found(
    server: SoundServer, tmp_path: Path
) -> None:
    """Also while another one was open before; an open one is left in peace by a look at the list."""
    settings = tmp_path / ".asoundrc"
    plugged = settings.read_text()
    command = [sys.executable, "-c", LISTING]
    with subprocess.Popen(
        command, env=server.environment, cwd=ROOT, stdin=PIPE, stdout=PIPE, text=True
    ) as process:
        assert process.stdin is not None and process.stdout is not None

        def after(order: str) -> str:
            assert process.stdin is not None and process.stdout is not None
            process.stdin.write(f"{order}\n")
            process.stdin.flush()
            return process.stdout.readline()

        assert "second" not in after("look")
        settings.write_text(f"{plugged}pcm.second pulse\n")
        assert "second" in after("look")
        after("open")
        settings.write_text(f"{plugged}pcm.third pulse\n")
        assert "third" not in after("look")
        assert "third" in after("close")
        process.stdin.close()
        assert process.wait(30) == 0

"""What is said into a microphone becomes scored words: sound server, sounddevice, recogniser, network."""

from __future__ import annotations

import json
import queue
import re
import subprocess
import sys
import threading
import time
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from capture.file import FileSource
from features.assets import Assets
from features.threads import OwnedThread
from tests.sound_server import SoundServer, missing_tools
from tests.sources_media import read_all, samples

ROOT = Path(__file__).parents[1]
DEADLINE_S = 240.0  # a bound for busy machines; the test ends with the first words
SPOKEN = re.compile("lecturer|university|nottingham", re.I)
RUN = ["run", "--source", "microphone:default", "--recogniser", "tiny.en", "--json"]

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(
        sys.platform != "linux" or bool(missing_tools()),
        reason=f"needs PulseAudio and PortAudio on Linux; missing: {missing_tools()}",
    ),
]


def write_speech(clip: Path, path: Path) -> None:
    """The clip's sound as a file of 16 bits at 16 kHz."""
    with FileSource(clip, picture=False, paced=False) as source:
        heard = samples(read_all(source))
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes((heard * 32_767).astype(np.int16).tobytes())


@pytest.fixture
def room(tmp_path: Path, demo_clip: Path) -> Iterator[SoundServer]:
    """A room in which somebody speaks, over and over."""
    write_speech(demo_clip, tmp_path / "speech.wav")
    server = SoundServer(tmp_path)

    def speak(stop: threading.Event) -> None:
        while not stop.is_set():
            server.play(tmp_path / "speech.wav")  # takes as long as it sounds

    voice = OwnedThread("voice in the room", speak).start()
    yield server
    try:
        voice.close(60)
    finally:
        server.stop()


class Watching:
    """``tonality run`` as a user starts it, and its lines as they come."""

    def __init__(self, server: SoundServer, errors: Path) -> None:
        self.errors = errors
        with errors.open("w") as told:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "dashboard.cli", *RUN],
                env={**server.environment, "TONALITY_CACHE": str(Assets().root.parent)},
                cwd=ROOT,
                stdout=subprocess.PIPE,
                stderr=told,
                text=True,
            )
        self._lines: queue.Queue[str] = queue.Queue()
        self._reader = OwnedThread("lines", self._read).start()

    def _read(self, stop: threading.Event) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line)

    def until_words(self) -> dict[str, Any]:
        """The first prediction in whose words something of what is spoken stands."""
        last, deadline = "", time.monotonic() + DEADLINE_S
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                last = self._lines.get(timeout=1.0)
            except queue.Empty:
                continue
            line: dict[str, Any] = json.loads(last)
            if SPOKEN.search(line["text"]):
                return line
        raise AssertionError(f"no words came; last: {last}\n{self.errors.read_text()}")

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(30)
        self._reader.close()


def test_words_said_into_a_microphone_reach_a_prediction(
    tmp_path: Path, room: SoundServer, whisper_tiny: Path
) -> None:
    watching = Watching(room, tmp_path / "errors.txt")
    try:
        found = watching.until_words()
    finally:
        watching.close()
    assert found["source"] == "microphone:default"
    assert found["present"] == {"text": True, "voice": True, "face": False}
    assert -3 <= found["low"] <= found["sentiment"] <= found["high"] <= 3
    assert found["contribution"]["text"] != 0

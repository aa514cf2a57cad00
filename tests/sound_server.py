"""A private PulseAudio server with a room that is played into and heard from, for tests."""

from __future__ import annotations

import ctypes.util
import os
import queue
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

WAIT_S = 30.0
TOOLS = ("pulseaudio", "pactl", "paplay")

RECORDER = """
import sys, threading
import numpy as np
from capture.microphone import MicrophoneSource
from capture.source import Sound
from capture.speakers import speaker_source
kind, _, device = sys.argv[2].rpartition("|")
stop = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()
parts = []
with (speaker_source if kind == "speakers" else MicrophoneSource)(device) as source:
    print("open", flush=True)
    while not stop.is_set():
        item = source.read(0.2)
        if isinstance(item, Sound):
            assert round(item.start_s * 16_000) == sum(map(len, parts))
            parts.append(item.samples)
            print("loud" if np.abs(item.samples).max() > 0.05 else "quiet", flush=True)
        elif item is not None:
            print(type(item).__name__, item.modality, getattr(item, "reason", ""), flush=True)
    np.save(sys.argv[1], np.concatenate(parts))
    print("done", source.dropped, flush=True)
"""


def missing_tools() -> list[str]:
    """What this machine lacks for a private sound server that PortAudio can listen to."""
    lacking = [tool for tool in TOOLS if shutil.which(tool) is None]
    if not any(Path("/usr").glob("lib*/**/alsa-lib/libasound_module_pcm_pulse.so")):
        lacking.append("libasound2-plugins")
    if ctypes.util.find_library("portaudio") is None:
        lacking.append("libportaudio2")
    return lacking


class SoundServer:
    """What is played by ``play`` is what the default microphone of ``environment`` hears."""

    def __init__(self, folder: Path) -> None:
        runtime = folder / "run"
        runtime.mkdir(mode=0o700)
        self.log = folder / "pulseaudio.log"
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("PULSE_", "ALSA_"))},
            "HOME": str(folder),
            "XDG_RUNTIME_DIR": str(runtime),
            "XDG_CONFIG_HOME": str(folder),
            "DBUS_SESSION_BUS_ADDRESS": "disabled:",
            "PULSE_SERVER": f"unix:{runtime}/pulse/native",  # and none is started by itself
        }
        asound = folder / ".asoundrc"
        asound.write_text("pcm.!default pulse\nctl.!default pulse\n")
        self.process = self.start()

    def start(self) -> subprocess.Popen[bytes]:
        modules = ["module-native-protocol-unix", "module-null-sink sink_name=room rate=48000"]
        loads = [word for module in modules for word in ("-L", module)]
        command = ["pulseaudio", "-n", "--daemonize=no", "--use-pid-file=no", "--exit-idle-time=-1"]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*command, *loads], env=self.environment, stdout=log, stderr=log
            )
        self._until_ready()
        return self.process

    def _until_ready(self) -> None:
        deadline, pause = time.monotonic() + WAIT_S, threading.Event()
        while self._pactl("set-default-source", "room.monitor") != 0:
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            pause.wait(0.05)

    def _pactl(self, *words: str) -> int:
        ended = subprocess.run(
            ["pactl", *words], env=self.environment, capture_output=True, timeout=WAIT_S
        )
        return ended.returncode

    def add_output(self, name: str, label: str) -> None:
        """One more output, which plays into nothing."""
        told = f"sink_properties=device.description={label}"
        assert self._pactl("load-module", "module-null-sink", f"sink_name={name}", told) == 0

    def play(self, wav: Path, output: str = "room") -> None:
        """Play to the end."""
        command = ["paplay", f"--device={output}", str(wav)]
        subprocess.run(command, env=self.environment, check=True, timeout=60, capture_output=True)

    def stop(self) -> None:
        self.process.kill()
        self.process.wait(WAIT_S)


class Recorder:
    """Our microphone source in a process of its own, which says what it hears line by line.

    ``device`` is a microphone's, or after ``speakers|`` that of speakers.
    """

    def __init__(self, server: SoundServer, out: Path, device: str = "") -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", RECORDER, str(out), device],
            env=server.environment,
            cwd=Path(__file__).parents[1],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._follow, daemon=True).start()
        self.until("open")

    def _follow(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line.strip())
        self._lines.put("end of output")

    def until(self, beginning: str) -> str:
        """Wait for a line that begins so."""
        deadline = time.monotonic() + WAIT_S
        seen: list[str] = []
        while not (seen and seen[-1].startswith(beginning)):
            try:
                seen.append(self._lines.get(timeout=max(0.0, deadline - time.monotonic())))
            except queue.Empty:
                raise AssertionError(f"no '{beginning}' among {seen}") from None
            if seen[-1] == "end of output":
                raise AssertionError(f"{seen}\n{self.process.stderr.read()}")  # type: ignore[union-attr]
        return seen[-1]

    def finish(self) -> str:
        assert self.process.stdin is not None
        self.process.stdin.close()
        line = self.until("done")
        assert self.process.wait(WAIT_S) == 0
        return line

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(WAIT_S)

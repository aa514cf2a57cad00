"""Nothing leaves the machine: every connection that any of our processes tries is to itself."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.sync.client import connect
from websockets.typing import Origin

from tests.examples import until

ROOT = Path(__file__).resolve().parents[1]
SECONDS = 150
MEDIA_S = 12.0
CALLS = "connect,sendto,sendmsg,sendmmsg"
ADDRESS = re.compile(
    r'(?:inet_addr\("([^"]+)"\)|inet_pton\(AF_INET6, "([^"]+)"|"([0-9a-f:.]+)", &sin6)'
)
LOOPBACK = ("127.", "::1")


def outside(trace: str) -> list[str]:
    """Traced calls that name an internet address other than this machine's own."""
    found = []
    for line in trace.splitlines():
        if "AF_INET" not in line:
            continue
        addresses = [next(filter(None, groups)) for groups in ADDRESS.findall(line)]
        if not addresses or not all(a.startswith(LOOPBACK) for a in addresses):
            found.append(line)
    return found


def can_trace() -> bool:
    strace = shutil.which("strace")
    return (
        strace is not None and subprocess.run([strace, "true"], capture_output=True).returncode == 0
    )


needs_strace = pytest.mark.skipif(
    not can_trace(), reason="strace is not installed, or this system does not let it trace"
)


@needs_strace
def test_the_trace_sees_a_connection_to_the_outside(tmp_path: Path) -> None:
    """The watchman is awake: an attempt to reach a documentation address is reported."""
    code = (
        "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM);"
        "s.connect(('192.0.2.1', 9)); t = socket.socket(socket.AF_INET, socket.SOCK_DGRAM);"
        "t.connect(('127.0.0.1', 9))"
    )
    found = outside(trace([sys.executable, "-c", code], tmp_path))
    assert len(found) == 1 and "192.0.2.1" in found[0]


@needs_strace
def test_a_live_run_connects_to_nobody(demo_clip: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "dashboard.cli", "run", "--source", str(demo_clip), "--json"]
    log = trace(command, tmp_path)
    assert "AF_INET" in log  # the bus itself, on loopback
    assert outside(log) == []


@needs_strace
def test_scoring_a_file_connects_to_nobody(demo_clip: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "dashboard.cli", "score", str(demo_clip), "--no-words"]
    assert outside(trace(command, tmp_path)) == []


@needs_strace
def test_the_page_with_the_demo_connects_to_nobody(demo_clip: Path, tmp_path: Path) -> None:
    """The server as a user starts it, with a browser's two connections, until it is told to end."""
    app = str(ROOT / "dashboard" / "app.py")
    command = [sys.executable, "-m", "streamlit", "run", app, "--server.port", str(free_port())]
    log = tmp_path / "calls.txt"
    told = tmp_path / "told.txt"
    with told.open("w") as out:
        tracer = subprocess.Popen(
            [*strace(log), *command],
            env={**os.environ, "TONALITY_DEMO": "1"},
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    try:
        until(lambda: "http://127.0.0.1" in told.read_text(), SECONDS)
        for name in ("127.0.0.1", "127.7.7.7"):  # the second as through a forwarded port
            run_the_page(name, int(command[-1]))
        watch_the_feed(f"ws://127.0.0.1:{command[-1]}/feed")
        psutil.Process(tracer.pid).children()[0].terminate()
        ended = tracer.wait(SECONDS)  # the server cleans up, then ends by the very signal
        assert ended in (0, -signal.SIGTERM), told.read_text()
    finally:
        if tracer.poll() is None:
            for process in (*psutil.Process(tracer.pid).children(recursive=True), tracer):
                process.kill()
    calls = log.read_text()
    assert "AF_INET" in calls
    assert outside(calls) == []


def run_the_page(name: str, port: int) -> None:
    """What a browser does that opens the page under this name: its script runs once."""
    ask = BackMsg()
    ask.rerun_script.query_string = ""
    at = f"{name}:{port}"
    here = socket.create_connection(("127.0.0.1", port))
    with connect(f"ws://{at}/_stcore/stream", sock=here, origin=Origin(f"http://{at}")) as page:
        page.send(ask.SerializeToString())
        answer = ForwardMsg()
        while answer.WhichOneof("type") != "script_finished":
            answer.ParseFromString(page.recv(SECONDS, decode=False))
        assert answer.script_finished == ForwardMsg.FINISHED_SUCCESSFULLY


def watch_the_feed(url: str) -> None:
    """Look on until ``MEDIA_S`` of the demo have been scored."""
    scored_s = 0.0
    with connect(url, max_size=None, proxy=None) as feed:
        while scored_s < MEDIA_S:
            line = feed.recv(SECONDS)
            message = json.loads(line) if isinstance(line, str) else {}
            scored_s = float(message.get("end_s", 0.0)) if "sentiment" in message else scored_s


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def strace(log: Path) -> list[str]:
    return ["strace", "-f", "--seccomp-bpf", "-e", f"trace={CALLS}", "-o", str(log)]


def trace(command: list[str], folder: Path) -> str:
    """Run a command and all its children under strace; the calls that could send anything."""
    log = folder / "calls.txt"
    done = subprocess.run([*strace(log), *command], capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 0, done.stderr
    return log.read_text()

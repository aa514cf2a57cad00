"""Nothing leaves the machine: every connection that any of our processes tries is to itself."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SECONDS = 150
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


def trace(command: list[str], folder: Path) -> str:
    """Run a command and all its children under strace; the calls that could send anything."""
    log = folder / "calls.txt"
    tracer = ["strace", "-f", "--seccomp-bpf", "-e", f"trace={CALLS}", "-o", str(log)]
    done = subprocess.run([*tracer, *command], capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 0, done.stderr
    return log.read_text()

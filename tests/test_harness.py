"""The harness in real worker processes: configuration, commands, heartbeats, and every way to end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest

from features.broker import Broker
from features.bus import BusAddress, Subscriber
from features.errors import WorkerError
from features.harness import BEAT_S, Harness, Setup
from features.messages import Lamp, Status
from tests.examples import until

ROOT = Path(__file__).resolve().parents[1]


class Bench:
    """Starts workers the way a supervisor would, and hears them."""

    def __init__(self, address: BusAddress, closing: ExitStack) -> None:
        self.address = address
        self.closing = closing
        self.ear = Subscriber(address, ["status"])
        closing.callback(self.ear.close)
        self.said: list[Status] = []

    def start(self, first_line: bytes | None = None, **config: Any) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.workers.obedient"],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=ROOT,
        )
        assert process.stderr is not None
        self.closing.callback(process.stderr.close)
        self.closing.callback(process.wait, 20.0)
        self.closing.callback(process.kill)
        setup = {"name": "w", "role": "test", "session": "s", "config": config, "grace_s": 1.5}
        setup["bus"] = msgspec.to_builtins(self.address)
        self.write(process, first_line or json.dumps(setup).encode())
        return process

    def write(self, process: subprocess.Popen[bytes], line: bytes) -> None:
        assert process.stdin is not None
        process.stdin.write(line + b"\n")
        process.stdin.flush()

    def order(self, process: subprocess.Popen[bytes], do: str, **arguments: str) -> None:
        self.write(process, json.dumps({"do": do, "arguments": arguments}).encode())

    def hear(self, state: str, detail: str | None = None) -> Status:
        """Wait for a heartbeat with that state (and detail)."""

        def heard() -> Status | None:
            received = self.ear.receive(0.05)
            if received is None or not isinstance(received.message, Status):
                return None
            self.said.append(received.message)
            fits = received.message.state == state and detail in (None, received.message.detail)
            return received.message if fits else None

        status = until(heard, 30.0)
        assert isinstance(status, Status)
        return status


@pytest.fixture
def bench() -> Iterator[Bench]:
    broker = Broker()
    with ExitStack() as closing:
        closing.callback(broker.close)
        yield Bench(broker.start(), closing)


def end_of(process: subprocess.Popen[bytes]) -> tuple[int, str]:
    """Exit code and standard error; without closing standard input."""
    code = process.wait(20.0)
    assert process.stderr is not None
    return code, process.stderr.read().decode()


def test_a_life_from_configuration_to_stop(bench: Bench) -> None:
    worker = bench.start(source="clip.mp4")
    first = bench.hear("starting", "source clip.mp4")
    assert (first.worker, first.role, first.session, first.pid) == ("w", "test", "s", worker.pid)
    running = bench.hear("running")
    assert running.gauges["memory_mib"] > 1
    assert running.counters == {"turns": 1}
    assert running.losses == {"messages the bus refused": 0}
    bench.order(worker, "pause")
    bench.hear("paused")
    bench.write(worker, b"{ not json")
    bench.write(worker, b"\xff\xfe")
    bench.order(worker, "resume")
    bench.hear("running")
    bench.order(worker, "say", text="hello")
    bench.hear("running", "hello")
    bench.order(worker, "stop")
    ended = bench.hear("ended")
    assert ended.counters["turns"] == 1, "the last word keeps the counts"
    code, log = end_of(worker)
    assert code == 0
    assert log.count("command not understood") == 2


def test_heartbeats_come_about_once_a_second_while_nothing_changes(bench: Bench) -> None:
    bench.start()
    bench.hear("running", "running")
    first, second = bench.hear("running"), bench.hear("running")
    assert (second.made_ns - first.made_ns) / 1e9 >= BEAT_S


def test_the_end_of_input_ends_the_worker(bench: Bench) -> None:
    worker = bench.start()
    bench.hear("running")
    assert worker.stdin is not None
    worker.stdin.close()
    assert end_of(worker)[0] == 0


def test_termination_ends_the_worker_and_ctrl_c_does_not(bench: Bench) -> None:
    worker = bench.start()
    bench.hear("running")
    os.kill(worker.pid, signal.SIGINT)
    bench.order(worker, "say", text="still here")
    bench.hear("running", "still here")
    os.kill(worker.pid, signal.SIGTERM)
    assert end_of(worker)[0] == 0


def test_main_that_does_not_return_is_ended_the_hard_way(bench: Bench) -> None:
    worker = bench.start(first="ignore everything")
    bench.hear("running", "ignoring everything")
    bench.order(worker, "stop")
    code, log = end_of(worker)
    assert code == 1
    assert "Timeout" in log
    assert "obedient.py" in log, "the log says where it hung"


def test_a_refusal_is_one_line_and_code_2(bench: Bench) -> None:
    code, log = end_of(bench.start(first="refuse"))
    assert (code, log) == (2, "the thing is broken: mend it\n")
    assert bench.hear("failed").detail == "the thing is broken: mend it"


def test_a_mistake_is_a_traceback_and_code_1(bench: Bench) -> None:
    code, log = end_of(bench.start(first="crash"))
    assert code == 1
    assert "Traceback" in log
    assert bench.hear("failed").detail == "RuntimeError: a mistake of ours"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"not json", "first line of standard input"),
        (b'{"name": "w"}', "missing required field `role`"),
        (b"\xff\xff", "first line of standard input"),
        (b'{"name": "w", "role": "r", "config": {"first": 5}}', "configuration"),
        (
            b'{"name": "w", "role": "r", "bus": {"publish": "tcp://10.0.0.1:1", '
            b'"subscribe": "tcp://10.0.0.1:2"}}',
            "refused until keys exist",
        ),
    ],
)
def test_a_bad_first_line_is_refused_in_one_line(bench: Bench, line: bytes, reason: str) -> None:
    code, log = end_of(bench.start(first_line=line))
    assert code == 2
    assert reason in log
    assert log.count("\n") == 1


def test_a_line_without_end_is_refused(bench: Bench) -> None:
    worker = bench.start(first_line=b"x" * 1_000_100)
    assert end_of(worker)[0] == 2


def test_without_a_bus_the_harness_works_alone() -> None:
    harness = Harness(Setup(name="w", role="test", config=msgspec.Raw(b'{"state": "on"}')))
    assert harness.config(Lamp) == Lamp("on")
    with pytest.raises(WorkerError, match="configuration"):
        harness.config(Setup)
    assert not harness.heartbeat("running")
    harness.close()

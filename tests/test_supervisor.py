"""The supervisor with real processes: what dies is started again, and nothing is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from dashboard import process
from dashboard.process import MAX_COMMAND_BYTES, WorkerSpec
from dashboard.supervisor import Supervisor, Timing, WorkerState
from features.broker import Broker
from features.errors import WorkerError
from features.harness import Command
from tests.examples import until

ROOT = Path(__file__).resolve().parents[1]
TIMING = Timing(look_s=0.05, first_delay_s=0.1, grace_s=1.0, terminate_s=0.3)


class Bench:
    def __init__(self, closing: ExitStack) -> None:
        self.closing = closing
        self.broker = Broker()
        closing.callback(self.broker.close)
        self.address = self.broker.start()
        self.pids: set[int] = set()

    def supervisor(self, timing: Timing = TIMING) -> Supervisor:
        supervisor = Supervisor(self.address, timing)
        self.closing.callback(supervisor.close)
        return supervisor

    def wait(self, supervisor: Supervisor, state: str, name: str = "w") -> WorkerState:
        return until(lambda: self.found(supervisor, state, name), 30.0)  # type: ignore[no-any-return]

    def found(self, supervisor: Supervisor, state: str, name: str) -> WorkerState | None:
        supervisor.check()
        for worker in supervisor.states():
            if worker.pid is not None:
                self.pids.add(worker.pid)
            if (worker.name, worker.state) == (name, state):
                return worker
        return None


@pytest.fixture
def bench() -> Iterator[Bench]:
    with ExitStack() as closing:
        bench = Bench(closing)
        yield bench
    assert not [pid for pid in bench.pids if psutil.pid_exists(pid)], "left behind"


def spec(first: str = "", name: str = "w", **more: object) -> WorkerSpec:
    made = WorkerSpec(name, "test", "tests.workers.obedient", {"first": first}, session="s")
    return replace(made, **more)  # type: ignore[arg-type]


def test_a_worker_starts_obeys_and_stops(bench: Bench) -> None:
    supervisor = bench.supervisor()
    supervisor.start(spec())
    running = bench.wait(supervisor, "running")
    assert running.status is not None
    assert running.status.gauges["memory_mib"] > 1
    until(lambda: supervisor.states()[0].memory_mib > 1)
    with pytest.raises(WorkerError, match="already running"):
        supervisor.start(spec())
    supervisor.send("w", Command("pause"))
    bench.wait(supervisor, "paused")
    supervisor.stop("w")
    stopped = supervisor.states()[0]
    assert (stopped.state, stopped.pid, stopped.over) == ("stopped", None, True)
    with pytest.raises(WorkerError, match="takes no commands"):
        supervisor.send("w", Command("pause"))
    supervisor.start(spec())
    bench.wait(supervisor, "running")
    supervisor.stop("w")
    supervisor.forget("w")
    assert supervisor.states() == []


@pytest.mark.parametrize("end", ["die", "crash"])
def test_a_worker_that_dies_is_started_again(bench: Bench, end: str) -> None:
    supervisor = bench.supervisor()
    supervisor.start(spec())
    first = bench.wait(supervisor, "running")
    supervisor.send("w", Command("carry", {"x": "1.5"}))
    until(lambda: (heard := supervisor.states()[0].status) and heard.carry)
    supervisor.send("w", Command(end))
    again = until(
        lambda: (s := bench.found(supervisor, "running", "w")) and s.pid != first.pid and s
    )
    assert (again.restarts, again.detail) == (1, "carries 1.5")
    supervisor.send("w", Command("say", {"text": "here again"}))
    until(lambda: supervisor.states()[0].detail == "here again")


def test_what_dies_at_the_start_is_tried_with_growing_delays(bench: Bench) -> None:
    supervisor = bench.supervisor(replace(TIMING, first_delay_s=0.05, longest_delay_s=0.2))
    began_s = time.monotonic()
    supervisor.start(spec("crash"))
    dead = until(
        lambda: (s := bench.found(supervisor, "restarting", "w")) and s.restarts >= 4 and s
    )
    assert time.monotonic() - began_s >= 0.05 + 0.1 + 0.2 + 0.2
    assert dead.detail == "exited with 1: RuntimeError: a mistake of ours"
    supervisor.stop("w")
    assert supervisor.states()[0].state == "stopped"
    assert any("Traceback" in line for line in supervisor.log("w"))


def test_a_refusal_is_not_tried_again(bench: Bench) -> None:
    supervisor = bench.supervisor()
    supervisor.start(spec("refuse"))
    failed = bench.wait(supervisor, "failed")
    assert (failed.detail, failed.restarts) == ("the thing is broken: mend it", 0)


def test_a_worker_that_ends_by_itself_is_not_started_again(bench: Bench) -> None:
    supervisor = bench.supervisor()
    supervisor.start(spec())
    bench.wait(supervisor, "running")
    supervisor.send("w", Command("finish"))
    until(lambda: supervisor.states()[0].pid is None)
    assert (supervisor.states()[0].state, supervisor.states()[0].restarts) == ("ended", 0)


@pytest.mark.parametrize("end", ["go silent", "freeze"])
def test_a_silent_worker_is_killed_and_started_again(bench: Bench, end: str) -> None:
    supervisor = bench.supervisor(replace(TIMING, silent_s=3.0))
    supervisor.start(spec())
    first = bench.wait(supervisor, "running")
    supervisor.send("w", Command(end))
    silent = until(lambda: bench.found(supervisor, "restarting", "w"))
    assert silent.detail == "silent for 3 s"
    assert bench.wait(supervisor, "running").pid != first.pid


def test_a_worker_that_never_gets_ready_is_killed(bench: Bench) -> None:
    supervisor = bench.supervisor(replace(TIMING, startup_s=1.0))
    supervisor.start(spec("go silent", restart=False))
    failed = bench.wait(supervisor, "failed")
    assert failed.detail == "not ready after 1 s"


def test_a_worker_that_eats_memory_is_started_again(bench: Bench) -> None:
    supervisor = bench.supervisor()
    supervisor.start(spec("eat", memory_limit_mib=250))
    hungry = bench.wait(supervisor, "restarting")
    assert "MiB of memory; the limit is 250" in hungry.detail


def test_a_stubborn_worker_is_killed_on_close(bench: Bench) -> None:
    supervisor = bench.supervisor(replace(TIMING, grace_s=0.2))
    for number in range(2):
        supervisor.start(spec("ignore everything", name=f"w{number}"))
    supervisor.start(spec(name="frozen"))
    bench.wait(supervisor, "running", "frozen")
    supervisor.send("frozen", Command("freeze"))
    until(lambda: [s.detail for s in supervisor.states()].count("ignoring everything") == 2, 30.0)
    pids = [s.pid for s in supervisor.states()]
    supervisor.close()
    assert not any(psutil.pid_exists(pid or 0) for pid in pids)
    assert {s.state for s in supervisor.states()} == {"stopped"}
    supervisor.close()
    with pytest.raises(WorkerError, match="closed"):
        supervisor.start(spec())


def test_closing_from_another_thread_while_one_waits_to_start_again(bench: Bench) -> None:
    supervisor = bench.supervisor(replace(TIMING, first_delay_s=60.0, longest_delay_s=60.0))
    supervisor.start(spec("crash"))
    supervisor.start(spec(name="good"))
    bench.wait(supervisor, "restarting")
    bench.wait(supervisor, "running", "good")
    closers = [threading.Thread(target=supervisor.close) for _ in range(3)]
    for closer in closers:
        closer.start()
    for closer in closers:
        closer.join(20.0)
    until(lambda: {s.state for s in supervisor.states()} == {"stopped"})


def test_commands_that_cannot_be_delivered_are_refused_never_waited_for(bench: Bench) -> None:
    supervisor = bench.supervisor(replace(TIMING, silent_s=600.0))
    supervisor.start(spec())
    bench.wait(supervisor, "running")
    with pytest.raises(WorkerError, match="no worker 'x'"):
        supervisor.send("x", Command("pause"))
    with pytest.raises(WorkerError, match="limit"):
        supervisor.send("w", Command("say", {"text": "x" * MAX_COMMAND_BYTES}))
    supervisor.send("w", Command("freeze"))
    with pytest.raises(WorkerError, match="does not take its commands"):
        for _ in range(10_000):
            supervisor.send("w", Command("say", {"text": "x" * 1000}))


@pytest.mark.parametrize("at_once", [False, True], ids=["soon", "before it is told anything"])
def test_a_module_that_is_not_there_fails_with_its_reason(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, at_once: bool
) -> None:
    spawn = process._spawn

    def spawn_and_end(spec: WorkerSpec) -> subprocess.Popen[bytes]:
        found = spawn(spec)
        found.wait(20.0)
        return found

    if at_once:
        monkeypatch.setattr(process, "_spawn", spawn_and_end)
    supervisor = bench.supervisor()
    supervisor.start(spec(module="tests.workers.nobody", restart=False))
    assert "No module named" in bench.wait(supervisor, "failed").detail


def test_without_a_bus_processes_are_still_watched(bench: Bench) -> None:
    supervisor = Supervisor(None, TIMING)
    bench.closing.callback(supervisor.close)
    supervisor.start(spec())
    first = until(lambda: supervisor.states()[0].pid)
    os.kill(first, signal.SIGKILL)
    until(lambda: supervisor.states()[0].pid not in (None, first))


def test_children_do_not_outlive_a_killed_parent(tmp_path: Path) -> None:
    """Started in another folder, one child good and one stubborn; the parent gets SIGKILL."""
    parent = subprocess.Popen(
        [sys.executable, "-c", "from tests.workers.obedient import parent; parent()"],
        stdout=subprocess.PIPE,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert parent.stdout is not None
    with parent.stdout as pipe:
        pids = [int(pid) for pid in pipe.readline().split()]
        assert len(pids) == 2
        assert all(psutil.pid_exists(pid) for pid in pids)
        parent.kill()
        parent.wait(10.0)
        until(lambda: not any(_lives(pid) for pid in pids), 15.0)


def _lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False

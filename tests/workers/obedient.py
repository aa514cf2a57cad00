"""A real worker for tests of harness, supervisor and runtime: it does what it is told, good or bad."""

from __future__ import annotations

import os
import signal
import sys
import threading

import msgspec
import numpy as np

from features.errors import WorkerError
from features.harness import Command, Harness, run_worker
from features.queues import Closed


class ObedientConfig(msgspec.Struct, frozen=True):
    """``first`` is done before anything else, see :func:`obey`; the rest is for typed decoding."""

    first: str = ""
    device: str = "auto"
    checkpoint: str | None = None
    source: str = ""
    session: str = ""
    participant: str = ""


def main(harness: Harness) -> None:
    config = harness.config(ObedientConfig)
    harness.heartbeat("starting", f"source {config.source}")
    if config.first:
        obey(harness, Command(config.first))
    state = detail = "paused" if harness.paused else "running"
    carry = harness.carried
    if carry:
        detail = f"carries {float(carry['x'][0])}"
    while not harness.stop.is_set():
        harness.heartbeat(state, detail, counters={"turns": 1}, carry=carry)
        try:
            command = harness.commands.get(0.05)
        except Closed:
            return
        if command is not None:
            if command.do == "finish":
                return
            if command.do == "carry":
                carry = {"x": np.array([float(command.arguments["x"])], np.float32)}
            state = {"pause": "paused", "resume": "running"}.get(command.do, state)
            detail = obey(harness, command) or state


def obey(harness: Harness, command: Command) -> str:
    if command.do == "refuse":
        raise WorkerError("the thing is broken: mend it")
    if command.do == "crash":
        raise RuntimeError("a mistake of ours")
    if command.do == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if command.do == "freeze":
        os.kill(os.getpid(), signal.SIGSTOP)
    if command.do == "go silent":
        harness.stop.wait()
    if command.do == "ignore everything":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        harness.heartbeat("running", "ignoring everything")
        threading.Event().wait()
    if command.do == "eat":
        hoard = bytearray(300 * 2**20)
        harness.heartbeat("running", f"ate {len(hoard)} bytes")
        harness.stop.wait()
    if command.do == "carry":
        return "carries"
    if command.do == "say":
        return command.arguments["text"]
    if command.do == "rest":
        return f"rests {command.arguments['seconds']}"
    return ""


def parent() -> None:
    """Instead of a worker: a parent with two children, to be killed; writes their pids."""
    from dashboard.supervisor import Supervisor, WorkerSpec
    from features.broker import Broker

    broker = Broker()
    supervisor = Supervisor(broker.start())
    for name, first in (("good", ""), ("bad", "ignore everything")):
        spec = WorkerSpec(name, "test", "tests.workers.obedient", ObedientConfig(first))
        supervisor.start(spec)
    while any(s.state != "running" for s in supervisor.states()):
        threading.Event().wait(0.05)
    sys.stdout.write(" ".join(str(s.pid) for s in supervisor.states()) + "\n")
    sys.stdout.flush()
    threading.Event().wait()


if __name__ == "__main__":
    sys.exit(run_worker(main))

"""The runtime with real worker processes: sessions from many threads, limits, a clean end."""

from __future__ import annotations

import os
import re
import signal
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from capture.config import CaptureConfig
from dashboard.process import WorkerProcess
from dashboard.runtime import Limits, Runtime
from dashboard.supervisor import Timing, WorkerState
from features.bus import Subscriber
from features.errors import WorkerError
from features.harness import Command
from features.messages import Preview, Status, Window
from features.threads import OwnedThread
from tests.examples import until

MODULE = "tests.workers.obedient"
TIMING = Timing(look_s=0.05, first_delay_s=0.1, grace_s=2.0, terminate_s=0.3)


@pytest.fixture
def runtime() -> Iterator[Runtime]:
    runtime = Runtime(
        timing=TIMING,
        limits=Limits(participants=3, ended_sessions=1),
        capture_module=MODULE,
        inference_module=MODULE,
    )
    runtime.start()
    pids = [s.pid for s in runtime.states()]
    yield runtime
    pids += [s.pid for s in runtime.states()]
    runtime.close()
    assert not any(psutil.pid_exists(pid) for pid in pids if pid is not None), "left behind"


def worker(runtime: Runtime, participant: str, state: str) -> WorkerState:
    def found() -> WorkerState | None:
        runtime.check()
        states = runtime.states()
        return next((s for s in states if (s.participant, s.state) == (participant, state)), None)

    made = until(found, 30.0)
    assert isinstance(made, WorkerState)
    return made


def test_a_session_from_start_to_stop(runtime: Runtime) -> None:
    session = runtime.start_session(CaptureConfig(source="demo", participant="ann"))
    assert re.fullmatch(r"\d{8}-\d{6}-[0-9a-f]{2}", session)
    running = worker(runtime, "ann", "running")
    assert (running.role, running.session) == ("capture", session)
    worker(runtime, "", "running")  # the inference worker
    runtime.pause_session(session)
    worker(runtime, "ann", "paused")
    runtime.resume_session(session)
    worker(runtime, "ann", "running")
    runtime.stop_session(session)
    assert [s.role for s in runtime.states()] == ["inference"]
    assert runtime.sessions() == []
    assert running.pid is not None
    assert not psutil.pid_exists(running.pid)
    for refused in (runtime.stop_session, runtime.pause_session, runtime.resume_session):
        with pytest.raises(WorkerError, match="no session"):
            refused(session)


def test_a_rest_is_taken_of_one_or_of_all_and_refused_in_one_line(runtime: Runtime) -> None:
    session = runtime.start_session(CaptureConfig(participant="ann"))
    runtime.start_session(CaptureConfig(session=session, participant="bob"))

    def said(participant: str) -> str:
        return worker(runtime, participant, "running").detail

    assert said("ann") and said("bob")
    runtime.rest(session, "ann", 5.0)
    until(lambda: said("ann") == "rests 5.0", 10.0)
    assert said("bob") == "running"
    runtime.rest(session)
    until(lambda: said("ann") == said("bob") == "rests 10.0", 10.0)
    for refused, reason in (
        (("nobody's",), "no session"),
        ((session, "eve"), "no participant 'eve'"),
        ((session, "ann", 0.0), "outside 0 to 600"),
        ((session, "ann", float("nan")), "outside 0 to 600"),
    ):
        with pytest.raises(WorkerError, match=reason):
            runtime.rest(*refused)  # type: ignore[arg-type]
    runtime.stop_session(session)


def test_what_was_paused_comes_back_paused_and_what_was_resumed_does_not(runtime: Runtime) -> None:
    session = runtime.start_session(CaptureConfig(participant="ann"))
    worker(runtime, "ann", "running")
    for _ in range(2):  # however often it dies
        runtime.pause_session(session)
        paused = worker(runtime, "ann", "paused")
        said = heard_after_a_kill(runtime, paused)
        assert "running" not in said and said[-1] == "paused"
    runtime.resume_session(session)
    running = worker(runtime, "ann", "running")
    assert heard_after_a_kill(runtime, running)[-1] == "running"


def heard_after_a_kill(runtime: Runtime, before: WorkerState) -> list[str]:
    """What the next process of a killed worker says of itself, up to the first that is settled."""
    said: list[str] = []
    assert before.pid is not None
    with closing(Subscriber(runtime.address, ["status"], before.session)) as subscriber:
        until(lambda: subscriber.receive(0.1))  # it hears
        os.kill(before.pid, signal.SIGKILL)

        def settled() -> bool:
            received = subscriber.receive(0.1)
            status = None if received is None else received.message
            if isinstance(status, Status) and status.pid != before.pid:
                said.append(status.state)
            return bool(said) and said[-1] in ("running", "paused")

        until(settled, 30.0)
    return said


def test_a_pause_ordered_while_a_worker_waits_to_start_again_is_kept() -> None:
    slow = replace(TIMING, first_delay_s=2.0)
    runtime = Runtime(timing=slow, capture_module=MODULE, inference_module=MODULE)
    try:
        runtime.start()
        session = runtime.start_session(CaptureConfig(participant="ann"))
        os.kill(worker(runtime, "ann", "running").pid or 0, signal.SIGKILL)
        assert not worker(runtime, "ann", "restarting").paused
        runtime.pause_session(session)
        assert worker(runtime, "ann", "paused").paused
    finally:
        runtime.close()


def test_a_paused_capture_worker_that_is_killed_films_nothing_when_it_is_back(
    demo_clip: Path, face_folder: Path
) -> None:
    runtime = Runtime(timing=replace(TIMING, grace_s=4.0), inference_module=MODULE)
    try:
        runtime.start()
        config = CaptureConfig(source=str(demo_clip), sound=False, preview=True, loop=True)
        with closing(Subscriber(runtime.address, ["preview", "window"])) as subscriber:
            session = runtime.start_session(config)
            until(lambda: filmed(subscriber), 60.0)
            runtime.pause_session(session)
            os.kill(worker(runtime, "me", "paused").pid or 0, signal.SIGKILL)
            worker(runtime, "me", "restarting")
            while subscriber.receive(0.5) is not None:
                pass  # what the killed one had sent
            back = worker(runtime, "me", "paused")
            assert back.restarts == 1
            until(lambda: media_s(runtime) > 2.0, 60.0)  # the source is read on, and let go
            assert not [m for m in subscriber.drain() if filming(m.message)]
            runtime.resume_session(session)
            until(lambda: filmed(subscriber), 60.0)
    finally:
        runtime.close()


def filming(message: object) -> bool:
    return isinstance(message, Preview) or (isinstance(message, Window) and message.present.face)


def filmed(subscriber: Subscriber) -> bool:
    received = subscriber.receive(0.2)
    return received is not None and filming(received.message)


def media_s(runtime: Runtime) -> float:
    (state,) = [s for s in runtime.states() if s.role == "capture"]
    return 0.0 if state.status is None else state.status.gauges.get("media s", 0.0)


def test_the_worker_gets_the_configuration_with_its_session(runtime: Runtime) -> None:
    session = runtime.start_session(CaptureConfig(source="some clip.mp4"))
    subscriber = Subscriber(runtime.address, ["status"], session)
    status = until(lambda: subscriber.receive(0.1)).message
    subscriber.close()
    assert isinstance(status, Status)
    assert (status.session, status.participant) == (session, "me")


def test_two_participants_share_a_session_and_the_same_one_is_refused_twice(
    runtime: Runtime,
) -> None:
    session = runtime.start_session(CaptureConfig(participant="ann"))
    assert runtime.start_session(CaptureConfig(session=session, participant="bo")) == session
    with pytest.raises(WorkerError, match=f"session '{session}' captures 'bo' already"):
        runtime.start_session(CaptureConfig(session=session, participant="bo"))
    (found,) = runtime.sessions()
    assert [config.participant for config in found.configs] == ["ann", "bo"]
    assert [w.participant for w in found.workers] == ["ann", "bo"]
    runtime.stop_session(session)
    assert runtime.sessions() == []


def test_who_joins_a_paused_session_is_paused_too(runtime: Runtime) -> None:
    session = runtime.start_session(CaptureConfig(participant="ann"))
    worker(runtime, "ann", "running")
    runtime.pause_session(session)
    worker(runtime, "ann", "paused")
    runtime.start_session(CaptureConfig(session=session, participant="bo"))
    assert worker(runtime, "bo", "paused").paused
    runtime.resume_session(session)
    for name in ("ann", "bo"):
        assert not worker(runtime, name, "running").paused
    alone = runtime.start_session(CaptureConfig(participant="cy"))
    assert alone != session and not worker(runtime, "cy", "running").paused


def test_an_order_reaches_those_behind_one_that_cannot_hear_it(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = runtime.start_session(CaptureConfig(participant="ann"))
    runtime.start_session(CaptureConfig(session=session, participant="bo"))
    for name in ("ann", "bo"):
        worker(runtime, name, "running")
    send = WorkerProcess.send

    def deaf(process: WorkerProcess, command: Command) -> None:
        if process.name.endswith("ann"):
            raise WorkerError("ann does not hear")
        send(process, command)

    monkeypatch.setattr(WorkerProcess, "send", deaf)
    with pytest.raises(WorkerError, match="ann does not hear"):
        runtime.pause_session(session)
    assert worker(runtime, "bo", "paused").paused
    monkeypatch.undo()


def test_no_more_participants_than_the_limit_even_from_many_threads(runtime: Runtime) -> None:
    started: list[str] = []
    refused: list[str] = []

    def start(name: str) -> None:
        try:
            started.append(runtime.start_session(CaptureConfig(participant=name)))
        except WorkerError as error:
            refused.append(str(error))

    threads = [threading.Thread(target=start, args=(f"p{n}",)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30.0)
    assert (len(set(started)), len(refused)) == (3, 5)
    assert all("stop one first" in reason for reason in refused)
    runtime.stop_session(started[0])
    assert runtime.start_session(CaptureConfig())


@pytest.mark.parametrize("name", ["a/b", " ", "", "x" * 65, "a\nb"])
def test_names_that_no_topic_carries_are_refused(runtime: Runtime, name: str) -> None:
    with pytest.raises(WorkerError, match="cannot be a name"):
        runtime.start_session(CaptureConfig(participant=name))


def test_sessions_that_are_over_are_listed_until_there_are_too_many(runtime: Runtime) -> None:
    sessions = []
    for _ in range(3):
        sessions.append(runtime.start_session(CaptureConfig(participant="ann")))
        supervisor = runtime._running()
        supervisor.send(f"capture {sessions[-1]} ann", Command("finish"))  # its source is over
        until(lambda: runtime.sessions()[-1].over)
    assert [found.session for found in runtime.sessions()] == sessions[-2:]
    assert [s.state for s in runtime.states()[1:]] == ["ended", "ended"]
    with pytest.raises(WorkerError, match="takes no commands"):
        supervisor.send(f"capture {sessions[-1]} ann", Command("pause"))
    runtime.pause_session(sessions[-1])  # nothing to pause, and no error to a page


def test_nothing_works_before_the_start_and_it_starts_again_after_the_end() -> None:
    runtime = Runtime(timing=TIMING, capture_module=MODULE, inference_module=MODULE)
    with pytest.raises(WorkerError, match="not started"):
        runtime.address  # noqa: B018
    with pytest.raises(WorkerError, match="not started"):
        runtime.start_session(CaptureConfig())
    assert runtime.states() == []
    runtime.close()
    for _ in range(2):
        address = runtime.start()
        assert runtime.start() == address
        assert [s.role for s in runtime.states()] == ["inference"]
        runtime.close()
        runtime.close()


def test_a_runtime_started_and_closed_in_another_thread() -> None:
    def life(stop: threading.Event) -> None:
        other = Runtime(timing=TIMING, capture_module=MODULE, inference_module=MODULE)
        try:
            other.start()
            other.start_session(CaptureConfig())
            worker(other, "me", "running")
        finally:
            other.close()

    thread = OwnedThread("elsewhere", life).start()
    assert thread.join(60.0)
    thread.check()

"""Owned threads: what ends the body reaches the owner, and stopping is asked for."""

from __future__ import annotations

import logging
import threading

import pytest

from features.threads import OwnedThread


def test_the_body_runs_until_it_is_asked_to_stop() -> None:
    running = threading.Event()

    def body(stop: threading.Event) -> None:
        running.set()
        stop.wait(60.0)

    thread = OwnedThread("worker", body).start()
    assert running.wait(10.0)
    assert thread.alive
    assert not thread.join(0.01)
    thread.close()
    assert not thread.alive
    thread.close()


def test_the_exception_of_the_body_is_raised_once_in_the_owner() -> None:
    def body(stop: threading.Event) -> None:
        raise LookupError("gone")

    thread = OwnedThread("worker", body).start()
    assert thread.join(10.0)
    assert isinstance(thread.error, LookupError)
    with pytest.raises(LookupError, match="gone"):
        thread.check()
    thread.check()
    thread.close()


def test_close_raises_what_the_body_raised_while_stopping() -> None:
    def body(stop: threading.Event) -> None:
        stop.wait(60.0)
        raise LookupError("late")

    with pytest.raises(LookupError, match="late"):
        OwnedThread("worker", body).start().close()


def test_on_exit_runs_after_success_and_failure_and_its_own_failure_is_kept() -> None:
    left: list[str] = []

    def fail(stop: threading.Event) -> None:
        raise LookupError("body")

    def fail_at_exit() -> None:
        raise OSError("exit")

    for body in (lambda stop: None, fail):
        OwnedThread("worker", body, on_exit=lambda: left.append("x")).start().join(10.0)
    assert left == ["x", "x"]
    only_exit = OwnedThread("worker", lambda stop: None, on_exit=fail_at_exit).start()
    both = OwnedThread("worker", fail, on_exit=fail_at_exit).start()
    assert only_exit.join(10.0)
    assert both.join(10.0)
    assert isinstance(only_exit.error, OSError)
    assert isinstance(both.error, LookupError)


def test_a_thread_that_stays_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    release = threading.Event()
    thread = OwnedThread("stubborn", lambda stop: bool(release.wait(60.0)) and None).start()
    with caplog.at_level(logging.ERROR):
        thread.close(timeout_s=0.02)
    assert "stubborn did not stop" in caplog.text
    release.set()
    assert thread.join(10.0)


def test_close_from_inside_and_before_the_start_does_not_wait() -> None:
    never = OwnedThread("never", lambda stop: None)
    never.close()
    box: list[OwnedThread] = []
    go = threading.Event()

    def body(stop: threading.Event) -> None:
        go.wait(10.0)
        box[0].close()

    box.append(OwnedThread("self", body).start())
    go.set()
    assert box[0].join(10.0)
    assert box[0].error is None

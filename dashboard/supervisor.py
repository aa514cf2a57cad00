"""Starts worker processes, watches them, starts again what dies, and leaves none behind.

A worker is started again, with growing delays, when it dies, goes silent or eats too much memory.
It is left alone when it ended by itself (its source is over) or refused its work with a
:class:`TonalityError` (it would refuse again). Should this process be killed, the workers notice the
end of their standard input and stop.
"""

from __future__ import annotations

import atexit
import logging
import signal
import threading
import time
from collections.abc import Iterable
from typing import Final

from dashboard.process import WorkerProcess, WorkerSpec
from dashboard.workers import OVER, Timing, Worker, WorkerState
from features.bus import BusAddress, Subscriber
from features.clock import NS_PER_S, Clock, SystemClock
from features.errors import WorkerError
from features.harness import EXIT_REFUSED, Command
from features.messages import Status
from features.threads import OwnedThread

logger = logging.getLogger(__name__)

__all__ = ["OVER", "Supervisor", "Timing", "WorkerSpec", "WorkerState"]

STOP: Final = Command("stop")
RESTING: Final = ("pause", "resume")


class Supervisor:
    """Owner of all worker processes; every method may be called from any thread."""

    def __init__(
        self,
        address: BusAddress | None,
        timing: Timing | None = None,
        clock: Clock | None = None,
    ) -> None:
        """Watch heartbeats on the bus at ``address``; without a bus only processes are watched."""
        self._address = address
        self._timing = timing or Timing()
        self._clock = clock or SystemClock()
        self._lock = threading.RLock()
        self._workers: dict[str, Worker] = {}
        self._closed = False
        self._watcher = OwnedThread("supervisor", self._watch).start()
        atexit.register(self.close)

    def start(self, spec: WorkerSpec, paused: bool = False) -> None:
        """Start a worker, which may begin paused; raises :class:`WorkerError` where its name is taken or
        it cannot start."""
        with self._lock:
            self._refuse_when_closed()
            known = self._workers.get(spec.name)
            if known is not None and not known.over:
                raise WorkerError(f"worker '{spec.name}' is already running")
            worker = Worker(spec)
            worker.paused = paused
            self._launch(worker)
            self._workers[spec.name] = worker

    def send(self, name: str, command: Command) -> None:
        """Order something of a worker; raises :class:`WorkerError` where it cannot hear.

        A pause outlives the process: the worker's next run begins as was ordered last, also where
        the order found it dead.
        """
        with self._lock:
            worker = self._worker(name)
            worker.paused |= command.do == "pause"  # even if it is not heard
            if worker.process is not None:
                worker.process.send(command)
            elif worker.over or command.do not in RESTING:
                raise WorkerError(f"worker '{name}' is not running and takes no commands")
            worker.paused &= command.do != "resume"

    def stop(self, *names: str) -> None:
        """End workers for good, all at once: asked first, then terminated, then killed."""
        with self._lock:
            workers = [self._worker(name) for name in names]
        self._end(workers)

    def forget(self, name: str) -> None:
        """Drop a worker that is over from :meth:`states`."""
        with self._lock:
            worker = self._workers.get(name)
            if worker is not None and worker.over:
                del self._workers[name]

    def states(self) -> list[WorkerState]:
        """All workers in the order of their start."""
        with self._lock:
            return [worker.view() for worker in self._workers.values()]

    def log(self, name: str) -> list[str]:
        """The last lines that a worker wrote to standard error."""
        with self._lock:
            worker = self._worker(name)
            return list(worker.log if worker.process is None else worker.process.log)

    def check(self) -> None:
        """Raise what ended the watching, if anything did."""
        self._watcher.check()
        if not self._watcher.alive and not self._closed:
            raise WorkerError("the supervisor is not watching any more")

    def close(self) -> None:
        """End all workers and stop watching; safe to call twice and from any thread."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            workers = list(self._workers.values())
        atexit.unregister(self.close)
        self._end(workers)
        self._watcher.close()

    # -- ending ---------------------------------------------------------------------------------

    def _mark(self, worker: Worker) -> WorkerProcess | None:
        """From now on its end is wanted; the run to end, if there is one."""
        with self._lock:
            worker.stopping = True
            worker.due_s = None
            if worker.process is None and worker.state not in OVER:
                worker.state = "stopped"
            return worker.process

    def _end(self, workers: Iterable[Worker]) -> None:
        """Blocks until they are gone, without the lock, so that others can go on."""
        processes = [(w, p) for w in workers if (p := self._mark(w)) is not None]
        for _, process in processes:
            try:
                process.send(STOP)
            except WorkerError:
                process.terminate()
        _wait_all([p for _, p in processes], self._timing.grace_s)
        for _, process in processes:
            process.terminate()
        _wait_all([p for _, p in processes], self._timing.terminate_s)
        for worker, process in processes:
            process.kill()
            if not process.wait(2.0):
                logger.error("%s (process %d) cannot be killed", process.name, process.pid)
            with self._lock:
                if worker.process is process:
                    self._exited(worker, process)

    # -- watching -------------------------------------------------------------------------------

    def _watch(self, stop: threading.Event) -> None:
        heartbeats = None if self._address is None else Subscriber(self._address, ["status"])
        try:
            while not stop.is_set():
                self._listen(heartbeats, stop)
                with self._lock:
                    for worker in self._workers.values():
                        self._look(worker)
        finally:
            if heartbeats is not None:
                heartbeats.close()

    def _listen(self, heartbeats: Subscriber | None, stop: threading.Event) -> None:
        if heartbeats is None:
            stop.wait(self._timing.look_s)
            return
        first = heartbeats.receive(self._timing.look_s)
        received = [] if first is None else [first, *heartbeats.drain()]
        with self._lock:
            for status in (r.message for r in received):
                if isinstance(status, Status):
                    self._hear(status)

    def _hear(self, status: Status) -> None:
        worker = self._workers.get(status.worker)
        if worker is None or worker.pid != status.pid:
            return  # of an earlier run, or not ours
        worker.status = status
        worker.heard_s = self._now_s()
        worker.carried = status.carry or worker.carried
        if worker.process is not None and not worker.killed_for:
            worker.state, worker.detail = status.state, status.detail

    def _look(self, worker: Worker) -> None:
        process = worker.process
        if process is None:
            if worker.due_s is not None and self._now_s() >= worker.due_s:
                self._relaunch(worker)
        elif process.exit_code() is not None:
            self._exited(worker, process)
        elif not worker.killed_for and not worker.stopping:
            worker.memory_mib = process.memory_mib()
            worker.killed_for = self._complaint(worker)
            if worker.killed_for:
                logger.warning("killing %s: %s", worker.spec.name, worker.killed_for)
                process.kill()

    def _complaint(self, worker: Worker) -> str:
        limit = worker.spec.memory_limit_mib
        if limit is not None and worker.memory_mib > limit:
            return f"used {worker.memory_mib:.0f} MiB of memory; the limit is {limit:.0f}"
        if self._address is None:
            return ""
        now_s = self._now_s()
        if worker.status is None or worker.status.state == "starting":
            patience = self._timing.startup_s
            return (
                f"not ready after {patience:.0f} s" if now_s - worker.started_s > patience else ""
            )
        patience = self._timing.silent_s
        return f"silent for {patience:.0f} s" if now_s - worker.heard_s > patience else ""

    def _exited(self, worker: Worker, process: WorkerProcess) -> None:
        code = process.exit_code()
        process.release()
        worker.process, worker.memory_mib = None, 0.0
        worker.log = tuple(process.log)
        last_line = worker.log[-1] if worker.log else ""
        said = "" if worker.status is None else worker.status.state
        if worker.stopping:
            worker.state, worker.detail = "stopped", ""
        elif said == "ended" or (code == 0 and not worker.killed_for):
            worker.state = "ended"
        elif code == EXIT_REFUSED and not worker.killed_for:
            worker.state, worker.detail = "failed", last_line
            logger.error("worker %s: %s", worker.spec.name, last_line)
        else:
            self._died(worker, worker.killed_for or _ending(code, last_line))

    def _died(self, worker: Worker, reason: str) -> None:
        now_s = self._now_s()
        worker.detail = worker.failure = reason
        if not worker.spec.restart:
            worker.state = "failed"
            logger.error("worker %s: %s", worker.spec.name, reason)
            return
        if now_s - worker.started_s >= self._timing.healthy_s:
            worker.failures = 0
        delay_s = min(
            self._timing.longest_delay_s,
            self._timing.first_delay_s * 2 ** min(worker.failures, 20),
        )
        worker.failures += 1
        worker.state, worker.due_s = "restarting", now_s + delay_s
        logger.warning("worker %s: %s; starting again in %.1f s", worker.spec.name, reason, delay_s)

    def _relaunch(self, worker: Worker) -> None:
        worker.restarts += 1
        try:
            self._launch(worker)
        except WorkerError as error:
            self._died(worker, str(error))

    def _launch(self, worker: Worker) -> None:
        worker.started_s = self._now_s()
        worker.due_s, worker.killed_for, worker.status = None, "", None
        worker.process = WorkerProcess(
            worker.spec, self._address, self._timing.grace_s, worker.paused, worker.carried
        )
        worker.pid = worker.process.pid
        worker.state, worker.detail = "starting", ""
        logger.info("worker %s is process %d", worker.spec.name, worker.process.pid)

    def _worker(self, name: str) -> Worker:
        worker = self._workers.get(name)
        if worker is None:
            raise WorkerError(f"there is no worker '{name}'")
        return worker

    def _refuse_when_closed(self) -> None:
        if self._closed:
            raise WorkerError("the supervisor is closed; no worker can be started")

    def _now_s(self) -> float:
        return self._clock.now_ns() / NS_PER_S


def _wait_all(processes: list[WorkerProcess], timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    for process in processes:
        process.wait(deadline - time.monotonic())


def _ending(code: int | None, last_line: str) -> str:
    """For people: how a process came to its end that nobody had asked for."""
    if code == -signal.SIGKILL:
        return "killed from outside, as the system does when memory runs out"
    if code is not None and code < 0:
        return f"ended by {signal.Signals(-code).name}: {last_line}".rstrip(": ")
    return f"exited with {code}: {last_line}".rstrip(": ")

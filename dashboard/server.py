"""What one server process owns: the runtime with its workers, the hub, uploaded files.

The lifespan makes it once per server, however many browser tabs are open; routes and the page's
script, which runs in the same process, find it here.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import tempfile
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import psutil
from streamlit import config as st_config

from capture.config import CaptureConfig
from dashboard.gate import Access, require_allowed
from dashboard.hub import Hub
from dashboard.keeper import Keeper
from dashboard.kept import KeptSessions
from dashboard.pending import PendingSession, can_score
from dashboard.runtime import Runtime
from dashboard.supervisor import OVER, WorkerState
from features.errors import BindError, WorkerError
from features.rest import REST_S

logger = logging.getLogger(__name__)

DEMO_VARIABLE = "TONALITY_DEMO"
UPLOADS = "tonality-uploads-"
DEMO_PURPOSE = "demonstration with published footage"


class Server:
    """One runtime and one hub, and where uploaded files wait until the server ends."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.configs: dict[tuple[str, str], CaptureConfig] = {}  # by session and participant
        self._pending: PendingSession | None = None
        self._starting = threading.Lock()
        self._ended_by = ""
        _clear_abandoned_uploads()
        self.uploads = Path(tempfile.mkdtemp(prefix=f"{UPLOADS}{os.getpid()}-"))
        self.hub = Hub(runtime.address, self.workers).start()
        self.kept = KeptSessions()
        self.keeper = Keeper(runtime.address, self.kept)

    def workers(self) -> list[dict[str, Any]]:
        """What is known of every worker, ready for JSON; last what ended a thread of ours, if any."""
        lines = [worker_line(state) for state in self._states()]
        return [*lines, server_line(reason)] if (reason := self._trouble()) else lines

    def _states(self) -> list[WorkerState]:
        waiting = None if self._pending is None else self._pending.state()  # before it is started
        states = self.runtime.states()
        if waiting is None or any(state.name == waiting.name for state in states):
            return states
        return [*states, waiting]

    def _trouble(self) -> str:
        """What ended a thread of the runtime; kept, because it is raised only once."""
        try:
            self.runtime.check()
        except Exception as error:  # noqa: BLE001 - whatever ended it is told, not handled
            if not self._ended_by:
                logger.error("the server's bus or supervisor has ended: %r", error)
                self._ended_by = str(error) or repr(error)
        return self._ended_by

    def start_session(self, config: CaptureConfig) -> str:
        """Start capturing, and forget the sessions that are over; gives the new one's identifier.

        A configuration that names the session that runs adds a participant to it. While the
        inference worker loads, the session waits for it: see :class:`PendingSession`.
        """
        with self._starting:
            self._forget_old(config)
            self._refuse_second(config)
            if can_score(self.runtime, config):
                session = self.runtime.start_session(config)
            else:
                self._pending = PendingSession(self.runtime, config)
                session = self._pending.config.session
            self.configs[(session, config.participant)] = config
        return session

    def _refuse_second(self, config: CaptureConfig) -> None:
        """One session at a time: two browser tabs that start at once must not film twice."""
        running = [state for state in self.participants() if state.state not in OVER]
        if running and config.session != running[0].session:
            raise WorkerError("a session runs already; stop it first, or add a participant to it")

    def _forget_old(self, config: CaptureConfig) -> None:
        states = self._states()
        if any(state.state == "starting" and state.pid is None for state in states):
            raise WorkerError("a session is about to start already; stop it first")
        for old in self.runtime.sessions():
            if all(worker.state in OVER for worker in old.workers):  # even if not yet gone
                self._end(old.session, keep=config.source)
        if self._pending is not None and self._pending.state() is not None:
            self._end(self._pending.config.session, keep=config.source)
        running = {state.session for state in self._states()}
        for over in set(self.hub.sessions()) - running:
            self.hub.forget(over)

    def rest(self, session: str, participant: str = "", seconds: float = REST_S) -> None:
        """Take the next seconds as the resting face and voice, of one participant or of all.

        How far that is stands in the worker's status: ``gauges["rest s left"]``, then
        ``"rest face s"`` and ``"rest voice s"``. Raises :class:`WorkerError` for people.
        """
        self.runtime.rest(session, participant, seconds)

    def stop_session(self, session: str) -> None:
        """Stop capturing, and delete the file if it was uploaded for this."""
        self._end(session, keep="")

    def _end(self, session: str, keep: str) -> None:
        try:
            if not self._called_off(session):
                self.runtime.stop_session(session)
                self.keeper.settle(session)  # stopping makes the last words and windows final
        finally:
            self.keeper.end(session)
        for key in [key for key in self.configs if key[0] == session]:
            source = self.configs.pop(key).source
            kept = Path(source).resolve().parent  # an upload has a folder of its own
            if source != keep and kept.parent == self.uploads.resolve():
                shutil.rmtree(kept, ignore_errors=True)

    def _end_kept(self) -> None:
        """End what is being kept while it can still be scored."""
        for running in self.runtime.sessions():
            if self.keeper.keeps(running.session):
                self._end(running.session, keep="")

    def _called_off(self, session: str) -> bool:
        """Whether it was still to be started, and will not be now."""
        pending = self._pending
        return pending is not None and pending.config.session == session and pending.close()

    def keep(self, keep_s: float) -> None:
        """From now on keep the running session's scores, words and marks, and ``keep_s`` beyond it.

        Raises ``TonalityError`` where nothing runs, or the folder cannot be written.
        """
        members = [state for state in self.participants() if state.state not in OVER]
        if not members:
            raise WorkerError("nothing runs that could be kept; start a session first")
        session = members[0].session
        config = self.configs.get((session, members[0].participant), CaptureConfig())
        self.keeper.keep(session, config.purpose, keep_s)

    def delete_kept(self, session: str) -> None:
        """Delete a kept session for good; raises ``WorkerError`` while it is being written.

        One that ended by itself, as a file does, is not stopped by anybody: its keeping ends here.
        """
        if self.keeper.keeps(session):
            if any(s.session == session and s.state not in OVER for s in self._states()):
                raise WorkerError("this session is still being kept; stop it first")
            self.keeper.end(session)
        self.kept.delete(session)

    def participants(self) -> list[WorkerState]:
        """The capture workers of the session begun last: running, over or about to start."""
        captures = [state for state in self._states() if state.role == "capture"]
        return [state for state in captures if state.session == captures[-1].session]

    def mark(self, session: str, moments: dict[str, float], text: str) -> None:
        """Mark a moment of each participant, in seconds on their own clocks, with or without a note.

        Raises :class:`WorkerError` where nobody of that name is captured.
        """
        known = {member.participant for member in self.participants() if member.session == session}
        strangers = set(moments) - known
        if strangers or not moments:
            raise WorkerError(f"there is nobody to mark in session '{session}'; start one first")
        for participant, at_s in moments.items():
            self.keeper.mark(self.hub.mark(session, participant, at_s, text))

    def health(self) -> dict[str, Any]:
        """Whether our threads, hub and workers stand, with counts; for people and for watchers."""
        workers = self.workers()
        stands = [worker["state"] not in ("failed", "restarting") for worker in workers]
        return {"ok": self.hub.alive and all(stands), "workers": workers, "hub": self.hub.health()}

    def close(self) -> None:
        """Stop workers and hub, delete uploads; each step is taken even if one before it failed."""
        with ExitStack() as steps:
            steps.callback(shutil.rmtree, self.uploads, ignore_errors=True)
            steps.callback(self.hub.close)
            steps.callback(self.runtime.close)
            steps.callback(self.keeper.close)
            steps.callback(self._end_kept)
            if self._pending is not None:
                steps.callback(self._pending.close)


def _clear_abandoned_uploads() -> None:
    """Delete what servers that were killed could not delete: it may be somebody's picture."""
    for folder in Path(tempfile.gettempdir()).glob(f"{UPLOADS}*-*"):
        pid = folder.name.removeprefix(UPLOADS).partition("-")[0]
        if pid.isdigit() and not psutil.pid_exists(int(pid)):
            shutil.rmtree(folder, ignore_errors=True)


class _Current:
    """The one server of this process, while it runs."""

    server: Server | None = None


def current() -> Server | None:
    """The server that runs in this process, or ``None`` before it has started."""
    return _Current.server


def worker_line(state: WorkerState) -> dict[str, Any]:
    """A worker for browsers; memory in steps of 8 MiB, so that it does not change all the time."""
    return {
        "name": state.name,
        "role": state.role,
        "session": state.session,
        "participant": state.participant,
        "state": state.state,
        "detail": state.detail,
        "pid": state.pid,
        "restarts": state.restarts,
        "failure": state.failure,
        "paused": state.paused,
        "memory_mib": round(state.memory_mib / 8) * 8,
    }


def server_line(reason: str) -> dict[str, Any]:
    """The server's own threads for browsers, as one more worker that has failed."""
    detail = f"{reason}; stop the server and start it again"
    return {
        "name": "server", "role": "server", "session": "", "participant": "", "state": "failed",
        "detail": detail, "pid": os.getpid(), "restarts": 0, "memory_mib": 0,
    }  # fmt: skip


def refuse_other_addresses() -> None:
    """End the process with one line, before anything starts, if others could connect unasked.

    The lifespan would refuse as well, but the server wraps what it says into a traceback.
    """
    try:
        require_allowed(st_config.get_option("server.address"), Access.named())
    except BindError as error:
        raise SystemExit(f"tonality: {error}") from error


Lifespan = Callable[[Any], AbstractAsyncContextManager[None]]


def lifespan(make_runtime: Callable[[], Runtime]) -> Lifespan:
    """What the server does at its start and its end, given how its runtime is made.

    At the start it refuses to listen off loopback unless hosts are named, starts the runtime once, and with
    ``TONALITY_DEMO=1`` the demo session; at the end it stops every worker.
    """

    @asynccontextmanager
    async def run(_app: Any) -> AsyncIterator[None]:
        require_allowed(st_config.get_option("server.address"), Access.named())
        server = await asyncio.to_thread(_start, make_runtime)
        _Current.server = server
        try:
            yield
        finally:
            _Current.server = None
            await asyncio.to_thread(server.close)

    return run


def _start(make_runtime: Callable[[], Runtime]) -> Server:
    with ExitStack() as undo:
        runtime = make_runtime()
        undo.callback(runtime.close)
        runtime.start()
        server = Server(runtime)
        undo.callback(server.close)
        if os.environ.get(DEMO_VARIABLE) == "1":
            server.start_session(CaptureConfig(preview=True, purpose=DEMO_PURPOSE, loop=True))
        undo.pop_all()
    return server

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
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import psutil
from streamlit import config as st_config

from capture.config import CaptureConfig
from dashboard.gate import require_loopback
from dashboard.hub import Hub
from dashboard.runtime import Runtime
from dashboard.supervisor import OVER, WorkerState
from features.errors import BindError

logger = logging.getLogger(__name__)

DEMO_VARIABLE = "TONALITY_DEMO"
UPLOADS = "tonality-uploads-"
DEMO_PURPOSE = "demonstration with published footage"


class Server:
    """One runtime and one hub, and where uploaded files wait until the server ends."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.configs: dict[str, CaptureConfig] = {}
        _clear_abandoned_uploads()
        self.uploads = Path(tempfile.mkdtemp(prefix=f"{UPLOADS}{os.getpid()}-"))
        self.hub = Hub(runtime.address, self.workers).start()

    def workers(self) -> list[dict[str, Any]]:
        """What the supervisor knows of every worker, ready for JSON."""
        return [worker_line(state) for state in self.runtime.states()]

    def start_session(self, config: CaptureConfig) -> str:
        """Start capturing, and forget the sessions that are over; gives the new one's identifier."""
        for old in self.runtime.sessions():
            if all(worker.state in OVER for worker in old.workers):  # even if not yet gone
                self._end(old.session, keep=config.source)
        running = {state.session for state in self.runtime.states()}
        for over in set(self.hub.sessions()) - running:
            self.hub.forget(over)
        session = self.runtime.start_session(config)
        self.configs[session] = config
        return session

    def stop_session(self, session: str) -> None:
        """Stop capturing, and delete the file if it was uploaded for this."""
        self._end(session, keep="")

    def _end(self, session: str, keep: str) -> None:
        self.runtime.stop_session(session)
        config = self.configs.pop(session, None)
        if config is None or config.source == keep:
            return
        if self.uploads in Path(config.source).parents:
            shutil.rmtree(Path(config.source).parent, ignore_errors=True)

    def session(self) -> WorkerState | None:
        """The capture worker that was started last, running or over."""
        captures = [state for state in self.runtime.states() if state.role == "capture"]
        return captures[-1] if captures else None

    def health(self) -> dict[str, Any]:
        """Whether hub and workers stand, with their counts; for people and for watchers."""
        workers = self.workers()
        stands = [worker["state"] not in ("failed", "restarting") for worker in workers]
        return {"ok": self.hub.alive and all(stands), "workers": workers, "hub": self.hub.health()}

    def close(self) -> None:
        """Stop workers and hub, delete uploads; each step is taken even if one before it failed."""
        with ExitStack() as steps:
            steps.callback(shutil.rmtree, self.uploads, ignore_errors=True)
            steps.callback(self.hub.close)
            steps.callback(self.runtime.close)


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
        "memory_mib": round(state.memory_mib / 8) * 8,
    }


def refuse_other_addresses() -> None:
    """End the process with one line, before anything starts, unless only this machine can connect.

    The lifespan would refuse as well, but the server wraps what it says into a traceback.
    """
    try:
        require_loopback(st_config.get_option("server.address"))
    except BindError as error:
        raise SystemExit(f"tonality: {error}") from error


Lifespan = Callable[[Any], AbstractAsyncContextManager[None]]


def lifespan(make_runtime: Callable[[], Runtime]) -> Lifespan:
    """What the server does at its start and its end, given how its runtime is made.

    At the start it refuses to listen off loopback, starts the runtime once, and with
    ``TONALITY_DEMO=1`` the demo session; at the end it stops every worker.
    """

    @asynccontextmanager
    async def run(_app: Any) -> AsyncIterator[None]:
        require_loopback(st_config.get_option("server.address"))
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

"""A session that waits for the inference worker, so that none of its first windows is lost."""

from __future__ import annotations

import logging
import secrets
import threading
from datetime import datetime
from typing import Final

from msgspec.structs import replace

from capture.config import CaptureConfig
from dashboard.readiness import models_for
from dashboard.runtime import NEW_SESSION, Runtime, worker_name
from dashboard.supervisor import WorkerState
from features.errors import TonalityError, WorkerError
from features.threads import OwnedThread

logger = logging.getLogger(__name__)

LOOK_S: Final = 0.1
LOADING: Final = "loading the network"


def can_score(runtime: Runtime, config: CaptureConfig | None = None) -> bool:
    """Whether windows can be scored, and those of ``config`` made: all models are here.

    Raises :class:`WorkerError` where they never will be. Models that are not here are fetched from
    now on.
    """
    if config is not None and not runtime.have(models_for(config)):
        return False
    for state in runtime.states():
        if state.role == "inference" and state.state == "failed":
            reason = f"the inference worker does not run: {state.detail}"
            raise WorkerError(f"{reason}; mend it, then start the server again")
        if state.role == "inference":
            return state.state == "running"
    return False


class PendingSession:
    """Starts a session in the runtime as soon as windows can be scored.

    Until then, and where it cannot be started, :meth:`state` stands in for its capture worker.
    """

    def __init__(self, runtime: Runtime, config: CaptureConfig) -> None:
        if config.session in NEW_SESSION:
            name = f"{datetime.now():%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
            config = replace(config, session=name)
        self.config = config
        self._runtime = runtime
        self._lock = threading.Lock()
        self._state, self._detail = "starting", LOADING
        self._thread = OwnedThread("session start", self._wait).start()

    def state(self) -> WorkerState | None:
        """What stands for the capture worker; ``None`` once there is a real one, or after the end."""
        with self._lock:
            if self._state == "over":
                return None
            if self._thread.error is not None:
                self._state, self._detail = "failed", f"cannot start: {self._thread.error}"
            waits = self._state == "starting"
            return WorkerState(
                name=worker_name(self.config.session, self.config.participant),
                role="capture",
                session=self.config.session,
                participant=self.config.participant,
                state=self._state,
                detail=(waits and self._runtime.fetching()) or self._detail,
                pid=None,
                restarts=0,
                memory_mib=0.0,
                status=None,
            )

    def close(self) -> bool:
        """Wait no longer; ``False`` where the session has started, and goes on in the runtime."""
        with self._lock:
            unstarted = self._state != "over"
            self._state = "over"
        self._thread.close()
        return unstarted

    def _wait(self, stop: threading.Event) -> None:
        while not stop.is_set():
            with self._lock:
                if self._state != "over" and self._try():
                    return
            stop.wait(LOOK_S)

    def _try(self) -> bool:
        try:
            if not can_score(self._runtime, self.config):
                return False
            self._runtime.start_session(self.config)
            self._state = "over"
        except TonalityError as error:
            logger.error("session %s cannot start: %s", self.config.session, error)
            self._state, self._detail = "failed", str(error)
        return True

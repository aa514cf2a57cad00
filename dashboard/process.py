"""One worker process as the supervisor sees it: how it is started, told, heard and ended."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import psutil

from features.bus import BusAddress
from features.errors import WorkerError
from features.harness import Command, Setup
from features.threads import OwnedThread

logger = logging.getLogger(__name__)

ROOT: Final = Path(__file__).resolve().parents[1]  # where the rooms lie
MAX_COMMAND_BYTES: Final = 4096  # a pipe takes this many whole or not at all
MAX_SETUP_BYTES: Final = 32_768
OFFLINE: Final = {"TONALITY_OFFLINE": "1"}  # models are fetched before; no worker reaches out
LOG_LINES: Final = 200
LOG_LINE_BYTES: Final = 4096


@dataclass(frozen=True, slots=True)
class WorkerSpec:
    """What to run and how to watch it.

    Attributes:
        name: unique; also the origin of the worker's messages.
        role: ``capture``, ``inference`` ...
        module: what ``python -m`` runs; it calls :func:`features.harness.run_worker`.
        config: anything that msgspec turns into JSON; the worker decodes it by its own type.
        session: identifier of the session, or empty for workers of all sessions.
        participant: whose worker it is, or empty.
        restart: start again when it dies, goes silent or eats too much memory.
        memory_limit_mib: resident memory above which it is started again; ``None``: no limit.
    """

    name: str
    role: str
    module: str
    config: object = field(default_factory=dict)
    session: str = ""
    participant: str = ""
    restart: bool = True
    memory_limit_mib: float | None = None


class WorkerProcess:
    """One run of a worker, as leader of a process group of its own."""

    def __init__(
        self,
        spec: WorkerSpec,
        bus: BusAddress | None,
        grace_s: float,
        paused: bool = False,
        carried: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        """Start the process, at once at rest where ``paused``, and hand it its configuration.

        ``carried`` is what the run before told to carry on with.

        Raises :class:`WorkerError`.
        """
        self.name = spec.name
        self.log: deque[str] = deque(maxlen=LOG_LINES)
        self._process = _spawn(spec)
        self._reader = OwnedThread(f"log of {spec.name}", self._read_log).start()
        self._write_lock = threading.Lock()
        setup = Setup(
            name=spec.name,
            role=spec.role,
            session=spec.session,
            participant=spec.participant,
            bus=bus,
            config=msgspec.Raw(msgspec.json.encode(spec.config)),
            grace_s=grace_s,
            paused=paused,
            carried={name: values.tolist() for name, values in (carried or {}).items()},
        )
        try:
            self._write(msgspec.json.encode(setup), MAX_SETUP_BYTES)
        except WorkerError as error:
            if not isinstance(error.__cause__, BrokenPipeError):
                self.kill()
                raise
            logger.debug("%s ended before it was told anything; its end says why", self.name)

    @property
    def pid(self) -> int:
        """Number of the process."""
        return self._process.pid

    def exit_code(self) -> int | None:
        """How it ended (negative: the signal), or ``None`` while it runs."""
        return self._process.poll()

    def memory_mib(self) -> float:
        """Resident memory; 0 where the process is gone."""
        try:
            return float(psutil.Process(self.pid).memory_info().rss) / 2**20
        except psutil.Error:
            return 0.0

    def send(self, command: Command) -> None:
        """Order something without waiting; raises :class:`WorkerError` where it does not listen."""
        self._write(msgspec.json.encode(command), MAX_COMMAND_BYTES)

    def _write(self, line: bytes, limit: int) -> None:
        if len(line) >= limit:
            raise WorkerError(f"{self.name}: a line of {len(line)} bytes; the limit is {limit}")
        pipe = self._process.stdin
        try:
            with self._write_lock:
                if pipe is None or pipe.closed:
                    raise WorkerError(f"{self.name} has ended and takes no commands")
                os.write(pipe.fileno(), line + b"\n")
        except BlockingIOError as error:
            raise WorkerError(f"{self.name} does not take its commands") from error
        except OSError as error:
            raise WorkerError(f"{self.name} has ended and takes no commands") from error

    def wait(self, timeout_s: float) -> bool:
        """Wait for the end; ``False`` if it still runs."""
        try:
            self._process.wait(max(0.0, timeout_s))
        except subprocess.TimeoutExpired:
            return False
        return True

    def terminate(self) -> None:
        """Ask the operating system to ask the process to end."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End the process and all that it started, at once."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        if self._process.poll() is None:
            try:
                os.killpg(self.pid, number)
            except ProcessLookupError:
                logger.debug("%s ended by itself", self.name)

    def release(self) -> None:
        """After the end: close the pipes and take in the last lines of the log."""
        with self._write_lock:
            if self._process.stdin is not None:
                self._process.stdin.close()
        if not self._reader.join(0.5):  # a grandchild may hold the other end
            logger.warning("%s left its standard error open", self.name)

    def _read_log(self, stop: threading.Event) -> None:
        pipe = self._process.stderr
        if pipe is None:
            return
        with pipe:
            while line := pipe.readline(LOG_LINE_BYTES):
                text = line.decode(errors="replace").rstrip()
                self.log.append(text)
                logger.info("%s: %s", self.name, text)


def _spawn(spec: WorkerSpec) -> subprocess.Popen[bytes]:
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    command = [sys.executable, "-P", "-X", "faulthandler", "-m", spec.module]
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            bufsize=-1,
            env={**os.environ, "PYTHONPATH": path, **OFFLINE},
            start_new_session=True,  # Ctrl-C at the terminal is for the parent alone
        )
    except OSError as error:
        raise WorkerError(f"{spec.name}: cannot start {spec.module}: {error}") from error
    if process.stdin is not None:
        os.set_blocking(process.stdin.fileno(), False)
    return process

"""What the supervisor knows of a worker, and how patient it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from dashboard.process import WorkerProcess, WorkerSpec
from features.messages import Status

OVER: Final = ("ended", "failed", "stopped")


@dataclass(frozen=True, slots=True)
class Timing:
    """How patient the supervisor is, all in seconds.

    Attributes:
        look_s: between two looks at the processes.
        startup_s: until the first heartbeat that is not ``starting`` (models are loaded).
        silent_s: without a heartbeat after that, until a worker is killed.
        first_delay_s: before the first restart; doubled at each further one.
        longest_delay_s: bound of that delay.
        healthy_s: after so long a good run the delay begins anew.
        grace_s: a worker has to stop by itself; then it is terminated.
        terminate_s: from termination until it is killed.
    """

    look_s: float = 0.2
    startup_s: float = 60.0
    silent_s: float = 10.0
    first_delay_s: float = 0.5
    longest_delay_s: float = 30.0
    healthy_s: float = 60.0
    grace_s: float = 4.0
    terminate_s: float = 1.0


@dataclass(frozen=True, slots=True)
class WorkerState:
    """A worker for people: what it does, why, and how often it was started again.

    ``state`` is what the worker says of itself (``starting``, ``running``, ``paused``), or
    ``restarting``, ``ended``, ``failed``, ``stopped``. ``status`` is its last heartbeat, ``failure``
    why it was last started again; ``paused`` whether a pause was ordered, so that it comes back
    paused however often it is started again.
    """

    name: str
    role: str
    session: str
    participant: str
    state: str
    detail: str
    pid: int | None
    restarts: int
    memory_mib: float
    status: Status | None
    failure: str = ""
    paused: bool = False

    @property
    def over(self) -> bool:
        """Whether its process is gone for good; one that says ``ended`` may take a moment yet."""
        return self.state in OVER and self.pid is None


class Worker:
    """A spec through all its runs; guarded by the supervisor's lock."""

    def __init__(self, spec: WorkerSpec) -> None:
        self.spec = spec
        self.process: WorkerProcess | None = None
        self.pid = 0  # of the last run
        self.state = "starting"
        self.detail = ""
        self.failure = ""
        self.paused = False  # what was ordered last, for its next run
        self.carried: Mapping[str, np.ndarray] = {}  # what its next run begins with
        self.restarts = 0
        self.failures = 0  # in a row, without a healthy run between
        self.memory_mib = 0.0
        self.status: Status | None = None
        self.started_s = 0.0
        self.heard_s = 0.0
        self.due_s: float | None = None  # when to start again
        self.killed_for = ""
        self.stopping = False
        self.log: tuple[str, ...] = ()

    @property
    def over(self) -> bool:
        """Whether it will never run again."""
        return self.process is None and self.state in OVER

    def view(self) -> WorkerState:
        """What there is to say about it now."""
        return WorkerState(
            name=self.spec.name,
            role=self.spec.role,
            session=self.spec.session,
            participant=self.spec.participant,
            state=self.state,
            detail=self.detail,
            pid=None if self.process is None else self.process.pid,
            restarts=self.restarts,
            memory_mib=self.memory_mib,
            status=self.status,
            failure=self.failure,
            paused=self.paused,
        )

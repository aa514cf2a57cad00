"""The running system behind the page and the command line: bus, supervisor, workers, sessions.

One place starts and stops everything and holds the limits; page scripts call it from many threads.
"""

from __future__ import annotations

import logging
import re
import secrets
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Final

from msgspec.structs import replace

from capture.addresses import safe
from capture.config import MAX_REST_S, CaptureConfig
from dashboard.fetches import Fetches
from dashboard.process import WorkerSpec
from dashboard.readiness import MakeAssets
from dashboard.supervisor import Supervisor, Timing, WorkerState
from features.assets import Assets
from features.broker import Broker
from features.bus import BusAddress
from features.errors import WorkerError
from features.harness import Command
from features.rest import REST_S

logger = logging.getLogger(__name__)

NEW_SESSION: Final = ("", CaptureConfig().session)  # a configuration that leaves the name to us
NAME: Final = re.compile(r"[^/\s\x00-\x1f][^/\x00-\x1f]{0,63}")


@dataclass(frozen=True, slots=True)
class Limits:
    """How much may run at once on this machine.

    Attributes:
        participants: captured at the same time.
        ended_sessions: over, and still listed.
        capture_memory_mib: resident memory of a capture worker, above which it is started again.
        inference_memory_mib: the same of the inference worker.
    """

    participants: int = 8
    ended_sessions: int = 16
    capture_memory_mib: float = 3072.0
    inference_memory_mib: float = 8192.0


@dataclass(frozen=True, slots=True)
class Session:
    """One session with a worker per participant."""

    session: str
    configs: tuple[CaptureConfig, ...]
    workers: tuple[WorkerState, ...]

    @property
    def over(self) -> bool:
        """Whether no participant is captured any more."""
        return all(worker.over for worker in self.workers)


class Runtime:
    """Broker, supervisor and inference worker, and the sessions that they serve.

    ``checkpoint`` is a folder, ``None`` for the live one; ``capture_module`` and
    ``inference_module`` are what ``python -m`` runs. ``models`` have to be here before the inference
    worker starts; what is missing is fetched meanwhile, and :meth:`states` tells how far that is.
    Without them nothing is fetched: whoever starts sessions has seen to it.
    """

    def __init__(
        self,
        device: str = "auto",
        checkpoint: str | None = None,
        limits: Limits | None = None,
        timing: Timing | None = None,
        capture_module: str = "capture.worker",
        inference_module: str = "model.worker",
        models: Iterable[str] = (),
        make_assets: MakeAssets = Assets,
    ) -> None:
        self.limits = limits or Limits()
        self._inference = {"device": device, "checkpoint": checkpoint or ""}
        self._timing = timing
        self._capture_module = capture_module
        self._inference_module = inference_module
        self._models = tuple(models)
        self._fetches = Fetches(make_assets)
        self._lock = threading.RLock()
        self._broker: Broker | None = None
        self._supervisor: Supervisor | None = None
        self._address: BusAddress | None = None
        self._configs: dict[tuple[str, str], CaptureConfig] = {}

    def start(self) -> BusAddress:
        """Start the bus and the inference worker; once is enough, more often does no harm.

        Where models are missing, the worker starts by itself as soon as they are here.
        """
        with self._lock:
            if self._address is not None:
                return self._address
            self._broker = Broker()
            self._address = self._broker.start()
            try:
                self._supervisor = Supervisor(self._address, self._timing)
                if self._fetches.here(self._models):
                    self._supervisor.start(self._inference_spec())
                else:
                    start = partial(self._start_inference, self._supervisor)
                    self._fetches.begin(self._models, start)
            except BaseException:
                self.close()
                raise
            return self._address

    def _start_inference(self, supervisor: Supervisor) -> None:
        with self._lock:
            if self._supervisor is supervisor:
                supervisor.start(self._inference_spec())

    def have(self, names: Iterable[str]) -> bool:
        """Whether these models are here; ``False`` while they are being fetched, which this begins.

        Always ``True`` for a runtime that was given no models: its owner has seen to them. Raises
        :class:`WorkerError` where they cannot be had.
        """
        with self._lock:
            self._running()
            wanted = {self._models: None, tuple(names): None} if self._models else {}
            return all(self._fetches.have(each) for each in wanted)

    def fetching(self) -> str:
        """How far the fetching of models is, in words; empty while nothing is fetched."""
        return self._fetches.words

    def _inference_spec(self) -> WorkerSpec:
        return WorkerSpec(
            name="inference",
            role="inference",
            module=self._inference_module,
            config=self._inference,
            memory_limit_mib=self.limits.inference_memory_mib,
        )

    @property
    def address(self) -> BusAddress:
        """Where to subscribe; raises :class:`WorkerError` before :meth:`start`."""
        with self._lock:
            if self._address is None:
                raise WorkerError("the runtime is not started")
            return self._address

    def start_session(self, config: CaptureConfig) -> str:
        """Start to capture one participant, and give back the session's identifier.

        The session is named by time unless ``config`` names it; a second participant joins by the
        same name, paused where the session is. Raises :class:`WorkerError` for a participant who is
        captured already, for names that no topic can carry and beyond the limit of participants.
        """
        with self._lock:
            supervisor = self._running()
            if config.session in NEW_SESSION:
                config = replace(config, session=self._new_name())
            key = (config.session, config.participant)
            for name in key:
                if NAME.fullmatch(name) is None:
                    raise WorkerError(f"'{name}' cannot be a name: 1 to 64 characters, no '/'")
            self._refuse(supervisor, config)
            others = [s for s in supervisor.states() if s.session == config.session and not s.over]
            supervisor.start(self._capture_spec(config), paused=any(s.paused for s in others))
            self._configs[key] = config
            self._forget_old(supervisor)
            logger.info("session %s captures %s from %s", *key, safe(config.source))
            return config.session

    def _capture_spec(self, config: CaptureConfig) -> WorkerSpec:
        return WorkerSpec(
            name=worker_name(config.session, config.participant),
            role="capture",
            module=self._capture_module,
            config=config,
            session=config.session,
            participant=config.participant,
            memory_limit_mib=self.limits.capture_memory_mib,
        )

    def stop_session(self, session: str) -> None:
        """End the session's workers and forget it; blocks until they are gone (seconds at most)."""
        names = self._names(session)
        supervisor = self._running()
        supervisor.stop(*names)
        self._drop(supervisor, session)

    def pause_session(self, session: str) -> None:
        """Let the session's workers rest; nothing is captured until they are resumed."""
        self._order(session, Command("pause"))

    def resume_session(self, session: str) -> None:
        """Go on after a pause."""
        self._order(session, Command("resume"))

    def rest(self, session: str, participant: str = "", seconds: float = REST_S) -> None:
        """Take the next ``seconds`` as the resting face and voice, of one participant or of all.

        Raises :class:`WorkerError` where the session or the participant is not there.
        """
        if not 0 < seconds <= MAX_REST_S:
            raise WorkerError(f"a rest of {seconds} s is outside 0 to {MAX_REST_S:.0f} s")
        names = [worker_name(session, participant)] if participant else self._names(session)
        if participant and names[0] not in self._names(session):
            raise WorkerError(f"session '{session}' has no participant '{participant}'")
        supervisor = self._running()
        over = {state.name for state in supervisor.states() if state.over}
        if over.issuperset(names):
            raise WorkerError(f"session '{session}' is over: nobody's rest can be taken")
        for name in names:
            if name not in over:
                supervisor.send(name, Command("rest", {"seconds": str(seconds)}))

    def sessions(self) -> list[Session]:
        """All sessions in the order of their start, also those that are over and not yet stopped."""
        states = {state.name: state for state in self.states()}
        with self._lock:
            configs = list(self._configs.values())
        found: dict[str, list[CaptureConfig]] = {}
        for config in configs:
            found.setdefault(config.session, []).append(config)
        return [
            Session(
                session,
                tuple(members),
                tuple(
                    states[name]
                    for c in members
                    if (name := worker_name(session, c.participant)) in states
                ),
            )
            for session, members in found.items()
        ]

    def states(self) -> list[WorkerState]:
        """All workers, the inference worker first; empty while nothing is started.

        While its models are being fetched, the inference worker is ``fetching`` and has no process;
        ``failed`` where they cannot be.
        """
        with self._lock:
            supervisor = self._supervisor
        if supervisor is None:
            return []
        fetching = self._fetches.state_of(self._models)  # before: a fetch ends with the start
        states = supervisor.states()
        if fetching is None or any(state.role == "inference" for state in states):
            return states
        return [_without_process(*fetching), *states]

    def counters(self) -> dict[str, int]:
        """What the bus counted."""
        with self._lock:
            return {} if self._broker is None else self._broker.counters()

    def log(self, worker: str) -> list[str]:
        """Last lines of a worker's standard error."""
        return self._running().log(worker)

    def check(self) -> None:
        """Raise what went wrong in our own threads."""
        with self._lock:
            broker, supervisor = self._broker, self._supervisor
        self._fetches.check()
        if broker is not None and supervisor is not None:
            broker.check()
            supervisor.check()

    def close(self) -> None:
        """End everything; safe to call twice. The runtime can be started again afterwards."""
        with self._lock:
            broker, supervisor = self._broker, self._supervisor
            self._broker, self._supervisor, self._address = None, None, None
            self._configs.clear()
        try:
            self._fetches.close()
            if supervisor is not None:
                supervisor.close()
        finally:
            if broker is not None:
                broker.close()

    # -- helpers --------------------------------------------------------------------------------

    def _running(self) -> Supervisor:
        with self._lock:
            if self._supervisor is None:
                raise WorkerError("the runtime is not started")
            return self._supervisor

    def _names(self, session: str) -> list[str]:
        with self._lock:
            names = [worker_name(*key) for key in self._configs if key[0] == session]
        if not names:
            raise WorkerError(f"there is no session '{session}'")
        return names

    def _order(self, session: str, command: Command) -> None:
        """Order it of all that run, also of those behind one that cannot hear; raises what that one did."""
        supervisor = self._running()
        over = {state.name for state in supervisor.states() if state.over}
        unheard: WorkerError | None = None
        for name in self._names(session):
            if name not in over:
                try:
                    supervisor.send(name, command)
                except WorkerError as error:
                    unheard = error
        if unheard is not None:
            raise unheard

    def _refuse(self, supervisor: Supervisor, config: CaptureConfig) -> None:
        running = [s for s in supervisor.states() if s.role == "capture" and not s.over]
        if any((s.session, s.participant) == (config.session, config.participant) for s in running):
            raise WorkerError(
                f"session '{config.session}' captures '{config.participant}' already; stop it first"
            )
        if len(running) >= self.limits.participants:
            raise WorkerError(
                f"{len(running)} participants are captured already, the limit; stop one first"
            )

    def _forget_old(self, supervisor: Supervisor) -> None:
        over = [session.session for session in self.sessions() if session.over]
        for session in over[: max(0, len(over) - self.limits.ended_sessions)]:
            self._drop(supervisor, session)

    def _drop(self, supervisor: Supervisor, session: str) -> None:
        with self._lock:
            for key in [key for key in self._configs if key[0] == session]:
                del self._configs[key]
                supervisor.forget(worker_name(*key))
            if self._broker is not None:
                self._broker.forget(session)

    def _new_name(self) -> str:
        taken = {session for session, _ in self._configs}
        while True:
            name = f"{datetime.now():%Y%m%d-%H%M%S}-{secrets.token_hex(1)}"
            if name not in taken:
                return name


def _without_process(state: str, detail: str) -> WorkerState:
    """What stands for the inference worker before it is started."""
    return WorkerState(
        name="inference", role="inference", session="", participant="", state=state, detail=detail,
        pid=None, restarts=0, memory_mib=0.0, status=None,
    )  # fmt: skip


def worker_name(session: str, participant: str) -> str:
    """The name of a participant's capture worker."""
    return f"capture {session} {participant}"

"""Writes down what the bus says of the sessions that are to be kept, in a thread of its own."""

from __future__ import annotations

import logging
import threading
import time
from contextlib import closing
from typing import Any, Final

from dashboard.kept import Head, KeptSessions
from dashboard.timeline import Strip, Timeline
from features.bus import BusAddress, Subscriber
from features.errors import TonalityError
from features.messages import AnyMessage, Prediction, Status
from features.threads import OwnedThread

logger = logging.getLogger(__name__)

KINDS: Final = ("prediction", "transcript", "status")
RECEIVE_S: Final = 0.5
SWEEP_S: Final = 60.0
QUEUED: Final = 4096  # messages that may wait while the disk is slow

Key = tuple[str, str]  # session and participant


class Keeper:
    """Keeps sessions from :meth:`keep` to :meth:`end`, and deletes what has outlived its retention.

    Attributes:
        trouble: why a session is not kept any more, in one line; empty while all is well.
        lost: messages that the bus dropped because the disk was too slow.
    """

    def __init__(self, address: BusAddress, store: KeptSessions) -> None:
        self.store = store
        self.trouble = ""
        self.lost = 0
        self._address = address
        self._lock = threading.RLock()
        self._timelines: dict[str, Timeline] = {}
        self._clocks: dict[Key, int] = {}  # how often a participant's media clock has begun anew
        self._zeroed: set[Key] = set()  # clocks whose zero is written
        self._swept = 0.0
        self._wanted = threading.Event()
        self._thread = OwnedThread("keeper", self._run).start()

    def keep(self, session: str, purpose: str, keep_s: float) -> None:
        """From now on write this session down; raises ``TonalityError`` where that is impossible."""
        head = Head(session=session, purpose=purpose, begun=time.time(), keep_s=keep_s)
        with self._lock:
            self.store.begin(head)
            self._timelines.setdefault(session, Timeline())
            self.trouble = ""
        self._wanted.set()

    def keeps(self, session: str) -> bool:
        """Whether this session is being written down."""
        with self._lock:
            return session in self._timelines

    def mark(self, line: dict[str, Any]) -> None:
        """Write down a mark, as the hub gave it, if its session is kept."""
        with self._lock:
            if line["session"] in self._timelines:
                self._write(line["session"], [self._placed(line)])

    def end(self, session: str) -> None:
        """Write down what was still to be revised, and write no more."""
        with self._lock:
            timeline = self._timelines.get(session)
            if timeline is None:
                return
            for strip in timeline.strips.values():
                self._write(session, self._unsettled(strip))
            self._timelines.pop(session, None)
            self._zeroed = {key for key in self._zeroed if key[0] != session}
            self._clocks = {key: n for key, n in self._clocks.items() if key[0] != session}

    def close(self) -> None:
        """End all sessions, and the thread; raises what ended it, if it failed."""
        with self._lock:
            for session in list(self._timelines):
                self.end(session)
        self._thread.stop.set()
        self._wanted.set()
        self._thread.close()

    # -- the thread -----------------------------------------------------------------------------

    def _run(self, stop: threading.Event) -> None:
        while not stop.is_set():
            self._sweep()
            if self._wanted.wait(RECEIVE_S) and not stop.is_set():
                self._listen(stop)

    def _listen(self, stop: threading.Event) -> None:
        with closing(Subscriber(self._address, KINDS, hwm=QUEUED)) as subscriber:
            while not stop.is_set():
                received = subscriber.receive(RECEIVE_S)
                if received is not None:
                    self.take(received.message)
                self.lost = subscriber.lost
                self._sweep()

    def _sweep(self) -> None:
        if time.monotonic() - self._swept < SWEEP_S and self._swept:
            return
        self._swept = time.monotonic()
        try:
            self.store.sweep()
        except TonalityError as error:
            self.trouble = str(error)
            logger.error("%s", error)

    def take(self, message: AnyMessage) -> None:
        """Take one message in; what the thread does with each that it receives."""
        with self._lock:
            timeline = self._timelines.get(message.session)
            if timeline is None:
                return
            told = timeline.add(message)
            if isinstance(message, Status):
                self._begin_anew(message, told)
            elif isinstance(told, dict):
                self._write(message.session, [*self._zero(message), *self._worth(told)])

    def _begin_anew(self, status: Status, told: Any) -> None:
        if isinstance(told, dict) and told.get("restarted"):
            key = (status.session, status.participant)
            strip = self._timelines[status.session].strips.pop(key, None)
            if strip is not None:  # its windows will not be revised any more
                self._write(status.session, self._unsettled(strip))
            self._clocks[key] = self._clocks.get(key, 0) + 1
            self._zeroed.discard(key)

    def _unsettled(self, strip: Strip) -> list[dict[str, Any]]:
        points = [point for point in strip.points.values() if not point["final"]]
        return [self._placed({"type": "prediction", **point}) for point in points]

    def _zero(self, message: AnyMessage) -> list[dict[str, Any]]:
        """Once for each media clock: when it read zero, in seconds since 1970."""
        key = (message.session, message.participant)
        if not isinstance(message, Prediction) or key in self._zeroed:
            return []
        self._zeroed.add(key)
        late_s = message.lag_ms.get("total", 0.0) / 1000
        zero = round(time.time() - late_s - message.end_s, 3)
        line = {"type": "zero", "session": key[0], "participant": key[1], "zero": zero}
        return [self._placed(line)]

    def _worth(self, told: dict[str, Any]) -> list[dict[str, Any]]:
        """The line, unless it will come again: what is not final, what is only tentative."""
        last = told["final"] if told["type"] == "prediction" else bool(told.get("stable"))
        return [self._placed(told)] if last else []

    def _placed(self, line: dict[str, Any]) -> dict[str, Any]:
        """The line with the number of its media clock: a restarted worker begins a new one."""
        kept = {key: value for key, value in line.items() if key != "tentative"}
        return {**kept, "clock": self._clocks.get((line["session"], line["participant"]), 0)}

    def _write(self, session: str, lines: list[dict[str, Any]]) -> None:
        if not lines:
            return
        try:
            self.store.append(session, lines)
        except TonalityError as error:
            self.trouble = f"session {session} is not kept any further: {error}"
            logger.error("%s", self.trouble)
            self._timelines.pop(session, None)

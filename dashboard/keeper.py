"""Writes down what the bus says of the sessions that are to be kept, in a thread of its own."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, Final

from msgspec.structs import replace

from dashboard.kept import Head, KeptSessions
from dashboard.timeline import Strip, Timeline
from features.bus import BusAddress, Subscriber
from features.clock import NS_PER_S, Clock, SystemClock
from features.errors import TonalityError
from features.messages import AnyMessage, Prediction, Status, Transcript
from features.samples import Word
from features.threads import OwnedThread

logger = logging.getLogger(__name__)

KINDS: Final = ("prediction", "transcript", "status")
RECEIVE_S: Final = 0.5
SWEEP_S: Final = 60.0
QUEUED: Final = 4096  # messages that may wait while the disk is slow
OPEN_HOPS: Final = 40  # the last revision comes 20 hops after the window at the latest
SETTLE_S: Final = 1.0  # how long the last windows of a stopped session may still be scored
QUIET_S: Final = 0.2  # after a stop: who says nothing for so long has said all
LOOK_S: Final = 0.05
ALIVE: Final = ("starting", "running", "paused")  # last words say how far the media was before

Key = tuple[str, str]  # session and participant


@dataclass(slots=True)
class _MediaClock:
    """A participant's media clock, which begins anew with every process of their worker."""

    number: int = 0  # how often it has begun anew
    told: bool = False  # its zero is written
    begun_ns: int = 0  # what is about moments before this came from the process before
    unread_ns: int = 0  # when nothing of the source was read yet, as far as is known
    zero_ns: int | None = None  # when it read zero, as the newest prediction says

    def hear(self, message: Prediction | Transcript | Status) -> None:
        """Learn what the message tells of the clock; all stamps are monotonic."""
        if isinstance(message, Prediction):
            self.zero_ns = _moment_ns(message) - round(message.end_s * NS_PER_S)
        elif isinstance(message, Status) and message.state in ALIVE and message.end_s <= 0:
            self.unread_ns = max(self.unread_ns, message.made_ns)

    def read_s(self, at_ns: int) -> float:
        """What it read at a moment: ``-inf`` before there was any media, ``inf`` while not known."""
        if self.unread_ns >= at_ns:
            return -math.inf
        return math.inf if self.zero_ns is None else (at_ns - self.zero_ns) / NS_PER_S


@dataclass(slots=True)
class _Kept:
    """A session that is being written down."""

    since_ns: int  # when that was asked for, monotonic
    heard_ns: int  # when its last message came
    timeline: Timeline = field(default_factory=Timeline)


class Keeper:
    """Keeps sessions from :meth:`keep` to :meth:`end`, and deletes what has outlived its retention.

    Attributes:
        trouble: why a session is not kept any more, in one line; empty while all is well.
        lost: messages that the bus dropped because the disk was too slow.
    """

    def __init__(
        self, address: BusAddress, store: KeptSessions, clock: Clock | None = None
    ) -> None:
        self.store = store
        self.trouble = ""
        self.lost = 0
        self._address = address
        self._clock = clock or SystemClock()
        self._lock = threading.RLock()
        self._kept: dict[str, _Kept] = {}
        self._media_clocks: dict[Key, _MediaClock] = {}
        self._swept = 0.0
        self._wanted = threading.Event()
        self._thread = OwnedThread("keeper", self._run).start()

    def keep(self, session: str, purpose: str, keep_s: float) -> None:
        """From now on write this session down; raises ``TonalityError`` where that is impossible.

        Nothing that was said or seen before this moment is written, though later messages repeat it.
        """
        now_ns = self._clock.now_ns()
        head = Head(session=session, purpose=purpose, begun=time.time(), keep_s=keep_s)
        with self._lock:
            self.store.begin(head)
            self._kept.setdefault(session, _Kept(since_ns=now_ns, heard_ns=now_ns))
            self.trouble = ""
        self._wanted.set()

    def keeps(self, session: str) -> bool:
        """Whether this session is being written down."""
        with self._lock:
            return session in self._kept

    def mark(self, line: dict[str, Any]) -> None:
        """Write down a mark, as the hub gave it, if its session is kept."""
        with self._lock:
            if line["session"] in self._kept:
                self._write(line["session"], [self._placed(line)])

    def settle(self, session: str) -> None:
        """Wait until the last windows of a stopped session are scored, ``SETTLE_S`` at most."""
        deadline_ns = self._clock.now_ns() + round(SETTLE_S * NS_PER_S)
        while self.keeps(session) and self._clock.now_ns() < deadline_ns:
            self._clock.sleep(LOOK_S)  # first: what was said last is still on its way
            if self._settled(session):
                return

    def _settled(self, session: str) -> bool:
        with self._lock:
            kept = self._kept.get(session)
            if kept is None:
                return True
            if self._clock.now_ns() - kept.heard_ns < QUIET_S * NS_PER_S:
                return False
            strips = kept.timeline.strips
            windows = {
                status["participant"]: status["counters"].get("windows", 0)
                for status in kept.timeline.statuses.values()
            }
            unscored = any(
                max(strip.points, default=-1) + 1 < windows.get(strip.participant, 0)
                for strip in strips.values()
            )
            return not unscored and not any(map(_unsettled, strips.values()))

    def end(self, session: str) -> None:
        """Write down what was still to be revised, and write no more."""
        with self._lock:
            kept = self._kept.get(session)
            for strip in [] if kept is None else kept.timeline.strips.values():
                self._write(session, self._lines(_unsettled(strip)))
            self._kept.pop(session, None)
            for key in [key for key in self._media_clocks if key[0] == session]:
                del self._media_clocks[key]

    def close(self) -> None:
        """End all sessions, and the thread; raises what ended it, if it failed."""
        with self._lock:
            for session in list(self._kept):
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
            kept = self._kept.get(message.session)
            if kept is None:
                return
            kept.heard_ns = self._clock.now_ns()
            if isinstance(message, Status):
                self._hear(kept, message)
            elif isinstance(message, Prediction | Transcript):
                self._keep_new(kept, message)

    def _hear(self, kept: _Kept, status: Status) -> None:
        told = kept.timeline.add(status)
        if isinstance(told, dict) and told["restarted"]:
            key = (status.session, status.participant)
            strip = kept.timeline.strips.pop(key, None)
            if strip is not None:  # its windows will not be revised any more
                self._write(status.session, self._lines(_unsettled(strip)))
            number = self._media_clock(key).number + 1
            self._media_clocks[key] = _MediaClock(number, begun_ns=status.made_ns)
        if status.role == "capture":
            self._media_clock((status.session, status.participant)).hear(status)

    def _keep_new(self, kept: _Kept, message: Prediction | Transcript) -> None:
        clock = self._media_clock((message.session, message.participant))
        if _moment_ns(message) < clock.begun_ns:
            return  # of a process that died: what was known of its windows is written already
        clock.hear(message)
        new = _since(message, clock.read_s(kept.since_ns))
        told = None if new is None else kept.timeline.add(new)
        if not isinstance(told, dict):
            return
        lines = self._worth(told)
        if isinstance(message, Prediction):
            strip = kept.timeline.strips[message.session, message.participant]
            lines = [*self._zero(message, clock), *lines, *self._lapsed(strip, message.seq)]
        self._write(message.session, lines)

    def _media_clock(self, key: Key) -> _MediaClock:
        return self._media_clocks.setdefault(key, _MediaClock())

    def _lapsed(self, strip: Strip, seq: int) -> list[dict[str, Any]]:
        """What lies so far behind this window that its last revision got lost; each only once.

        Without this it would wait for the session's end, and the strip forgets it before.
        """
        points = [point for point in _unsettled(strip) if point["seq"] < seq - OPEN_HOPS]
        lines = self._lines(points)
        for point in points:  # the strip takes no later revision of it, so none is written twice
            point.update(final=True, revision=math.inf)
        return lines

    def _zero(self, prediction: Prediction, clock: _MediaClock) -> list[dict[str, Any]]:
        """Once for each media clock: when it read zero, in seconds since 1970."""
        if clock.told or clock.zero_ns is None:
            return []
        clock.told = True
        passed_s = (self._clock.now_ns() - clock.zero_ns) / NS_PER_S
        line = {
            "type": "zero", "session": prediction.session, "participant": prediction.participant,
            "zero": round(time.time() - passed_s, 3),
        }  # fmt: skip
        return [self._placed(line)]

    def _worth(self, told: dict[str, Any]) -> list[dict[str, Any]]:
        """The line, unless it will come again: what is not final, what is only tentative."""
        last = told["final"] if told["type"] == "prediction" else bool(told.get("stable"))
        return [self._placed(told)] if last else []

    def _lines(self, points: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
        return [self._placed({"type": "prediction", **point}) for point in points]

    def _placed(self, line: dict[str, Any]) -> dict[str, Any]:
        """The line with the number of its media clock: a restarted worker begins a new one."""
        kept = {key: value for key, value in line.items() if key != "tentative"}
        clock = self._media_clocks.get((line["session"], line["participant"]))
        return {**kept, "clock": 0 if clock is None else clock.number}

    def _write(self, session: str, lines: list[dict[str, Any]]) -> None:
        if not lines:
            return
        try:
            self.store.append(session, lines)
        except TonalityError as error:
            self.trouble = f"session {session} is not kept any further: {error}"
            logger.error("%s", self.trouble)
            self._kept.pop(session, None)


def _unsettled(strip: Strip) -> list[dict[str, Any]]:
    """The windows whose last revision has not come."""
    return [point for point in strip.points.values() if not point["final"]]


def _since(message: Prediction | Transcript, from_s: float) -> Prediction | Transcript | None:
    """What of a message is of the time from a moment of its media clock on; ``None`` for nothing.

    Transcripts repeat the last half minute. A window that began before the moment goes altogether,
    though it ends later: its score is made of what was said and seen before as much as its text is.
    Where the moment is not known yet, nothing is lost by waiting: the words come again.
    """
    if isinstance(message, Transcript):
        return replace(message, stable=_begun_since(message.stable, from_s))
    if message.start_s < from_s:
        return None
    return replace(message, words=_begun_since(message.words, from_s))


def _begun_since(words: Iterable[Word], from_s: float) -> tuple[Word, ...]:
    return tuple(word for word in words if word.start_s >= from_s)


def _moment_ns(message: Prediction | Transcript) -> int:
    """When the media that a message is about ended, as far as it tells; monotonic nanoseconds."""
    late_ms = message.lag_ms.get("total", 0.0) if isinstance(message, Prediction) else 0.0
    return message.made_ns - round(late_ms / 1000 * NS_PER_S)

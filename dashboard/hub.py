"""Hears everything on the bus, keeps the last minutes, and hands them to whoever listens."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from contextlib import closing
from typing import Any

import msgspec

from dashboard.clients import CLIENT_QUEUE, MAX_CLIENTS, Client, Follower, Line, Wanted
from dashboard.clocks import Clocks
from dashboard.lines import json_line
from dashboard.metrics import Metrics
from dashboard.schema import ParticipantNow
from dashboard.timeline import Timeline
from features.bus import BusAddress, Subscriber
from features.clock import NS_PER_S, Clock, SystemClock
from features.messages import AnyMessage, Prediction, Preview
from features.threads import OwnedThread

__all__ = ["CLIENT_QUEUE", "MAX_CLIENTS", "Client", "Follower", "Hub", "Wanted"]

logger = logging.getLogger(__name__)

KINDS = ("prediction", "transcript", "preview", "status")  # windows are not for people
PREVIEW_GAP_S = 0.09  # at most about 10 pictures a second for each participant
RECEIVE_S = 0.2
ASK_S = 0.5
QUEUED = 1024  # messages that may wait for the hub


class Hub:
    """Subscriber, timeline and browsers, in one owned thread.

    ``workers`` tells what the supervisor knows of its processes (JSON-ready); it is asked about
    twice a second and passed on when it has changed.
    """

    def __init__(
        self,
        address: BusAddress,
        workers: Callable[[], list[dict[str, Any]]] | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._clock = clock or SystemClock()
        self._address = address
        self._workers = workers
        self._workers_line = msgspec.json.encode({"type": "workers", "workers": []})
        self._timeline = Timeline()
        self._clocks = Clocks()
        self.metrics = Metrics(self._clock)
        self._clients: list[Client] = []
        self._followers: list[Follower] = []
        self._dropped_before = 0  # by clients that have left
        self._lock = threading.Lock()
        self._preview_at: dict[tuple[str, str], float] = {}
        self._counts = {"received": 0, "malformed": 0, "gaps": 0, "previews_skipped": 0}
        self._thread = OwnedThread("hub", self._run)

    def start(self) -> Hub:
        """Begin to listen, and give back the hub for chaining."""
        self._thread.start()
        return self

    def close(self) -> None:
        """Stop listening; raises what ended the thread, if it failed."""
        self._thread.close()

    @property
    def alive(self) -> bool:
        """Whether the hub still listens."""
        return self._thread.alive

    def join(self, loop: asyncio.AbstractEventLoop, pictures: bool = True) -> Client | None:
        """A new browser's queue, to be served in ``loop``; ``None`` where there are too many."""
        with self._lock:
            if len(self._clients) >= MAX_CLIENTS:
                return None
            client = Client(loop, pictures)
            for strip in self._timeline.strips.values():
                if strip.preview is not None:
                    client.offer_preview((strip.session, strip.participant), strip.preview)
            self._clients.append(client)
            return client

    def follow(
        self, loop: asyncio.AbstractEventLoop, wanted: Wanted | None = None
    ) -> Follower | None:
        """A program's queue of predictions from now on; ``None`` where there are too many."""
        with self._lock:
            if len(self._followers) >= MAX_CLIENTS:
                return None
            follower = Follower(loop, wanted)
            self._followers.append(follower)
            return follower

    def leave(self, client: Client | Follower) -> None:
        """Forget a browser or a program."""
        listening: list[Any] = self._followers if isinstance(client, Follower) else self._clients
        with self._lock:
            if client in listening:
                listening.remove(client)
                self._dropped_before += client.dropped

    def snapshot(self) -> bytes:
        """Everything kept, as one JSON message."""
        with self._lock:
            whole = self._timeline.snapshot(self._clock.now_ns())
            whole["workers"] = msgspec.json.decode(self._workers_line)["workers"]
            whole["hub"] = self._health()
            return msgspec.json.encode(whole)

    def health(self) -> dict[str, Any]:
        """Counts of messages, gaps and drops, and how many browsers listen."""
        with self._lock:
            return self._health()

    def _health(self) -> dict[str, Any]:
        dropped = sum(client.dropped for client in (*self._clients, *self._followers))
        return {
            **self._counts,
            "browsers": len(self._clients),
            "followers": len(self._followers),
            "browsers_dropped": self._dropped_before + dropped,
        }

    def participants(self, back_s: float, wanted: Wanted | None = None) -> list[ParticipantNow]:
        """What is known of each participant now, with the predictions of the last ``back_s``."""
        now_ns, wanted = self._clock.now_ns(), wanted or Wanted()
        with self._lock:
            strips = [s for s in self._timeline.strips.values() if wanted.whose(*s.key)]
            return [strip.now(now_ns, back_s, wanted.final) for strip in strips]

    def statuses(self) -> list[dict[str, Any]]:
        """The last heartbeat of each worker."""
        with self._lock:
            return list(self._timeline.statuses.values())

    def take(self, message: AnyMessage) -> None:
        """Take one message in and pass it on; what the thread does with each that it receives."""
        if isinstance(message, Preview) and self._too_soon(message):
            return
        with self._lock:
            self._counts["received"] += 1
            message = self._clocks.moved(message)
            told = self._timeline.add(message)
            if told is None:
                return
            # Queued under the lock, so that no message slips between a snapshot and what follows.
            if isinstance(told, bytes):
                for client in self._clients:
                    client.offer_preview((message.session, message.participant), told)
            else:
                self._tell(msgspec.json.encode(told))
            if isinstance(message, Prediction):
                self._lead(message)
        self.metrics.see(message)

    def _lead(self, prediction: Prediction) -> None:
        followers = [one for one in self._followers if prediction in one.wanted]
        if followers:
            where = f"{prediction.session}/{prediction.participant}"
            name = f"{where}/{prediction.seq}.{prediction.revision}"
            line = Line(name, json_line(prediction))
            for follower in followers:
                follower.offer(line)

    def mark(self, session: str, participant: str, at_s: float, text: str) -> dict[str, Any]:
        """Keep a mark at a moment of the timeline and tell every browser.

        Gives its line on the clock of the worker that runs now, as those who keep sessions have it.
        """
        with self._lock:
            line = self._timeline.mark(session, participant, at_s, text)
            self._tell(msgspec.json.encode(line))
            own_s = self._clocks.own_s(session, participant, at_s)
            return {**line, "at_s": round(own_s, 3)}

    def forget(self, session: str) -> None:
        """Drop what is kept of a session, here and in the browsers."""
        self.metrics.forget(session)
        with self._lock:
            self._timeline.forget(session)
            self._clocks.forget(session)
            self._tell(msgspec.json.encode({"type": "forget", "session": session}))

    def sessions(self) -> list[str]:
        """The sessions of which anything is kept, also where nothing but a worker was ever heard of."""
        with self._lock:
            known = [*self._timeline.strips, *self._timeline.statuses]
            return list(dict.fromkeys(session for session, _ in known if session))

    def _tell(self, line: bytes) -> None:
        for client in self._clients:
            client.offer(line)

    def _too_soon(self, preview: Preview) -> bool:
        key = (preview.session, preview.participant)
        now = self._clock.now_ns() / NS_PER_S
        if now - self._preview_at.get(key, -1.0) < PREVIEW_GAP_S:
            self._counts["previews_skipped"] += 1
            return True
        if len(self._preview_at) > 64:
            self._preview_at.clear()
        self._preview_at[key] = now
        return False

    def _run(self, stop: threading.Event) -> None:
        with closing(Subscriber(self._address, KINDS, hwm=QUEUED)) as subscriber:
            asked = 0.0
            while not stop.is_set():
                received = subscriber.receive(RECEIVE_S)
                if received is not None:
                    self.take(received.message)
                now = self._clock.now_ns() / NS_PER_S
                if now - asked > ASK_S:
                    asked = now
                    self._counts["gaps"] = subscriber.lost
                    self._counts["malformed"] = subscriber.malformed
                    self._ask_workers()

    def _ask_workers(self) -> None:
        if self._workers is None:
            return
        line = msgspec.json.encode({"type": "workers", "workers": self._workers()})
        with self._lock:
            if line != self._workers_line:
                self._workers_line = line
                self._tell(line)

"""Hears everything on the bus, keeps the last minutes, and hands them to browsers."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable
from contextlib import closing
from typing import Any

import msgspec

from dashboard.timeline import Timeline
from features.bus import BusAddress, Subscriber
from features.clock import NS_PER_S, Clock, SystemClock
from features.messages import AnyMessage, Preview
from features.threads import OwnedThread

logger = logging.getLogger(__name__)

KINDS = ("prediction", "transcript", "preview", "status")  # windows are not for people
CLIENT_QUEUE = 256  # messages; about a minute of one participant
MAX_CLIENTS = 32
PREVIEW_GAP_S = 0.09  # at most about 10 pictures a second for each participant
RECEIVE_S = 0.2
ASK_S = 0.5
QUEUED = 1024  # messages that may wait for the hub


class Client:
    """One browser's queue: bounded, pictures newest wins, the rest begins anew when it overflows.

    A browser that cannot follow loses its backlog, which is counted, and gets a fresh snapshot: it
    never shows a curve with silent holes.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.dropped = 0
        self._loop = loop
        self._ready = asyncio.Event()
        self._lock = threading.Lock()
        self._messages: deque[bytes] = deque()
        self._previews: dict[tuple[str, str], bytes] = {}
        self._stale = True  # a snapshot is due

    def offer(self, message: bytes) -> None:
        """Queue a JSON message; from any thread."""
        with self._lock:
            if self._stale:
                return  # the snapshot that is due will hold it
            if len(self._messages) >= CLIENT_QUEUE:
                self.dropped += len(self._messages) + 1
                self._messages.clear()
                self._stale = True
            else:
                self._messages.append(message)
        self._wake()

    def offer_preview(self, key: tuple[str, str], frame: bytes) -> None:
        """Replace the waiting picture of this participant; from any thread."""
        with self._lock:
            if key in self._previews:
                self.dropped += 1
            self._previews[key] = frame
        self._wake()

    def _wake(self) -> None:
        try:
            self._loop.call_soon_threadsafe(self._ready.set)
        except RuntimeError:  # the browser's loop is gone; the feed will take this client out
            logger.debug("a browser's event loop has ended")

    async def wait(self, timeout_s: float) -> None:
        """Return when something is there, or after ``timeout_s``."""
        try:
            await asyncio.wait_for(self._ready.wait(), timeout_s)
        except TimeoutError:
            return
        self._ready.clear()

    def take(self, snapshot: Callable[[], bytes]) -> list[bytes | str]:
        """What is to be sent now, oldest first: text for JSON, bytes for pictures."""
        with self._lock:
            stale, self._stale = self._stale, False
            messages = list(self._messages)
            previews = list(self._previews.values())
            self._messages.clear()
            self._previews.clear()
        begin = [snapshot()] if stale else []
        return [message.decode() for message in (*begin, *messages)] + previews


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
        self._clients: list[Client] = []
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

    def join(self, loop: asyncio.AbstractEventLoop) -> Client | None:
        """A new browser's queue, to be served in ``loop``; ``None`` where there are too many."""
        with self._lock:
            if len(self._clients) >= MAX_CLIENTS:
                return None
            client = Client(loop)
            for strip in self._timeline.strips.values():
                if strip.preview is not None:
                    client.offer_preview((strip.session, strip.participant), strip.preview)
            self._clients.append(client)
            return client

    def leave(self, client: Client) -> None:
        """Forget a browser."""
        with self._lock:
            if client in self._clients:
                self._clients.remove(client)

    def snapshot(self) -> bytes:
        """Everything kept, as one JSON message."""
        with self._lock:
            whole = self._timeline.snapshot()
            whole["workers"] = msgspec.json.decode(self._workers_line)["workers"]
            whole["hub"] = self._health()
            return msgspec.json.encode(whole)

    def health(self) -> dict[str, Any]:
        """Counts of messages, gaps and drops, and how many browsers listen."""
        with self._lock:
            return self._health()

    def _health(self) -> dict[str, Any]:
        browsers = len(self._clients)
        dropped = sum(client.dropped for client in self._clients)
        return {**self._counts, "browsers": browsers, "browsers_dropped": dropped}

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
            told = self._timeline.add(message)
            if told is None:
                return
            # Queued under the lock, so that no message slips between a snapshot and what follows.
            if isinstance(told, bytes):
                for client in self._clients:
                    client.offer_preview((message.session, message.participant), told)
            else:
                self._tell(msgspec.json.encode(told))

    def mark(self, session: str, participant: str, at_s: float, text: str) -> dict[str, Any]:
        """Keep a mark at a moment of media time and tell every browser; gives its line."""
        with self._lock:
            line = self._timeline.mark(session, participant, at_s, text)
            self._tell(msgspec.json.encode(line))
            return line

    def forget(self, session: str) -> None:
        """Drop what is kept of a session, here and in the browsers."""
        with self._lock:
            self._timeline.forget(session)
            self._tell(msgspec.json.encode({"type": "forget", "session": session}))

    def sessions(self) -> list[str]:
        """The sessions of which anything is kept."""
        with self._lock:
            return list(dict.fromkeys(session for session, _ in self._timeline.strips))

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

"""Who listens to the hub: browsers with a whole picture, and programs that follow the predictions.

Every client has a bounded queue; what it cannot take is counted, and said.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from features.messages import Prediction

logger = logging.getLogger(__name__)

CLIENT_QUEUE = 256  # messages; about a minute of one participant
FOLLOWER_QUEUE = 256  # lines
MAX_CLIENTS = 32  # of each kind


class Waiting:
    """A queue's wake-up call: filled from any thread, waited for in one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.dropped = 0
        self._loop = loop
        self._ready = asyncio.Event()
        self._lock = threading.Lock()

    def _wake(self) -> None:
        try:
            self._loop.call_soon_threadsafe(self._ready.set)
        except RuntimeError:  # the client's loop is gone; the feed will take this client out
            logger.debug("a client's event loop has ended")

    async def wait(self, timeout_s: float) -> None:
        """Return when something is there, or after ``timeout_s``."""
        try:
            await asyncio.wait_for(self._ready.wait(), timeout_s)
        except TimeoutError:
            return
        self._ready.clear()


class Client(Waiting):
    """One browser's queue: bounded, pictures newest wins, the rest begins anew when it overflows.

    A browser that cannot follow loses its backlog, which is counted, and gets a fresh snapshot: it
    never shows a curve with silent holes. Without ``pictures`` it is sent none.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, pictures: bool = True) -> None:
        super().__init__(loop)
        self._pictures = pictures
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
        if not self._pictures:
            return
        with self._lock:
            if key in self._previews:
                self.dropped += 1
            self._previews[key] = frame
        self._wake()

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


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which predictions a program asks for; ``None`` means all. ``final``: only last revisions."""

    session: str | None = None
    participant: str | None = None
    final: bool = False

    def __contains__(self, prediction: object) -> bool:
        return (
            isinstance(prediction, Prediction)
            and self.whose(prediction.session, prediction.participant)
            and (prediction.final or not self.final)
        )

    def whose(self, session: str, participant: str) -> bool:
        """Whether this participant of this session is asked for."""
        return self.session in (None, session) and self.participant in (None, participant)


@dataclass(frozen=True, slots=True)
class Line:
    """One prediction on its way: its name, unique among revisions, and its JSON."""

    name: str
    text: str


class Follower(Waiting):
    """One program's queue of prediction lines: bounded, the oldest are lost first, and counted."""

    def __init__(self, loop: asyncio.AbstractEventLoop, wanted: Wanted | None = None) -> None:
        super().__init__(loop)
        self.wanted = wanted or Wanted()
        self._lines: deque[Line] = deque()
        self._untold = 0

    def offer(self, line: Line) -> None:
        """Queue a line; from any thread."""
        with self._lock:
            if len(self._lines) >= FOLLOWER_QUEUE:
                self._lines.popleft()
                self.dropped += 1
                self._untold += 1
            self._lines.append(line)
        self._wake()

    def take(self) -> tuple[int, list[Line]]:
        """How many lines were lost before these since the last call, and the lines themselves."""
        with self._lock:
            lost, self._untold = self._untold, 0
            lines = list(self._lines)
            self._lines.clear()
        return lost, lines

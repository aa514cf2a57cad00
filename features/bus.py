"""The two ends of the bus: publishers and subscribers of typed messages over loopback ZeroMQ.

Every message travels as ``[topic, header, body, buffer ...]`` through :mod:`features.broker`. The
topic is ``type/session/participant`` (for :class:`Status`: ``status/session/worker``).

Each type has a socket of its own, because the high-water mark is the drop policy: what a type may
pile up is declared in ``sockets.QUEUED``, and previews can never push out predictions. What the socket
refuses is counted by the publisher; what a slow reader misses shows as gaps in the numbers.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Iterable
from dataclasses import dataclass

import zmq

from features import wire
from features.errors import MessageError
from features.messages import AnyMessage
from features.sockets import (
    CONNECT_S,
    KINDS,
    MAX_TOPIC_BYTES,
    MAX_TOPICS,
    QUEUED,
    READY,
    BusAddress,
    connect,
    open_socket,
    receive_frames,
    release_with,
    topic_of,
)

__all__ = ["BusAddress", "Publisher", "Received", "Subscriber"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Received:
    """A message with its topic and the header that says who numbered it."""

    topic: str
    header: wire.Header
    message: AnyMessage


class Publisher:
    """Sends messages from one origin; safe to call from many threads, and never waits.

    Attributes:
        sent: messages the sockets took.
        refused: messages lost here, because the socket was full or nobody is connected.
    """

    def __init__(
        self,
        address: BusAddress,
        origin: str,
        kinds: Iterable[str] = KINDS,
        connect_s: float = CONNECT_S,
    ) -> None:
        """Connect, and wait up to ``connect_s`` for the broker, so that the first message counts."""
        self.origin = origin
        self.sent = 0
        self.refused = 0
        self._lock = threading.Lock()
        self._numbers: OrderedDict[str, int] = OrderedDict()
        self._connected: set[str] = set()
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._sockets: dict[str, zmq.Socket[bytes]] = {}
        release_with(self, self._context, self._sockets.values())
        try:
            for kind in kinds:
                self._sockets[kind] = socket = open_socket(self._context, zmq.XPUB, QUEUED[kind])
                socket.set(zmq.XPUB_NODROP, 1)  # a full socket refuses, so that we can count
                connect(socket, address.publish)
            self._wait(connect_s)
        except BaseException:
            self.close()
            raise

    def _wait(self, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        for kind, socket in self._sockets.items():
            socket.poll(max(0, round((deadline - time.monotonic()) * 1000)))
            if not self._listening(kind):
                logger.warning("the bus does not take messages of %s yet", self.origin)
                return

    def _listening(self, kind: str) -> bool:
        """Whether the broker subscribes; it says so once per connection, in the socket itself."""
        while (frames := receive_frames(self._sockets[kind])) is not None:
            if bytes(frames[0].buffer[:1]) == b"\x01":
                self._connected.add(kind)
            else:
                self._connected.discard(kind)
        return kind in self._connected

    def send(self, message: AnyMessage) -> bool:
        """Hand a message to the bus; ``False`` where it was refused and counted.

        Raises :class:`MessageError` for messages that the wire does not take.
        """
        topic = topic_of(message)
        kind = topic.partition("/")[0]
        with self._lock:
            socket = self._sockets.get(kind)
            frames = wire.encode(message, self.origin, self._number(topic))
            if socket is None or socket.closed or not self._listening(kind):
                self.refused += 1
                return False
            try:
                # pyzmq copies small frames itself, which is cheaper than sharing them
                socket.send_multipart([topic.encode(), *frames], zmq.NOBLOCK, copy=False)
            except zmq.Again:
                self.refused += 1
                return False
            self.sent += 1
            return True

    def _number(self, topic: str) -> int:
        number = self._numbers.pop(topic, -1) + 1
        self._numbers[topic] = number
        if len(self._numbers) > MAX_TOPICS:
            self._numbers.popitem(last=False)
        return number

    def close(self, flush_s: float = 0.0) -> None:
        """Close; what still waits gets ``flush_s`` to leave, then it is thrown away."""
        with self._lock:
            for socket in self._sockets.values():
                socket.close(linger=round(flush_s * 1000))
            self._context.term()


class Subscriber:
    """Receives messages; belongs to the one thread that uses it.

    Attributes:
        gaps: messages missed so far per ``(origin, topic)``, where there were any.
        lost: messages missed so far, all together.
        malformed: messages that were refused.
        repeated: messages seen before, which the broker sent for the sake of a newcomer.
    """

    def __init__(
        self,
        address: BusAddress,
        kinds: Iterable[str] = KINDS,
        session: str | None = None,
        hwm: int = 256,
        connect_s: float = CONNECT_S,
    ) -> None:
        """Subscribe to ``kinds`` of one session or of all.

        Waits up to ``connect_s`` for the broker's word that the subscription stands, so that
        nothing published after this is missed. ``hwm`` messages may wait for this reader.
        """
        self.gaps: dict[tuple[str, str], int] = {}
        self.lost = 0
        self.malformed = 0
        self.repeated = 0
        self._last: OrderedDict[tuple[str, str], tuple[int, int]] = OrderedDict()
        self._early: deque[Received] = deque()
        self._ready = False
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = open_socket(self._context, zmq.SUB, hwm)
        release_with(self, self._context, (self._socket,))
        try:
            connect(self._socket, address.subscribe)
            for kind in kinds:
                if kind not in QUEUED:
                    raise MessageError(
                        f"no messages of type '{kind}'; there are {', '.join(KINDS)}"
                    )
                self._socket.subscribe(f"{kind}/" if session is None else f"{kind}/{session}/")
            self._socket.subscribe(READY + secrets.token_hex(8))
            self._wait(connect_s, hwm)
        except BaseException:
            self.close()
            raise

    def _wait(self, timeout_s: float, most: int) -> None:
        deadline = time.monotonic() + timeout_s
        while not self._ready and len(self._early) < most:
            received = self._next(deadline)
            if received is not None:
                self._early.append(received)
            elif not self._ready:
                logger.warning("the bus has not confirmed the subscription yet")
                return

    def receive(self, timeout_s: float) -> Received | None:
        """The next message, or ``None`` after ``timeout_s``.

        Arrays are read-only views of the received memory. Repeated and malformed messages are
        counted and passed over.
        """
        if self._early:
            return self._early.popleft()
        self._ready = True  # whoever reads no longer waits for the confirmation
        return self._next(time.monotonic() + timeout_s)

    def drain(self, most: int = 1000) -> list[Received]:
        """All messages that are here now, oldest first, without waiting; at most ``most``."""
        taken: list[Received] = []
        while len(taken) < most and (received := self.receive(0.0)) is not None:
            taken.append(received)
        return taken

    def _next(self, deadline: float) -> Received | None:
        was_ready = self._ready
        while True:
            frames = receive_frames(self._socket)
            if frames is None:
                left_s = deadline - time.monotonic()
                if left_s <= 0 or not self._socket.poll(max(1, round(left_s * 1000))):
                    return None
            elif bytes(frames[0].buffer[:6]) == READY.encode():
                self._ready = True
                if not was_ready:
                    return None
            elif (received := self._accept(frames)) is not None:
                return received

    def _accept(self, frames: list[zmq.Frame]) -> Received | None:
        try:
            received = _decode(frames)
        except MessageError as error:
            self.malformed += 1
            if self.malformed % 1000 == 1:
                logger.warning("refused %d malformed messages, now: %s", self.malformed, error)
            return None
        if self._is_new(received):
            return received
        self.repeated += 1
        return None

    def _is_new(self, received: Received) -> bool:
        """Count what is missing before this message; tell repetitions by number and stamp."""
        key = (received.header.origin, received.topic)
        number, made_ns = received.header.number, received.message.made_ns
        last = self._last.pop(key, None)
        self._last[key] = (number, made_ns)
        if last == (number, made_ns):
            return False
        # A number that goes back is a publisher that began again, not a gap.
        if last is not None and number > last[0] + 1:
            missed = number - last[0] - 1
            self.lost += missed
            self.gaps[key] = self.gaps.get(key, 0) + missed
        if len(self._last) > MAX_TOPICS:
            self.gaps.pop(self._last.popitem(last=False)[0], None)
        return True

    def close(self) -> None:
        """Close at once; safe to call twice."""
        self._socket.close(linger=0)
        self._context.term()


def _decode(frames: list[zmq.Frame]) -> Received:
    head = frames[0].buffer
    if len(head) > MAX_TOPIC_BYTES:
        raise MessageError(f"topic of {len(head)} bytes; the limit is {MAX_TOPIC_BYTES}")
    header, message = wire.decode([frame.buffer for frame in frames[1:]])
    topic = topic_of(message)
    if bytes(head) != topic.encode():
        raise MessageError(f"topic {bytes(head)!r} does not fit its message, which is {topic}")
    return Received(topic, header, message)

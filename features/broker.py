"""The middle of the bus: forwards every message and shows newcomers the last state.

One thread in the server's process. It subscribes to everything, so that the last status,
transcript, preview and prediction of each topic are known even while nobody reads. When somebody
subscribes, the matching ones are sent again; readers that had them already tell them by their
number. Windows are never kept: a window that nobody took in time is worth nothing.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from typing import Final

import zmq

from features.errors import BindError, WorkerError
from features.sockets import (
    MAX_FRAMES,
    MAX_TOPIC_BYTES,
    READY,
    BusAddress,
    open_socket,
    receive_frames,
    release_with,
    require_loopback,
)
from features.threads import OwnedThread

logger = logging.getLogger(__name__)

KEPT: Final = frozenset({"status", "transcript", "preview", "prediction"})
MAX_KEPT: Final = 512  # topics
MAX_KEPT_BYTES: Final = 32_000_000
HWM: Final = 512  # messages that may wait for one slow reader; it loses the ones after these
POLL_MS: Final = 100


class Broker:
    """Forwarder with a last-value cache on two loopback ports.

    Attributes:
        forwarded: messages passed on.
        malformed: messages refused for the number of their frames or their topic.
    """

    def __init__(self, host: str = "127.0.0.1") -> None:
        """Raises :class:`BindError` for a host that is not loopback."""
        require_loopback(host)
        self.forwarded = 0
        self.malformed = 0
        self._host = host
        self._kept: OrderedDict[bytes, list[zmq.Frame]] = OrderedDict()
        self._kept_bytes = 0
        self._lock = threading.Lock()
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._thread = OwnedThread("bus broker", self._run)
        self._incoming = open_socket(self._context, zmq.SUB, HWM)
        self._outgoing = open_socket(self._context, zmq.XPUB, HWM)
        release_with(self, self._context, (self._incoming, self._outgoing))

    def start(self) -> BusAddress:
        """Bind two free ports and forward in a thread of our own."""
        self._outgoing.set(zmq.XPUB_VERBOSE, 1)  # every newcomer, also to topics others read
        self._incoming.subscribe(b"")
        address = BusAddress(
            publish=self._bind(self._incoming), subscribe=self._bind(self._outgoing)
        )
        self._thread.start()
        return address

    def _bind(self, socket: zmq.Socket[bytes]) -> str:
        try:
            port = socket.bind_to_random_port(f"tcp://{self._host}")
        except zmq.ZMQError as error:
            raise BindError(f"the bus cannot bind {self._host}: {error}") from error
        return f"tcp://{self._host}:{port}"

    @property
    def cached(self) -> int:
        """Number of topics whose last state is kept."""
        return len(self._kept)

    def counters(self) -> dict[str, int]:
        """Numbers for people."""
        return {"forwarded": self.forwarded, "malformed": self.malformed, "cached": self.cached}

    def check(self) -> None:
        """Raise what ended the forwarding, or :class:`WorkerError` if it stopped silently."""
        self._thread.check()
        if not self._thread.alive:
            raise WorkerError("the bus broker is not running")

    def forget(self, session: str) -> None:
        """Drop the last states of a session that is over."""
        middle = f"/{session}/".encode()
        with self._lock:
            for topic in [t for t in self._kept if middle in t]:
                self._drop(topic)

    def close(self) -> None:
        """Stop forwarding and release the ports; safe to call twice."""
        self._thread.close()
        if not self._thread.alive:
            self._context.destroy(linger=0)

    def _run(self, stop: threading.Event) -> None:
        poller = zmq.Poller()
        poller.register(self._incoming, zmq.POLLIN)
        poller.register(self._outgoing, zmq.POLLIN)
        while not stop.is_set():
            ready = dict(poller.poll(POLL_MS))
            if self._outgoing in ready:  # newcomers first, so that they miss nothing
                self._welcome()
            if self._incoming in ready:
                self._forward()

    def _forward(self) -> None:
        for _ in range(HWM):  # then look for newcomers and the end
            frames = receive_frames(self._incoming)
            if frames is None:
                return
            topic = bytes(frames[0].buffer[: MAX_TOPIC_BYTES + 1])
            if not 3 <= len(frames) <= MAX_FRAMES or len(topic) > MAX_TOPIC_BYTES:
                self.malformed += 1
                continue
            if topic.partition(b"/")[0].decode(errors="replace") in KEPT:
                self._keep(topic, frames)
            self._outgoing.send_multipart(frames, zmq.NOBLOCK, copy=False)
            self.forwarded += 1

    def _welcome(self) -> None:
        while (frames := receive_frames(self._outgoing)) is not None:
            said = bytes(frames[0].buffer[: MAX_TOPIC_BYTES + 1])
            if said[:1] != b"\x01":
                continue
            wanted = said[1:]
            if wanted.startswith(READY.encode()):
                self._outgoing.send(wanted, zmq.NOBLOCK)
                continue
            with self._lock:
                states = [kept for topic, kept in self._kept.items() if topic.startswith(wanted)]
            for state in states:
                self._outgoing.send_multipart(state, zmq.NOBLOCK, copy=False)

    def _keep(self, topic: bytes, frames: list[zmq.Frame]) -> None:
        with self._lock:
            self._drop(topic)
            self._kept[topic] = frames
            self._kept_bytes += sum(map(len, frames))
            while len(self._kept) > MAX_KEPT or self._kept_bytes > MAX_KEPT_BYTES:
                self._drop(next(iter(self._kept)))

    def _drop(self, topic: bytes) -> None:
        frames = self._kept.pop(topic, None)
        if frames is not None:
            self._kept_bytes -= sum(map(len, frames))

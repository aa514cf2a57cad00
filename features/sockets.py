"""What both ends of the bus and its middle share: addresses, topics, limits, sockets."""

from __future__ import annotations

import ipaddress
import weakref
from collections.abc import Iterable
from typing import Final
from urllib.parse import urlsplit

import msgspec
import zmq

from features import wire
from features.errors import BindError, MessageError
from features.messages import AnyMessage, Status

# Messages that may wait in a publisher's socket before it refuses more. Previews age at once, so
# few. Windows age too, but a pass of the recogniser revises all that it touches in one burst.
# Predictions and states matter in order, so many.
QUEUED: Final = {"window": 64, "prediction": 256, "preview": 3, "transcript": 64, "status": 64}
KINDS: Final = tuple(QUEUED)
MAX_FRAME_BYTES: Final = max(wire.MAX_BODY_BYTES, wire.MAX_BUFFER_BYTES)
MAX_FRAMES: Final = wire.MAX_BUFFERS + 3
MAX_TOPIC_BYTES: Final = 1024
MAX_TOPICS: Final = 4096  # topics remembered for numbering and for gaps
READY: Final = "ready/"  # the broker answers a subscription to this prefix with one frame
CONNECT_S: Final = 3.0


class BusAddress(msgspec.Struct, frozen=True):
    """Where publishers and subscribers connect: ``tcp://127.0.0.1:PORT`` each."""

    publish: str
    subscribe: str


def topic_of(message: AnyMessage) -> str:
    """``type/session/participant``; raises :class:`MessageError` for names that break topics."""
    kind = str(message.__struct_config__.tag)
    name = message.worker if isinstance(message, Status) else message.participant
    for part in (message.session, name):
        if "/" in part or not part.isprintable():
            raise MessageError(f"{part!r} cannot be part of a topic: printable, without '/'")
    topic = f"{kind}/{message.session}/{name}"
    if len(topic.encode()) > MAX_TOPIC_BYTES:
        raise MessageError(f"topic {topic[:40]}... is longer than {MAX_TOPIC_BYTES} bytes")
    return topic


def require_loopback(host: str) -> None:
    """Raise :class:`BindError` for anything but a numeric loopback address."""
    try:
        allowed = ipaddress.ip_address(host).is_loopback
    except ValueError:
        allowed = False
    if not allowed:
        raise BindError(
            f"address '{host}' is not loopback: refused until keys exist, use 127.0.0.1"
        )


def open_socket(context: zmq.Context[zmq.Socket[bytes]], kind: int, hwm: int) -> zmq.Socket[bytes]:
    """A socket that neither lingers nor takes more than the wire allows."""
    socket = context.socket(kind)
    socket.linger = 0
    socket.set(zmq.MAXMSGSIZE, MAX_FRAME_BYTES)
    socket.set_hwm(hwm)
    return socket


def release_with(
    owner: object, context: zmq.Context[zmq.Socket[bytes]], sockets: Iterable[zmq.Socket[bytes]]
) -> None:
    """Close ``sockets`` and end ``context`` should ``owner`` be forgotten without being closed.

    Left to the garbage collector, a context that is finalised before its sockets waits for ever.
    """
    weakref.finalize(owner, _release, context, sockets).atexit = False


def _release(context: zmq.Context[zmq.Socket[bytes]], sockets: Iterable[zmq.Socket[bytes]]) -> None:
    for socket in sockets:
        socket.close(linger=0)
    context.term()


def receive_frames(socket: zmq.Socket[bytes]) -> list[zmq.Frame] | None:
    """One message without waiting, ``None`` where none is there; frames beyond the limit are lost."""
    try:
        frame = socket.recv(zmq.NOBLOCK, copy=False)
    except zmq.Again:
        return None
    frames = [frame]
    while frame.more:
        frame = socket.recv(zmq.NOBLOCK, copy=False)  # parts of a message arrive together
        if len(frames) <= MAX_FRAMES:  # one too many is kept, so that the message is refused
            frames.append(frame)
    return frames


def connect(socket: zmq.Socket[bytes], endpoint: str) -> None:
    """Connect to a loopback endpoint; raises :class:`BindError` for any other."""
    require_loopback(urlsplit(endpoint).hostname or "")
    socket.connect(endpoint)

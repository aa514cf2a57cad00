"""How the page hands a browser's pictures and sound to a capture worker: two sockets, one way.

The media of a browser arrives in the page's process, and is read in a worker like any other. Between
them lie two PUSH/PULL sockets in a folder that only this user may open (ZeroMQ's ``ipc``: no port, no
other user), one for pictures, whose mark is low because only the newest matter, and one for sound,
whose mark is high because all of it does.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import zmq

from capture.pictures import LONGEST_SIDE
from features.errors import MessageError, SourceError

PICTURES: Final = "pictures"
SOUND: Final = "sound"
QUEUED: Final = {PICTURES: 2, SOUND: 500}  # messages; a block of sound is 20 ms as a rule
MAX_HEAD_BYTES: Final = 4096
MAX_BODY_BYTES: Final = LONGEST_SIDE * LONGEST_SIDE * 3 // 2
MAX_BLOCK_S: Final = 2.0
MAX_PATH_BYTES: Final = 100  # of a local socket, on every system


class _Head(msgspec.Struct, frozen=True, kw_only=True):
    """What goes before every body.

    Attributes:
        at_ns: monotonic nanoseconds, the same clock in all processes of this machine.
        picture: whether the browser gives a picture at all.
        sound: whether it gives sound at all.
        counts: what was lost until now on the way to here, by name.
        jitter_ms: how unevenly this stream arrived of late, as a mean deviation.
    """

    at_ns: int
    picture: bool = True
    sound: bool = True
    counts: dict[str, int] = {}
    jitter_ms: float = 0.0


class PictureHead(_Head, frozen=True, kw_only=True, tag="picture"):
    """A picture follows, taken at ``at_ns``: planes Y, U, V (I420), both sides even."""

    width: int
    height: int


class SoundHead(_Head, frozen=True, kw_only=True, tag="sound"):
    """Mono ``int16`` samples follow, the last of which sounded at ``at_ns``.

    ``missed`` samples before the first one never arrived.
    """

    rate_hz: int
    missed: int = 0


class EndHead(_Head, frozen=True, kw_only=True, tag="end"):
    """Nothing more comes; ``why`` is one line for people. The body is empty."""

    why: str = ""


Head = PictureHead | SoundHead | EndHead

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Head)


def address(folder: str | Path, name: str) -> str:
    """Where ``name`` (``PICTURES`` or ``SOUND``) of a relay lies; raises :class:`SourceError`."""
    path = str(Path(folder) / name)
    if len(path.encode()) > MAX_PATH_BYTES:
        raise SourceError(
            f"{path}: too long for a local socket; set TMPDIR to a folder with a shorter name"
        )
    return f"ipc://{path}"


def relay_socket(
    context: zmq.Context[zmq.Socket[bytes]], kind: int, name: str
) -> zmq.Socket[bytes]:
    """A socket for one end that neither lingers nor piles up, nor takes more than is allowed."""
    socket = context.socket(kind)
    socket.linger = 0
    socket.set(zmq.MAXMSGSIZE, MAX_BODY_BYTES)
    socket.set_hwm(QUEUED[name])
    return socket


def encode(head: Head, body: bytes | memoryview = b"") -> list[bytes | memoryview]:
    """The frames of one message."""
    return [_encoder.encode(head), body]


def decode(frames: list[bytes]) -> tuple[Head, bytes]:
    """Head and body; raises :class:`MessageError` for anything that is not exactly one of ours."""
    if len(frames) != 2 or len(frames[0]) > MAX_HEAD_BYTES:
        raise MessageError(f"a browser's item of {len(frames)} frames")
    try:
        head = _decoder.decode(frames[0])
    except msgspec.MsgspecError as error:
        raise MessageError(f"a browser's item cannot be read: {error}") from error
    body = frames[1]
    if isinstance(head, PictureHead):
        _check_picture(head, len(body))
    elif isinstance(head, SoundHead):
        _check_sound(head, len(body))
    elif body:
        raise MessageError("an end with a body")
    return head, body


def _check_picture(head: PictureHead, size: int) -> None:
    width, height = head.width, head.height
    fits = all(2 <= side <= LONGEST_SIDE and side % 2 == 0 for side in (width, height))
    if not fits or size != width * height * 3 // 2:
        raise MessageError(f"a picture of {width} x {height} in {size} bytes")


def _check_sound(head: SoundHead, size: int) -> None:
    plausible = 8_000 <= head.rate_hz <= 192_000 and head.missed >= 0
    if not plausible or size % 2 or size > 2 * MAX_BLOCK_S * head.rate_hz:
        raise MessageError(f"{size} bytes of sound at {head.rate_hz} Hz, {head.missed} missed")


def image_of(head: PictureHead, body: bytes) -> np.ndarray:
    """``(height, width, 3) uint8`` in RGB order."""
    import cv2

    planes = np.frombuffer(body, np.uint8).reshape(head.height * 3 // 2, head.width)
    image: np.ndarray = cv2.cvtColor(planes, cv2.COLOR_YUV2RGB_I420)
    return image


def samples_of(body: bytes) -> np.ndarray:
    """``(n,) float32`` in -1..1."""
    scaled: np.ndarray = np.frombuffer(body, np.int16).astype(np.float32) / 32_768
    return scaled

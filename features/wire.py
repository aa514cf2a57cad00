"""Messages to frames and back: a msgpack body checked against the schema, arrays beside it.

A message becomes ``[header, body, buffer, buffer, ...]``. The body names each array by dtype, shape
and buffer number; buffers are handed to the socket as they lie in memory and read in place on the
other side (read-only views), so no array is copied by us. Nothing here can run code from the wire.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from features.errors import MessageError
from features.messages import SCHEMA_VERSION, AnyMessage, Message

Buffer = bytes | bytearray | memoryview

MAX_HEADER_BYTES = 1_000
MAX_BODY_BYTES = 2_000_000  # a preview JPEG is the largest body
MAX_BUFFER_BYTES = 4_000_000
MAX_BUFFERS = 32
MAX_DIMENSIONS = 3
DTYPES = {"<f2": np.float16, "<f4": np.float32, "|b1": np.bool_, "|u1": np.uint8}


class Header(msgspec.Struct, frozen=True, array_like=True):
    """Who published this, and the how-manieth on its topic; gaps in ``number`` are lost messages."""

    schema: int
    origin: str
    number: int


_header_decoder = msgspec.msgpack.Decoder(Header)
# What msgspec raises on hostile input: its own errors, broken UTF-8, endless nesting, huge numbers.
_REFUSALS = (msgspec.MsgspecError, ValueError, RecursionError, OverflowError)


def encode(message: Message, origin: str, number: int) -> list[Buffer]:
    """Frames of a message; the arrays' memory is lent, so do not write to them afterwards.

    Raises :class:`MessageError` for whatever :func:`decode` would refuse on the other side.
    """
    buffers: list[Buffer] = []

    def reference(value: Any) -> Any:
        if not isinstance(value, np.ndarray):
            raise MessageError(f"cannot send a {type(value).__name__}")
        if value.dtype.str not in DTYPES:
            raise MessageError(f"cannot send an array of {value.dtype}; known are {list(DTYPES)}")
        if value.ndim > MAX_DIMENSIONS or value.nbytes > MAX_BUFFER_BYTES:
            raise MessageError(f"cannot send an array of shape {value.shape}: too large")
        contiguous = np.ascontiguousarray(value)
        buffers.append(contiguous.reshape(-1).view(np.uint8).data)
        return [value.dtype.str, list(value.shape), len(buffers) - 1]

    header = msgspec.msgpack.encode(Header(SCHEMA_VERSION, origin, number))
    body = msgspec.msgpack.encode(message, enc_hook=reference)
    if len(header) > MAX_HEADER_BYTES or len(body) > MAX_BODY_BYTES or len(buffers) > MAX_BUFFERS:
        raise MessageError(
            f"cannot send a message with a header of {len(header)} bytes, a body of {len(body)} "
            f"bytes and {len(buffers)} arrays; the limits are {MAX_HEADER_BYTES}, "
            f"{MAX_BODY_BYTES} and {MAX_BUFFERS}"
        )
    return [header, body, *buffers]


def decode(frames: Sequence[Buffer]) -> tuple[Header, AnyMessage]:
    """Header and message of frames; arrays are read-only views of the frames' memory.

    Raises :class:`MessageError` for anything too large, malformed or of another schema version.
    """
    if not 2 <= len(frames) <= MAX_BUFFERS + 2:
        raise MessageError(f"a message has 2 to {MAX_BUFFERS + 2} frames, got {len(frames)}")
    if len(frames[1]) > MAX_BODY_BYTES:
        raise MessageError(f"body of {len(frames[1])} bytes; the limit is {MAX_BODY_BYTES}")
    header = _header(frames[0])
    buffers = frames[2:]

    def array(kind: type, value: Any) -> Any:
        if kind is not np.ndarray:
            raise NotImplementedError(f"no decoder for {kind}")
        return _array(value, buffers)

    try:
        message = msgspec.msgpack.decode(frames[1], type=AnyMessage, dec_hook=array)
    except _REFUSALS as error:
        raise MessageError(f"body: {error}") from error
    return header, message


def _header(frame: Buffer) -> Header:
    if len(frame) > MAX_HEADER_BYTES:
        raise MessageError(f"header of {len(frame)} bytes; the limit is {MAX_HEADER_BYTES}")
    try:
        header = _header_decoder.decode(frame)
    except _REFUSALS as error:
        raise MessageError(f"header: {error}") from error
    if header.schema != SCHEMA_VERSION:
        raise MessageError(f"schema version {header.schema}, this is version {SCHEMA_VERSION}")
    if header.number < 0:
        raise MessageError(f"message number {header.number} is negative")
    return header


def _array(value: Any, buffers: Sequence[Buffer]) -> np.ndarray:
    try:
        dtype, shape, number = value
        kind = np.dtype(DTYPES[dtype])
        if not isinstance(shape, list) or len(shape) > MAX_DIMENSIONS:
            raise ValueError(f"shape {shape}")
        if not all(type(n) is int and n >= 0 for n in shape):
            raise ValueError(f"shape {shape}")
        if type(number) is not int or number < 0:
            raise ValueError(f"buffer number {number}")
        buffer = buffers[number]
        if len(buffer) > MAX_BUFFER_BYTES:
            raise ValueError(f"buffer of {len(buffer)} bytes; the limit is {MAX_BUFFER_BYTES}")
        flat = np.frombuffer(buffer, dtype=kind)
        if not flat.flags.aligned:  # frames may begin anywhere in the socket's receive buffer
            flat = flat.copy()
        flat.flags.writeable = False
        return flat.reshape(shape)
    except (KeyError, IndexError, TypeError, ValueError, OverflowError) as error:
        raise MessageError(f"array: {type(error).__name__}: {error}") from error

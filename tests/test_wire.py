"""The wire: what goes in comes out, and nothing hostile gets past a MessageError."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from msgspec.structs import replace

from features import wire
from features.errors import MessageError
from features.messages import AnyMessage, Preview, StreamData
from tests.examples import prediction, preview, status, transcript, window


def same(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if isinstance(a, msgspec.Struct):
        return type(a) is type(b) and all(
            same(getattr(a, name), getattr(b, name)) for name in a.__struct_fields__
        )
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    return bool(a == b)


@pytest.mark.parametrize(
    "message",
    [window(3), prediction(), transcript(), preview(), preview(points=0), status()],
    ids=lambda m: type(m).__name__,
)
def test_round_trip(message: AnyMessage) -> None:
    header, back = wire.decode(wire.encode(message, "maker", 12))
    assert (header.origin, header.number) == ("maker", 12)
    assert same(message, back)


def test_arrays_are_sent_and_read_in_place() -> None:
    message = window()
    frames = wire.encode(message, "maker", 0)
    face = message.streams["face"].values
    assert any(np.shares_memory(np.frombuffer(f, np.uint8), face) for f in frames[2:])
    _, back = wire.decode(frames)
    got = back.streams["face"].values
    assert np.shares_memory(got, face)
    with pytest.raises(ValueError, match="read-only"):
        got[0, 0] = 1


ARRAYS = st.sampled_from([np.float16, np.float32, np.bool_, np.uint8]).flatmap(
    lambda dtype: hnp.arrays(
        dtype, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=9)
    )
)


@settings(max_examples=100, deadline=None)
@given(values=ARRAYS, transpose=st.booleans(), origin=st.text(max_size=30), number=st.integers(0))
def test_any_array_round_trips(
    values: np.ndarray, transpose: bool, origin: str, number: int
) -> None:
    number %= 2**63
    stream = StreamData(values.T if transpose else values, values[::-1] if values.ndim else values)
    message = replace(window(), streams={"any": stream})
    header, back = wire.decode(wire.encode(message, origin, number))
    assert (header.origin, header.number) == (origin, number)
    assert same(message, back)


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_damaged_frames_are_refused_or_read_never_fatal(data: st.DataObject) -> None:
    message = data.draw(st.sampled_from([window(), preview(3), status(), prediction()]))
    frames = [bytearray(frame) for frame in wire.encode(message, "maker", 5)]
    if len(frames) > 2 and data.draw(st.booleans()):
        del frames[data.draw(st.integers(0, len(frames) - 1))]
    frame = data.draw(st.sampled_from(frames[:3]))
    for _ in range(data.draw(st.integers(1, 4))):
        if frame:
            frame[data.draw(st.integers(0, len(frame) - 1))] = data.draw(st.integers(0, 255))
    del frame[data.draw(st.integers(0, len(frame))) :]
    try:
        header, back = wire.decode(frames)
    except MessageError:
        return
    assert header.schema == 1
    assert isinstance(back, AnyMessage)


@settings(max_examples=200, deadline=None)
@given(frames=st.lists(st.binary(max_size=200), max_size=6))
def test_noise_is_refused(frames: list[bytes]) -> None:
    with pytest.raises(MessageError):
        wire.decode(frames)


HEADER, BODY, LANDMARKS = wire.encode(preview(3), "maker", 0)
FIELDS = msgspec.msgpack.decode(bytes(BODY))


def with_landmarks(reference: object) -> list[Any]:
    return [HEADER, msgspec.msgpack.encode({**FIELDS, "landmarks": reference}), LANDMARKS]


@pytest.mark.parametrize(
    "reference",
    [
        ["<f8", [3, 1], 0],  # a type that is not ours
        ["|O", [3], 0],  # objects would run code
        ["<f4", [3, 2], -1],  # from the end
        ["<f4", [3, 2], 1],  # not there
        ["<f4", [3, 2], True],
        ["<f4", [-1, 2], 0],  # would be guessed
        ["<f4", [3, -2], 0],
        ["<f4", [True, 6], 0],
        ["<f4", [4, 2], 0],  # more than was sent
        ["<f4", [2, 2], 0],  # less than was sent
        ["<f4", [2**62, 4, 4], 0],  # overflows
        ["<f4", [2**63, 2], 0],
        ["<f4", [1, 1, 3, 2], 0],  # too many dimensions
        ["<f4", "32", 0],
        ["<f4", [3.0, 2.0], 0],
        [["<f4"], [3, 2], 0],
        ["<f4", [3, 2]],
        "<f4",
        None,
        {"dtype": "<f4"},
    ],
    ids=str,
)
def test_hostile_array_references_are_refused(reference: object) -> None:
    with pytest.raises(MessageError):
        wire.decode(with_landmarks(reference))


def test_the_reference_those_are_made_of_is_accepted() -> None:
    _, message = wire.decode(with_landmarks(["<f4", [3, 2], 0]))
    assert isinstance(message, Preview)
    assert message.landmarks.shape == (3, 2)


@pytest.mark.parametrize(
    ("frames", "reason"),
    [
        ([], "frames"),
        ([HEADER], "frames"),
        ([HEADER, BODY] + [b""] * (wire.MAX_BUFFERS + 1), "frames"),
        ([HEADER, bytes(wire.MAX_BODY_BYTES + 1)], "limit"),
        ([HEADER, BODY, bytes(wire.MAX_BUFFER_BYTES + 1)], "limit"),
        ([bytes(wire.MAX_HEADER_BYTES + 1), BODY, LANDMARKS], "limit"),
        ([msgspec.msgpack.encode([2, "maker", 0]), BODY, LANDMARKS], "schema version 2"),
        ([msgspec.msgpack.encode([1, "maker", -1]), BODY, LANDMARKS], "negative"),
        ([msgspec.msgpack.encode([1, "maker"]), BODY, LANDMARKS], "header"),
        ([msgspec.msgpack.encode([1, 5, 0]), BODY, LANDMARKS], "header"),
        ([HEADER, msgspec.msgpack.encode({"type": "order"}), LANDMARKS], "body"),
        ([HEADER, msgspec.msgpack.encode({**FIELDS, "faces": "two"}), LANDMARKS], "body"),
        ([HEADER, msgspec.msgpack.encode([1, 2]), LANDMARKS], "body"),
        ([HEADER, bytes(BODY) + b"\x00", LANDMARKS], "body"),
    ],
)
def test_hostile_frames_are_refused_with_the_reason(frames: list[Any], reason: str) -> None:
    with pytest.raises(MessageError, match=reason):
        wire.decode(frames)


def test_endless_nesting_is_refused() -> None:
    plain = msgspec.msgpack.encode(["<f4", [3, 2], 0])
    assert plain in bytes(BODY)
    deep = bytes(BODY).replace(plain, b"\x91" * 500_000 + b"\x90")
    with pytest.raises(MessageError):
        wire.decode([HEADER, deep, LANDMARKS])


def test_broken_text_is_refused() -> None:
    broken = bytes(BODY).replace(b"\xa2ok", b"\xa2\xff\xff")
    assert broken != bytes(BODY)
    with pytest.raises(MessageError):
        wire.decode([HEADER, broken, LANDMARKS])


def test_a_buffer_at_an_odd_address_gives_an_aligned_array() -> None:
    odd = memoryview(b"\x00" + bytes(LANDMARKS))[1:]
    _, message = wire.decode([HEADER, BODY, odd])
    assert isinstance(message, Preview)
    assert message.landmarks.flags.aligned
    assert same(message.landmarks, preview(3).landmarks)


@pytest.mark.parametrize(
    "values",
    [
        np.zeros((1, 1, 1, 1), np.float32),
        np.zeros(wire.MAX_BUFFER_BYTES + 1, np.uint8),
        np.zeros(3, np.float64),
        np.zeros(3, ">f4"),
        np.array([None]),
        object(),
    ],
)
def test_what_would_be_refused_is_not_sent(values: Any) -> None:
    with pytest.raises(MessageError):
        wire.encode(replace(preview(), landmarks=values), "maker", 0)


def test_a_message_too_large_is_not_sent() -> None:
    with pytest.raises(MessageError, match="limits"):
        wire.encode(replace(preview(), jpeg=bytes(wire.MAX_BODY_BYTES)), "maker", 0)
    many = {str(i): StreamData(np.zeros(1, np.float32), np.ones(1, bool)) for i in range(17)}
    with pytest.raises(MessageError, match="34 arrays"):
        wire.encode(replace(window(), streams=many, statistics={}), "maker", 0)

"""Pickles: arrays and containers come back exactly, everything else is refused before it can act.

Run time: about 3 s.
"""

from __future__ import annotations

import io
import os
import pickle
import struct
import tracemalloc
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from features.errors import CorpusError
from model.data.pickles import RefusedError, load

PROTOCOLS = (0, 1, 2, 3, 4, 5)


def written(folder: Path, item: Any, protocol: int) -> Path:
    path = folder / "file.pkl"
    path.write_bytes(pickle.dumps(item, protocol))
    return path


class Reduced:
    """Pickles as a call of anything."""

    def __init__(self, call: Callable[..., Any], *arguments: Any) -> None:
        self.call, self.arguments = call, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call, self.arguments


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_everything_plain_comes_back(tmp_path: Path, protocol: int) -> None:
    fortran = np.asfortranarray(np.arange(6.0).reshape(2, 3))
    item = {
        "c": np.arange(12, dtype=np.float32).reshape(2, 3, 2),
        "f": fortran,
        "big": np.array([1, -2, 3], ">i4"),
        "bool": np.array([True, False]),
        "text": np.array(["good", "schön"]),
        "bytes": np.array([b"a", b"bc"]),
        "objects": np.array(["a", None, 3], object),
        "empty": np.zeros((0, 5)),
        "zero": np.array(2.5),
        "scalars": [np.float32(0.5), np.int64(7), np.str_("x"), np.bool_(True)],
        "plain": [1, 2.5, None, True, "é", b"raw", (1, (2,)), {3}, frozenset([4])],
        "ordered": OrderedDict(a=1),
        "bytearray": bytearray(b"xy"),
    }
    found = load(written(tmp_path, item, protocol))
    for name in ("c", "f", "big", "bool", "text", "bytes", "objects", "empty", "zero"):
        assert found[name].dtype == item[name].dtype  # type: ignore[attr-defined]
        assert found[name].shape == item[name].shape  # type: ignore[attr-defined]
        assert np.array_equal(found[name], item[name])  # type: ignore[arg-type]
    assert found["scalars"] == [0.5, 7, "x", True]
    assert found["plain"] == item["plain"]
    assert found["ordered"] == {"a": 1}
    assert found["bytearray"] == b"xy"


@settings(
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    arrays.arrays(
        st.sampled_from([np.float32, np.float64, np.int64, np.int16, np.uint8, np.bool_]),
        arrays.array_shapes(max_dims=4, max_side=4, min_side=0),
    ),
    st.sampled_from(PROTOCOLS),
)
def test_any_array_is_what_numpy_would_read(
    tmp_path: Path, array: np.ndarray, protocol: int
) -> None:
    found = load(written(tmp_path, [array, array.T], protocol))
    for one, own in zip(found, pickle.loads(pickle.dumps([array, array.T], protocol)), strict=True):
        assert one.dtype == own.dtype
        assert np.array_equal(one, own, equal_nan=one.dtype.kind == "f")


def test_files_of_python_2_are_read(tmp_path: Path) -> None:
    path = tmp_path / "old.pkl"
    path.write_bytes(
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR"
        b"(I1\n(I2\ntcnumpy\ndtype\n(S'f4'\nI0\nI1\ntR(I3\nS'<'\nNNNI-1\nI-1\nI0\ntb"
        b"I00\nS'\\x00\\x00\\x80?\\x00\\x00\\x00@'\ntb."
    )
    assert load(path).tolist() == [1.0, 2.0]


def test_shared_parts_are_read_once(tmp_path: Path) -> None:
    """Thirty doublings of a list would be a thousand million items if each were walked."""
    item: list[Any] = [0]
    for _ in range(14):
        item = [item, item, item, item, item, item, item, item]
    found = load(written(tmp_path, item, 4))
    assert found[0] is found[7]


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    ("call", "arguments", "name"),
    [
        (os.system, ("touch {marker}",), f"{os.system.__module__}.system"),
        (eval, ("open('{marker}', 'w')",), "eval"),
        (exec, ("open('{marker}', 'w')",), "exec"),
        (getattr, ("x", "upper"), "getattr"),
        (print, ("hello",), "print"),
        (np.load, ("{marker}",), "numpy.load"),
        (np.memmap, ("{marker}", "u1", "w+", 0, 8), "memmap"),
        (pickle.loads, (b"N.",), "loads"),
        (io.open, ("{marker}", "w"), "open"),
    ],
)
def test_calls_are_refused_by_name_and_never_made(
    tmp_path: Path, protocol: int, call: Callable[..., Any], arguments: tuple[Any, ...], name: str
) -> None:
    marker = tmp_path / "marker"
    told = [a.format(marker=marker) if isinstance(a, str) else a for a in arguments]
    path = written(tmp_path, {"train": [Reduced(call, *told)]}, protocol)
    with pytest.raises(RefusedError) as refused:
        load(path)
    assert name in str(refused.value)
    assert str(path) in str(refused.value)
    assert "\n" not in str(refused.value)
    assert not marker.exists()


def test_code_hidden_in_an_object_array_is_refused(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    array = np.array([Reduced(os.system, f"touch {marker}")], object)
    with pytest.raises(RefusedError, match="system"):
        load(written(tmp_path, array, 4))
    assert not marker.exists()


def test_objects_of_other_kinds_are_refused(tmp_path: Path) -> None:
    for item in (Path("x"), complex(1, 2), np.random.default_rng(0), np.dtype("f4"), set, range(3)):
        with pytest.raises(CorpusError):
            load(written(tmp_path, [item], 4))


def test_references_out_of_the_file_are_refused(tmp_path: Path) -> None:
    class Outside(pickle.Pickler):
        def persistent_id(self, obj: Any) -> Any:
            return "elsewhere" if obj == 7 else None

    buffer = io.BytesIO()
    Outside(buffer, 4).dump([7])
    path = tmp_path / "file.pkl"
    path.write_bytes(buffer.getvalue())
    with pytest.raises(RefusedError, match="outside"):
        load(path)


def _array_program(shape: bytes, state: bytes, code: bytes = b"X\x02\x00\x00\x00f4") -> bytes:
    """An array as NumPy writes it, with a shape, a dtype and a content of our own."""
    return (
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85C\x01b\x87R"
        b"(K\x01" + shape + b"cnumpy\ndtype\n" + code + b"\x89\x88\x87R" + state + b"tb."
    )


NATIVE = b"(K\x03X\x01\x00\x00\x00<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"


def test_a_written_program_of_this_form_is_an_array(tmp_path: Path) -> None:
    path = tmp_path / "file.pkl"
    path.write_bytes(_array_program(b"K\x02\x85", NATIVE + b"\x89C\x08" + struct.pack("<2f", 1, 2)))
    assert load(path).tolist() == [1.0, 2.0]


@pytest.mark.parametrize(
    "program",
    [
        # a shape that is larger than the content, and one that would take all memory
        _array_program(b"K\x09\x85", NATIVE + b"\x89C\x08" + bytes(8)),
        _array_program(b"\x8a\x06\xff\xff\xff\xff\xff\x00\x85", NATIVE + b"\x89C\x08" + bytes(8)),
        # pointers in the place of objects
        _array_program(b"K\x01\x85", NATIVE + b"\x89C\x08" + b"A" * 8, b"X\x02\x00\x00\x00O8"),
        # records and dates
        _array_program(b"K\x01\x85", NATIVE + b"\x89C\x08" + bytes(8), b"X\x02\x00\x00\x00M8"),
        _array_program(b"K\x01\x85", NATIVE + b"\x89C\x08" + bytes(8), b"X\x05\x00\x00\x00f4,f4"),
        _array_program(b"K\x02\x85", NATIVE.replace(b"NNN", b"N}N") + b"\x89C\x08" + bytes(8)),
        # something else in the place of an array
        _array_program(b"K\x02\x85", NATIVE + b"\x89C\x08" + bytes(8)).replace(
            b"cnumpy\nndarray\n", b"c__builtin__\nset\n"
        ),
        # memory by the gigabyte out of a few bytes
        b"\x80\x02cnumpy\nndarray\n\x8a\x06\xff\xff\xff\xff\xff\x00\x85\x85R.",
        b"\x80\x02c__builtin__\nbytes\n\x8a\x06\xff\xff\xff\xff\xff\x00\x85R.",
        b"\x80\x02c__builtin__\nbytearray\n\x8a\x06\xff\xff\xff\xff\xff\x00\x85R.",
        b"\x80\x04\x8e" + struct.pack("<Q", 2**60) + b"x.",
        # changing what the reader itself is made of
        b"\x80\x02cnumpy\ndtype\n}X\x08\x00\x00\x00__call__K\x01sb.",
        b"\x80\x02cnumpy\ndtype\nN}X\x08\x00\x00\x00__call__K\x01s\x86b.",
        b"\x80\x02c__builtin__\nset\n}X\x03\x00\x00\x00addK\x01sb.",
        # not pickles
        b"", b"PK\x03\x04", b"\x80\x04", b"hello world", b"\x80\x04].\x00"[:3],
    ],
)  # fmt: skip
def test_damaged_and_hostile_programs_fail_in_one_line(tmp_path: Path, program: bytes) -> None:
    path = tmp_path / "file.pkl"
    path.write_bytes(program)
    with pytest.raises(CorpusError) as error:
        load(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_deep_nesting_and_rings_are_refused(tmp_path: Path) -> None:
    deep: list[Any] = []
    for _ in range(40):
        deep = [deep]
    ring: list[Any] = []
    ring.append(ring)
    for item in (deep, ring):
        with pytest.raises(CorpusError, match="deep"):
            load(written(tmp_path, item, 4))


def test_size_and_absence_are_told(tmp_path: Path) -> None:
    path = written(tmp_path, np.zeros(100), 4)
    with pytest.raises(CorpusError, match="more than the 100 that are read"):
        load(path, limit_bytes=100)
    with pytest.raises(CorpusError, match=r"nothing\.pkl"):
        load(tmp_path / "nothing.pkl")


@settings(
    deadline=None,
    max_examples=200,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.sampled_from(PROTOCOLS), st.data())
def test_any_damage_is_told_in_one_line(tmp_path: Path, protocol: int, data: st.DataObject) -> None:
    item = {"a": np.ones((2, 3)), "o": np.array(["x", None], object), "l": [np.float32(1), "t"]}
    program = bytearray(pickle.dumps(item, protocol))
    for _ in range(data.draw(st.integers(1, 4))):
        program[data.draw(st.integers(0, len(program) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "file.pkl"
    path.write_bytes(program)
    try:
        load(path)
    except CorpusError as error:
        assert "\n" not in str(error)


def test_a_length_is_only_a_claim(tmp_path: Path) -> None:
    """Four gigabytes asked for by twenty bytes are never taken; neither is a place far off."""
    path = tmp_path / "file.pkl"
    tracemalloc.start()
    for program in (
        b"\x80\x05\x96" + struct.pack("<Q", 2**32) + b"x.",
        b"\x80\x04\x8e" + struct.pack("<Q", 2**32) + b"x.",
        b"\x80\x04\x95" + struct.pack("<Q", 2**32) + b"N.",
        b"\x80\x04B" + struct.pack("<I", 2**32 - 1) + b"x.",
    ):
        path.write_bytes(program)
        with pytest.raises(CorpusError):
            load(path)
    path.write_bytes(b"\x80\x02Nr" + struct.pack("<I", 2**30) + b".")
    assert load(path) is None
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10_000_000

"""Reads pickles of arrays and plain containers, and nothing that could run.

A pickle is a program. This reader knows the few instructions that NumPy arrays, numbers, strings and
containers are made of, builds the arrays itself (NumPy's own reconstruction trusts its input), and
refuses everything else by name. Convert a file once (``python -m model.data convert``) and no
pickle is read any more.
"""

from __future__ import annotations

import math
import pickle
import re
import struct
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, Final

import numpy as np

from features.errors import CorpusError

LIMIT_BYTES: Final = 24 * 2**30  # the largest file of the field, MOSEI unaligned, has 13 GiB
MAX_DEPTH: Final = 16  # the field's files nest four containers deep
MAX_TOLD: Final = 160  # letters of what a file itself puts into an error

_CODE = re.compile(r"[<>=|]?(?:b1|[iu][1248]|f[248]|[SU]\d{1,9}|O8?)")
_BROKEN: Final = (
    pickle.UnpicklingError, EOFError, AttributeError, ImportError, IndexError, KeyError,
    MemoryError, OverflowError, RecursionError, TypeError, ValueError, struct.error,
)  # fmt: skip


class _Array:
    """Stands for an array until its content is known; becomes one in :func:`_resolved`."""

    __slots__ = ("dtype", "fortran", "raw", "shape")

    def __init__(self) -> None:
        self.shape: tuple[int, ...] = (0,)
        self.dtype = np.dtype("u1")
        self.fortran = False
        self.raw: Any = b""

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran, raw = state if len(state) == 5 else (0, *state)
        self.fill(shape, dtype, bool(fortran), raw)

    def fill(self, shape: Any, dtype: Any, fortran: bool, raw: Any) -> None:
        """Take the content; raises ValueError where it does not fit the shape."""
        if not isinstance(dtype, _Type) or not all(type(n) is int and n >= 0 for n in shape):
            raise ValueError("an array's header is damaged")
        self.shape, self.dtype, self.fortran = tuple(shape), dtype.numpy(), fortran
        self.raw = raw.encode("latin-1") if isinstance(raw, str) else raw
        expected = math.prod(self.shape) * (1 if self.dtype == object else self.dtype.itemsize)
        kinds = (list,) if self.dtype == object else (bytes, bytearray)
        if not isinstance(self.raw, kinds) or len(self.raw) != expected:
            raise ValueError("an array's content does not fit its shape")


class _Type:
    """Stands for a dtype: one of numbers, truth values, text, bytes or plain objects."""

    __slots__ = ("code", "order")

    def __init__(self, code: str) -> None:
        self.code = code
        self.order = ""

    def __setstate__(self, state: Any) -> None:
        if state[2:5] != (None, None, None):
            raise ValueError("records are not read, only plain arrays")
        self.order = state[1] if state[1] in ("<", ">") else ""

    def numpy(self) -> np.dtype[Any]:
        code = self.code.lstrip("<>=|")
        return np.dtype("O") if code.startswith("O") else np.dtype(self.order + code)


class _Name:
    """What a pickle may name. Has no attributes, so that a pickle cannot change it."""

    __slots__ = ()


class _Reconstruct(_Name):
    def __call__(self, kind: object, shape: object, code: object) -> _Array:
        if kind is not _NDARRAY:
            raise ValueError("only plain arrays are read")
        return _Array()


class _Dtype(_Name):
    def __call__(self, code: object, align: object = False, copy: object = True) -> _Type:
        if not isinstance(code, str) or not _CODE.fullmatch(code):
            raise ValueError(f"an array of type {code!r:.40} is not read")
        return _Type(code)


class _Scalar(_Name):
    def __call__(self, dtype: object, raw: object = b"") -> object:
        array = _Array()
        array.fill((), dtype, False, raw)
        return _built(array).item()


class _FromBuffer(_Name):
    def __call__(self, raw: object, dtype: object, shape: object, order: object) -> _Array:
        array = _Array()
        array.fill(shape, dtype, order == "F", raw)
        return array


class _Bytes(_Name):
    """Bytes as the older protocols write them; never ``bytes(n)``, which would take n bytes."""

    def __call__(self, content: object = b"", coding: object = "latin-1") -> bytes:
        if isinstance(content, str) and coding in ("latin1", "latin-1"):
            return content.encode("latin-1")
        if isinstance(content, bytes | bytearray):
            return bytes(content)
        raise ValueError("bytes are not written as any pickle writes them")


_NDARRAY: Final = _Name()
_NAMES: Final[dict[tuple[str, str], object]] = {
    ("numpy", "ndarray"): _NDARRAY,
    ("numpy", "dtype"): _Dtype(),
    **{
        (f"numpy.{core}.{module}", name): maker
        for core in ("core", "_core")
        for module, name, maker in (
            ("multiarray", "_reconstruct", _Reconstruct()),
            ("multiarray", "scalar", _Scalar()),
            ("numeric", "_frombuffer", _FromBuffer()),
        )
    },
    **{
        (module, name): maker
        for module in ("builtins", "__builtin__")
        for name, maker in (
            ("set", set), ("frozenset", frozenset), ("bytes", _Bytes()), ("bytearray", _Bytes()),
        )
    },
    ("_codecs", "encode"): _Bytes(),
    ("collections", "OrderedDict"): OrderedDict,
}  # fmt: skip


class RefusedError(CorpusError):
    """A pickle names something that is neither an array nor a plain container."""


class _Bounded:
    """A file that is never asked for more than it has: a length in a pickle is only a claim."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self._size = file, size
        self.readline = file.readline

    def read(self, count: int) -> bytes:
        if count > self._size - self._file.tell():
            raise EOFError("it ends too early")
        return self._file.read(count)


def _take_bytearray(reader: Any) -> None:
    """BYTEARRAY8, without clearing as much memory as the file claims to need."""
    (count,) = struct.unpack("<Q", reader.read(8))
    reader.append(reader.read(count))


class RestrictedUnpickler(pickle._Unpickler):  # the one in C can be made to take all memory
    """Finds only what arrays and containers are made of; :class:`RefusedError` for all else."""

    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = {
        **pickle._Unpickler.dispatch, pickle.BYTEARRAY8[0]: _take_bytearray,
    }  # fmt: skip

    def find_class(self, module: str, name: str) -> Any:
        """Never imports anything: what is not in the table is refused by name."""
        found = _NAMES.get((module, name))
        if found is None:
            raise RefusedError(f"it asks for '{module}.{name}'")
        return found

    def persistent_load(self, pid: Any) -> Any:
        """Refuse references to things outside the file."""
        raise RefusedError("it refers to objects outside itself")


def load(path: Path, limit_bytes: int = LIMIT_BYTES) -> Any:
    """The arrays and containers of a pickle; bytes-like become ``bytes``, NumPy scalars Python's.

    Raises :class:`CorpusError` where the file is missing, larger than ``limit_bytes`` or damaged,
    and :class:`RefusedError` where it holds anything but arrays and plain containers.
    """
    try:
        size = path.stat().st_size
        if size > limit_bytes:
            raise CorpusError(f"{path}: {size} bytes, more than the {limit_bytes} that are read")
        with path.open("rb") as file:
            reader = RestrictedUnpickler(_Bounded(file, size), encoding="latin-1")
            return _resolved(reader.load(), {}, 0)
    except OSError as error:
        raise CorpusError(f"{path}: cannot be read: {error.strerror}") from error
    except RefusedError as error:
        raise RefusedError(
            f"{path}: refused: {_line(error)}; only arrays, numbers, text and containers are read"
        ) from error
    except _BROKEN as error:
        raise CorpusError(f"{path}: not a pickle of plain arrays: {_line(error)}") from error


def _line(error: Exception) -> str:
    """What an error says, in one line that a terminal can show, however the file put it."""
    told = "".join(letter if letter.isprintable() else " " for letter in str(error))
    return " ".join(told.split())[:MAX_TOLD] or type(error).__name__


def _resolved(item: Any, seen: dict[int, tuple[Any, Any]], depth: int) -> Any:
    """``item`` with arrays in the place of what stands for them; each shared part once."""
    if isinstance(item, bytearray):
        return bytes(item)
    if not isinstance(item, dict | list | tuple | set | frozenset | _Array):
        if item is None or isinstance(item, bool | int | float | str | bytes):
            return item
        raise RefusedError(f"it holds a bare '{type(item).__name__}'")
    if depth > MAX_DEPTH:
        raise ValueError(f"containers nested more than {MAX_DEPTH} deep")
    if id(item) not in seen:
        seen[id(item)] = (item, _inside(item, seen, depth + 1))
    return seen[id(item)][1]


def _inside(item: Any, seen: dict[int, tuple[Any, Any]], depth: int) -> Any:
    if isinstance(item, _Array):
        if item.dtype == object:
            item.raw = [_resolved(each, seen, depth) for each in item.raw]
        return _built(item)
    if isinstance(item, dict):
        return {
            _resolved(key, seen, depth): _resolved(value, seen, depth)
            for key, value in item.items()
        }
    kind = type(item)
    return kind(_resolved(each, seen, depth) for each in item)


def _built(array: _Array) -> np.ndarray:
    if array.dtype == object:
        flat = np.empty(len(array.raw), object)
        flat[:] = array.raw
    else:
        flat = np.frombuffer(array.raw, array.dtype)
    return flat.reshape(array.shape, order="F" if array.fortran else "C")

"""The file that results are written to: whole at the end or untouched, and never one that is read."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, TextIO

from features.errors import TonalityError

PASSED_ON = (Path("/dev"), Path("/proc"))  # names of streams that are open already


def complain(error: TonalityError | str) -> None:
    """One line on stderr, without a traceback."""
    sys.stderr.write(f"tonality: {error}\n")


@contextlib.contextmanager
def writing(out: Path | None, inputs: Sequence[str]) -> Iterator[TextIO]:
    """A stream to standard output or to ``out``, which appears when all is written.

    Whatever is raised inside leaves ``out`` as it was. Pipes and devices are written to as it comes.
    Raises :class:`TonalityError` where ``out`` is one of the ``inputs``, or cannot be written.
    """
    if out is None:
        yield sys.stdout
        return
    _refuse_input(out, inputs)
    try:
        if _is_stream(out):
            with _open(out, "w") as stream:
                yield stream
        else:
            with _replacing(_resolved(out)) as stream:
                yield stream
    except _WriteError as error:
        raise TonalityError(f"{out} cannot be written: {error}") from error.__cause__
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise TonalityError(f"{out} cannot be written: {error.strerror}") from error


class _WriteError(Exception):
    """Why, in the words of the system."""


def _refuse_input(out: Path, inputs: Sequence[str]) -> None:
    for path in map(Path, inputs):
        try:
            same = out.samefile(path.expanduser())
        except (OSError, RuntimeError):  # one of them does not exist, or is of nobody known here
            continue
        if same:
            raise TonalityError(f"{out} is one of the files to score; write to another one")


def _is_stream(out: Path) -> bool:
    named = any(out.is_relative_to(folder) for folder in PASSED_ON)
    with _refused():
        return named or (out.exists() and not out.is_file())


def _resolved(out: Path) -> Path:
    with _refused():
        return out.resolve()


@contextlib.contextmanager
def _refused() -> Iterator[None]:
    """What the system refuses becomes a :class:`_WriteError`; before Python 3.13 a loop of links is a
    ``RuntimeError``."""
    try:
        yield
    except OSError as error:
        raise _WriteError(error.strerror or str(error)) from error
    except RuntimeError as error:
        raise _WriteError(str(error)) from error


@contextlib.contextmanager
def _replacing(out: Path) -> Iterator[TextIO]:
    fresh = out.with_name(f".{out.name}.{os.getpid()}")
    with _open(fresh, "x") as stream, contextlib.ExitStack() as undo:
        undo.callback(fresh.unlink)
        yield stream
        with _refused():
            stream.close()
            if out.exists():
                shutil.copymode(out, fresh)
            fresh.replace(out)
        undo.pop_all()


def _open(path: Path, mode: Literal["w", "x"]) -> TextIO:
    with _refused():
        return path.open(mode, encoding="utf-8", newline="")

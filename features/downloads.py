"""Downloads as child processes that write into a folder: watched by its growth, killed with us."""

from __future__ import annotations

import logging
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Protocol

logger = logging.getLogger(__name__)

POLL_S = 0.2
STALL_S = 180.0


class PlaceError(Exception):
    """A place does not give a file, or gives other bytes; the next place is tried."""


class Progress(Protocol):
    """Called again and again during one step; ``total`` bytes are ``None`` where unknown."""

    def __call__(self, step: str, done: int, total: int | None) -> None:
        """Take note that ``done`` bytes of a step are done."""


def silent(step: str, done: int, total: int | None) -> None:
    """Progress that nobody watches."""


def download(
    command: Sequence[str],
    folder: Path,
    step: str,
    total: int,
    progress: Progress,
    settings: Mapping[str, str],
) -> None:
    """Run a downloader that writes into ``folder`` and tell how the folder grows.

    ``total`` is 0 where the size is not known. Raises :class:`PlaceError` with the downloader's own words when it fails, or when nothing came for
    ``STALL_S`` seconds.
    """
    logger.debug("running %s", " ".join(command))
    with tempfile.TemporaryFile() as log, _running(command, log, settings) as process:
        before = _bytes_in(folder)
        grown, last_growth = 0, time.monotonic()
        while process.poll() is None:
            progress(step, min(grown, total) if total else grown, total or None)
            try:
                process.wait(POLL_S)
            except subprocess.TimeoutExpired:
                now = _bytes_in(folder) - before
                if now != grown:
                    grown, last_growth = now, time.monotonic()
                elif time.monotonic() - last_growth > STALL_S:
                    raise PlaceError(f"nothing came for {STALL_S:.0f} s") from None
        if process.returncode != 0:
            log.seek(0)
            raise PlaceError(_reason(log.read().decode(errors="replace"), process.returncode))
    progress(step, total or grown, total or grown)


@contextmanager
def _running(
    command: Sequence[str], log: IO[bytes], settings: Mapping[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        env={**os.environ, **settings},
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def _bytes_in(folder: Path) -> int:
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            try:
                total += (Path(root) / name).stat().st_size
            except FileNotFoundError:  # the downloader moved it meanwhile
                logger.debug("%s is gone", name)
    return total


def _reason(log: str, code: int) -> str:
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    errors = [line for line in lines if line.lower().startswith(("error", "npm error", "npm err!"))]
    return " ".join(errors[:2]) or (lines[-1] if lines else f"exit code {code}")

"""Sessions that the user chose to keep: predictions, words and marks as JSON lines, never media.

A folder per session in the user's data folder: ``head.json`` says what it is and for how long it is
kept, ``lines.jsonl`` holds one line per prediction (its last revision), per batch of words and per
mark. What has outlived its retention is deleted, and nothing of it stays.
"""

from __future__ import annotations

import logging
import os
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import msgspec
import platformdirs

from features.errors import TonalityError

logger = logging.getLogger(__name__)

HEAD: Final = "head.json"
LINES: Final = "lines.jsonl"
MINE_ONLY: Final = 0o700


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """What a kept session is.

    Attributes:
        session: its identifier.
        purpose: as the user stated it.
        begun: when it began, in seconds since 1970.
        keep_s: how long it is kept after its last line.
    """

    session: str
    purpose: str
    begun: float
    keep_s: float


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """One kept session in a list: its head, when its last line came, when it will be deleted."""

    head: Head
    last: float
    size: int

    @property
    def until(self) -> float:
        """When it is deleted, in seconds since 1970."""
        return self.last + self.head.keep_s


def default_folder() -> Path:
    """``$TONALITY_DATA``, or ``tonality`` in the user's data folder; below it ``sessions``."""
    named = os.environ.get("TONALITY_DATA")
    try:
        whole = Path(named) if named else platformdirs.user_data_path("tonality", appauthor=False)
        return whole.expanduser() / "sessions"
    except RuntimeError as error:
        raise TonalityError("this user has no home folder: set TONALITY_DATA") from error


class KeptSessions:
    """All kept sessions of a data folder. Any thread may call it."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or default_folder()
        self._lock = threading.Lock()

    def begin(self, head: Head) -> None:
        """Begin to keep a session; once begun, :meth:`append` adds to it.

        Raises :class:`TonalityError` where the folder cannot be written.
        """
        place = self._place(head.session)
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=MINE_ONLY)
            place.mkdir(exist_ok=True, mode=MINE_ONLY)
            (place / HEAD).write_bytes(msgspec.json.encode(head))
            (place / LINES).touch(mode=0o600)
        except OSError as error:
            raise TonalityError(f"{place} cannot be written: {error.strerror}") from error

    def append(self, session: str, lines: list[dict[str, Any]]) -> None:
        """Add lines; raises :class:`TonalityError` where they cannot be written."""
        path = self._place(session) / LINES
        try:
            with self._lock, path.open("ab") as out:
                out.write(b"".join(msgspec.json.encode(line) + b"\n" for line in lines))
        except OSError as error:
            raise TonalityError(f"{path} cannot be written: {error.strerror}") from error

    def all(self) -> list[Kept]:
        """What is kept, the newest first, after what has outlived its retention is deleted."""
        self.sweep()
        return sorted(self._all(), key=lambda one: -one.head.begun)

    def find(self, session: str) -> Kept:
        """One of them; raises :class:`TonalityError` where there is none of this name."""
        for one in self.all():
            if one.head.session == session:
                return one
        raise TonalityError(f"no session '{session}' is kept; it may have been deleted")

    def lines(self, session: str) -> Iterator[dict[str, Any]]:
        """Everything of a session, oldest first; a line that was cut off in writing is passed over."""
        path = self._place(self.find(session).head.session) / LINES
        with path.open("rb") as file:
            for line in file:
                try:
                    yield msgspec.json.decode(line)
                except msgspec.DecodeError:
                    logger.warning("%s: a line cannot be read", path)

    def delete(self, session: str) -> None:
        """Delete a session for good."""
        place = self._place(session)
        try:
            shutil.rmtree(place)
        except FileNotFoundError:
            return
        except OSError as error:
            raise TonalityError(f"{place} cannot be deleted: {error.strerror}") from error

    def sweep(self, now: float | None = None) -> int:
        """Delete what has outlived its retention; gives how many."""
        now = time.time() if now is None else now
        over = [one.head.session for one in self._all() if one.until <= now]
        for session in over:
            self.delete(session)
            logger.info("session %s has outlived its retention and is deleted", session)
        return len(over)

    def _all(self) -> Iterator[Kept]:
        for path in sorted(self.folder.glob(f"*/{HEAD}")) if self.folder.is_dir() else []:
            try:
                head = msgspec.json.decode(path.read_bytes(), type=Head)
                state = (path.parent / LINES).stat()
            except (OSError, msgspec.MsgspecError) as error:
                logger.warning("%s cannot be read: %s", path, error)
                continue
            yield Kept(head=head, last=max(head.begun, state.st_mtime), size=state.st_size)

    def _place(self, session: str) -> Path:
        """A folder of its own for every name, whatever is in the name."""
        return self.folder / quote(session, safe=" ").replace(".", "%2E")

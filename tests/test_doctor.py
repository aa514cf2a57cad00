"""The doctor: each thing that can be wrong is told with its mend, and decides whether the demo runs."""

from __future__ import annotations

import json
import shutil
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from dashboard import checks, doctor
from dashboard.checks import Check, Health


def only(found: Iterator[Check], name: str) -> Check:
    (check,) = [check for check in found if check.name == name]
    return check


def test_every_check_runs_here_and_json_says_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    code = doctor.doctor(json=True)
    report = json.loads(capsys.readouterr().out)
    states = [check["state"] for check in report["checks"]]
    assert set(states) <= {"ok", "warn", "fail"}
    assert report["demo_runs"] is ("fail" not in states) is (code == 0)
    names = {check["name"] for check in report["checks"]}
    expected = {"python", "package torch", "loads mediapipe", "model whisper-base", "disk"}
    expected |= {"checkpoint", "networks run on", "recogniser runs on", "loopback", "cameras"}
    expected |= {"microphone library", "microphones", "browser of the tests", "licences"}
    assert expected <= names
    for check in report["checks"]:
        assert check["detail"] and "\n" not in check["detail"]


def test_people_read_state_and_mend(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken() -> Iterator[Check]:
        yield Check("package fine", Health.OK, "1.0")
        yield Check("a thing", Health.FAIL, "is [broken]", "mend it so")

    report = doctor.examine([broken])
    monkeypatch.setattr(doctor, "examine", lambda: report)
    assert doctor.doctor() == 1
    told = capsys.readouterr().out
    assert "is [broken]" in told and "mend it so" in told and "would not run" in told


def test_a_check_without_its_package_fails_and_the_others_go_on() -> None:
    def gone() -> Iterator[Check]:
        import surely_not_installed  # type: ignore[import-not-found]  # noqa: F401

        yield Check("never", Health.OK, "reached")

    report = doctor.examine([gone, checks.licences])
    assert [check.state for check in report.checks] == [Health.FAIL, Health.OK]
    assert "surely_not_installed" in report.checks[0].detail
    assert not report.demo_runs


@pytest.mark.parametrize(
    "error", [PermissionError(13, "Permission denied", "/proc/1/x"), RuntimeError("no\nway")]
)
def test_a_check_that_the_system_refuses_fails_and_the_others_go_on(error: Exception) -> None:
    def refused() -> Iterator[Check]:
        yield Check("before", Health.OK, "reached")
        raise error

    report = doctor.examine([refused, checks.licences])
    assert [check.state for check in report.checks] == [Health.OK, Health.FAIL, Health.OK]
    assert report.checks[1].name == "refused" and "\n" not in report.checks[1].detail


def test_a_cache_below_a_folder_that_may_not_be_entered_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exists(path: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setenv("TONALITY_CACHE", str(tmp_path / "closed" / "cache"))
    monkeypatch.setattr(Path, "exists", exists)  # as for those who are not root
    check = only(checks.disk(), "disk")
    assert check.state is Health.FAIL and "Permission denied" in check.detail
    assert "TONALITY_CACHE" in check.mend


@pytest.mark.parametrize("wanted", ["numpy>=999", "surely-not-installed"])
def test_a_package_that_does_not_fit_names_the_command(wanted: str) -> None:
    check = checks.package(Requirement(wanted))
    assert check.state is Health.FAIL
    assert check.mend == f"pip install '{wanted}'"


def test_without_portaudio_the_demo_runs_and_the_library_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class NoLibrary:
        def find_spec(self, name: str, path: object = None, target: object = None) -> None:
            if name == "sounddevice":
                raise OSError("PortAudio library not found")

    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
    monkeypatch.setattr(sys, "meta_path", [NoLibrary(), *sys.meta_path])
    monkeypatch.setattr("platform.system", lambda: "Linux")
    check = only(checks.portaudio(), "microphone library")
    assert (check.state, check.mend) == (Health.WARN, "apt-get install libportaudio2")
    assert "PortAudio library not found" in check.detail


def test_a_taken_port_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setattr(checks, "PAGE_PORT", port)
        found = {check.name: check.state for check in checks.ports()}
    assert found == {"loopback": Health.OK, f"port {port}": Health.WARN}


def test_missing_models_fail_only_where_fetching_is_forbidden(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TONALITY_CACHE", str(tmp_path))
    monkeypatch.delenv("TONALITY_OFFLINE", raising=False)
    online = only(checks.models(), "model gte-small")
    assert (online.state, online.mend) == (Health.WARN, "tonality models fetch gte-small")
    monkeypatch.setenv("TONALITY_OFFLINE", "1")
    assert only(checks.models(), "model gte-small").state is Health.FAIL
    assert only(checks.models(), "model whisper-tiny.en").state is Health.WARN


def test_a_full_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TONALITY_CACHE", str(tmp_path / "not" / "there"))
    assert f"free at {tmp_path}" in only(checks.disk(), "disk").detail
    usage = shutil.disk_usage(tmp_path)._replace(free=1_000_000)
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage)
    check = only(checks.disk(), "disk")
    assert check.state is Health.FAIL and "1.0 MB free" in check.detail


def test_a_missing_checkpoint_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "CHECKPOINT", Path("checkpoints") / "gone")
    check = only(checks.checkpoint(), "checkpoint")
    assert check.state is Health.FAIL and "gone" in check.detail

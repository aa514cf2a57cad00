"""The set-up: what make and .ci/system do on a machine that lacks everything, and on one that has it."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
RUNNING = ("libportaudio2", "libgles2", "libegl1", "libgl1", "libglib2.0-0", "npm")
TESTING = ("chromium", "pulseaudio", "pulseaudio-utils", "strace")


def write_command(folder: Path, name: str, body: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/bash\n{body}\n")
    path.chmod(stat.S_IRWXU)
    return path


@pytest.fixture
def bare_machine(tmp_path: Path) -> Path:
    """A folder of commands for PATH: a Linux without any of the libraries, that notes what is run."""
    commands = tmp_path / "bin"
    commands.mkdir()
    for name in ("bash", "env", "grep"):
        found = shutil.which(name)
        assert found
        (commands / name).symlink_to(found)
    write_command(commands, "uname", "echo Linux")
    write_command(commands, "ldconfig", "exit 0")
    write_command(commands, "id", 'echo "$USER_ID"')
    write_command(commands, "sudo", "exit 1")
    note = 'echo "$*" >> "$NOTES"\n[[ "$*" != *"${UNKNOWN:-no such word}"* ]]'
    write_command(commands, "apt-get", note)
    return commands


def system(
    machine: Path, user: int, *words: str, **settings: str
) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    notes = machine.parent / "notes"
    environment = {"PATH": str(machine), "NOTES": str(notes), "USER_ID": str(user), **settings}
    command = [str(machine / "bash"), str(ROOT / ".ci" / "system"), *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30)
    return done, notes.read_text().splitlines() if notes.exists() else []


def test_root_installs_what_is_missing_at_once(bare_machine: Path) -> None:
    done, ran = system(bare_machine, 0, "test")
    assert (done.returncode, done.stderr) == (0, "")
    update, install = ran
    assert "update" in update and "install -y --no-install-recommends" in install
    for package in (*RUNNING, *TESTING):
        assert package in install.split()


def test_what_only_tests_need_is_not_installed_to_run(bare_machine: Path) -> None:
    _, (_, install) = system(bare_machine, user=0)
    assert set(RUNNING) <= set(install.split())
    assert not set(TESTING) & set(install.split())


def test_what_is_there_is_not_installed(bare_machine: Path) -> None:
    write_command(bare_machine, "npm", "exit 0")
    write_command(bare_machine, "chromium", "exit 0")
    write_command(bare_machine, "ldconfig", "echo libportaudio.so.2")
    _, (_, install) = system(bare_machine, 0, "test")
    assert not {"npm", "chromium", "libportaudio2"} & set(install.split())


def test_an_unknown_package_does_not_cost_the_others(bare_machine: Path) -> None:
    done, ran = system(bare_machine, 0, "test", UNKNOWN="chromium")
    assert done.returncode == 0
    assert "could not install chromium" in done.stderr
    assert any(line.endswith(" libportaudio2") for line in ran)


def test_without_rights_one_line_names_what_is_missing(bare_machine: Path) -> None:
    done, ran = system(bare_machine, user=1000)
    assert (done.returncode, ran) == (0, [])
    (line,) = done.stderr.splitlines()
    assert "sudo apt-get install" in line and "libportaudio2" in line


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The project's own Makefile among commands that only note that they were run."""
    folder = tmp_path / "checkout"
    shutil.copytree(ROOT / ".ci", folder / ".ci")
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, folder / name)
    write_command(folder / ".ci", "system", 'echo "system${1:+ $1}" >> notes')
    write_command(tmp_path, "tool", 'echo "$(basename "$0") $*" >> notes')
    python = """case "$*" in
        *version_info*) exit "${TOO_OLD:-0}" ;;
        *"-m venv"*) mkdir -p .venv/bin && for name in python pip pytest streamlit ruff mypy
            do cp ../tool .venv/bin/$name; done ;;
    esac"""
    write_command(tmp_path, "python", python)
    return folder


def make(
    checkout: Path, target: str, **settings: str
) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    notes = checkout / "notes"
    notes.unlink(missing_ok=True)
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS"))}
    command = ["make", f"PYTHON={checkout.parent / 'python'}", target]
    done = subprocess.run(
        command,
        cwd=checkout,
        env={**environment, **settings},
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done, notes.read_text().splitlines() if notes.exists() else []


INSTALL = "python -m pip install --quiet -e .[dev]"
MODELS = "python -m dashboard.models_cli fetch"
TESTS = ["pytest --numprocesses 2 --dist loadfile -m not alone", "pytest -m alone"]


def test_make_sets_up_once_and_then_only_looks(checkout: Path) -> None:
    assert make(checkout, "test")[1] == ["system test", INSTALL, MODELS, *TESTS]
    assert make(checkout, "test")[1] == ["system test", MODELS, *TESTS]
    demo = make(checkout, "demo")[1]
    assert demo == ["system", MODELS, "streamlit run dashboard/app.py"]


def test_make_installs_again_when_the_requirements_change(checkout: Path) -> None:
    make(checkout, "setup")
    later = (checkout / ".venv/.installed").stat().st_mtime + 10
    os.utime(checkout / "pyproject.toml", (later, later))
    assert INSTALL in make(checkout, "setup")[1]


def test_make_lint_runs_linter_formatter_and_types(checkout: Path) -> None:
    make(checkout, "setup")
    assert make(checkout, "lint")[1][1:] == ["ruff check .", "ruff format --check .", "mypy "]


def test_an_old_python_is_one_clear_line(checkout: Path) -> None:
    done, ran = make(checkout, "setup", TOO_OLD="1")
    assert done.returncode != 0 and INSTALL not in ran
    assert "Tonality needs Python 3.11 or newer" in done.stderr


def test_ci_runs_lint_and_tests(checkout: Path) -> None:
    make(checkout, "setup")
    (checkout / "notes").unlink()
    write_command(checkout.parent / "made", "make", 'echo "make $*" >> notes')
    path = f"{checkout.parent / 'made'}:{os.environ['PATH']}"
    subprocess.run(
        [checkout / ".ci" / "run"], env={**os.environ, "PATH": path}, check=True, timeout=30
    )
    assert (checkout / "notes").read_text().split("\n") == ["make lint", "make test", ""]

"""The file to write: whole or untouched, and streams as they come."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from dashboard.output import writing
from features.errors import TonalityError


def test_the_file_appears_at_the_end_with_the_usual_rights(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    with writing(out, ["nowhere.mp4"]) as stream:
        stream.write("one\n")
        assert not out.exists()
    assert out.read_text() == "one\n"
    usual = tmp_path / "usual"
    usual.touch()
    assert stat.S_IMODE(out.stat().st_mode) == stat.S_IMODE(usual.stat().st_mode)
    assert set(tmp_path.iterdir()) == {out, usual}


def test_what_fails_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    out.write_text("of yesterday")
    for error in (KeyboardInterrupt, ValueError):
        with pytest.raises(error), writing(out, []) as stream:
            stream.write("half")
            raise error
    assert out.read_text() == "of yesterday"
    assert list(tmp_path.iterdir()) == [out]


def test_a_link_keeps_pointing_and_its_file_keeps_its_rights(tmp_path: Path) -> None:
    film, link = tmp_path / "real.jsonl", tmp_path / "link.jsonl"
    film.touch(0o600)
    link.symlink_to(film)
    with writing(link, []) as stream:
        stream.write("new")
    assert link.is_symlink() and film.read_text() == "new"
    assert stat.S_IMODE(film.stat().st_mode) == 0o600


def test_an_input_is_refused_by_whatever_name(tmp_path: Path) -> None:
    film, other = tmp_path / "film.mp4", tmp_path / "other.mp4"
    film.write_text("film")
    os.link(film, other)
    for out in (film, other):
        with (
            pytest.raises(TonalityError, match="one of the files to score"),
            writing(out, ["nowhere.mp4", str(film)]),
        ):
            raise AssertionError
    assert film.read_text() == "film"


def test_a_folder_and_a_missing_folder_are_one_line(tmp_path: Path) -> None:
    for out in (tmp_path, tmp_path / "missing" / "out.jsonl"):
        with pytest.raises(TonalityError, match=f"^{out} cannot be written: "), writing(out, []):
            raise AssertionError


def test_a_name_that_cannot_be_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = tmp_path / ("x" * 300)
    with pytest.raises(TonalityError, match="cannot be written: File name too long"):
        _write(long)
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(TonalityError, match="loop cannot be written: "):
        _write(tmp_path / "loop")

    def refused(path: Path, **_: object) -> bool:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "exists", refused)  # as for whoever may not search its folder
    with pytest.raises(TonalityError, match="x cannot be written: Permission denied"):
        _write(tmp_path / "x")


def _write(out: Path) -> None:
    with writing(out, ["~nobody-of-that-name/x.mp4"]):
        raise AssertionError


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_is_one_line() -> None:
    full = Path("/dev/full")
    with (
        pytest.raises(TonalityError, match="cannot be written: No space"),
        writing(full, []) as stream,
    ):
        stream.write("one")
        stream.flush()


def test_a_named_pipe_gets_lines_as_they_come(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    heard: list[str] = []
    first = threading.Event()

    def listen() -> None:
        with pipe.open() as stream:
            heard.append(stream.readline())
            first.set()
            heard.extend(stream)

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    with writing(pipe, []) as stream:
        stream.write("one\n")
        stream.flush()
        assert first.wait(10.0)
        stream.write("two\n")
    listener.join(10.0)
    assert heard == ["one\n", "two\n"] and pipe.is_fifo()


@pytest.mark.skipif(not Path("/dev/stdout").exists(), reason="this system has no /dev/stdout")
@pytest.mark.parametrize("to_a_file", [False, True])
def test_standard_output_by_its_name(tmp_path: Path, to_a_file: bool) -> None:
    code = """
from pathlib import Path
from dashboard.output import writing
with writing(Path("/dev/stdout"), []) as stream:
    stream.write("one\\n")
"""
    with (tmp_path / "redirected").open("w+") as file:
        target = file if to_a_file else subprocess.PIPE
        done = subprocess.run([sys.executable, "-c", code], stdout=target, text=True, timeout=30)
        file.seek(0)
        assert (file.read() if to_a_file else done.stdout) == "one\n"
    assert done.returncode == 0

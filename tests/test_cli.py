"""The command line as a user meets it: processes, files, exit codes, one line per error."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from dashboard.cli import app
from dashboard.lines import KEYS
from dashboard.score_cli import _sessions
from features.errors import TonalityError

SECONDS = 150


def tonality(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "dashboard.cli", *map(str, arguments)]
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        env={**os.environ, "NO_COLOR": "1"},
    )


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def check_line(line: dict[str, Any]) -> None:
    """The promised shape of one prediction."""
    assert tuple(line) == KEYS
    assert isinstance(line["seq"], int) and isinstance(line["revision"], int)
    assert 0.0 <= line["start_s"] < line["end_s"]
    assert set(line["present"]) == set(line["contribution"]) == {"text", "voice", "face"}
    assert all(isinstance(there, bool) for there in line["present"].values())
    assert all(isinstance(part, float) for part in line["contribution"].values())
    if any(line["present"].values()):
        assert -3.0 <= line["low"] <= line["sentiment"] <= line["high"] <= 3.0
    else:
        assert line["sentiment"] is line["low"] is line["high"] is None
    for name, there in line["present"].items():
        assert there or line["contribution"][name] == 0.0


@pytest.fixture(scope="module")
def scored(demo_clip: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """One good file among bad ones, in one call."""
    folder = tmp_path_factory.mktemp("inputs")
    (folder / "empty.mp4").touch()
    (folder / "text.mp4").write_text("this is not a film")
    bad = [folder / "empty.mp4", folder / "text.mp4", folder / "nowhere.mp4", folder]
    done = tonality("score", bad[0], demo_clip, *bad[1:])
    assert done.returncode == 2, done.stderr
    complaints = done.stderr.splitlines()
    assert len(complaints) == len(bad)
    for path, complaint in zip(bad, complaints, strict=True):
        assert complaint.startswith("tonality: ") and str(path) in complaint
    return lines(done.stdout)


def test_score_gives_the_promised_lines(scored: list[dict[str, Any]], demo_clip: Path) -> None:
    assert [line["seq"] for line in scored] == list(range(12))
    for line in scored:
        check_line(line)
        assert line["source"] == str(demo_clip)
    assert all(scored[-1]["present"].values())
    assert "lecturer" in scored[-1]["text"] and "University" in scored[-1]["text"]


def test_run_ends_with_the_scores_of_the_file(demo_clip: Path) -> None:
    """Through processes, bus and all: the last revision of every window is the file's.

    With the small recogniser, which a busy machine of two cores can still follow.
    """
    options = ("--recogniser", "tiny.en")
    file = lines(tonality("score", demo_clip, *options).stdout)
    done = tonality("run", "--source", demo_clip, "--json", *options)
    assert done.returncode == 0, done.stderr
    assert "lost on the way" not in done.stderr, done.stderr
    live = lines(done.stdout)
    for line in live:
        check_line(line)
    last = {line["seq"]: line for line in live}  # revisions of a window come in order
    assert last.keys() == {line["seq"] for line in file}
    assert any(line["revision"] > 0 and line["lag_ms"]["total"] > 0 for line in live)
    for line in file:
        other = last[line["seq"]]
        assert (other["text"], other["present"]) == (line["text"], line["present"])
        for key in ("sentiment", "low", "high"):
            same = line[key] is other[key] or abs(line[key] - other[key]) <= 1e-3
            assert same, f"window {line['seq']}: {key} {line[key]} and {other[key]}"


def test_a_run_cut_short_still_scores_what_was_said(demo_clip: Path) -> None:
    options = ("--recogniser", "tiny.en", "--json", "--duration", "4.5")
    done = tonality("run", "--source", demo_clip, *options)
    assert done.returncode == 0, done.stderr
    last = {line["seq"]: line for line in lines(done.stdout)}
    assert "lecturer" in last[max(last)]["text"]


def test_score_writes_csv_to_a_file_also_when_another_file_is_bad(
    demo_clip: Path, tmp_path: Path
) -> None:
    out = tmp_path / "scores.csv"
    files = (tmp_path / "nowhere.mp4", demo_clip)
    done = tonality("score", *files, "--no-words", "--format", "csv", "-o", out)
    assert done.returncode == 2 and done.stdout == ""
    rows = list(csv.DictReader(out.open(encoding="utf-8")))
    assert [row["seq"] for row in rows] == [str(n) for n in range(12)]
    assert {row["present_text"] for row in rows} == {"False"}
    assert -3.0 <= float(rows[-1]["sentiment"]) <= 3.0


def test_files_of_the_same_name_are_sessions_of_their_own() -> None:
    paths = ["a/x.mp4", "b/x.mp4", "x-2.mp4", "c/x.mp4", "demo"]
    assert _sessions(paths) == ["x.mp4", "x-2.mp4", "x-2-2.mp4", "x-3.mp4", "demo"]


def test_a_file_that_cannot_be_written_is_one_line(demo_clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "missing" / "scores.csv"
    done = tonality("score", demo_clip, "-o", out)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        f"tonality: {out} cannot be written: No such file or directory"
    ]


def test_a_file_to_score_is_never_overwritten(demo_clip: Path, tmp_path: Path) -> None:
    film = tmp_path / "film.mp4"
    shutil.copy(demo_clip, film)
    (tmp_path / "link.mp4").symlink_to(film)
    for out in (film, tmp_path / "link.mp4"):
        done = tonality("score", film, "-o", out)
        assert (done.returncode, done.stdout) == (2, "")
        assert (
            done.stderr == f"tonality: {out} is one of the files to score; write to another one\n"
        )
    assert film.read_bytes() == demo_clip.read_bytes()


def test_when_every_file_is_bad_the_file_to_write_stays_as_it_was(tmp_path: Path) -> None:
    out = tmp_path / "scores.jsonl"
    out.write_text("of yesterday")
    assert tonality("score", tmp_path / "nowhere.mp4", "-o", out).returncode == 2
    assert out.read_text() == "of yesterday"
    assert set(tmp_path.iterdir()) == {out}


def test_devices_are_refused_because_they_never_end() -> None:
    for name in ("webcam", "webcam:1", "microphone:USB", "webcam:0+microphone:1"):
        done = CliRunner().invoke(app, ["score", "nowhere.mp4", name])
        assert isinstance(done.exception, TonalityError)
        assert str(done.exception) == (
            f"{name} never ends; watch it with 'tonality run --source {name}'"
        )


@pytest.mark.parametrize(
    ("source", "reason"), [("nowhere.mp4", "nowhere.mp4"), ("webcam:77", "camera 77")]
)
def test_run_says_in_one_line_why_a_source_cannot_be_had(source: str, reason: str) -> None:
    done = tonality("run", "--source", source, "--no-sound")
    assert done.returncode == 2
    complaints = [line for line in done.stderr.splitlines() if line.startswith("tonality: ")]
    assert len(complaints) == 1 and reason in complaints[0]
    assert "Traceback" not in done.stderr


def test_every_command_teaches() -> None:
    runner = CliRunner()
    for command in ([], ["run"], ["score"], ["devices"], ["doctor"], ["bench"], ["models"]):
        result = runner.invoke(app, [*command, "--help"])
        assert result.exit_code == 0 and "Usage" in result.output


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["run"], "the address of a stream (rtsp://..., https://...)"),
        (["run"], "'speakers:NAME'"),
        (["run"], "a code such as en or de"),
        (["run"], "Why this is watched: shown; nothing is kept."),
        (["score"], "which knows English alone"),
        (["bench"], "'speakers:NAME'"),
        (["bench"], "Length of each part, file and live."),
        (["overlay"], "with --camera or --save"),
        (["participants", "forget"], "forget [OPTIONS] [NAME]... "),
        (["participants", "forget"], "Names as 'tonality participants list' shows them."),
        (["models", "fetch"], "fetch [OPTIONS] [NAME]... "),
        (["models", "verify"], "verify [OPTIONS] [NAME]... "),
    ],
)
def test_help_says_what_is_so(command: list[str], said: str) -> None:
    output = CliRunner().invoke(app, [*command, "--help"]).output
    assert said in " ".join(output.replace("│", " ").split()) + " "


def test_the_version_names_the_licences_that_bind() -> None:
    output = CliRunner().invoke(app, ["--version"]).output
    assert "openSMILE" in output and "not for commercial" in output


def test_a_reader_that_has_seen_enough_gets_no_traceback(demo_clip: Path) -> None:
    command = [sys.executable, "-m", "dashboard.cli", "score", str(demo_clip), "--no-words"]
    writer = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert writer.stdout is not None and writer.stderr is not None
    writer.stdout.readline()
    writer.stdout.close()
    assert writer.stderr.read() == ""
    writer.stderr.close()
    writer.wait(SECONDS)


def test_devices_lists_or_says_what_is_missing() -> None:
    done = tonality("devices")
    assert done.returncode == 0, done.stderr
    assert "webcam:" in done.stdout or "microphone:" in done.stdout or "No camera" in done.stdout

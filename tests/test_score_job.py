"""What ``tonality score`` does with things that are not there, empty, or somebody's next recording."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import dashboard.scoring
from capture.config import CaptureConfig
from dashboard.cli import app
from dashboard.keeping import Keeper
from dashboard.rows import COLUMNS
from dashboard.score_job import Item, Job
from dashboard.scoring import LineWriter
from features.participants import Participants
from features.spec import FACE, LIVE
from features.statistics import Moments

WIDTH = next(stream.width for stream in LIVE.streams if stream.name == FACE)
NOBODY = "~nobody-of-that-name/x.mp4"


def score(*asked: str | Path) -> tuple[int, str, list[str]]:
    done = CliRunner().invoke(app, ["score", *map(str, asked), "--device", "cpu"])
    assert done.exception is None or isinstance(done.exception, SystemExit)
    return done.exit_code, done.stdout, done.stderr.splitlines()


def test_what_is_not_there_is_one_line_each() -> None:
    long = "x" * 300 + ".txt"
    code, out, told = score(NOBODY, "nowhere.mp4", long, "--text", "nofile.txt", "--text", NOBODY)
    assert (code, out) == (2, "")
    assert told[:2] == [
        f"tonality: {NOBODY}: no such file",
        "tonality: nowhere.mp4: no such file",
    ]
    assert long in told[2]
    assert told[3:] == [
        "tonality: nofile.txt: No such file or directory",
        f"tonality: {NOBODY}: No such file or directory",
    ]


def test_an_empty_text_is_a_failure_and_a_table_has_its_header(tmp_path: Path) -> None:
    empty = tmp_path / "empty.txt"
    empty.touch()
    code, out, told = score("--text", empty, "--format", "csv")
    assert code == 2 and told == [f"tonality: {empty}: holds no line"]
    assert out.splitlines() == [",".join(COLUMNS)]
    assert score("--text", empty)[1] == ""


def test_a_later_file_begins_with_what_is_known_of_its_person(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also with the rest that the first file gave, which is taken once."""
    known_of: dict[str, Any] = {}
    rests: list[float] = []

    def score(
        config: CaptureConfig, predictor: Any, progress: Any, learned: Any, known: Any
    ) -> Any:
        known_of[config.session] = known
        rests.append(config.rest_s)
        learned.moments[FACE] = Moments(5, *(np.ones(WIDTH) for _ in range(3)))
        learned.rest = {FACE: np.zeros(WIDTH, np.float32)}
        learned.rest_s = {FACE: 3.0} if config.rest_s else {}
        return iter(())

    monkeypatch.setattr(dashboard.scoring, "score", score)
    monkeypatch.chdir(tmp_path)
    for name in ("mon.mp4", "tue.mp4", "demo"):
        Path(name).write_text(name)
    keeper = Keeper("anna", Participants(tmp_path / "kept"), write=False)
    predictor: Any = None
    job = Job(CaptureConfig(rest_s=3.0), predictor, LineWriter(io.StringIO(), "jsonl"), keeper)
    for name in ("mon.mp4", "tue.mp4", "demo"):
        job.media(Item(name, name))
    assert job.failed == 0 and rests == [3.0, 0.0, 0.0]
    assert known_of["mon.mp4"].rest == {}
    assert list(known_of["tue.mp4"].rest) == [FACE]
    assert known_of["demo"] is None
    assert keeper.participant is not None and len(keeper.participant.recordings) == 2

"""Addresses of streams on the command line: what is secret in them is not shown and not kept."""

from __future__ import annotations

import io
import logging
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import dashboard.bench
import dashboard.scoring
from capture.addresses import safe, shown
from capture.config import CaptureConfig
from dashboard.keeping import Keeper
from dashboard.runtime import Runtime
from dashboard.score_cli import _sessions
from dashboard.score_job import Item, Job
from dashboard.scoring import LineWriter
from dashboard.smoothing import Smoother
from dashboard.watch_table import WatchTable
from dashboard.watching import _title
from features.participants import Participants

SECRET = "rtsp://user:secret@cam.local/live?token=secret"


def test_sources_are_shown_without_secrets() -> None:
    assert safe(SECRET) == "rtsp://cam.local/live"
    assert safe("talk?.mp4") == "talk?.mp4" and safe("demo") == "demo"
    assert shown("rtsp://user:secret@[::1/x#secret") == "rtsp://[::1/x"


def test_sessions_are_named_without_secrets() -> None:
    names = [SECRET, "rtsp://user:secret@cam.local", "https://host/a.m3u8?token=secret", "x?.mp4"]
    assert _sessions(names) == ["live", "cam.local", "a.m3u8", "x?.mp4"]


def test_the_table_says_source_and_purpose_without_secrets() -> None:
    config = CaptureConfig(source=SECRET, purpose=" practising [a talk] [/b] ")
    table = WatchTable(_title(config), Smoother(0.0))
    console = Console(file=io.StringIO(), width=120)
    console.print(table.render(Watched()))
    drawn = console.file.getvalue()  # type: ignore[attr-defined]
    assert "Tonality - rtsp://cam.local/live - practising [a talk] [/b] " in drawn
    assert _title(CaptureConfig()) == "demo"


class Watched:
    status = None

    @property
    def losses(self) -> dict[str, int]:
        return {}


def test_the_bench_keeps_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for part in ("file_speed", "live_lag"):
        monkeypatch.setattr(dashboard.bench, part, lambda *_: {})
    assert "secret" not in str(dashboard.bench.measure(CaptureConfig(source=SECRET), "cpu", 5.0))


def test_the_log_has_no_secrets(caplog: pytest.LogCaptureFixture) -> None:
    runtime = Runtime(
        capture_module="tests.workers.scripted", inference_module="tests.workers.obedient"
    )
    try:
        runtime.start()
        with caplog.at_level(logging.INFO):
            runtime.start_session(CaptureConfig(source=SECRET))
    finally:
        runtime.close()
    assert "from rtsp://cam.local/live" in caplog.text and "secret" not in caplog.text


def test_what_is_said_of_a_stream_has_no_secrets(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def score(
        config: CaptureConfig, predictor: Any, progress: Any, learned: Any, known: Any
    ) -> Any:
        assert config.source == SECRET
        learned.losses["packets"] = 1
        return iter(())

    monkeypatch.setattr(dashboard.scoring, "score", score)
    keeper = Keeper(None, Participants(tmp_path), write=False)
    predictor: Any = None
    job = Job(CaptureConfig(rest_s=3.0), predictor, LineWriter(io.StringIO(), "jsonl"), keeper)
    job.media(Item(SECRET, "live"))
    job.text(Item(SECRET, "live"))
    told = capsys.readouterr().err
    assert told.count("tonality: rtsp://cam.local/live: ") == 3 and "secret" not in told

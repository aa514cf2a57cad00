"""Kept sessions: written only when asked for, read back as they were, gone when their time is over."""

from __future__ import annotations

import csv
import io
import json
import stat
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from capture.config import CaptureConfig
from dashboard.keeper import Keeper
from dashboard.kept import Head, KeptSessions
from dashboard.lines import KEYS, json_line
from dashboard.reviewing import exported, review
from dashboard.rows import COLUMNS
from features.broker import Broker
from features.bus import BusAddress, Publisher
from features.errors import TonalityError
from features.messages import Status
from tests.workers.scripted import Script

DAY_S = 86_400.0


@pytest.fixture
def store(tmp_path: Path) -> KeptSessions:
    return KeptSessions(tmp_path / "sessions")


@pytest.fixture
def address() -> Iterator[BusAddress]:
    broker = Broker()
    yield broker.start()
    broker.close()


@pytest.fixture
def keeper(address: BusAddress, store: KeptSessions) -> Iterator[Keeper]:
    keeper = Keeper(address, store)
    yield keeper
    keeper.close()


def script(participant: str = "me") -> Script:
    return Script(CaptureConfig(session="s", participant=participant))


def head(session: str = "s", keep_s: float = DAY_S) -> Head:
    return Head(session=session, purpose="test", begun=time.time(), keep_s=keep_s)


def status(pid: int) -> Status:
    return Status(
        session="s", participant="me", start_s=0, end_s=0, made_ns=pid, worker="capture s me",
        role="capture", pid=pid, state="running",
    )  # fmt: skip


def eventually(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20.0
    pause = threading.Event()
    while not true():
        assert time.monotonic() < deadline, "not within the deadline"
        pause.wait(0.02)


def told(store: KeptSessions, kind: str) -> list[dict[str, Any]]:
    return [line for line in store.lines("s") if line["type"] == kind]


def test_nothing_is_written_unless_it_was_asked_for(keeper: Keeper, store: KeptSessions) -> None:
    keeper.take(script().prediction(3, 1))
    keeper.mark({"type": "mark", "session": "s", "participant": "me", "at_s": 1.0, "text": ""})
    keeper.end("s")
    assert not store.folder.exists()


def test_a_kept_session_holds_last_revisions_words_and_marks(
    keeper: Keeper, store: KeptSessions
) -> None:
    keeper.keep("s", "practice", DAY_S)
    for seq in range(6):
        keeper.take(script().prediction(seq, 0))
    for seq in range(4):
        keeper.take(script().prediction(seq, 1))
    keeper.take(script().transcript(6.0))
    keeper.take(script().transcript(7.0))
    keeper.mark({"type": "mark", "session": "s", "participant": "me", "at_s": 5.0, "text": "here"})
    assert [line["seq"] for line in told(store, "prediction")] == [0, 1, 2, 3]
    keeper.end("s")
    assert [(p["seq"], p["revision"]) for p in told(store, "prediction")] == [
        (0, 1), (1, 1), (2, 1), (3, 1), (4, 0), (5, 0),
    ]  # fmt: skip
    spoken = [word[0] for line in told(store, "words") for word in line["stable"]]
    assert spoken == [word.text for word in script().words(5.0)]  # each once, no tentative one
    assert [(m["at_s"], m["text"]) for m in told(store, "mark")] == [(5.0, "here")]
    assert not keeper.keeps("s")


def test_the_thread_writes_what_the_bus_says(
    address: BusAddress, keeper: Keeper, store: KeptSessions
) -> None:
    keeper.keep("s", "practice", DAY_S)
    publisher = Publisher(address, "test")
    try:
        for seq in range(400):
            publisher.send(script().prediction(seq, 1))
            if store.find("s").size:
                break
            threading.Event().wait(0.05)
    finally:
        publisher.close()
    eventually(lambda: bool(told(store, "prediction")))


def test_what_is_exported_is_what_score_prints(keeper: Keeper, store: KeptSessions) -> None:
    keeper.keep("s", "", DAY_S)
    predictions = [script().prediction(seq, 1) for seq in range(3)]
    for prediction in predictions:
        keeper.take(prediction)
    keeper.end("s")
    lines = exported(store, "s", "jsonl").decode().splitlines()
    assert lines == [json_line(prediction) for prediction in predictions]
    assert tuple(json.loads(lines[0])) == KEYS
    rows = list(csv.DictReader(io.StringIO(exported(store, "s", "csv").decode())))
    assert tuple(rows[0]) == COLUMNS
    assert [float(row["sentiment"]) for row in rows] == [
        json.loads(line)["sentiment"] for line in lines
    ]


def test_a_clock_that_begins_anew_goes_on_in_the_review(
    keeper: Keeper, store: KeptSessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1_000_000.0
    monkeypatch.setattr("dashboard.keeper.time.time", lambda: now)
    keeper.keep("s", "", DAY_S)
    keeper.take(status(1))
    keeper.take(replace(script().prediction(0, 1), lag_ms={"total": 0.0}))
    now += 60.0
    keeper.take(status(2))
    keeper.take(replace(script().prediction(0, 1), lag_ms={"total": 0.0}))
    keeper.end("s")
    (me,) = review(store, "s")["participants"]
    assert [point[0] for point in me["points"]] == [4.0, 64.0]
    assert len(exported(store, "s", "jsonl").splitlines()) == 2


def test_what_has_outlived_its_retention_is_deleted(store: KeptSessions) -> None:
    store.begin(head("short", keep_s=60.0))
    store.begin(head("long"))
    assert store.sweep(time.time() + 30.0) == 0
    assert store.sweep(time.time() + 61.0) == 1
    assert [one.head.session for one in store.all()] == ["long"]
    assert [path.name for path in store.folder.iterdir()] == ["long"]


def test_a_session_is_deleted_for_good(store: KeptSessions) -> None:
    store.begin(head())
    store.delete("s")
    store.delete("s")
    assert store.all() == []
    with pytest.raises(TonalityError, match="no session 's' is kept"):
        store.find("s")


@pytest.mark.parametrize("name", ["..", ".", "a b", "20%", "../up", "ü"])
def test_every_name_has_a_folder_of_its_own_below(store: KeptSessions, name: str) -> None:
    store.begin(head(name))
    (folder,) = store.folder.iterdir()
    assert folder.parent == store.folder
    assert [one.head.session for one in store.all()] == [name]
    store.delete(name)
    assert list(store.folder.iterdir()) == []


def test_only_the_user_may_read_it(store: KeptSessions) -> None:
    store.begin(head())
    (folder,) = store.folder.iterdir()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(store.folder.stat().st_mode) == 0o700


def test_a_line_cut_off_in_writing_is_passed_over(store: KeptSessions) -> None:
    store.begin(head())
    store.append("s", [{"type": "mark", "at_s": 1.0}])
    (path,) = store.folder.glob("*/lines.jsonl")
    with path.open("ab") as out:
        out.write(b'{"type": "pred')
    assert [line["at_s"] for line in store.lines("s")] == [1.0]


def test_a_disk_that_refuses_is_said_and_nothing_else_stops(
    keeper: Keeper, store: KeptSessions
) -> None:
    keeper.keep("s", "", DAY_S)
    store.delete("s")
    keeper.take(script().prediction(0, 1))
    assert "not kept any further" in keeper.trouble
    assert not keeper.keeps("s")


def test_a_folder_that_cannot_be_made_is_refused_in_one_line(
    address: BusAddress, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    keeper = Keeper(address, KeptSessions(tmp_path / "file" / "sessions"))
    try:
        with pytest.raises(TonalityError, match="cannot be written"):
            keeper.keep("s", "", DAY_S)
    finally:
        keeper.close()


def test_an_hour_of_a_session_stays_small(store: KeptSessions) -> None:
    store.begin(head())
    one = script()
    lines = [
        {"type": "prediction", "session": "s", "participant": "me", "clock": 0, **line}
        for line in (json.loads(json_line(one.prediction(seq, 1))) for seq in range(0, 7200, 60))
    ]
    store.append("s", lines)
    assert store.find("s").size * 60 < 8 * 2**20

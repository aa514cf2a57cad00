"""Kept sessions: written only when asked for, read back as they were, gone when their time is over."""

from __future__ import annotations

import csv
import io
import json
import stat
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from msgspec.structs import replace

from capture.config import CaptureConfig
from dashboard.keeper import OPEN_HOPS, SETTLE_S, Keeper
from dashboard.kept import Head, KeptSessions
from dashboard.lines import KEYS, json_line
from dashboard.reviewing import exported, review
from dashboard.rows import COLUMNS
from dashboard.runtime import Runtime, Session
from dashboard.server import Server
from dashboard.timeline import KEPT_S
from features.broker import Broker
from features.bus import BusAddress, Publisher
from features.errors import TonalityError, WorkerError
from features.messages import AnyMessage, Prediction, Status, Transcript
from features.samples import Word
from tests.workers.scripted import HOP_S, Script

DAY_S = 86_400.0
S = 1_000_000_000
BEGUN_NS = 5_000 * S  # when the media clock read zero, monotonic


class HandClock:
    """Time moves only by ``sleep`` and by hand."""

    def __init__(self) -> None:
        self.ns = BEGUN_NS - 2 * S

    def now_ns(self) -> int:
        return self.ns

    def sleep(self, seconds: float) -> None:
        self.ns += round(seconds * S)


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


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def by_hand(address: BusAddress, store: KeptSessions, clock: HandClock) -> Iterator[Keeper]:
    """A keeper whose clock the test turns."""
    keeper = Keeper(address, store, clock)
    yield keeper
    keeper.close()


def script(participant: str = "me") -> Script:
    return Script(CaptureConfig(session="s", participant=participant))


def head(session: str = "s", keep_s: float = DAY_S) -> Head:
    return Head(session=session, purpose="test", begun=time.time(), keep_s=keep_s)


def status(pid: int = 1, at_s: float = 0.0, **changes: Any) -> Status:
    """A heartbeat of now, or as changed."""
    plain = Status(
        session="s", participant="me", start_s=at_s, end_s=at_s, made_ns=time.monotonic_ns(),
        worker="capture s me", role="capture", pid=pid, state="running",
    )  # fmt: skip
    return replace(plain, **changes)


def window(
    seq: int, revision: int = 1, late_s: float = 0.3, begun_ns: int = BEGUN_NS
) -> Prediction:
    """A live window, told so much later than it ended; with its words, as the predictor gives it."""
    plain = script().prediction(seq, revision)
    words = tuple(
        word
        for word in script().words(plain.end_s)
        if plain.start_s <= (word.start_s + word.end_s) / 2
    )
    made_ns = begun_ns + round((plain.end_s + late_s) * S)
    return replace(plain, words=words, made_ns=made_ns, lag_ms={"total": late_s * 1000})


def said(now_s: float, late_s: float = 0.0, begun_ns: int = BEGUN_NS) -> Transcript:
    """What was heard until a moment, by a recogniser that is so late."""
    plain = script().transcript(now_s)
    return replace(plain, made_ns=begun_ns + round((now_s + late_s) * S))


def hear(keeper: Keeper, clock: HandClock, *messages: AnyMessage) -> None:
    """Let the keeper take messages, each when it was made."""
    for message in messages:
        clock.ns = max(clock.ns, message.made_ns)
        keeper.take(message)


def eventually(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20.0
    pause = threading.Event()
    while not true():
        assert time.monotonic() < deadline, "not within the deadline"
        pause.wait(0.02)


def told(store: KeptSessions, kind: str) -> list[dict[str, Any]]:
    return [line for line in store.lines("s") if line["type"] == kind]


def spans(words: Iterable[Word]) -> list[tuple[float, float]]:
    """Beginning and end of each word, as they are written."""
    return [(round(word.start_s, 3), round(word.end_s, 3)) for word in words]


def kept_words(store: KeptSessions) -> list[tuple[float, float]]:
    """Beginning and end of each kept word, in the order of lines."""
    return [(word[1], word[2]) for line in told(store, "words") for word in line["stable"]]


def test_nothing_is_written_unless_it_was_asked_for(keeper: Keeper, store: KeptSessions) -> None:
    keeper.take(script().prediction(3, 1))
    keeper.mark({"type": "mark", "session": "s", "participant": "me", "at_s": 1.0, "text": ""})
    keeper.end("s")
    assert not store.folder.exists()


def test_a_kept_session_holds_last_revisions_words_and_marks(
    keeper: Keeper, store: KeptSessions
) -> None:
    keeper.keep("s", "practice", DAY_S)
    keeper.take(status())
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
            publisher.send(status())
            publisher.send(script().prediction(seq, 1))
            if store.find("s").size:
                break
            threading.Event().wait(0.05)
    finally:
        publisher.close()
    eventually(lambda: bool(told(store, "prediction")))


def test_what_is_exported_is_what_score_prints(keeper: Keeper, store: KeptSessions) -> None:
    keeper.keep("s", "", DAY_S)
    keeper.take(status())
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
    by_hand: Keeper, clock: HandClock, store: KeptSessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dashboard.keeper.time.time", lambda: 1e6 + clock.ns / S)
    by_hand.keep("s", "", DAY_S)
    again_ns = BEGUN_NS + 60 * S
    hear(by_hand, clock, status(1, made_ns=BEGUN_NS), window(0))
    hear(by_hand, clock, status(2, made_ns=again_ns), window(0, begun_ns=again_ns))
    by_hand.end("s")
    (me,) = review(store, "s")["participants"]
    assert [point[0] for point in me["points"]] == [4.0, 64.0]
    assert len(exported(store, "s", "jsonl").splitlines()) == 2


# -- from now on ----------------------------------------------------------------------------------


def test_what_was_before_the_press_is_never_written(
    by_hand: Keeper, clock: HandClock, store: KeptSessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither what transcripts and the bus repeat, nor windows that had begun."""
    monkeypatch.setattr("dashboard.keeper.time.time", lambda: 1e6 + clock.ns / S)
    for at_s in range(1, 300):
        hear(by_hand, clock, said(at_s))
    clock.ns = BEGUN_NS + 300 * S
    by_hand.keep("s", "practice", DAY_S)
    pressed_s, last = 300.0, int(300 / HOP_S) - 8
    hear(by_hand, clock, window(last, 0), said(300.0), status(1, 300.0, made_ns=clock.ns))
    for seq in range(last - 10, last + 30):
        hear(by_hand, clock, window(seq), said((seq + 8) * HOP_S, late_s=1.5))
    by_hand.end("s")
    words = kept_words(store)
    assert min(start for start, _ in words) >= pressed_s
    assert len(set(words)) == len(words) > 20
    predictions = told(store, "prediction")
    assert min(line["start_s"] for line in predictions) == pressed_s
    assert len(predictions) == 22
    (zero,) = told(store, "zero")
    assert zero["zero"] == 1e6 + BEGUN_NS / S


@pytest.mark.parametrize("late_s", [0.0, 6.0])
def test_a_late_recogniser_brings_no_word_from_before_the_press(
    by_hand: Keeper, clock: HandClock, store: KeptSessions, late_s: float
) -> None:
    """Its words wait until a prediction has told what the media clock read at the press."""
    clock.ns = BEGUN_NS + 300 * S
    by_hand.keep("s", "practice", DAY_S)
    hear(by_hand, clock, said(305.0, late_s))
    assert kept_words(store) == []
    hear(by_hand, clock, window(int(308 / HOP_S)), said(306.0, late_s))
    new = [word for word in script().words(304.0) if word.start_s >= 300.0]
    assert kept_words(store) == spans(new) != []


def test_a_word_that_had_begun_at_the_press_stands_in_no_window_either(
    by_hand: Keeper, clock: HandClock, store: KeptSessions
) -> None:
    begun = next(word for word in script().words(400.0) if word.start_s % HOP_S > 0.4)
    first = window(round((begun.start_s - begun.start_s % HOP_S) / HOP_S) + 1)
    assert first.start_s > begun.start_s and first.words[0] == begun
    clock.ns = BEGUN_NS + round(first.start_s * S)
    by_hand.keep("s", "", DAY_S)
    hear(by_hand, clock, first)
    (line,) = told(store, "prediction")
    assert line["text"].split() == [word.text for word in first.words[1:]]


@pytest.mark.parametrize("heard", [True, False])
def test_a_session_that_is_kept_from_its_start_loses_nothing(
    by_hand: Keeper, clock: HandClock, store: KeptSessions, heard: bool
) -> None:
    """Whether or not the keeper heard the worker begin."""
    by_hand.keep("s", "", DAY_S)
    if heard:
        hear(by_hand, clock, status(state="starting", made_ns=clock.ns + S))
    windows = [window(seq) for seq in range(-7, 40)]
    for one in windows:
        start_s = max(0.0, one.start_s)
        hear(by_hand, clock, replace(one, seq=one.seq + 7, start_s=start_s), said(one.end_s))
    by_hand.end("s")
    assert [line["seq"] for line in told(store, "prediction")] == list(range(47))
    assert kept_words(store) == spans(script().words(21.5))


def test_a_participant_who_joins_later_loses_nothing(
    by_hand: Keeper, clock: HandClock, store: KeptSessions
) -> None:
    clock.ns = BEGUN_NS + 300 * S
    by_hand.keep("s", "", DAY_S)
    joined_ns = BEGUN_NS + 310 * S
    theirs = [window(seq, begun_ns=joined_ns) for seq in range(20)]
    hear(by_hand, clock, *(replace(one, participant="you") for one in theirs))
    assert [line["seq"] for line in told(store, "prediction")] == list(range(20))


def test_a_worker_that_came_back_after_the_press_loses_nothing(
    by_hand: Keeper, clock: HandClock, store: KeptSessions
) -> None:
    """Its media clock reads less than at the press; what its last run left comes in between."""
    clock.ns = BEGUN_NS + 300 * S
    by_hand.keep("s", "", DAY_S)
    hear(by_hand, clock, status(1, 300.0, made_ns=clock.ns), window(610), said(310.0))
    again_ns = BEGUN_NS + 320 * S
    hear(by_hand, clock, status(2, made_ns=again_ns - S))
    hear(by_hand, clock, window(611, late_s=14.0))  # scored after the new process has spoken
    for seq in range(10):
        at_s = (seq + 8) * HOP_S
        hear(by_hand, clock, window(seq, begun_ns=again_ns), said(at_s, begun_ns=again_ns))
    by_hand.end("s")
    assert [(line["clock"], line["seq"]) for line in told(store, "prediction")] == [
        (0, 610), *((1, seq) for seq in range(10)),
    ]  # fmt: skip
    spoken = [
        (w[1], w[2]) for line in told(store, "words") if line["clock"] for w in line["stable"]
    ]
    assert spoken == spans(script().words(6.5))


def test_keeping_again_after_a_full_disk_begins_at_that_moment(
    by_hand: Keeper, clock: HandClock, store: KeptSessions
) -> None:
    by_hand.keep("s", "", DAY_S)
    hear(by_hand, clock, status(made_ns=BEGUN_NS), window(0))
    store.delete("s")  # nothing can be written any more
    hear(by_hand, clock, window(30))
    assert not by_hand.keeps("s")
    clock.ns = BEGUN_NS + 60 * S
    by_hand.keep("s", "", DAY_S)
    for seq in range(115, 125):
        hear(by_hand, clock, window(seq), said((seq + 8) * HOP_S))
    assert min(start for start, _ in kept_words(store)) >= 60.0
    assert min(line["start_s"] for line in told(store, "prediction")) >= 60.0


# -- windows whose last revision is lost ----------------------------------------------------------


def test_a_window_whose_last_revision_is_lost_is_written_once_in_a_long_session(
    by_hand: Keeper, clock: HandClock, store: KeptSessions
) -> None:
    by_hand.keep("s", "", DAY_S)
    lost, last = 50, int(KEPT_S / HOP_S) + 200
    for seq in range(last):
        hear(by_hand, clock, window(seq, 0))
        if seq != lost:
            hear(by_hand, clock, window(seq, 1))
        if seq == lost + OPEN_HOPS:
            assert lost not in [line["seq"] for line in told(store, "prediction")]
        if seq == lost + OPEN_HOPS + 1:
            assert lost in [line["seq"] for line in told(store, "prediction")]
            by_hand.take(window(lost, 1))  # after all: then it is too late
    by_hand.end("s")
    found = [(line["seq"], line["revision"]) for line in told(store, "prediction")]
    assert sorted(found) == [(seq, int(seq != lost)) for seq in range(last)]


def test_windows_are_kept_even_where_no_last_revision_ever_comes(
    by_hand: Keeper, clock: HandClock, store: KeptSessions
) -> None:
    by_hand.keep("s", "", DAY_S)
    last = int(KEPT_S / HOP_S) + 100
    hear(by_hand, clock, *(window(seq, 0) for seq in range(last)))
    by_hand.end("s")
    lines = told(store, "prediction")
    assert [line["seq"] for line in lines] == list(range(last))
    assert {(line["revision"], line["final"]) for line in lines} == {(0, False)}


# -- what stopping makes final --------------------------------------------------------------------


def test_it_is_waited_for_the_last_windows_but_not_for_long(
    by_hand: Keeper, clock: HandClock
) -> None:
    def waited_s() -> float:
        begun_ns = clock.ns
        by_hand.settle("s")
        return (clock.ns - begun_ns) / S

    assert waited_s() == 0.0  # it is not kept
    by_hand.keep("s", "", DAY_S)
    hear(by_hand, clock, status(made_ns=BEGUN_NS), window(0))
    assert waited_s() < 0.3  # all is said
    counted = status(1, 4.5, made_ns=clock.ns, state="ended", counters={"windows": 2})
    hear(by_hand, clock, counted)
    assert waited_s() == pytest.approx(SETTLE_S)  # one window was cut and is not scored yet
    hear(by_hand, clock, window(1, 0))
    assert waited_s() == pytest.approx(SETTLE_S)
    hear(by_hand, clock, window(1, 1))
    assert waited_s() < 0.3


class Leaving:
    """A runtime whose one session says its last when it is stopped, as a capture worker does."""

    def __init__(self, address: BusAddress) -> None:
        self.address = address
        self.stopped: list[str] = []
        self.workers: list[Any] = []
        self._publisher = Publisher(address, "test")
        self._scoring = threading.Timer(0.2, self._score)

    def say(self, *messages: AnyMessage) -> None:
        for message in messages:
            assert self._publisher.send(message)

    def stop_session(self, session: str) -> None:
        if session != "s":
            raise WorkerError(f"there is no session '{session}'")
        self.stopped.append(session)
        self.say(script().transcript(7.0))
        self.say(status(at_s=6.5, state="ended", counters={"windows": 6}))
        self._scoring.start()

    def _score(self) -> None:
        """What the inference worker still says of windows that stopping made final."""
        self.say(*(script().prediction(seq, 1) for seq in range(2, 6)))

    def sessions(self) -> list[Session]:
        return [] if self.stopped else [Session("s", (), ())]

    def states(self) -> list[Any]:
        return self.workers

    def check(self) -> None:
        pass

    def close(self) -> None:
        self._scoring.cancel()
        self._publisher.close(0.5)


@pytest.fixture
def leaving(
    address: BusAddress, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Server, Leaving]]:
    """A server that keeps a session of which something was said already."""
    monkeypatch.setenv("TONALITY_DATA", str(tmp_path))
    runtime = Leaving(address)
    server = Server(cast(Runtime, runtime))
    try:
        server.keeper.keep("s", "", DAY_S)
        first = [script().prediction(0, 1), script().prediction(1, 1), script().prediction(2, 0)]
        pause = threading.Event()
        while sum(1 for _ in server.kept.lines("s")) < 3:  # zero, and the last revisions
            runtime.say(status(), *first)
            pause.wait(0.1)
        yield server, runtime
    finally:
        server.close()


def all_is_kept(store: KeptSessions) -> bool:
    windows = [(line["seq"], line["revision"]) for line in told(store, "prediction")]
    said_all = kept_words(store) == spans(script().words(5.0))
    return said_all and windows == [(seq, 1) for seq in range(6)]


def test_what_stopping_makes_final_is_kept(leaving: tuple[Server, Leaving]) -> None:
    server, runtime = leaving
    server.stop_session("s")
    assert runtime.stopped == ["s"]
    assert all_is_kept(server.kept)
    assert not server.keeper.keeps("s")


def test_what_the_servers_end_makes_final_is_kept(leaving: tuple[Server, Leaving]) -> None:
    server, runtime = leaving
    server.close()
    assert runtime.stopped == ["s"]
    assert all_is_kept(server.kept)


def test_a_session_that_ended_by_itself_can_be_deleted_and_one_that_runs_cannot(
    leaving: tuple[Server, Leaving],
) -> None:
    server, runtime = leaving
    runtime.workers = [SimpleNamespace(name="capture s me", session="s", state="running")]
    with pytest.raises(WorkerError, match="still being kept"):
        server.delete_kept("s")
    assert server.keeper.keeps("s")
    runtime.workers[0].state = "ended"
    server.delete_kept("s")
    assert not server.keeper.keeps("s")
    with pytest.raises(TonalityError, match="may have been deleted"):
        server.kept.find("s")
    runtime.workers = []


def test_a_session_that_cannot_be_stopped_is_kept_no_longer(
    leaving: tuple[Server, Leaving],
) -> None:
    server, _ = leaving
    server.keeper.keep("gone", "", DAY_S)
    with pytest.raises(WorkerError, match="no session 'gone'"):
        server.stop_session("gone")
    assert not server.keeper.keeps("gone")


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
    keeper.take(status())
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

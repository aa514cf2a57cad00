"""Media clocks that began anew: whoever watches sees one timeline with a gap."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from msgspec.structs import replace

from capture.config import CaptureConfig
from dashboard.clocks import HOP_S, LEAST_HOPS, Clocks
from dashboard.hub import Hub
from dashboard.keeper import Keeper
from dashboard.kept import KeptSessions
from dashboard.reviewing import review
from dashboard.runtime import Runtime
from dashboard.timeline import Timeline
from dashboard.watching import Watcher
from features.bus import BusAddress
from features.messages import Prediction, Status
from tests.test_hub import HandClock, address, status
from tests.workers.scripted import Script

__all__ = ["address"]

S = 1_000_000_000
BEGUN_NS = 50 * S  # when the first process's media clock read zero, monotonic


@pytest.fixture
def script() -> Script:
    return Script(CaptureConfig(session="s", participant="me"))


def of_process(pid: int, begun_ns: int) -> Status:
    return status(pid=pid, made_ns=begun_ns)


def window(script: Script, seq: int, begun_ns: int, late_s: float = 0.3) -> Prediction:
    """A live window of a process whose clock read zero at ``begun_ns``, told so much later."""
    plain = script.prediction(seq, 0)
    made_ns = begun_ns + round((plain.end_s + late_s) * S)
    return replace(plain, made_ns=made_ns, lag_ms={"total": late_s * 1000})


def test_a_worker_that_came_back_goes_on_where_time_is(script: Script) -> None:
    clocks, again_ns = Clocks(), BEGUN_NS + 30 * S
    clocks.moved(of_process(1, BEGUN_NS))
    before = [clocks.moved(window(script, seq, BEGUN_NS)) for seq in range(40)]
    assert before == [window(script, seq, BEGUN_NS) for seq in range(40)]
    clocks.moved(of_process(2, again_ns - 2 * S))
    after = [clocks.moved(window(script, seq, again_ns, late_s=1.7)) for seq in range(3)]
    assert [one.end_s for one in after] == [34.0, 34.5, 35.0]  # 30 s later, whatever the lag
    assert [one.seq for one in after] == [60, 61, 62]
    assert after[0].end_s - after[0].start_s == 4.0
    assert clocks.own_s("s", "me", 34.0) == 4.0
    assert clocks.own_s("s", "me", 20.0) == -10.0
    assert clocks.own_s("s", "you", 20.0) == 20.0


def test_what_a_dead_worker_still_left_behind_stays_where_it_belongs(script: Script) -> None:
    clocks, again_ns = Clocks(), BEGUN_NS + 30 * S
    clocks.moved(of_process(1, BEGUN_NS))
    clocks.moved(window(script, 40, BEGUN_NS))
    clocks.moved(of_process(2, again_ns))
    late = window(script, 41, BEGUN_NS, late_s=20.0)  # scored after the new process has spoken
    assert clocks.moved(late) == late
    assert clocks.moved(window(script, 0, again_ns)).seq == 60
    assert clocks.moved(replace(late, seq=42)).seq == 42
    clocks.moved(of_process(3, again_ns + 10 * S))
    assert clocks.moved(window(script, 0, again_ns + 20 * S)).seq == 100  # and once more


def test_windows_of_two_processes_never_touch_and_never_meet(script: Script) -> None:
    clocks = Clocks()
    clocks.moved(of_process(1, BEGUN_NS))
    last = clocks.moved(window(script, 500, BEGUN_NS))  # a file that is read faster than it plays
    clocks.moved(of_process(2, BEGUN_NS + S))
    first = clocks.moved(replace(window(script, 0, last.made_ns), made_ns=last.made_ns + S // 10))
    assert first.seq - last.seq == LEAST_HOPS
    assert first.end_s - last.end_s == LEAST_HOPS * HOP_S


def test_words_move_with_their_windows_and_pictures_too(script: Script) -> None:
    clocks, again_ns = Clocks(), BEGUN_NS + 30 * S
    clocks.moved(of_process(1, BEGUN_NS))
    clocks.moved(window(script, 20, BEGUN_NS))
    clocks.moved(of_process(2, again_ns))
    clocks.moved(window(script, 0, again_ns))
    own = replace(script.transcript(6.0), made_ns=again_ns + 6 * S)
    moved = clocks.moved(own)
    assert moved.stable_until_s == own.stable_until_s + 30.0
    for told, plain in ((moved.stable, own.stable), (moved.tentative, own.tentative)):
        assert [word.text for word in told] == [word.text for word in plain] != []
        assert [word.start_s for word in told] == [word.start_s + 30.0 for word in plain]
    picture = clocks.moved(replace(script.preview(6.0), made_ns=again_ns + 6 * S))
    assert picture.end_s == 36.0


def test_a_first_process_and_a_forgotten_session_are_told_as_they_are(script: Script) -> None:
    clocks = Clocks()
    for pid in (1, 2):  # the first died before it had seen anything
        clocks.moved(of_process(pid, BEGUN_NS))
    plain = window(script, 0, BEGUN_NS)
    assert clocks.moved(plain) == plain
    clocks.moved(of_process(3, BEGUN_NS + 10 * S))
    clocks.forget("s")
    assert clocks.moved(plain) == plain


def test_a_strip_waits_until_its_worker_gives_a_window_again(script: Script) -> None:
    timeline = Timeline()
    for pid in (1, 2):
        timeline.add(status(pid=pid))
        if pid == 1:
            timeline.add(script.prediction(5, 0))
            timeline.add(script.transcript(9.0))
    (strip,) = timeline.snapshot()["strips"]
    assert (strip["waits"], len(strip["predictions"])) == (True, 1)
    assert strip["words"]["tentative"] == [] != strip["words"]["stable"]
    timeline.add(script.prediction(4, 0))  # it was on its way when the worker died
    assert timeline.snapshot()["strips"][0]["waits"] is True
    timeline.add(script.prediction(30, 0))
    assert timeline.snapshot()["strips"][0]["waits"] is False


def test_page_and_kept_session_agree_on_when_it_was_after_a_restart(
    address: BusAddress, script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also on a mark that is set after the restart on a moment before it."""
    hub, store = Hub(address), KeptSessions(tmp_path)
    clock = HandClock()
    keeper = Keeper(address, store, clock)
    monkeypatch.setattr("dashboard.keeper.time.time", lambda: 1000.0 + clock.now_s)
    try:
        keeper.keep("s", "test", 3600.0)
        for pid, begun_ns in ((1, BEGUN_NS), (2, BEGUN_NS + 30 * S)):
            messages: list[Any] = [of_process(pid, begun_ns - S)]
            messages += [window(script, seq, begun_ns) for seq in range(10)]
            for message in messages:
                clock.now_s = message.made_ns / S
                hub.take(message)
                keeper.take(message)
        keeper.mark(hub.mark("s", "me", 5.0, "before"))
        keeper.mark(hub.mark("s", "me", 35.0, "after"))
        keeper.end("s")
    finally:
        keeper.close()
    (strip,) = json.loads(hub.snapshot())["strips"]
    (kept,) = review(store, "s")["participants"]
    seqs = [point["seq"] for point in strip["predictions"]]
    assert seqs == [*range(10), *range(60, 70)]
    assert [point[0] for point in kept["points"]] == pytest.approx(
        [point["end_s"] for point in strip["predictions"]]
    )
    told = [(mark["text"], mark["at_s"]) for mark in kept["marks"]]
    assert told == [("before", pytest.approx(5.0)), ("after", pytest.approx(35.0))]
    assert all(b > a for a, b in pairwise(seqs))


class Heard:
    """The bus and the runtime of a session in one, whose worker is over before its last window is scored."""

    lost = 0
    address = None

    def __init__(self, said: list[Any]) -> None:
        self._said = said

    def receive(self, timeout_s: float) -> Any:
        return SimpleNamespace(message=self._said.pop(0)) if self._said else None

    def states(self) -> list[Any]:
        own = SimpleNamespace(
            session="s", role="capture", state="running", restarts=1, over=len(self._said) < 2
        )
        return [own]

    def close(self) -> None:
        pass


def test_lines_in_the_terminal_go_on_too_and_end_with_the_last_process(
    script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    again_ns = BEGUN_NS + 30 * S
    said: list[Any] = [of_process(1, BEGUN_NS)]
    said += [replace(window(script, seq, BEGUN_NS), final=True) for seq in range(10)]
    said += [of_process(2, again_ns - S)]
    said += [replace(window(script, seq, again_ns), final=True) for seq in range(2)]
    said += [status(pid=2, state="ended", made_ns=again_ns + 9 * S, counters={"windows": 3})]
    last = replace(window(script, 2, again_ns), final=True)  # scored after its worker's end
    heard = Heard([*said, last])
    monkeypatch.setattr("dashboard.watching.Subscriber", lambda address, kinds: heard)
    watcher = Watcher(cast(Runtime, heard), "s", device=True)
    found = [m.seq for m in watcher.messages(None) if isinstance(m, Prediction)]
    assert found == [*range(10), 60, 61, 62]

"""Timeline and hub: bounded, newest revision wins, browsers that cannot follow begin anew."""

from __future__ import annotations

import asyncio
import json
import struct
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import numpy as np
import pytest
from msgspec.structs import replace

from capture.config import CaptureConfig
from dashboard.clients import FOLLOWER_QUEUE, Follower, Line, Wanted
from dashboard.hub import CLIENT_QUEUE, MAX_CLIENTS, Client, Hub
from dashboard.lines import KEYS, json_line, prediction_line
from dashboard.metrics import MOST, Metrics
from dashboard.timeline import KEPT_S, MAX_PARTICIPANTS, MAX_POINTS, Timeline, preview_frame
from features.broker import Broker
from features.bus import BusAddress, Publisher
from features.messages import Lamp, Status, Transcript
from features.samples import Word
from tests.workers.scripted import Script

DEADLINE_S = 10.0


@pytest.fixture
def script() -> Script:
    return Script(CaptureConfig(session="s", participant="me"))


@pytest.fixture
def address() -> Iterator[BusAddress]:
    broker = Broker()
    yield broker.start()
    broker.close()


def status(**changes: Any) -> Status:
    base = Status(
        session="s", participant="me", start_s=0, end_s=0, made_ns=1, worker="capture s me",
        role="capture", pid=1, state="running", lamps={"face": Lamp("present")},
    )  # fmt: skip
    return replace(base, **changes)


def strip_of(timeline: Timeline) -> dict[str, Any]:
    (strip,) = timeline.snapshot()["strips"]
    return strip


def eventually(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    pause = threading.Event()
    while not true():
        assert time.monotonic() < deadline, "not within the deadline"
        pause.wait(0.01)


def test_a_line_has_the_keys_of_the_command_line_and_nothing_else(script: Script) -> None:
    line = prediction_line(script.prediction(3, 1))
    assert tuple(line) == KEYS
    assert json.loads(json.dumps(line)) == line
    assert line["start_s"] == line["end_s"] - 4.0


def test_a_window_without_evidence_has_no_score_in_its_line(script: Script) -> None:
    nothing = next(p for p in (script.prediction(n, 1) for n in range(200)) if not p.present.any())
    line = prediction_line(nothing)
    assert (line["sentiment"], line["low"], line["high"]) == (None, None, None)


def test_a_higher_revision_replaces_a_lower_and_never_the_other_way(script: Script) -> None:
    timeline = Timeline()
    assert timeline.add(script.prediction(5, 1)) is not None
    assert timeline.add(script.prediction(5, 0)) is None
    assert timeline.add(script.prediction(5, 1)) is None
    assert [p["revision"] for p in strip_of(timeline)["predictions"]] == [1]


def test_windows_come_in_any_order_and_are_told_in_theirs(script: Script) -> None:
    timeline = Timeline()
    for seq in (3, 1, 2, 0):
        timeline.add(script.prediction(seq, 0))
    assert [p["seq"] for p in strip_of(timeline)["predictions"]] == [0, 1, 2, 3]


def test_ten_minutes_are_kept_and_not_more(script: Script) -> None:
    timeline = Timeline()
    for seq in range(1500):
        timeline.add(script.prediction(seq, 0))
        if seq % 50 == 0:
            timeline.add(script.transcript((seq + 8) * 0.5))
    strip = strip_of(timeline)
    ends = [p["end_s"] for p in strip["predictions"]]
    assert ends[-1] - ends[0] == KEPT_S
    assert strip["words"]["stable"][0][2] >= ends[-1] - KEPT_S - 30.0
    assert len(ends) <= MAX_POINTS


def test_a_flood_of_windows_at_one_moment_stays_bounded(script: Script) -> None:
    timeline = Timeline()
    for seq in range(MAX_POINTS + 100):
        timeline.add(replace(script.prediction(0, 0), seq=seq))
    kept = [p["seq"] for p in strip_of(timeline)["predictions"]]
    assert len(kept) == MAX_POINTS
    assert kept[-1] == MAX_POINTS + 99


def test_stable_words_are_joined_once_and_tentative_ones_replaced() -> None:
    timeline = Timeline()
    one, two, three = (Word(w, i * 1.0, i + 0.5) for i, w in enumerate(("one", "two", "three")))

    def told(stable: tuple[Word, ...], tentative: tuple[Word, ...], until_s: float) -> Any:
        return timeline.add(
            Transcript(session="s", participant="me", start_s=0, end_s=until_s, made_ns=0,
                       stable=stable, tentative=tentative, stable_until_s=until_s)
        )  # fmt: skip

    assert [w[0] for w in told((one,), (two,), 1.0)["stable"]] == ["one"]
    increment = told((one, two), (three,), 2.0)
    assert [w[0] for w in increment["stable"]] == ["two"]
    assert [w[0] for w in increment["tentative"]] == ["three"]
    words = strip_of(timeline)["words"]
    assert [w[0] for w in words["stable"]] == ["one", "two"]


def test_a_new_process_is_told_and_leaves_the_strip_that_was(script: Script) -> None:
    timeline = Timeline()
    timeline.add(status())
    timeline.add(script.prediction(5, 0))
    assert timeline.add(status())["restarted"] is False  # type: ignore[index, call-overload]
    told = timeline.add(status(pid=2))
    assert isinstance(told, dict) and told["restarted"] is True
    assert [point["seq"] for point in strip_of(timeline)["predictions"]] == [5]
    assert "restarted" not in timeline.snapshot()["statuses"][0]


def test_participants_are_bounded_and_counted(script: Script) -> None:
    timeline = Timeline()
    for n in range(MAX_PARTICIPANTS + 3):
        timeline.add(replace(script.prediction(0, 0), participant=f"p{n}"))
    assert len(timeline.strips) == MAX_PARTICIPANTS
    assert timeline.refused == 3


def test_a_preview_frame_can_be_taken_apart_again(script: Script) -> None:
    preview = script.preview(1.0)
    frame = preview_frame(preview)
    (length,) = struct.unpack_from("<I", frame)
    header = json.loads(frame[4 : 4 + length])
    begin = 4 + length
    assert begin % 4 == 0
    points = np.frombuffer(frame, "<f4", header["landmarks"] * 2, begin).reshape(-1, 2)
    np.testing.assert_array_equal(points, preview.landmarks)
    assert frame[begin + points.nbytes :] == preview.jpeg


def with_client(act: Callable[[Client], None]) -> None:
    async def run() -> None:
        act(Client(asyncio.get_running_loop()))

    asyncio.run(run())


def test_a_browser_gets_a_snapshot_first_then_what_follows() -> None:
    def act(client: Client) -> None:
        client.offer(b"before the snapshot, so in it")
        assert client.take(lambda: b"snapshot") == ["snapshot"]
        client.offer(b"after")
        assert client.take(lambda: b"snapshot") == ["after"]
        assert client.take(lambda: b"snapshot") == []

    with_client(act)


def test_a_browser_that_cannot_follow_begins_anew_and_the_loss_is_counted() -> None:
    def act(client: Client) -> None:
        client.take(lambda: b"first")
        for n in range(CLIENT_QUEUE + 1):
            client.offer(b"%d" % n)
        assert client.dropped == CLIENT_QUEUE + 1
        assert client.take(lambda: b"again") == ["again"]

    with_client(act)


def test_of_waiting_pictures_the_newest_wins_and_the_loss_is_counted() -> None:
    def act(client: Client) -> None:
        client.take(lambda: b"")
        client.offer_preview(("s", "me"), b"old")
        client.offer_preview(("s", "you"), b"other")
        client.offer_preview(("s", "me"), b"new")
        assert client.take(lambda: b"") == [b"new", b"other"]
        assert client.dropped == 1

    with_client(act)


def test_the_hub_hears_a_real_bus_and_hands_it_to_browsers(
    address: BusAddress, script: Script
) -> None:
    asked: list[dict[str, Any]] = [{"name": "inference", "state": "running"}]
    hub = Hub(address, lambda: asked).start()
    publisher = Publisher(address, "test")
    try:
        publisher.send(status())
        publisher.send(script.prediction(0, 0))
        publisher.send(script.transcript(4.0))
        publisher.send(script.preview(4.0))
        eventually(lambda: hub.health()["received"] >= 4)

        async def browser() -> list[bytes | str]:
            client = hub.join(asyncio.get_running_loop())
            assert client is not None
            first = client.take(hub.snapshot)
            publisher.send(script.prediction(1, 0))
            while not (more := client.take(hub.snapshot)):
                await client.wait(1.0)
            hub.leave(client)
            return first + more

        snapshot, picture, increment = asyncio.run(asyncio.wait_for(browser(), DEADLINE_S))[:3]
        whole = msgspec.json.decode(snapshot)
        assert whole["type"] == "snapshot"
        assert [p["seq"] for p in whole["strips"][0]["predictions"]] == [0]
        assert whole["statuses"][0]["lamps"]["face"]["state"] == "present"
        assert isinstance(picture, bytes)
        assert msgspec.json.decode(increment)["seq"] == 1
        eventually(lambda: b'"name":"inference"' in hub.snapshot())
        assert hub.health()["browsers"] == 0
    finally:
        publisher.close()
        hub.close()
    assert not hub.alive


class HandClock:
    """A clock that a test turns by hand."""

    now_s = 0.0

    def now_ns(self) -> int:
        return round(self.now_s * 1e9)

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


def test_previews_come_at_ten_a_second_at_most(address: BusAddress, script: Script) -> None:
    clock = HandClock()
    hub = Hub(address, clock=clock)
    for _ in range(60):
        clock.sleep(1 / 30)
        hub.take(script.preview(clock.now_s))
    assert hub.health()["received"] == 20
    assert hub.health()["previews_skipped"] == 40


def test_browsers_are_bounded(address: BusAddress) -> None:
    async def run() -> None:
        hub = Hub(address)
        loop = asyncio.get_running_loop()
        assert all(hub.join(loop) is not None for _ in range(MAX_CLIENTS))
        assert hub.join(loop) is None

    asyncio.run(run())


def test_a_forgotten_session_is_gone_from_snapshot_and_browsers(
    address: BusAddress, script: Script
) -> None:
    hub = Hub(address)
    hub.take(script.prediction(0, 0))
    hub.take(script.preview(0.0))
    hub.take(status())

    async def run() -> list[bytes | str]:
        client = hub.join(asyncio.get_running_loop())
        assert client is not None
        client.take(hub.snapshot)
        hub.forget("s")
        return client.take(hub.snapshot)

    assert json.loads(asyncio.run(run())[0]) == {"type": "forget", "session": "s"}
    whole = json.loads(hub.snapshot())
    assert (whole["strips"], whole["statuses"]) == ([], [])


def test_a_session_that_only_ever_failed_is_known_and_can_be_forgotten(address: BusAddress) -> None:
    hub = Hub(address)
    hub.take(status(session="busy", state="failed"))
    hub.take(status(session="", participant="", worker="inference", role="inference"))
    assert hub.sessions() == ["busy"]
    hub.forget("busy")
    assert hub.sessions() == []
    assert [s["worker"] for s in json.loads(hub.snapshot())["statuses"]] == ["inference"]


def test_a_program_that_cannot_follow_loses_the_oldest_and_is_told_once() -> None:
    async def run() -> None:
        follower = Follower(asyncio.get_running_loop())
        for n in range(FOLLOWER_QUEUE + 3):
            follower.offer(Line(str(n), "{}"))
        lost, lines = follower.take()
        assert (lost, follower.dropped, len(lines)) == (3, 3, FOLLOWER_QUEUE)
        assert lines[0].name == "3"
        assert follower.take() == (0, [])

    asyncio.run(run())


def test_programs_get_what_they_want_and_their_losses_outlive_them(
    address: BusAddress, script: Script
) -> None:
    async def run() -> None:
        hub = Hub(address)
        loop = asyncio.get_running_loop()
        every, last = hub.follow(loop), hub.follow(loop, Wanted("s", "me", final=True))
        other = hub.follow(loop, Wanted(participant="you"))
        assert every is not None and last is not None and other is not None
        for seq in range(2):
            for revision in (0, 1, 0):  # one that comes late is not told again
                hub.take(script.prediction(seq, revision))
        assert [line.name for line in every.take()[1]] == [
            "s/me/0.0",
            "s/me/0.1",
            "s/me/1.0",
            "s/me/1.1",
        ]
        assert [line.text for line in last.take()[1]] == [
            json_line(script.prediction(seq, 1)) for seq in range(2)
        ]
        assert other.take() == (0, [])
        assert hub.health()["followers"] == 3
        every.dropped = 5
        hub.leave(every)
        hub.leave(every)
        assert (hub.health()["followers"], hub.health()["browsers_dropped"]) == (2, 5)
        while hub.follow(loop) is not None:
            pass
        assert hub.health()["followers"] == MAX_CLIENTS

    asyncio.run(run())


def test_a_browser_may_go_without_pictures(address: BusAddress, script: Script) -> None:
    async def run() -> None:
        hub = Hub(address)
        hub.take(script.preview(0.0))
        client = hub.join(asyncio.get_running_loop(), pictures=False)
        assert client is not None
        hub.take(script.preview(1.0))
        assert [type(one) for one in client.take(hub.snapshot)] == [str]

    asyncio.run(run())


def test_ages_are_told_to_whoever_comes(address: BusAddress, script: Script) -> None:
    clock = HandClock()
    hub = Hub(address, clock=clock)
    clock.sleep(5.0)
    hub.take(replace(script.prediction(8, 0), made_ns=clock.now_ns()))
    clock.sleep(2.5)
    assert json.loads(hub.snapshot())["strips"][0]["age_s"] == 2.5
    (now,) = hub.participants(0.0)
    assert (now.age_s, now.latest is not None, now.predictions) == (2.5, True, [])
    assert hub.participants(0.0, Wanted(final=True))[0].latest is None
    text = hub.metrics.text([], hub.health()).decode()
    assert 'tonality_prediction_age_seconds{participant="me",session="s"} 2.5' in text
    hub.forget("s")
    assert "tonality_prediction_age_seconds{" not in hub.metrics.text([], hub.health()).decode()


def test_figures_of_many_participants_stay_bounded(script: Script) -> None:
    metrics = Metrics()
    for n in range(3 * MOST):
        metrics.see(replace(script.prediction(0, 0), participant=f"p{n}"))
        metrics.see(status(worker=f"w{n}"))
    lines = metrics.text([], {}).decode().splitlines()
    assert sum(line.startswith("tonality_prediction_age_seconds{") for line in lines) == MOST
    assert sum(line.startswith("tonality_modality_age_seconds{") for line in lines) <= 3 * MOST
    assert sum(line.startswith("tonality_heartbeat_age_seconds{") for line in lines) == MOST

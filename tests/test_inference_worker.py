"""The inference worker: what it scores under load, and the real process over a real bus."""

from __future__ import annotations

import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import msgspec
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from features.assets import Assets
from features.broker import Broker
from features.bus import BusAddress, Publisher, Received, Subscriber
from features.harness import Setup
from features.messages import AnyMessage, Prediction, Status, Window
from features.spec import LIVE
from features.wire import Header
from model.predictor import Predictor
from model.worker import BATCH, InferenceWorker, WindowBacklog, made_up_window
from tests.made_windows import make_window

DEADLINE_S = 90.0


def names(windows: list[Window]) -> list[tuple[str, int, int]]:
    return [(w.participant, w.seq, w.revision) for w in windows]


def bare(participant: str, seq: int, revision: int = 0) -> Window:
    return msgspec.structs.replace(
        make_window(participant=participant, seq=seq, revision=revision), streams={}, statistics={}
    )


def test_without_load_everything_is_scored_in_order() -> None:
    backlog = WindowBacklog(limit=4)
    for seq in (1, 0, 2):
        backlog.add(bare("a", seq))
    backlog.add(bare("b", 7))
    taken = names(backlog.take())
    assert [t for t in taken if t[0] == "a"] == [("a", 0, 0), ("a", 1, 0), ("a", 2, 0)]
    assert ("b", 7, 0) in taken
    assert (backlog.skipped, backlog.superseded, len(backlog)) == (0, 0, 0)


def test_a_higher_revision_replaces_the_lower_that_still_waits() -> None:
    backlog = WindowBacklog()
    for revision in (0, 2, 1):
        backlog.add(bare("a", 5, revision))
    assert names(backlog.take()) == [("a", 5, 2)]
    assert backlog.superseded == 2


def test_under_load_the_newest_of_each_participant_wins_and_the_rest_is_counted() -> None:
    backlog = WindowBacklog(limit=4)
    for seq in range(5):
        backlog.add(bare("a", seq))
    backlog.add(bare("b", 1))
    assert sorted(names(backlog.take())) == [("a", 4, 0), ("b", 1, 0)]
    assert backlog.skipped == 4
    backlog.add(bare("a", 3, revision=1))
    assert names(backlog.take()) == [("a", 3, 1)], "a late revision counts as soon as there is room"


@given(
    limit=st.integers(1, 8),
    arrivals=st.lists(
        st.tuples(st.sampled_from("abc"), st.integers(0, 6), st.integers(0, 3)), max_size=40
    ),
)
@settings(max_examples=60, deadline=None)
def test_nothing_is_lost_without_being_counted(
    limit: int, arrivals: list[tuple[str, int, int]]
) -> None:
    base = {p: bare(p, 0) for p in "abc"}
    backlog = WindowBacklog(limit)
    for participant, seq, revision in arrivals:
        backlog.add(msgspec.structs.replace(base[participant], seq=seq, revision=revision))
    taken = backlog.take()
    assert len(arrivals) == len(taken) + backlog.skipped + backlog.superseded
    newest = {p: max((s, r) for q, s, r in arrivals if q == p) for p in {a[0] for a in arrivals}}
    for participant, best in newest.items():
        assert best in [(w.seq, w.revision) for w in taken if w.participant == participant]


@pytest.fixture(scope="module")
def predictor(assets: Assets) -> Iterator[Predictor]:
    threads = torch.get_num_threads()
    yield Predictor(device="cpu", assets=assets)
    torch.set_num_threads(threads)


def received(window: Window) -> Received:
    return Received("window/s/me", Header(1, "test", 0), window)


def test_a_window_that_does_not_fit_is_counted_and_named_and_the_others_are_scored(
    predictor: Predictor,
) -> None:
    published: list[AnyMessage] = []
    now = [0]

    def publish(message: AnyMessage) -> bool:
        published.append(message)
        return True

    worker = InferenceWorker(predictor, publish, lambda: now[0])
    foreign = make_window(spec=msgspec.structs.replace(LIVE, hop_s=0.25))
    broken = msgspec.structs.replace(make_window(seq=1), streams={})
    worker.accept([received(w) for w in (foreign, broken, make_window(seq=2))])
    out = worker.work()
    assert [p.seq for p in out] == [2] and published == out
    assert worker.counts["windows"] == 3
    assert worker.counts["refused windows"] == 2
    assert worker.counts["predictions"] == 1
    assert "without the stream" in worker.refusal
    now[0] = 11_000_000_000
    assert worker.refusal == "", "not for ever"
    assert worker.gauges["batch_windows"] == 1.0


def test_more_than_a_batch_of_participants_all_get_their_newest(predictor: Predictor) -> None:
    worker = InferenceWorker(predictor, lambda message: True)
    people = [f"p{k}" for k in range(BATCH + 3)]
    base = make_window()
    for name in people:
        for seq in (0, 1):
            worker.backlog.add(msgspec.structs.replace(base, participant=name, seq=seq))
    out = worker.work()
    assert sorted((p.participant, p.seq) for p in out) == sorted((name, 1) for name in people)
    assert worker.backlog.skipped == len(people)


def test_the_warm_up_window_fits_every_spec_and_uses_every_subset(predictor: Predictor) -> None:
    out = predictor.predict([made_up_window(LIVE)], lambda: 0)[0]
    assert out.present.text and out.present.voice and out.present.face
    assert None not in out.alone.values()


class Listener:
    """Collects what a subscriber receives in a thread, and lets tests wait for a condition."""

    def __init__(self, address: BusAddress) -> None:
        self.messages: queue.Queue[AnyMessage] = queue.Queue(10_000)
        self.seen: list[AnyMessage] = []
        self._subscriber = Subscriber(address, ("prediction", "status"))
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.is_set():
            item = self._subscriber.receive(0.1)
            if item is not None:
                self.messages.put(item.message)

    def wait(self, kind: type[AnyMessage], **fields: object) -> AnyMessage:
        deadline = time.monotonic() + DEADLINE_S
        while (left_s := deadline - time.monotonic()) > 0:
            try:
                message = self.messages.get(timeout=left_s)
            except queue.Empty:
                break
            self.seen.append(message)
            if isinstance(message, kind) and all(
                getattr(message, k) == v for k, v in fields.items()
            ):
                return message
        raise AssertionError(f"no {kind.__name__} with {fields} came; seen: {self.seen[-5:]}")

    def close(self) -> None:
        self._stop.set()
        self._thread.join(5)
        self._subscriber.close()


def start_worker(address: BusAddress, **config: str) -> subprocess.Popen[bytes]:
    """The real process, set up as the supervisor does; its standard input stays open."""
    raw = msgspec.Raw(msgspec.json.encode({"device": "cpu", **config}))
    setup = Setup(name="inference", role="inference", bus=address, config=raw)
    process = subprocess.Popen(
        [sys.executable, "-m", "model.worker"], stdin=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdin is not None
    process.stdin.write(msgspec.json.encode(setup) + b"\n")
    process.stdin.flush()
    return process


def end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait(5)
    for pipe in (process.stdin, process.stderr):
        assert pipe is not None
        pipe.close()


def test_the_process_scores_what_comes_over_the_bus_and_ends_with_its_input(
    assets: Assets,
) -> None:
    assets.folder("gte-small")
    broker = Broker()
    address = broker.start()
    listener = Listener(address)
    publisher = Publisher(address, "capture")
    process = start_worker(address)
    try:
        listener.wait(Status, state="starting")
        listener.wait(Status, state="running")
        foreign = make_window(seq=8, spec=msgspec.structs.replace(LIVE, hop_s=0.25))
        for window in (foreign, make_window(seq=9, participant="you")):
            assert publisher.send(window)
        prediction = listener.wait(Prediction, seq=9, participant="you")
        assert isinstance(prediction, Prediction) and prediction.sentiment is not None
        status = listener.wait(Status, state="running")
        while isinstance(status, Status) and status.counters["predictions"] < 1:
            status = listener.wait(Status, state="running")
        assert isinstance(status, Status)
        assert status.counters["refused windows"] == 1
        assert foreign.spec in status.detail
        assert status.gauges["batch_ms_p95"] > 0
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(20) == 0
        listener.wait(Status, state="ended")
    finally:
        end(process)
        publisher.close()
        listener.close()
        broker.close()


def test_a_checkpoint_that_is_not_there_ends_the_process_with_one_line() -> None:
    broker = Broker()
    process = start_worker(broker.start(), checkpoint="/nowhere")
    try:
        assert process.wait(DEADLINE_S) == 2
        assert process.stderr is not None
        last = process.stderr.read().decode().strip().splitlines()[-1]
        assert last.startswith("no checkpoint in /nowhere")
    finally:
        end(process)
        broker.close()

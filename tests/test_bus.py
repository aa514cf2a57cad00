"""The bus over real loopback sockets: order, gaps, last state, refusals, hostile frames."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

import pytest
import zmq
from msgspec.structs import replace

from features import wire
from features.broker import MAX_KEPT, Broker
from features.bus import BusAddress, Publisher, Received, Subscriber
from features.errors import BindError, MessageError, WorkerError
from features.messages import AnyMessage, Prediction, Window
from features.sockets import MAX_FRAME_BYTES, QUEUED, topic_of
from features.threads import OwnedThread
from tests.examples import prediction, preview, status, transcript, until, window


@dataclass
class Bus:
    broker: Broker
    address: BusAddress
    closing: ExitStack

    def publisher(self, origin: str = "maker") -> Publisher:
        publisher = Publisher(self.address, origin)
        self.closing.callback(publisher.close)
        return publisher

    def subscriber(self, *kinds: str, session: str | None = None, hwm: int = 256) -> Subscriber:
        subscriber = Subscriber(self.address, kinds, session, hwm)
        self.closing.callback(subscriber.close)
        return subscriber

    def raw(self) -> zmq.Socket[bytes]:
        """A socket that sends whatever it likes, and is known to be heard."""
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.closing.callback(context.destroy, 0)
        socket = context.socket(zmq.XPUB)
        socket.connect(self.address.publish)
        assert socket.poll(10_000)
        socket.recv()
        return socket


@pytest.fixture
def bus() -> Iterator[Bus]:
    broker = Broker()
    with ExitStack() as closing:
        closing.callback(broker.close)
        yield Bus(broker, broker.start(), closing)
        broker.check()


def take(subscriber: Subscriber, count: int) -> list[Received]:
    received = [subscriber.receive(20.0) for _ in range(count)]
    assert None not in received
    return [r for r in received if r is not None]


def test_a_real_window_arrives_whole_and_readonly(bus: Bus) -> None:
    subscriber, sent = bus.subscriber("window"), window(3)
    assert bus.publisher().send(sent)
    received = take(subscriber, 1)[0]
    assert received.topic == "window/s/me"
    assert (received.header.origin, received.header.number) == ("maker", 0)
    got = received.message
    assert isinstance(got, Window)
    for name, stream in sent.streams.items():
        assert got.streams[name].values.tobytes() == stream.values.tobytes()
        assert not got.streams[name].values.flags.writeable


def test_predictions_of_two_participants_arrive_in_order(bus: Bus) -> None:
    subscriber, publisher = bus.subscriber("prediction"), bus.publisher()
    for seq in range(100):
        assert publisher.send(prediction(seq, participant="ann"))
        assert publisher.send(prediction(seq, participant="bo"))
    messages = [r.message for r in take(subscriber, 200)]
    for name in ("ann", "bo"):
        mine = [m for m in messages if isinstance(m, Prediction) and m.participant == name]
        assert [m.seq for m in mine] == list(range(100))
    assert subscriber.lost == 0


def test_only_the_asked_session_and_types_arrive(bus: Bus) -> None:
    subscriber, publisher = bus.subscriber("prediction", session="s1"), bus.publisher()
    for session in ("s1", "s10", "s"):
        assert publisher.send(prediction(session=session))
        assert publisher.send(transcript(session=session))
    assert publisher.send(prediction(1, session="s1"))
    messages = [r.message for r in take(subscriber, 2)]
    assert [m.session for m in messages] == ["s1", "s1"]
    with pytest.raises(MessageError, match="orders"):
        bus.subscriber("orders")


def test_a_late_subscriber_gets_the_last_state_at_once(bus: Bus) -> None:
    everything = ("status", "transcript", "preview", "prediction", "window")
    early, publisher = bus.subscriber(*everything), bus.publisher()
    states: list[AnyMessage] = [status(state="starting"), status(state="running"), transcript()]
    states += [preview(), prediction(1), prediction(2), prediction(7, participant="bo"), window()]
    assert all(publisher.send(message) for message in states)
    take(early, 8)
    late = bus.subscriber(*everything)
    topics = {r.topic: r.message for r in late.drain()}
    assert set(topics) == {
        "status/s/w",
        "transcript/s/me",
        "preview/s/me",
        "prediction/s/me",
        "prediction/s/bo",
    }
    assert topics["status/s/w"].state == "running"  # type: ignore[union-attr]
    assert topics["prediction/s/me"].seq == 2  # type: ignore[union-attr]


def test_what_is_sent_again_for_a_newcomer_is_not_new_to_others(bus: Bus) -> None:
    early, publisher = bus.subscriber("status"), bus.publisher()
    publisher.send(status())
    take(early, 1)
    late = [bus.subscriber("status") for _ in range(3)]
    assert [len(s.drain()) for s in late] == [1, 1, 1]
    publisher.send(status(state="paused"))
    assert take(early, 1)[0].header.number == 1
    assert early.repeated >= 3
    assert (early.lost, early.gaps) == (0, {})


def test_a_publisher_that_begins_again_is_neither_a_gap_nor_a_repetition(bus: Bus) -> None:
    subscriber = bus.subscriber("status")
    for _ in range(2):
        publisher = bus.publisher("same")
        for state in ("starting", "running", "ended"):
            publisher.send(status(state=state))
        take(subscriber, 3)
    for _ in range(2):  # even where each said a single thing
        bus.publisher("single").send(status("x"))
        take(subscriber, 1)
    assert (subscriber.lost, subscriber.repeated) == (0, 0)


def test_a_socket_that_is_full_refuses_and_the_reader_sees_the_gap(bus: Bus) -> None:
    subscriber, publisher = bus.subscriber("transcript", hwm=5000), bus.publisher()
    message = replace(transcript(), stable=transcript().stable * 100)
    with bus.broker._lock:  # it cannot keep states now, so it does not forward
        while publisher.refused < 10:
            publisher.send(message)
            assert publisher.sent < 100_000, "the socket never refused"
    numbers = []
    until(lambda: bus.broker.forwarded == publisher.sent)
    while (received := subscriber.receive(0.2)) is not None:
        numbers.append(received.header.number)
    until(lambda: publisher.send(message))  # what follows shows the gap
    numbers.append(take(subscriber, 1)[0].header.number)
    assert numbers == sorted(set(numbers))
    assert numbers[-1] + 1 == publisher.sent + publisher.refused == len(numbers) + subscriber.lost
    assert subscriber.lost >= 10
    assert subscriber.gaps == {("maker", "transcript/s/me"): subscriber.lost}


def test_a_slow_reader_loses_and_knows_how_many(bus: Bus) -> None:
    slow, publisher = bus.subscriber("prediction", hwm=1), bus.publisher()
    large = replace(prediction(), text="word " * 20_000)
    total = 800
    for _ in range(total):
        until(lambda: publisher.send(large))
    until(lambda: bus.broker.forwarded >= total)
    got = 0
    while slow.receive(0.2) is not None:
        got += 1
    until(lambda: publisher.send(prediction()))  # small again: the last one shows what is missing
    got += len(take(slow, 1))
    assert got < total
    assert got + slow.lost == total + 1 + publisher.refused


def test_hostile_frames_are_counted_and_passed_over(bus: Bus) -> None:
    subscriber, raw = bus.subscriber("prediction", "status"), bus.raw()
    topic = b"prediction/s/me"
    header, body = (bytes(f) for f in wire.encode(prediction(), "hostile", 0))
    raw.send_multipart([topic, header, body[:-3]])
    raw.send_multipart([topic, b"\xff\xff", body])
    raw.send_multipart([topic, header, body, *[b"x"] * 40])
    raw.send_multipart([b"prediction/other/me", header, body])
    raw.send_multipart([b"status/s/me", header, body])
    raw.send_multipart([topic + b"/" + b"x" * 2000, header, body])
    raw.send_multipart([topic])
    raw.send_multipart([b""])
    raw.send_multipart([topic] * 100_000)
    raw.send_multipart([topic, header, body])
    good = take(subscriber, 1)[0]
    assert good.header.origin == "hostile"
    assert subscriber.malformed == 4
    assert bus.broker.malformed == 5
    bus.broker.check()


def test_a_frame_beyond_the_limit_ends_that_connection_only(bus: Bus) -> None:
    subscriber, publisher, raw = bus.subscriber("status"), bus.publisher(), bus.raw()
    good = [b"status/s/w", *map(bytes, wire.encode(status(), "once hostile", 0))]
    raw.send_multipart([b"status/s/w", b"", bytes(MAX_FRAME_BYTES + 1)])
    assert publisher.send(status())
    assert take(subscriber, 1)[0].header.origin == "maker"

    def comes_back() -> Received | None:  # it may connect again, and be good
        raw.send_multipart(good)
        return subscriber.receive(0.05)

    assert until(comes_back).header.origin == "once hostile"
    assert (subscriber.malformed, bus.broker.malformed) == (0, 0)


def test_the_kept_states_are_bounded_and_forget_a_session(bus: Bus) -> None:
    subscriber, publisher = bus.subscriber("transcript"), bus.publisher()
    for number in range(MAX_KEPT + 20):
        until(lambda n=number: publisher.send(transcript(participant=str(n))))
        take(subscriber, 1)
    assert bus.broker.cached == MAX_KEPT
    publisher.send(transcript(session="s2"))
    take(subscriber, 1)
    bus.broker.forget("s")
    assert bus.broker.cached == 1
    late = bus.subscriber("transcript")
    assert [r.message.session for r in late.drain()] == ["s2"]
    assert bus.broker.counters()["forwarded"] == MAX_KEPT + 21


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "localhost", "*", "::", "eth0", ""])
def test_addresses_off_loopback_are_refused(host: str) -> None:
    with pytest.raises(BindError, match="refused until keys exist"):
        Broker(host)
    far = BusAddress(f"tcp://{host}:5555", f"tcp://{host}:5556")
    with pytest.raises(BindError, match="refused until keys exist"):
        Publisher(far, "maker")
    with pytest.raises(BindError, match="refused until keys exist"):
        Subscriber(far)


def test_the_ports_are_bound_to_loopback_alone(bus: Bus) -> None:
    import psutil

    ports = {int(end.rpartition(":")[2]) for end in (bus.address.publish, bus.address.subscribe)}
    bound = {c.laddr for c in psutil.Process().net_connections("tcp") if c.status == "LISTEN"}
    assert {address.ip for address in bound if address.port in ports} == {"127.0.0.1"}
    assert ports <= {address.port for address in bound}


@pytest.mark.parametrize("name", ["a/b", "a\nb", "x" * 2000])
def test_names_that_would_break_topics_are_refused(name: str) -> None:
    with pytest.raises(MessageError):
        topic_of(prediction(session=name))


def test_without_a_broker_sending_is_refused_and_receiving_ends() -> None:
    broker = Broker()
    address = broker.start()
    broker.close()
    broker.close()
    with pytest.raises(WorkerError):
        broker.check()
    publisher = Publisher(address, "maker", connect_s=0.05)
    subscriber = Subscriber(address, ["status"], connect_s=0.05)
    assert not publisher.send(status())
    assert publisher.refused == 1
    assert subscriber.receive(0.05) is None
    publisher.close()
    publisher.close()
    assert not publisher.send(status())
    subscriber.close()
    subscriber.close()


def test_what_is_forgotten_without_being_closed_does_not_hang_the_collector(bus: Bus) -> None:
    for _ in range(5):
        ends = [Publisher(bus.address, "x"), Subscriber(bus.address), Broker()]
        for end in ends:
            end.cycle = [end, ends]  # type: ignore[union-attr]
        del ends, end

    def collect(stop: threading.Event) -> None:
        gc.collect()

    collector = OwnedThread("collector", collect).start()
    assert collector.join(20.0), "the collector waits for a context"
    collector.check()


def test_a_publisher_serves_many_threads(bus: Bus) -> None:
    subscriber, publisher = bus.subscriber("prediction", hwm=2000), bus.publisher()

    def send(name: str) -> None:
        for seq in range(50):
            message = prediction(seq, participant=name)
            until(partial(publisher.send, message))

    threads = [threading.Thread(target=send, args=(str(n),)) for n in range(4)]
    for thread in threads:
        thread.start()
    received = take(subscriber, 200)
    for thread in threads:
        thread.join(20.0)
    assert (subscriber.lost, subscriber.malformed) == (publisher.refused, 0)
    assert len({(r.topic, r.header.number) for r in received}) == 200


def test_every_type_of_message_has_a_declared_mark() -> None:
    kinds = {m.__struct_config__.tag for m in (window(), prediction(), transcript(), preview())}
    assert kinds | {"status"} == set(QUEUED)

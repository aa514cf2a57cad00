"""Bounded queues: the declared item is dropped, every drop is counted, every wait ends."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.queues import BoundedQueue, Closed, DropPolicy
from features.threads import OwnedThread


def taken(queue: BoundedQueue[int]) -> list[int]:
    items = []
    while len(queue):
        item = queue.get(0.0)
        assert item is not None
        items.append(item)
    return items


@given(size=st.integers(1, 5), items=st.lists(st.integers(), max_size=20))
def test_newest_wins_keeps_the_last_and_counts_the_rest(size: int, items: list[int]) -> None:
    queue: BoundedQueue[int] = BoundedQueue(size, DropPolicy.NEWEST_WINS)
    assert all(queue.put(item) for item in items)
    assert queue.dropped == max(0, len(items) - size)
    assert taken(queue) == items[-size:]


@given(size=st.integers(1, 5), items=st.lists(st.integers(), max_size=20))
def test_refuse_keeps_the_first_and_counts_the_rest(size: int, items: list[int]) -> None:
    queue: BoundedQueue[int] = BoundedQueue(size, DropPolicy.REFUSE)
    assert [queue.put(item) for item in items] == [i < size for i in range(len(items))]
    assert queue.dropped == max(0, len(items) - size)
    assert taken(queue) == items[:size]


def test_block_gives_up_after_its_time_without_a_drop() -> None:
    queue: BoundedQueue[int] = BoundedQueue(1, DropPolicy.BLOCK)
    assert queue.put(1)
    assert not queue.put(2, timeout_s=0.02)
    assert not queue.put(2, timeout_s=-1.0)
    assert (taken(queue), queue.dropped) == ([1], 0)


def test_block_loses_nothing_and_keeps_the_order_between_threads() -> None:
    queue: BoundedQueue[int] = BoundedQueue(3, DropPolicy.BLOCK)

    def produce(stop: threading.Event) -> None:
        for item in range(2000):
            assert queue.put(item, timeout_s=20.0)

    producer = OwnedThread("producer", produce, on_exit=queue.close).start()
    got = []
    with pytest.raises(Closed):
        while True:
            got.append(queue.get(20.0))
    producer.close()
    assert got == list(range(2000))
    assert queue.dropped == 0


def test_an_empty_queue_gives_none_in_time() -> None:
    queue: BoundedQueue[int] = BoundedQueue(1, DropPolicy.BLOCK)
    assert queue.get(0.0) is None
    assert queue.get(0.02) is None


def test_close_wakes_who_waits_and_leaves_what_is_queued() -> None:
    full: BoundedQueue[int] = BoundedQueue(1, DropPolicy.BLOCK)
    empty: BoundedQueue[int] = BoundedQueue(1, DropPolicy.BLOCK)
    full.put(1)
    results: list[object] = []
    putting = OwnedThread("put", lambda stop: results.append(full.put(2, timeout_s=30.0))).start()
    getting = OwnedThread("get", lambda stop: results.append(empty.get(30.0))).start()
    full.close()
    empty.close()
    assert putting.join(10.0)
    assert getting.join(10.0)
    assert results == [False]
    assert isinstance(getting.error, Closed)
    assert (full.closed, full.put(3), full.get(0.0)) == (True, False, 1)
    with pytest.raises(Closed):
        full.get(0.0)


def test_clear_counts_what_it_throws_away() -> None:
    queue: BoundedQueue[int] = BoundedQueue(4, DropPolicy.BLOCK)
    for item in range(3):
        queue.put(item)
    assert (queue.clear(), queue.dropped, len(queue)) == (3, 3, 0)


def test_a_queue_without_room_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        BoundedQueue(0, DropPolicy.BLOCK)

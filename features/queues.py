"""Bounded queues with a declared drop policy and a count of what was dropped."""

from __future__ import annotations

import threading
import time
from collections import deque
from enum import Enum
from typing import Generic, TypeVar

T = TypeVar("T")


class DropPolicy(Enum):
    """What a full queue does with one item more."""

    NEWEST_WINS = "newest wins"  # the oldest is dropped: pictures, windows
    REFUSE = "refuse"  # the new one is dropped and counted: where order matters more than currency
    BLOCK = "block"  # the producer waits: files read as fast as possible, sound, control


class Closed(Exception):  # noqa: N818 - a state, not a failure
    """The queue was closed and holds nothing more."""


class BoundedQueue(Generic[T]):
    """A queue that never grows beyond ``size`` and never hides a loss.

    ``dropped`` counts items lost since the start. All waits are timed. Closing wakes everybody;
    what is already queued can still be taken.
    """

    def __init__(self, size: int, policy: DropPolicy) -> None:
        if size < 1:
            raise ValueError(f"queue size must be at least 1, got {size}")
        self.policy = policy
        self.size = size
        self.dropped = 0
        self._items: deque[T] = deque()
        self._closed = False
        self._changed = threading.Condition()

    def put(self, item: T, timeout_s: float = 1.0) -> bool:
        """Add an item; ``False`` when it was refused (full for ``timeout_s``, or closed).

        A put that ``BLOCK`` gives up after ``timeout_s`` is not a drop: the caller still holds the
        item and decides. ``REFUSE`` and ``NEWEST_WINS`` never wait.
        """
        deadline = time.monotonic() + timeout_s
        with self._changed:
            while not self._closed and len(self._items) >= self.size:
                if self.policy is DropPolicy.NEWEST_WINS:
                    self._items.popleft()
                    self.dropped += 1
                elif self.policy is DropPolicy.REFUSE:
                    self.dropped += 1
                    return False
                elif not self._changed.wait(deadline - time.monotonic()):
                    return False
            if self._closed:
                return False
            self._items.append(item)
            self._changed.notify_all()
            return True

    def get(self, timeout_s: float) -> T | None:
        """Take the oldest item, or ``None`` after ``timeout_s``; raises :class:`Closed` at the end."""
        deadline = time.monotonic() + timeout_s
        with self._changed:
            while not self._items:
                if self._closed:
                    raise Closed
                if not self._changed.wait(max(0.0, deadline - time.monotonic())):
                    return None
            item = self._items.popleft()
            self._changed.notify_all()
            return item

    def close(self) -> None:
        """Refuse further items and wake all waiters."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    @property
    def closed(self) -> bool:
        """Whether further items are refused."""
        return self._closed

    def clear(self) -> int:
        """Throw away what is queued, count it as dropped, and say how many items that were."""
        with self._changed:
            count = len(self._items)
            self._items.clear()
            self.dropped += count
            self._changed.notify_all()
            return count

    def __len__(self) -> int:
        return len(self._items)

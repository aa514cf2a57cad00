"""One timeline per participant, though a capture worker that was started again begins its clock anew."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterable
from typing import Final, TypeVar

from msgspec.structs import replace

from features.clock import NS_PER_S
from features.messages import AnyMessage, Prediction, Status, Transcript
from features.samples import Word
from features.spec import LIVE

HOP_S: Final = LIVE.hop_s
LEAST_HOPS: Final = 2  # between the last window before and the first after, so that a gap is seen
MOST: Final = 32  # participants that are remembered

M = TypeVar("M", bound=AnyMessage)


class _Clock:
    """One participant's: how many hops the process of now and the one before are moved by."""

    def __init__(self) -> None:
        self.pid: int | None = None
        self.since_ns = 0  # what is about moments before this came from the process before
        self.hops = self.hops_before = 0
        self.begins = False  # a new process has spoken, but not yet of any moment
        self.newest_s = -math.inf  # as moved
        self.newest_ns = 0  # when that was, monotonic

    def hear(self, status: Status) -> None:
        if self.pid not in (None, status.pid) and self.newest_s > -math.inf:
            self.since_ns, self.hops_before, self.begins = status.made_ns, self.hops, True
        self.pid = status.pid

    def moved_by(self, message: AnyMessage) -> int:
        """How many hops later the message's moments are told than the worker's own clock says."""
        now_ns = _moment_ns(message)
        if now_ns < self.since_ns:
            return self.hops_before
        if self.begins:
            self.begins = False
            passed_s = max(LEAST_HOPS * HOP_S, (now_ns - self.newest_ns) / NS_PER_S)
            self.hops = math.ceil((self.newest_s + passed_s - message.end_s) / HOP_S)
        end_s = message.end_s + self.hops * HOP_S
        if end_s > self.newest_s:
            self.newest_s, self.newest_ns = end_s, now_ns
        return self.hops


class Clocks:
    """Moves what restarted workers say to where it belongs on their participants' timelines.

    Feed it every message in the order of arrival. Not thread-safe: the hub calls it under its lock.
    """

    def __init__(self) -> None:
        self._clocks: OrderedDict[tuple[str, str], _Clock] = OrderedDict()

    def moved(self, message: M) -> M:
        """The message with times and ``seq`` that go on where the process before stopped."""
        if isinstance(message, Status):
            if message.role == "capture":
                self._clock(message.session, message.participant).hear(message)
            return message
        hops = self._clock(message.session, message.participant).moved_by(message)
        return message if hops == 0 else _later(message, hops)

    def own_s(self, session: str, participant: str, at_s: float) -> float:
        """A moment of the timeline on the clock of the process that runs now; may be negative."""
        clock = self._clocks.get((session, participant))
        return at_s if clock is None else at_s - clock.hops * HOP_S

    def forget(self, session: str) -> None:
        """Drop what is known of a session."""
        for key in [key for key in self._clocks if key[0] == session]:
            del self._clocks[key]

    def _clock(self, session: str, participant: str) -> _Clock:
        clock = self._clocks.setdefault((session, participant), _Clock())
        while len(self._clocks) > MOST:
            self._clocks.popitem(last=False)
        return clock


def _moment_ns(message: AnyMessage) -> int:
    """When the media that a message is about ended, as far as it tells; monotonic nanoseconds."""
    late_ms = message.lag_ms.get("total", 0.0) if isinstance(message, Prediction) else 0.0
    return message.made_ns - round(late_ms / 1000 * NS_PER_S)


def _later(message: M, hops: int) -> M:
    by_s = hops * HOP_S
    changed = replace(message, start_s=message.start_s + by_s, end_s=message.end_s + by_s)
    if isinstance(changed, Prediction):
        return replace(changed, seq=changed.seq + hops, words=_words(changed.words, by_s))
    if isinstance(changed, Transcript):
        return replace(
            changed,
            stable=_words(changed.stable, by_s),
            tentative=_words(changed.tentative, by_s),
            stable_until_s=changed.stable_until_s + by_s,
        )
    return changed


def _words(words: Iterable[Word], by_s: float) -> tuple[Word, ...]:
    return tuple(replace(w, start_s=w.start_s + by_s, end_s=w.end_s + by_s) for w in words)

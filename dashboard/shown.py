"""What the overlay on the camera's picture shows at a moment of media time; no pictures, no sockets."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

from features.messages import Prediction, Transcript
from features.samples import Word

STALE_S: Final = 3.0  # windows come twice a second
CHANGE_S: Final = 4.0  # the arrow compares now with so long ago
CHANGE_SLACK_S: Final = 2.0
WORDS_S: Final = 10.0
MOST_WORDS: Final = 14
KEPT_S: Final = 120.0
MAX_KEPT: Final = 600


@dataclass(frozen=True, slots=True)
class Point:
    """Score of a window with its interval, at the window's end."""

    end_s: float
    score: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Shown:
    """What is drawn. ``points`` may have gaps; ``words`` are ``(text, score, tentative)``.

    ``score`` is ``None`` where nothing is seen, heard or said; ``change`` where it cannot be told.
    """

    score: float | None
    change: float | None
    points: tuple[Point, ...]
    words: tuple[tuple[str, float | None, bool], ...]
    end_s: float


class Scores:
    """The last predictions and words of one participant, newest revision of each window."""

    def __init__(self, span_s: float = 30.0) -> None:
        self._span_s = min(span_s, KEPT_S)
        self._predictions: dict[int, Prediction] = {}
        self._stable: deque[Word] = deque(maxlen=MAX_KEPT)
        self._tentative: tuple[Word, ...] = ()
        self.writer = 0  # the process whose media clock the times are on

    def add(self, message: Prediction | Transcript) -> None:
        """Take one in."""
        if isinstance(message, Transcript):
            self._add_words(message)
            return
        known = self._predictions.get(message.seq)
        if known is not None and known.revision >= message.revision:
            return
        self._predictions[message.seq] = message
        newest_s = max(p.end_s for p in self._predictions.values())
        for seq in sorted(self._predictions)[:-MAX_KEPT]:
            del self._predictions[seq]
        for seq in [s for s, p in self._predictions.items() if p.end_s < newest_s - KEPT_S]:
            del self._predictions[seq]

    def _add_words(self, transcript: Transcript) -> None:
        latest_s = self._stable[-1].start_s if self._stable else -1.0
        self._stable.extend(word for word in transcript.stable if word.start_s > latest_s)
        self._tentative = transcript.tentative

    def begin(self, writer: int) -> None:
        """Another process films now, on a clock of its own: nothing known before belongs to it."""
        if writer != self.writer:
            if self.writer:
                self._predictions.clear()
                self._stable.clear()
                self._tentative = ()
            self.writer = writer

    def at(self, time_s: float) -> Shown | None:
        """What belongs to the picture taken at ``time_s``: the newest window that ends no later.

        ``None`` where that one is older than ``STALE_S``, or there is none.
        """
        past = sorted(
            (p for p in self._predictions.values() if p.end_s <= time_s), key=lambda p: p.end_s
        )
        if not past or time_s - past[-1].end_s > STALE_S:
            return None
        last = past[-1]
        return Shown(
            score=last.sentiment,
            change=_change(past),
            points=tuple(_points(past, last.end_s - self._span_s)),
            words=tuple(self._words(past, time_s)),
            end_s=last.end_s,
        )

    def _words(self, past: list[Prediction], time_s: float) -> list[tuple[str, float | None, bool]]:
        words = [(word, False) for word in self._stable] + [
            (word, True) for word in self._tentative
        ]
        recent = [one for one in words if time_s - WORDS_S < one[0].end_s <= time_s]
        return [
            (word.text, _score_of(past, (word.start_s + word.end_s) / 2), tentative)
            for word, tentative in recent[-MOST_WORDS:]
        ]


def _points(past: list[Prediction], from_s: float) -> list[Point]:
    return [
        Point(p.end_s, p.sentiment, p.low, p.high)
        for p in past
        if p.end_s >= from_s
        and p.sentiment is not None
        and p.low is not None
        and p.high is not None
    ]


def _change(past: list[Prediction]) -> float | None:
    """Change of the score over the last ``CHANGE_S``; ``None`` where either end has no score."""
    last = past[-1]
    before = [p for p in past if p.end_s <= last.end_s - CHANGE_S]
    if not before or last.end_s - before[-1].end_s > CHANGE_S + CHANGE_SLACK_S:
        return None
    if last.sentiment is None or before[-1].sentiment is None:
        return None
    return last.sentiment - before[-1].sentiment


def _score_of(past: list[Prediction], time_s: float) -> float | None:
    """Score of the window in whose middle a moment lies, or of the nearest that still holds it."""
    held = [p for p in past if p.start_s <= time_s < p.end_s and p.sentiment is not None]
    if not held:
        return None
    return min(held, key=lambda p: abs((p.start_s + p.end_s) / 2 - time_s)).sentiment

"""What is known of every conversation: the last minutes, bounded, without threads or sockets."""

from __future__ import annotations

import json
import math
import struct
from bisect import bisect_left
from collections import OrderedDict
from itertools import takewhile
from typing import Any

import msgspec

from dashboard.lines import PredictionLine, page_line
from dashboard.schema import ParticipantNow
from features.clock import NS_PER_S
from features.messages import AnyMessage, Prediction, Preview, Status, Transcript
from features.samples import Word

KEPT_S = 600.0
MAX_POINTS = 2_400  # ten minutes at four windows a second
MAX_WORDS = 4_000
MAX_MARKS = 200
LATEST_S = 30.0  # how far back the newest last revision may lie
WORDS_S = 30.0
MAX_PARTICIPANTS = 16
MAX_WORKERS = 32

Key = tuple[str, str]


class Strip:
    """The last ``KEPT_S`` seconds of one participant: newest revision of each window, and words."""

    def __init__(self, session: str, participant: str) -> None:
        self.session = session
        self.participant = participant
        self.points: dict[int, dict[str, Any]] = {}
        self.stable: tuple[Word, ...] = ()
        self.tentative: tuple[Word, ...] = ()
        self.stable_until_s = 0.0
        self.newest_s = 0.0
        self.made_ns = 0  # of the newest prediction, monotonic
        self.waits = False  # its worker was started again, and has not given a window since
        self.marks: list[dict[str, Any]] = []
        self.preview: bytes | None = None

    def add_prediction(self, prediction: Prediction) -> dict[str, Any] | None:
        """Keep it unless a newer revision is there; gives the line for browsers."""
        known = self.points.get(prediction.seq)
        if known is not None and known["revision"] >= prediction.revision:
            return None
        line = page_line(prediction)
        self.points[prediction.seq] = line
        self.waits = self.waits and prediction.end_s <= self.newest_s
        self.newest_s = max(self.newest_s, prediction.end_s)
        self.made_ns = max(self.made_ns, prediction.made_ns)
        self._forget()
        return line

    def wait(self) -> None:
        """The worker was started again: what it took for said will never be settled."""
        self.waits, self.tentative = True, ()

    def _forget(self) -> None:
        oldest = self.newest_s - KEPT_S
        stale = [seq for seq, line in self.points.items() if line["end_s"] < oldest]
        surplus = len(self.points) - len(stale) - MAX_POINTS
        if surplus > 0:
            stale += sorted(self.points.keys() - set(stale))[:surplus]
        for seq in stale:
            del self.points[seq]

    def add_transcript(self, transcript: Transcript) -> dict[str, Any]:
        """Join the last half minute of words to those known before; gives the new ones."""
        first_s = transcript.stable[0].start_s if transcript.stable else math.inf
        older = bisect_left(self.stable, first_s, key=_start)
        known = {(word.start_s, word.text) for word in self.stable[older:]}
        fresh = [word for word in transcript.stable if (word.start_s, word.text) not in known]
        joined = (*self.stable[:older], *sorted((*self.stable[older:], *fresh), key=_start))
        oldest_s = max(self.newest_s, transcript.end_s) - KEPT_S
        stale = sum(1 for _ in takewhile(lambda word: word.end_s < oldest_s, joined))
        self.stable = joined[max(stale, len(joined) - MAX_WORDS) :]
        self.tentative = transcript.tentative
        self.stable_until_s = transcript.stable_until_s
        return self._words(fresh)

    def _words(self, stable: list[Word] | tuple[Word, ...]) -> dict[str, Any]:
        return {
            "type": "words",
            "session": self.session,
            "participant": self.participant,
            "stable": [_word(word) for word in stable],
            "tentative": [_word(word) for word in self.tentative],
            "stable_until_s": round(self.stable_until_s, 3),
        }

    def age_s(self, now_ns: int) -> float | None:
        """Seconds since the newest prediction was made; ``None`` before the first."""
        return max(0.0, round((now_ns - self.made_ns) / NS_PER_S, 3)) if self.made_ns else None

    @property
    def key(self) -> Key:
        """Session and participant."""
        return self.session, self.participant

    def now(self, now_ns: int, back_s: float, final: bool) -> ParticipantNow:
        """For programs: the newest, and those of the last ``back_s``, only last revisions if asked."""
        lines = [
            msgspec.convert(line, PredictionLine)
            for _, line in sorted(self.points.items())
            if line["end_s"] > self.newest_s - max(back_s, LATEST_S)
            and (line["final"] or not final)
        ]
        words = [word.text for word in self.stable if word.end_s > self.newest_s - WORDS_S]
        return ParticipantNow(
            session=self.session,
            participant=self.participant,
            age_s=self.age_s(now_ns),
            latest=lines[-1] if lines else None,
            words=" ".join(words),
            predictions=[line for line in lines if line.end_s > self.newest_s - back_s],
        )

    def snapshot(self, now_ns: int) -> dict[str, Any]:
        """Everything kept, in the order of windows, and how old the newest is."""
        return {
            "session": self.session,
            "participant": self.participant,
            "age_s": self.age_s(now_ns),
            "waits": self.waits,
            "predictions": [self.points[seq] for seq in sorted(self.points)],
            "words": self._words(self.stable),
            "marks": self.marks,
        }


class Timeline:
    """All participants' strips and all workers' last words. Feed it messages in any order.

    Not thread-safe: the hub calls it under its lock.
    """

    def __init__(self) -> None:
        self.strips: OrderedDict[Key, Strip] = OrderedDict()
        self.statuses: OrderedDict[tuple[str, str], dict[str, Any]] = OrderedDict()
        self.refused = 0  # participants forgotten because there were too many

    def add(self, message: AnyMessage) -> dict[str, Any] | bytes | None:
        """Take a message in; gives what browsers have to hear of it, if anything."""
        if isinstance(message, Prediction):
            line = self._strip(message.session, message.participant).add_prediction(message)
            return None if line is None else {"type": "prediction", **line}
        if isinstance(message, Transcript):
            return self._strip(message.session, message.participant).add_transcript(message)
        if isinstance(message, Preview):
            strip = self._strip(message.session, message.participant)
            strip.preview = preview_frame(message)
            return strip.preview
        if isinstance(message, Status):
            return self._add_status(message)
        return None

    def _strip(self, session: str, participant: str) -> Strip:
        key = (session, participant)
        if key not in self.strips:
            self.strips[key] = Strip(session, participant)
            while len(self.strips) > MAX_PARTICIPANTS:
                self.strips.popitem(last=False)
                self.refused += 1
        return self.strips[key]

    def _add_status(self, status: Status) -> dict[str, Any]:
        line = status_line(status)
        key = (status.session, status.worker)
        before = self.statuses.get(key)
        again = status.role == "capture" and before is not None and before["pid"] != status.pid
        strip = self.strips.get((status.session, status.participant))
        if again and strip is not None:
            strip.wait()
        self.statuses[key] = line
        self.statuses.move_to_end(key)
        while len(self.statuses) > MAX_WORKERS:
            self.statuses.popitem(last=False)
        return {**line, "restarted": again}

    def mark(self, session: str, participant: str, at_s: float, text: str) -> dict[str, Any]:
        """Keep what somebody marked at a moment of media time; gives the line for browsers."""
        strip = self._strip(session, participant)
        line = {
            "type": "mark", "session": session, "participant": participant,
            "at_s": round(at_s, 3), "text": text,
        }  # fmt: skip
        strip.marks = sorted([*strip.marks, line], key=lambda one: one["at_s"])[-MAX_MARKS:]
        return line

    def forget(self, session: str) -> None:
        """Drop what is known of a session."""
        for key in [key for key in self.strips if key[0] == session]:
            del self.strips[key]
        for key in [key for key in self.statuses if key[0] == session]:
            del self.statuses[key]

    def snapshot(self, now_ns: int = 0) -> dict[str, Any]:
        """Everything kept, for a browser that has just come at ``now_ns`` (monotonic)."""
        return {
            "type": "snapshot",
            "strips": [strip.snapshot(now_ns) for strip in self.strips.values()],
            "statuses": list(self.statuses.values()),
        }


def status_line(status: Status) -> dict[str, Any]:
    """A heartbeat for browsers, ready for JSON."""
    return {
        "type": "status",
        "session": status.session,
        "participant": status.participant,
        "worker": status.worker,
        "role": status.role,
        "pid": status.pid,
        "state": status.state,
        "detail": status.detail,
        "counters": status.counters,
        "losses": {name: count for name, count in status.losses.items() if count},
        "gauges": {name: round(value, 2) for name, value in status.gauges.items()},
        "lamps": {
            name: {"state": lamp.state, "why": lamp.why} for name, lamp in status.lamps.items()
        },
    }


def preview_frame(preview: Preview) -> bytes:
    """A picture for browsers: ``uint32`` length of the header, header, landmarks, JPEG.

    All little-endian. The header is JSON, padded with spaces so that the landmarks, ``(n, 2)
    float32`` in 0..1 of the picture, begin at a multiple of four bytes.
    """
    header = json.dumps(
        {
            "type": "preview",
            "session": preview.session,
            "participant": preview.participant,
            "end_s": round(preview.end_s, 3),
            "quality": preview.quality,
            "faces": preview.faces,
            "landmarks": len(preview.landmarks),
            "expressions": {name: round(value, 3) for name, value in preview.expressions.items()},
            "pose_deg": preview.pose_deg,
        }
    ).encode()
    header += b" " * (-len(header) % 4)
    landmarks = preview.landmarks.astype("<f4").tobytes()
    return struct.pack("<I", len(header)) + header + landmarks + preview.jpeg


def _start(word: Word) -> float:
    return word.start_s


def _word(word: Word) -> list[Any]:
    return [word.text, round(word.start_s, 3), round(word.end_s, 3), round(word.probability, 3)]

"""Real messages of full size for tests, and a wait with a deadline."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from features.messages import (
    Ages,
    Lamp,
    Prediction,
    Present,
    Preview,
    Statistics,
    Status,
    StreamData,
    Transcript,
    Window,
)
from features.samples import Word
from features.spec import LIVE

WORDS = (Word("good", 1.0, 1.25, 0.9), Word("morning", 1.25, 1.75))


def until(holds: Callable[[], Any], timeout_s: float = 20.0) -> Any:
    """Wait until ``holds()`` is true and give it back; fails after ``timeout_s``."""
    deadline = time.monotonic() + timeout_s
    pause = threading.Event()
    while not (value := holds()):
        assert time.monotonic() < deadline, "what was waited for did not come"
        pause.wait(0.01)
    return value


def about(seq: int = 0, session: str = "s", participant: str = "me") -> dict[str, Any]:
    return {
        "session": session,
        "participant": participant,
        "start_s": seq / 2,
        "end_s": seq / 2 + 4,
        "made_ns": time.monotonic_ns(),
    }


def window(seq: int = 0, session: str = "s", participant: str = "me") -> Window:
    draw = np.random.default_rng(seq)
    streams, statistics = {}, {}
    for stream in LIVE.streams:
        dtype = np.float16 if stream.name == "states" else np.float32
        steps = LIVE.steps(stream.name)
        values = draw.normal(size=(steps, stream.width)).astype(dtype)
        streams[stream.name] = StreamData(values, draw.random(steps) < 0.9)
        row = np.ones(stream.width, np.float32)
        statistics[stream.name] = Statistics(row, row * 2, 3.5)
    return Window(
        **about(seq, session, participant),
        source="demo",
        seq=seq,
        revision=1,
        final=False,
        due_ns=7,
        spec=LIVE.hash,
        text="good morning",
        words=WORDS,
        present=Present(text=True, voice=True, face=True),
        age_s=Ages(text=0.5, voice=0.0),
        streams=streams,
        statistics=statistics,
    )


def prediction(seq: int = 0, session: str = "s", participant: str = "me") -> Prediction:
    return Prediction(
        **about(seq, session, participant),
        source="demo",
        seq=seq,
        revision=0,
        final=True,
        sentiment=None,
        low=None,
        high=None,
        coverage=0.8,
        present=Present(text=False, voice=False, face=False),
        contribution={"text": 0.0},
        alone={"text": None, "voice": 0.25},
        text="",
        words=(),
        lag_ms={"total": 12.5},
    )


def transcript(session: str = "s", participant: str = "me") -> Transcript:
    return Transcript(
        **about(0, session, participant), stable=WORDS, tentative=WORDS[:1], stable_until_s=1.75
    )


def preview(points: int = 478) -> Preview:
    return Preview(
        **about(),
        jpeg=bytes(range(256)) * 40,
        landmarks=np.linspace(0, 1, points * 2, dtype=np.float32).reshape(points, 2),
        quality="ok",
        faces=1,
        expressions={"mouthSmileLeft": 0.5},
    )


def status(worker: str = "w", state: str = "running", session: str = "s") -> Status:
    return Status(
        **about(0, session),
        worker=worker,
        role="test",
        pid=1,
        state=state,
        counters={"drops": 3},
        gauges={"fps": 14.9},
        lamps={"face": Lamp("missing", "too dark")},
    )

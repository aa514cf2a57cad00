"""The capture worker: one process per participant, from a source to messages on the bus.

Started as ``python -m capture.worker`` with its configuration as the first line of standard input.
"""

from __future__ import annotations

import sys
from typing import Any

from features.harness import Harness, run_worker

from capture.config import CaptureConfig
from capture.pipeline import Pipeline
from capture.sources import open_source


def main(harness: Harness) -> None:
    """Publish what the pipeline gives until the source ends or the parent says stop."""
    config = harness.config(CaptureConfig)
    harness.heartbeat("starting", f"loading the models, opening {config.source}")
    pipeline = Pipeline(config, open_source(config))
    state = "running"

    def on_tick() -> None:
        nonlocal state
        state = _obey(harness, pipeline, state)
        _beat(harness, pipeline, state)

    for message in pipeline.messages(harness.stop, on_tick):
        harness.publisher.send(message)
    _beat(harness, pipeline, "ended", force=True)


def _obey(harness: Harness, pipeline: Pipeline, state: str) -> str:
    """Carry out the commands that are waiting; the state that follows."""
    while len(harness.commands):
        command: dict[str, Any] = harness.commands.get(0.0) or {}
        if command.get("do") == "pause" and state == "running":
            pipeline.pause()
            state = "paused"
        elif command.get("do") == "resume" and state == "paused":
            pipeline.resume()
            state = "running"
    return state


def _beat(harness: Harness, pipeline: Pipeline, state: str, force: bool = False) -> None:
    counters, gauges = pipeline.measured()
    detail = "the source is over" if state == "ended" else pipeline.source.name
    harness.heartbeat(state, detail, counters, gauges, pipeline.lamps.state(), force=force)


if __name__ == "__main__":
    sys.exit(run_worker(main))

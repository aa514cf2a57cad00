"""The capture worker: one process per participant, from a source to messages on the bus.

Started as ``python -m capture.worker`` with its configuration as the first line of standard input.
"""

from __future__ import annotations

import sys

from capture.config import CaptureConfig
from capture.pipeline import Pipeline
from capture.sources import open_source
from features.harness import Harness, run_worker


def main(harness: Harness) -> None:
    """Publish what the pipeline gives until the source ends or the parent says stop."""
    config = harness.config(CaptureConfig)
    harness.heartbeat("starting", f"loading the models, opening {config.source}")
    pipeline = Pipeline(config, open_source(config))
    state = "running"
    if harness.paused:  # whoever was not to be filmed must not be, because a process died
        pipeline.pause()
        state = "paused"

    def on_tick() -> None:
        nonlocal state
        state = _obey(harness, pipeline, state)
        _beat(harness, pipeline, state)

    for message in pipeline.messages(harness.stop, on_tick):
        harness.publish(message)
    _beat(harness, pipeline, "ended")


def _obey(harness: Harness, pipeline: Pipeline, state: str) -> str:
    """Carry out the commands that are waiting; the state that follows."""
    while len(harness.commands):
        command = harness.commands.get(0.0)
        if command is not None and command.do == "pause" and state == "running":
            pipeline.pause()
            state = "paused"
        elif command is not None and command.do == "resume" and state == "paused":
            pipeline.resume()
            state = "running"
    return state


def _beat(harness: Harness, pipeline: Pipeline, state: str) -> None:
    detail = "the source is over" if state == "ended" else pipeline.source.name
    harness.heartbeat(
        state,
        detail,
        pipeline.counted(),
        pipeline.gauges(),
        pipeline.lamps.state(),
        pipeline.losses(),
        media_s=pipeline.position_s,
    )


if __name__ == "__main__":
    sys.exit(run_worker(main))

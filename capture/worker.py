"""The capture worker: one process per participant, from a source to messages on the bus.

Started as ``python -m capture.worker`` with its configuration as the first line of standard input.
"""

from __future__ import annotations

import sys

from capture.addresses import is_address, shown
from capture.config import MAX_REST_S, CaptureConfig
from capture.frames import FrameWriter
from capture.pipeline import Pipeline
from capture.sources import open_source
from features.harness import Command, Harness, run_worker
from features.participants import Participants
from features.rest import REST_S


def main(harness: Harness) -> None:
    """Publish what the pipeline gives until the source ends or the parent says stop."""
    config = harness.config(CaptureConfig)
    opened = shown(config.source) if is_address(config.source) else config.source
    harness.heartbeat("starting", f"loading the models, opening {opened}")
    known = Participants().load(config.participant) if config.remembered else None
    source = open_source(config)
    source.frames = FrameWriter(config.frames) if config.frames else None
    pipeline = Pipeline(config, source, known=known, rest=harness.carried)
    state = "running"
    if harness.paused:  # whoever was not to be filmed must not be, because a process died
        _rest(pipeline, True)
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
            _rest(pipeline, True)
            state = "paused"
        elif command is not None and command.do == "resume" and state == "paused":
            _rest(pipeline, False)
            state = "running"
        elif command is not None and command.do == "rest":
            pipeline.rest(_seconds(command))
    return state


def _rest(pipeline: Pipeline, rest: bool) -> None:
    pipeline.pause(rest)
    if pipeline.source.frames is not None:
        pipeline.source.frames.resting = rest


def _seconds(command: Command) -> float:
    """How long a rest is asked for; the usual length where that is no number."""
    try:
        wanted = float(command.arguments.get("seconds", REST_S))
    except ValueError:
        return REST_S
    return wanted if 0 < wanted <= MAX_REST_S else REST_S


def _beat(harness: Harness, pipeline: Pipeline, state: str) -> None:
    source = pipeline.source
    detail = (source.ending or "the source is over") if state == "ended" else source.name
    harness.heartbeat(
        state,
        detail,
        pipeline.counted(),
        pipeline.gauges(),
        pipeline.lamps.state(),
        pipeline.losses(),
        media_s=pipeline.position_s,
        carry=pipeline.resting()[0],
    )


if __name__ == "__main__":
    sys.exit(run_worker(main))

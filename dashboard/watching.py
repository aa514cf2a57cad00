"""Watching a live session in the terminal: a tidy table, or JSON lines."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing

from rich.console import Console
from rich.live import Live
from rich.markup import escape

from capture.addresses import safe
from capture.config import CaptureConfig
from capture.sources import is_device
from dashboard.clocks import Clocks
from dashboard.lines import json_line, prediction_line
from dashboard.runtime import Runtime
from dashboard.smoothing import Smoother
from dashboard.watch_table import WatchTable
from features.bus import Subscriber
from features.errors import WorkerError
from features.messages import AnyMessage, Prediction, Status

DRAIN_S = 5.0  # after the worker's end, how long to wait for its last predictions
WAIT_S = 0.2


class Watcher:
    """Follows one session on the bus until its source has ended and its last window is scored.

    Attributes:
        status: the capture worker's last heartbeat.
        losses: all that was lost on the way so far, by name, of every worker and of this reader.
    """

    def __init__(self, runtime: Runtime, session: str, device: bool = False) -> None:
        """``device``: the source is live by nature, so its worker may die and begin again."""
        self.status: Status | None = None
        self._runtime = runtime
        self._session = session
        self._device = device
        self._finals: set[int] = set()  # of the capture worker's process of now
        self._clocks = Clocks()
        self._by_worker: dict[str, dict[str, int]] = {}
        self._lost_here = 0
        self._over_s: float | None = None  # when the capture worker was seen to be over

    def messages(self, duration_s: float | None) -> Iterator[AnyMessage | None]:
        """Predictions and statuses of the session, ``None`` when nothing came for a while.

        What a worker says that was started again goes on, with a gap, where it stopped before.
        After ``duration_s`` of the session's own time it is stopped, and what was heard until then
        still comes.
        """
        limit_s = duration_s
        with closing(Subscriber(self._runtime.address, ["prediction", "status"])) as subscriber:
            while not self._done():
                received = subscriber.receive(WAIT_S)
                message = received.message if received is not None else None
                self._lost_here = subscriber.lost
                self._note(message)
                message = None if message is None else self._clocks.moved(message)
                if message is None or message.session in ("", self._session):
                    yield message
                reached_s = 0.0 if self.status is None else self.status.end_s
                if isinstance(message, Prediction):
                    reached_s = message.end_s
                if limit_s is not None and reached_s >= limit_s:
                    limit_s = None
                    self._runtime.stop_session(self._session)

    def _note(self, message: AnyMessage | None) -> None:
        if isinstance(message, Prediction) and message.final and message.session == self._session:
            self._finals.add(message.seq)
        if isinstance(message, Status):
            self._by_worker[message.worker] = message.losses
            if message.session == self._session:
                if self.status is not None and self.status.pid != message.pid:
                    self._finals.clear()
                self.status = message

    def _done(self) -> bool:
        """Whether the source is over and every window scored, or long enough waited for."""
        if self._over_s is None:
            if not self._over():
                return False
            self._over_s = time.monotonic()
        windows = 0 if self.status is None else self.status.counters.get("windows", 0)
        ended = self.status is not None and self.status.state == "ended"
        complete = ended and len(self._finals) >= windows
        return complete or time.monotonic() - self._over_s > DRAIN_S

    def _over(self) -> bool:
        """Whether the session's worker has ended; raises :class:`WorkerError` where it failed."""
        mine = [s for s in self._runtime.states() if s.session == self._session]
        for state in self._runtime.states():
            concerns = state.role == "inference" or state in mine
            if concerns and state.state == "failed":
                raise WorkerError(f"{state.name}: {state.detail}")
            if state in mine and state.restarts and not self._device:
                raise WorkerError(
                    f"{state.name} died, and its file would begin again: {state.failure}"
                )
        return all(state.over for state in mine)

    @property
    def losses(self) -> dict[str, int]:
        """Everything lost so far; zeros are left out."""
        total = Counter[str]()
        for losses in self._by_worker.values():
            total.update(losses)
        total["predictions lost on the bus"] += self._lost_here
        return {name: count for name, count in total.items() if count}


def wait_for_inference(runtime: Runtime, limit_s: float = 120.0) -> None:
    """Return when windows can be scored, so that none of a session's first ones is lost.

    Raises :class:`WorkerError` with the worker's own reason where it fails.
    """
    deadline = time.monotonic() + limit_s
    with closing(Subscriber(runtime.address, ["status"])) as subscriber:
        while time.monotonic() < deadline:
            subscriber.receive(WAIT_S)
            for state in runtime.states():
                if state.role == "inference" and state.state == "running":
                    return
                if state.role == "inference" and state.state == "failed":
                    raise WorkerError(f"{state.name}: {state.detail}")
    raise WorkerError(f"the inference worker was not ready within {limit_s:.0f} s")


def watch(
    config: CaptureConfig,
    as_json: bool,
    device: str,
    duration_s: float | None,
    smoothing_s: float = 0.0,
) -> None:
    """Run a session and show it until it ends, ``duration_s`` are over, or Ctrl-C.

    ``smoothing_s`` is the lag that smoothing may add; 0 shows scores as they are.
    """
    smoother = Smoother(smoothing_s)
    runtime = Runtime(device=device)
    try:
        runtime.start()
        wait_for_inference(runtime)
        watcher = Watcher(runtime, runtime.start_session(config), is_device(config.source))
        if as_json:
            _lines(watcher, duration_s, smoother)
        else:
            _table(watcher, config, duration_s, smoother)
        report_losses(watcher.losses)
    except KeyboardInterrupt:
        return
    finally:
        runtime.close()


def named(losses: Mapping[str, int]) -> str:
    """Losses for people."""
    return ", ".join(f"{name} {count}" for name, count in losses.items())


def report_losses(losses: Mapping[str, int]) -> None:
    """Say at the end what was lost on the way, so that nobody takes the curve for the whole."""
    if losses:
        sys.stderr.write(f"lost on the way: {named(losses)}\n")


def _lines(watcher: Watcher, duration_s: float | None, smoother: Smoother) -> None:
    for message in watcher.messages(duration_s):
        if isinstance(message, Prediction):
            sys.stdout.write(_line(message, smoother) + "\n")
            sys.stdout.flush()


def _line(prediction: Prediction, smoother: Smoother) -> str:
    """The usual line; smoothed besides, where that is asked for."""
    if not smoother.lag_s:
        return json_line(prediction)
    line = prediction_line(prediction)
    smoothed = smoother.add(line)
    told = None if smoothed is None else smoothed.line()
    return json.dumps({**line, "smoothed": told}, ensure_ascii=False)


def _title(config: CaptureConfig) -> str:
    """What is watched and what for, as Rich prints it: brackets are no marks of style."""
    return escape(" - ".join(filter(None, (safe(config.source), config.purpose.strip()))))


def _table(
    watcher: Watcher, config: CaptureConfig, duration_s: float | None, smoother: Smoother
) -> None:
    table = WatchTable(_title(config), smoother)
    with Live(table.render(watcher), console=Console(), refresh_per_second=8) as live:
        for message in watcher.messages(duration_s):
            if isinstance(message, Prediction):
                table.add(message)
            live.update(table.render(watcher))

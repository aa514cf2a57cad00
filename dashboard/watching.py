"""Watching a live session in the terminal: a tidy table, or JSON lines."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import closing

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from capture.config import CaptureConfig
from dashboard.lines import prediction_line
from dashboard.runtime import Runtime
from features.bus import Subscriber
from features.errors import WorkerError
from features.messages import MODALITIES, AnyMessage, Prediction, Status

ROWS = 16
DRAIN_S = 20.0  # after the source's end, how long to wait for the last words' predictions
WAIT_S = 0.2


class Watcher:
    """Follows one session on the bus until its source has ended and its last window is scored."""

    def __init__(self, runtime: Runtime, session: str) -> None:
        self._runtime = runtime
        self._session = session
        self._finals: set[int] = set()
        self._ended_s: float | None = None
        self.status: Status | None = None
        self.windows: int | None = None  # how many there are in all, once the source has ended

    def messages(self, duration_s: float | None) -> Iterator[AnyMessage | None]:
        """Predictions and statuses of the session, ``None`` when nothing came for a while."""
        began_s = time.monotonic()
        kinds = ["prediction", "status"]
        with closing(Subscriber(self._runtime.address, kinds, self._session)) as subscriber:
            while duration_s is None or time.monotonic() - began_s < duration_s:
                received = subscriber.receive(WAIT_S)
                message = received.message if received is not None else None
                self._note(message)
                yield message
                if self._done():
                    return

    def _note(self, message: AnyMessage | None) -> None:
        if isinstance(message, Prediction) and message.final:
            self._finals.add(message.seq)
        if isinstance(message, Status) and message.role == "capture":
            self.status = message
            if message.state == "ended" and self._ended_s is None:
                self._ended_s = time.monotonic()
                self.windows = message.counters.get("windows", 0)

    def _done(self) -> bool:
        if self._ended_s is None:
            self._raise_failure()
            return False
        complete = self.windows is not None and len(self._finals) >= self.windows
        return complete or time.monotonic() - self._ended_s > DRAIN_S

    def _raise_failure(self) -> None:
        for state in self._runtime.states():
            if state.state == "failed" and (state.role == "inference" or self._mine(state.name)):
                raise WorkerError(f"{state.name}: {state.detail}")

    def _mine(self, worker: str) -> bool:
        return self._session in worker


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


def watch(config: CaptureConfig, as_json: bool, device: str, duration_s: float | None) -> None:
    """Run a session and show it until it ends, ``duration_s`` are over, or Ctrl-C."""
    runtime = Runtime(device=device)
    try:
        runtime.start()
        wait_for_inference(runtime)
        watcher = Watcher(runtime, runtime.start_session(config))
        if as_json:
            _lines(watcher, duration_s)
        else:
            _table(watcher, config, duration_s)
        _report_losses(watcher.status)
    except KeyboardInterrupt:
        return
    finally:
        runtime.close()


def losses(status: Status | None) -> dict[str, int]:
    """What a capture worker had to skip or drop, by name."""
    counts = {} if status is None else status.counters
    return {k: v for k, v in counts.items() if v and ("skip" in k or "drop" in k)}


def _report_losses(status: Status | None) -> None:
    """Say at the end what was lost on the way, so that nobody takes the curve for the whole."""
    lost = losses(status)
    if lost:
        named = ", ".join(f"{name} {count}" for name, count in lost.items())
        sys.stderr.write(f"this machine fell behind: {named}\n")


def _lines(watcher: Watcher, duration_s: float | None) -> None:
    for message in watcher.messages(duration_s):
        if isinstance(message, Prediction):
            sys.stdout.write(json.dumps(prediction_line(message), ensure_ascii=False) + "\n")
            sys.stdout.flush()


def _table(watcher: Watcher, config: CaptureConfig, duration_s: float | None) -> None:
    rows: dict[int, Prediction] = {}
    with Live(_render(rows, None, config), console=Console(), refresh_per_second=8) as live:
        for message in watcher.messages(duration_s):
            if isinstance(message, Prediction):
                rows[message.seq] = message
                for seq in sorted(rows)[:-ROWS]:
                    del rows[seq]
            live.update(_render(rows, watcher.status, config))


def _render(rows: dict[int, Prediction], status: Status | None, config: CaptureConfig) -> Table:
    table = Table(title=f"Tonality - {config.source}", caption=_caption(status), expand=True)
    table.add_column("time", justify="right", width=8)
    table.add_column("score", justify="right", width=6)
    table.add_column("80 % interval", width=15)
    for name in MODALITIES:
        table.add_column(name, justify="right", width=6)
    table.add_column("lag", justify="right", width=7)
    table.add_column("words", ratio=1, no_wrap=True, overflow="ellipsis")
    for _, prediction in sorted(rows.items()):
        table.add_row(*_cells(prediction))
    return table


def _cells(prediction: Prediction) -> list[Text]:
    style = "" if prediction.final else "dim"
    score, low, high = prediction.sentiment, prediction.low, prediction.high
    cells = [f"{prediction.end_s:.1f} s"]
    if score is None or low is None or high is None:
        cells += ["-", "nothing present"]
    else:
        cells += [f"{score:+.2f}", f"{low:+.2f} .. {high:+.2f}"]
    for name in MODALITIES:
        there = getattr(prediction.present, name)
        cells.append(f"{prediction.contribution[name]:+.2f}" if there else "-")
    lag = prediction.lag_ms.get("total")
    cells += ["" if lag is None else f"{lag / 1e3:.2f} s", prediction.text]
    texts = [Text(cell, style=style) for cell in cells]
    if score is not None:
        texts[1].stylize(_colour(score))
    return texts


def _colour(score: float) -> str:
    """Blue for positive, orange for negative: apart for colour-blind eyes, and signed besides."""
    if abs(score) < 0.3:
        return "bold"
    return "bold dodger_blue2" if score > 0 else "bold dark_orange"


def _caption(status: Status | None) -> str:
    if status is None:
        return "starting the workers ... Ctrl-C stops"
    lamps = "   ".join(
        f"{name} {lamp.state}{' (' + lamp.why + ')' if lamp.why else ''}"
        for name, lamp in status.lamps.items()
    )
    dropped = "".join(f"   {name} {count}" for name, count in losses(status).items())
    return f"{status.state}   {lamps}{dropped}"

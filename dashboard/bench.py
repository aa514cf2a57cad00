"""How fast Tonality is here: the real-time factor of files and the lag of a live run, in numbers.

Nothing is judged; the host is named, the figures are printed, and ``--json`` keeps them.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterable
from contextlib import closing
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
from msgspec.structs import replace
from rich.console import Console
from rich.table import Table

from capture.addresses import safe
from capture.config import CaptureConfig
from features.bus import Subscriber
from features.messages import Prediction, Status

if TYPE_CHECKING:
    from dashboard.runtime import Runtime

PERCENTILES = (50, 95, 99)
WAIT_S = 0.2
START_LIMIT_S = 120.0
SETTLE_S = 30.0


def host() -> dict[str, Any]:
    """What the figures were measured on."""
    return {
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        "torch": version("torch"),
        "faster-whisper": version("faster-whisper"),
        "mediapipe": version("mediapipe"),
        "load_before": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
    }


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def spread(values: Iterable[float]) -> dict[str, float | int]:
    """p50, p95, p99 and the count of some numbers."""
    numbers = list(values)
    if not numbers:
        return {"n": 0}
    points = np.percentile(numbers, PERCENTILES)
    named = {f"p{p}": round(float(v), 1) for p, v in zip(PERCENTILES, points, strict=True)}
    return {"n": len(numbers), **named}


def file_speed(config: CaptureConfig, device: str, seconds: float) -> dict[str, Any]:
    """Real-time factor of scoring ``seconds`` of a file (repeated where shorter), all senses on."""
    from dashboard.scoring import score
    from model.predictor import Predictor

    predictor = Predictor(device=device)
    endless = replace(config, paced=False, loop=True)
    process = psutil.Process()
    before, began = process.cpu_times(), time.perf_counter()
    media_s = 0.0
    with closing(score(endless, predictor)) as predictions:
        for prediction in predictions:
            media_s = prediction.end_s
            if media_s >= seconds:
                break
        wall_s = time.perf_counter() - began
        after = process.cpu_times()
    cpu_s = after.user + after.system - before.user - before.system
    return {
        "media_s": media_s,
        "wall_s": round(wall_s, 2),
        "real_time_factor": round(wall_s / media_s, 3),
        "cpu_cores_at_real_time": round(cpu_s / media_s, 3),
    }


def live_lag(config: CaptureConfig, device: str, seconds: float) -> dict[str, Any]:
    """Lag from window end to prediction over ``seconds`` of a live session, and what it cost."""
    from dashboard.runtime import Runtime
    from dashboard.watching import wait_for_inference

    runtime = Runtime(device=device)
    try:
        runtime.start()
        wait_for_inference(runtime)
        return _live(runtime, config, seconds)
    finally:
        runtime.close()


def _live(runtime: Runtime, config: CaptureConfig, seconds: float) -> dict[str, Any]:
    first, final, stages = [], [], dict[str, list[float]]()
    statuses: dict[str, Status] = {}
    settled: dict[str, float] = {}  # memory once everything has been used for a while
    with closing(Subscriber(runtime.address, ["prediction", "status"])) as subscriber:
        runtime.start_session(config)
        began: float | None = None
        deadline = time.monotonic() + START_LIMIT_S
        while time.monotonic() < deadline:
            received = subscriber.receive(WAIT_S)
            message = received.message if received is not None else None
            if isinstance(message, Status):
                statuses[message.worker] = message
                if began is not None and time.monotonic() - began > SETTLE_S:
                    settled.setdefault(message.worker, message.gauges.get("memory_mib", 0.0))
            if not isinstance(message, Prediction):
                continue
            if began is None:
                began = time.monotonic()
                deadline = began + seconds
            if message.revision == 0:
                first.append(message.lag_ms["total"])
                for stage, ms in message.lag_ms.items():
                    stages.setdefault(stage, []).append(ms)
            if message.final:
                final.append(message.lag_ms["total"])
    return {
        "seconds": seconds,
        "first_ms": spread(first),
        "final_ms": spread(final),
        "first_by_stage_ms": {name: spread(values) for name, values in stages.items()},
        "workers": {_role(s): _worker(s, settled.get(s.worker)) for s in statuses.values()},
        "messages_lost": subscriber.lost,
    }


def _role(status: Status) -> str:
    return status.role


def _worker(status: Status, settled_mib: float | None) -> dict[str, Any]:
    gauges = {name: round(value, 1) for name, value in status.gauges.items()}
    settled = None if settled_mib is None else round(settled_mib, 1)
    return {f"memory_mib_after_{SETTLE_S:.0f}_s": settled, **gauges, **status.counters}


def measure(config: CaptureConfig, device: str, seconds: float) -> dict[str, Any]:
    """Everything, as one dictionary."""
    return {
        "host": host(),
        "source": safe(config.source),
        "file": file_speed(config, device, seconds),
        "live": live_lag(config, device, seconds),
    }


def show(result: dict[str, Any]) -> None:
    """The figures as tables."""
    console = Console()
    table = Table(title="Tonality, measured here", show_header=False)
    for name, value in result["host"].items():
        table.add_row(name, str(value))
    for name, value in result["file"].items():
        table.add_row(f"file: {name}", str(value))
    console.print(table)
    live = result["live"]
    lags = Table(title=f"live lag over {live['seconds']:.0f} s, ms from window end")
    for column in ("what", "n", "p50", "p95", "p99"):
        lags.add_column(column, justify="left" if column == "what" else "right")
    rows = {
        "first revision (face, voice, words so far)": live["first_ms"],
        "final revision (with all its words)": live["final_ms"],
        **{f"  first revision: {k}": v for k, v in live["first_by_stage_ms"].items()},
    }
    for name, numbers in rows.items():
        lags.add_row(name, *(str(numbers.get(k, "-")) for k in ("n", "p50", "p95", "p99")))
    console.print(lags)
    for role, figures in live["workers"].items():
        console.print(f"{role}: " + ", ".join(f"{k} {v}" for k, v in figures.items()))

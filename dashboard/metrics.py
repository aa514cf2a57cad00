"""Figures for Prometheus: frames, drops by reason, lag, restarts, ages. Text in, text out; no socket."""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from features.clock import NS_PER_S, Clock, SystemClock
from features.messages import MODALITIES, AnyMessage, Prediction, Status

__all__ = ["CONTENT_TYPE_LATEST", "Metrics"]

LAG_BUCKETS_S: Final = (0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10)
RECENT: Final = 512  # predictions that the quantiles are taken over
MOST: Final = 32  # workers, and participants, that are remembered
QUANTILES: Final = (0.5, 0.95)

Key = tuple[str, str]


class Metrics:
    """Sees what the hub hears, and says it in Prometheus' text format when asked."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._lock = threading.Lock()
        self._statuses: OrderedDict[Key, Status] = OrderedDict()
        self._newest: OrderedDict[Key, Prediction] = OrderedDict()
        self._present_s: dict[Key, dict[str, float]] = {}  # media time each was last there
        self._recent: dict[str, deque[float]] = {}
        self._registry = CollectorRegistry()
        self._predictions = Counter(
            "tonality_predictions",
            "Predictions by revision.",
            ["revision"],
            registry=self._registry,
        )
        self._lag = Histogram(
            "tonality_lag_seconds",
            "Time to a prediction by stage; 'total' runs from the window's end.",
            ["stage", "revision"],
            buckets=LAG_BUCKETS_S,
            registry=self._registry,
        )

    def see(self, message: AnyMessage) -> None:
        """Take in what concerns the figures of a message; from the hub's thread."""
        with self._lock:
            if isinstance(message, Status):
                _remember(self._statuses, (message.session, message.worker), message)
            elif isinstance(message, Prediction):
                self._see_prediction(message)

    def _see_prediction(self, prediction: Prediction) -> None:
        revision = "later" if prediction.revision else "first"
        self._predictions.labels(revision).inc()
        for stage, ms in prediction.lag_ms.items():
            self._lag.labels(stage, revision).observe(ms / 1e3)
        if "total" in prediction.lag_ms:
            recent = self._recent.setdefault(revision, deque(maxlen=RECENT))
            recent.append(prediction.lag_ms["total"] / 1e3)
        key = (prediction.session, prediction.participant)
        newest = self._newest.get(key)
        if newest is None or prediction.end_s >= newest.end_s:
            for gone in _remember(self._newest, key, prediction):
                self._present_s.pop(gone, None)
        seen = self._present_s.setdefault(key, {})
        for name in MODALITIES:
            if getattr(prediction.present, name):
                seen[name] = max(seen.get(name, 0.0), prediction.end_s)

    def forget(self, session: str) -> None:
        """Say no more about a session; the totals keep what it did."""
        with self._lock:
            known: tuple[dict[Key, Any], ...] = (self._statuses, self._newest, self._present_s)
            for table in known:
                for key in [key for key in table if key[0] == session]:
                    del table[key]

    def text(self, workers: Sequence[Mapping[str, Any]], hub: Mapping[str, int]) -> bytes:
        """All figures now. ``workers`` are the server's lines about them, ``hub`` its counts."""
        now = CollectorRegistry()
        with self._lock:
            families = [
                *self._ages(),
                *self._quantiles(),
                *self._status_families(hub),
                *_worker_families(workers),
                _labelled_gauge(
                    "tonality_feed_clients",
                    "Browsers and programs that listen.",
                    {"browser": hub.get("browsers", 0), "program": hub.get("followers", 0)},
                    "kind",
                ),
            ]
            now.register(_Fixed(families))
            return generate_latest(self._registry) + generate_latest(now)

    def _ages(self) -> Iterator[Metric]:
        now_ns = self._clock.now_ns()
        labels = ["session", "participant"]
        age = GaugeMetricFamily(
            "tonality_prediction_age_seconds", "Since the newest prediction was made.", None, labels
        )
        missing = GaugeMetricFamily(
            "tonality_modality_age_seconds",
            "Media time since a window last held the modality.",
            None,
            [*labels, "modality"],
        )
        for key, newest in self._newest.items():
            age.add_metric(key, (now_ns - newest.made_ns) / NS_PER_S)
            for name, at_s in self._present_s.get(key, {}).items():
                missing.add_metric([*key, name], max(0.0, newest.end_s - at_s))
        beat = GaugeMetricFamily(
            "tonality_heartbeat_age_seconds", "Since a worker last said it lives.", None, ["worker"]
        )
        for (_, worker), status in self._statuses.items():
            beat.add_metric([worker], (now_ns - status.made_ns) / NS_PER_S)
        yield from (age, missing, beat)

    def _quantiles(self) -> Iterator[Metric]:
        family = GaugeMetricFamily(
            "tonality_lag_recent_seconds",
            f"From a window's end to its prediction, over the last {RECENT}.",
            None,
            ["revision", "quantile"],
        )
        for revision, recent in self._recent.items():
            for quantile, value in zip(QUANTILES, np.quantile(recent, QUANTILES), strict=True):
                family.add_metric([revision, str(quantile)], float(value))
        yield family

    def _status_families(self, hub: Mapping[str, int]) -> Iterator[Metric]:
        frames = CounterMetricFamily("tonality_frames", "Pictures read.", None, ["worker"])
        done = CounterMetricFamily("tonality_done", "What workers did.", None, ["worker", "what"])
        dropped = CounterMetricFamily(
            "tonality_dropped", "What was dropped or lost, by reason.", None, ["worker", "reason"]
        )
        gauges = GaugeMetricFamily("tonality_gauge", "Workers' figures.", None, ["worker", "what"])
        for (_, worker), status in self._statuses.items():
            if "pictures" in status.counters:
                frames.add_metric([worker], status.counters["pictures"])
            for name, count in status.counters.items():
                done.add_metric([worker, name], count)
            for name, count in status.losses.items():
                dropped.add_metric([worker, name], count)
            for name, value in status.gauges.items():
                gauges.add_metric([worker, name], value)
        for reason in ("malformed", "gaps", "previews_skipped", "browsers_dropped"):
            dropped.add_metric(["server", reason.replace("_", " ")], hub.get(reason, 0))
        yield from (frames, done, dropped, gauges)


class _Fixed(Collector):
    """Families that are made already."""

    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        """The families."""
        return self._families


def _worker_families(workers: Sequence[Mapping[str, Any]]) -> Iterator[Metric]:
    up = GaugeMetricFamily(
        "tonality_worker_up", "1 while a worker runs.", None, ["worker", "role", "state"]
    )
    restarts = CounterMetricFamily("tonality_worker_restarts", "Restarts.", None, ["worker"])
    memory = GaugeMetricFamily("tonality_worker_memory_bytes", "Resident.", None, ["worker"])
    for worker in workers:
        name, state = str(worker["name"]), str(worker["state"])
        up.add_metric([name, str(worker["role"]), state], state == "running")
        restarts.add_metric([name], worker["restarts"])
        memory.add_metric([name], worker["memory_mib"] * 2**20)
    yield from (up, restarts, memory)


def _labelled_gauge(name: str, told: str, values: Mapping[str, float], label: str) -> Metric:
    family = GaugeMetricFamily(name, told, None, [label])
    for key, value in values.items():
        family.add_metric([key], value)
    return family


def _remember(table: OrderedDict[Key, Any], key: Key, value: object) -> list[Key]:
    """Put it last, and give back the keys that had to go because there were too many."""
    table[key] = value
    table.move_to_end(key)
    gone = []
    while len(table) > MOST:
        gone.append(table.popitem(last=False)[0])
    return gone

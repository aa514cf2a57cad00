"""The inference worker: windows of all participants from the bus, predictions back onto it.

Run as ``python -m model.worker`` by the supervisor (see :mod:`features.harness`). What waits is
taken in one batch; only when too much waits are older windows skipped, and counted.
"""

from __future__ import annotations

import logging
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from features.bus import Received, Subscriber
from features.errors import FeatureError, SpecError, WorkerError
from features.harness import Harness, run_worker
from features.messages import Ages, AnyMessage, Prediction, Present, StreamData, Window
from features.queues import Closed
from features.samples import Counters
from features.spec import Spec
from model.predictor import BATCH, Predictor

logger = logging.getLogger(__name__)

WAIT_S: Final = 0.2
TIMES_KEPT: Final = 256
REFUSAL_SHOWN_S: Final = 10.0


class InferenceConfig(msgspec.Struct, frozen=True):
    """``checkpoint`` is a folder, empty for the live one; ``device`` as the predictor takes it."""

    checkpoint: str = ""
    device: str = "auto"


class WindowBacklog:
    """What waits to be scored. Pure: windows in, the batch to score out.

    Everything is scored as long as no more than ``limit`` windows wait; beyond that only the newest
    of every participant. ``skipped`` counts the others, ``superseded`` revisions that a higher one
    of the same window replaced while both waited.
    """

    def __init__(self, limit: int = BATCH) -> None:
        self.limit = limit
        self.skipped = 0
        self.superseded = 0
        self._waiting: dict[tuple[str, str, int], Window] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, window: Window) -> None:
        """Take a window; a revision not higher than the one that waits is not needed."""
        key = (window.session, window.participant, window.seq)
        other = self._waiting.pop(key, None)
        if other is not None:
            self.superseded += 1
            window = max(other, window, key=lambda w: w.revision)
        self._waiting[key] = window

    def take(self) -> list[Window]:
        """All that is to be scored now, oldest first for every participant; nothing waits then."""
        windows = sorted(self._waiting.values(), key=lambda w: w.seq)
        self._waiting.clear()
        if len(windows) <= self.limit:
            return windows
        newest = {(w.session, w.participant): w for w in windows}
        self.skipped += len(windows) - len(newest)
        return list(newest.values())


class InferenceWorker:
    """Scores what waits and publishes it; keeps count of everything.

    Attributes:
        counters: windows, predictions, refusals; they only grow.
        refusal: why the last window was refused, for ten seconds.
    """

    def __init__(
        self,
        predictor: Predictor,
        publish: Callable[[AnyMessage], bool],
        now_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self.counters = Counters({"windows": 0, "predictions": 0, "refused windows": 0})
        self.backlog = WindowBacklog()
        self._predictor = predictor
        self._publish = publish
        self._now_ns = now_ns
        self._batch_ms: deque[float] = deque(maxlen=TIMES_KEPT)
        self._sizes: deque[int] = deque(maxlen=TIMES_KEPT)
        self._refusal = ""
        self._refused_ns = 0

    def accept(self, received: Sequence[Received]) -> None:
        """Put the windows among what was received into the backlog; refuse what does not fit."""
        for item in received:
            if isinstance(item.message, Window):
                self.counters.add("windows")
                self._admit(item.message)

    def _admit(self, window: Window) -> None:
        try:
            self._predictor.check(window)
        except (SpecError, FeatureError) as error:
            self.counters.add("refused windows")
            if not self.refusal:
                logger.warning("refused a window: %s", error)
            self._refusal, self._refused_ns = str(error), self._now_ns()
        else:
            self.backlog.add(window)

    def work(self) -> list[Prediction]:
        """Score everything that waits, publish it, and give it back."""
        windows = self.backlog.take()
        out = []
        for first in range(0, len(windows), BATCH):
            out += self._score(windows[first : first + BATCH])
        return out

    def _score(self, windows: Sequence[Window]) -> list[Prediction]:
        started_ns = self._now_ns()
        predictions = self._predictor.predict(windows, self._now_ns)
        self._batch_ms.append((self._now_ns() - started_ns) / 1e6)
        self._sizes.append(len(windows))
        for prediction in predictions:
            self._publish(prediction)
        self.counters.add("predictions", len(predictions))
        return predictions

    @property
    def refusal(self) -> str:
        """Why windows are being refused, empty when none was for ten seconds."""
        recent = self._now_ns() - self._refused_ns < REFUSAL_SHOWN_S * 1e9
        return self._refusal if recent else ""

    @property
    def counts(self) -> dict[str, int]:
        """All counters, also of the revisions that a newer one replaced while both waited."""
        return {**self.counters.counts, "revisions superseded": self.backlog.superseded}

    @property
    def gauges(self) -> dict[str, float]:
        """Milliseconds and windows of a batch, over the last batches."""
        if not self._batch_ms:
            return {}
        median, slow = np.percentile(self._batch_ms, [50, 95])
        return {
            "batch_ms_p50": float(median),
            "batch_ms_p95": float(slow),
            "batch_windows": float(np.mean(self._sizes)),
        }


def warm_up(predictor: Predictor) -> None:
    """Run one made-up window through everything, so that the first real one is not slow."""
    predictor.predict([made_up_window(predictor.checkpoint.spec)], time.monotonic_ns)


def made_up_window(spec: Spec) -> Window:
    """A window in which everything is present and nothing is said: zeros and one word."""
    streams = {
        s.name: StreamData(
            np.zeros((spec.steps(s.name), s.width), np.float32),
            np.ones(spec.steps(s.name), np.bool_),
        )
        for s in spec.streams
    }
    return Window(
        session="warm-up",
        participant="warm-up",
        source="warm-up",
        start_s=0.0,
        end_s=spec.length_s,
        made_ns=0,
        seq=0,
        revision=0,
        final=True,
        due_ns=0,
        spec=spec.hash,
        text="hello",
        words=(),
        present=Present(text=True, voice=True, face=True),
        age_s=Ages(),
        streams=streams,
        statistics={},
    )


def main(harness: Harness) -> None:
    """Load, warm up, then score until told to stop."""
    config = harness.config(InferenceConfig)
    if harness.address is None:
        raise WorkerError(f"{harness.name}: the inference worker needs a bus")
    predictor = Predictor(Path(config.checkpoint) if config.checkpoint else None, config.device)
    warm_up(predictor)
    subscriber = Subscriber(harness.address, ("window",))
    try:
        _serve(harness, InferenceWorker(predictor, harness.publish), subscriber, predictor)
    finally:
        subscriber.close()


def _serve(
    harness: Harness, worker: InferenceWorker, subscriber: Subscriber, predictor: Predictor
) -> None:
    device = f"on {predictor.device.type}"
    untrained = "" if predictor.checkpoint.trained else ", untrained checkpoint"
    while not harness.stop.is_set():
        first = subscriber.receive(WAIT_S)
        if first is not None:
            worker.accept([first, *subscriber.drain()])
            worker.work()
        _ignore_commands(harness)
        refusal = f"; refused: {worker.refusal}" if worker.refusal else ""
        losses = {
            "windows skipped under load": worker.backlog.skipped,
            "windows lost on the bus": subscriber.lost,
            "messages malformed": subscriber.malformed,
        }
        detail = f"{device}{untrained}{refusal}"
        harness.heartbeat("running", detail, worker.counts, worker.gauges, losses=losses)


def _ignore_commands(harness: Harness) -> None:
    """Take what was ordered: nothing but stopping, which the harness does, is for this worker."""
    try:
        while (command := harness.commands.get(0.0)) is not None:
            logger.warning("the inference worker does not know the command '%s'", command.do)
    except Closed:
        return


if __name__ == "__main__":
    sys.exit(run_worker(main))

"""One thread per extractor: items in through a bounded queue, samples out to the assembler."""

from __future__ import annotations

import logging
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import numpy as np

from capture.source import SAMPLE_RATE_HZ, Picture
from features.messages import Preview
from features.queues import BoundedQueue, Closed, DropPolicy
from features.samples import (
    ActivityChunk,
    FaceSample,
    Lost,
    Returned,
    SpeechUpdate,
    VoiceChunk,
)
from features.threads import OwnedThread
from features.windows import Sample

if TYPE_CHECKING:
    from features.activity import SpeechActivity
    from features.speech import SpeechExtractor

logger = logging.getLogger(__name__)

T = TypeVar("T")
STOP_S = 10.0  # a recogniser pass may take seconds on a weak machine
WAIT_S = 0.2  # how long a stage sleeps on a queue before it looks at its stop event again
TIMES_KEPT = 256
PREVIEW_HZ = 10.0
BEHIND_S = 2.0  # sound waiting longer than this makes the recogniser skip passes


class FaceLike(Protocol):
    """What the face stage needs of an extractor."""

    def push(self, image: np.ndarray, time_s: float) -> FaceSample:
        """The face in a picture."""

    def close(self) -> None:
        """Release the extractor."""


class Stage(ABC, Generic[T]):
    """A named thread between a bounded queue and an outlet; ``busy_ms`` holds its last run times."""

    def __init__(self, name: str, queue: BoundedQueue[T], outlet: Callable[[Sample], None]) -> None:
        self.queue = queue
        self.outlet = outlet
        self.busy_ms: deque[float] = deque(maxlen=TIMES_KEPT)
        self.done = 0
        self.thread = OwnedThread(name, self._run)

    def _run(self, stop: threading.Event) -> None:
        try:
            while not stop.is_set():
                try:
                    item = self.queue.get(WAIT_S)
                except Closed:
                    self.finish(stop)
                    return
                if item is not None:
                    self._timed(item, stop)
        finally:
            self.release()

    def _timed(self, item: T, stop: threading.Event) -> None:
        began = time.perf_counter()
        self.work(item, stop)
        self.busy_ms.append((time.perf_counter() - began) * 1e3)
        self.done += 1

    @abstractmethod
    def work(self, item: T, stop: threading.Event) -> None:
        """Handle one item."""

    def finish(self, stop: threading.Event) -> None:
        """The queue was closed and is empty: give out what is left."""

    def release(self) -> None:
        """Free what the extractor holds, however the stage ended."""

    def close(self) -> None:
        """Stop the thread and release the extractor; what went wrong is in ``thread.error``."""
        self.queue.close()
        if not self.thread.started:
            self.release()
            return
        self.thread.stop.set()
        if not self.thread.join(STOP_S):
            logger.error("stage %s did not stop within %.0f s", self.thread.name, STOP_S)

    def gauges(self) -> dict[str, float]:
        """Median and 95th percentile of the run time per item."""
        if not self.busy_ms:
            return {}
        p50, p95 = np.percentile(list(self.busy_ms), [50, 95])
        name = self.thread.name
        return {f"{name} ms p50": float(p50), f"{name} ms p95": float(p95)}


class FaceStage(Stage[Picture | Lost | Returned]):
    """Pictures to face samples, and small previews for people where asked.

    The news that a file's picture ended comes the same way, so that it cannot overtake a picture.
    """

    def __init__(
        self,
        queue: BoundedQueue[Picture | Lost | Returned],
        outlet: Callable[[Sample], None],
        extractor: FaceLike,
        previews: BoundedQueue[Preview] | None,
        make_preview: Callable[[np.ndarray, FaceSample], Preview],
    ) -> None:
        super().__init__("face", queue, outlet)
        self.extractor = extractor
        self.last: FaceSample | None = None
        self._previews = previews
        self._make_preview = make_preview
        self._next_preview_s = 0.0

    def work(self, item: Picture | Lost | Returned, stop: threading.Event) -> None:
        """Find the face, pass it on, now and then with its picture."""
        if not isinstance(item, Picture):
            self.outlet(item)
            return
        sample = self.extractor.push(item.image, item.time_s)
        self.last = sample
        self.outlet(sample)
        if self._previews is not None and item.time_s >= self._next_preview_s:
            self._next_preview_s = item.time_s + 1.0 / PREVIEW_HZ
            self._previews.put(self._make_preview(item.image, sample))

    def release(self) -> None:
        """Close the face extractor."""
        self.extractor.close()


class VoiceStage(Stage[np.ndarray]):
    """Sound to speech probabilities, to descriptors where wanted, and on to the recogniser."""

    def __init__(
        self,
        queue: BoundedQueue[np.ndarray],
        outlet: Callable[[Sample], None],
        activity: SpeechActivity,
        descriptors: bool,
        onward: BoundedQueue[tuple[np.ndarray, ActivityChunk | None]] | None,
    ) -> None:
        from features.voice import VoiceExtractor

        super().__init__("voice", queue, outlet)
        self.heard_s = -1e9  # media time of the last speech
        self._samples = 0
        self._activity = activity
        self._onward = onward
        self._voice = VoiceExtractor(self._describe) if descriptors else None

    def _describe(self, chunk: VoiceChunk) -> None:
        self.outlet(chunk)

    def work(self, item: np.ndarray, stop: threading.Event) -> None:
        """Feed openSMILE and the detector; hand the sound to the recogniser."""
        if self._voice is not None:
            self._voice.feed(item)
        activity = self._activity.feed(item)
        self._samples += len(item)
        if activity is not None:
            if (activity.probability >= 0.5).any():
                self.heard_s = self._samples / SAMPLE_RATE_HZ
            self.outlet(activity)
        if self._onward is not None:
            put_until(self._onward, (item, activity), stop)

    def finish(self, stop: threading.Event) -> None:
        """Flush openSMILE and tell the recogniser that no more sound comes."""
        if self._voice is not None:
            self._voice.finish(timeout_s=10.0)
        if self._onward is not None:
            self._onward.close()

    def release(self) -> None:
        """Close openSMILE."""
        if self._onward is not None:
            self._onward.close()
        if self._voice is not None:
            self._voice.close()


class SpeechStage(Stage[tuple[np.ndarray, "ActivityChunk | None"]]):
    """Sound with speech probabilities to words and encoder states."""

    def __init__(
        self,
        queue: BoundedQueue[tuple[np.ndarray, ActivityChunk | None]],
        outlet: Callable[[Sample], None],
        extractor: SpeechExtractor,
        live: bool,
    ) -> None:
        super().__init__("speech", queue, outlet)
        self.extractor = extractor
        self.waiting_s = 0.0
        self._live = live

    def work(self, item: tuple[np.ndarray, ActivityChunk | None], stop: threading.Event) -> None:
        """Recognise; live, say how far behind the recogniser is."""
        samples, activity = item
        self.waiting_s = len(self.queue) * len(samples) / SAMPLE_RATE_HZ
        if self._live:
            self.extractor.behind(self.waiting_s)
        self._give(self.extractor.feed(samples, activity))

    def finish(self, stop: threading.Event) -> None:
        """Commit the last words."""
        self._give(self.extractor.finish())

    def _give(self, update: SpeechUpdate | None) -> None:
        if update is not None:
            self.outlet(update)

    def release(self) -> None:
        """Free the recogniser."""
        self.extractor.close()


def put_until(queue: BoundedQueue[Any], item: object, stop: threading.Event) -> bool:
    """Put into a queue that may be full, as long as nobody asked to stop."""
    while not stop.is_set():
        if queue.put(item, WAIT_S):
            return True
        if queue.policy is not DropPolicy.BLOCK or queue.closed:
            return False
    return False


def stages_error(stages: Iterable[Stage[Any]]) -> BaseException | None:
    """What ended a stage before its time, if anything did."""
    return next((s.thread.error for s in stages if s.thread.error is not None), None)

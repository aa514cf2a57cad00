"""The reader: what a source gives, onto the stages' queues, on a clock that begins at zero."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np

from capture.source import SAMPLE_RATE_HZ, End, Picture, Sound, Source
from capture.stages import put_until
from features.queues import BoundedQueue
from features.samples import Lost, Returned
from features.threads import OwnedThread
from features.windows import Sample

READ_S = 0.05  # how long a read may wait before the stop event is looked at


class Reader:
    """One thread between a source and the queues of its stages, which it closes at the end.

    Attributes:
        paused: while set, pictures are let go and sound is silence; the clock goes on.
        position_s: media time that has been read.
        end_s: where the media ended, once it has.
    """

    def __init__(
        self,
        source: Source,
        pictures: BoundedQueue[Picture | Lost | Returned] | None,
        sound: BoundedQueue[np.ndarray] | None,
        outlet: Callable[[Sample], None],
    ) -> None:
        self.paused = threading.Event()
        self.position_s = 0.0
        self.end_s: float | None = None
        self.thread = OwnedThread("reader", self._run)
        self._source = source
        self._pictures = pictures
        self._sound = sound
        self._outlet = outlet
        self._begun = False

    def _run(self, stop: threading.Event) -> None:
        try:
            while not stop.is_set():
                item = self._source.read(READ_S)
                if isinstance(item, End):
                    self.end_s = item.time_s
                    return
                if isinstance(item, Picture):
                    self._take_picture(item, stop)
                elif isinstance(item, Sound):
                    self._take_sound(item, stop)
                elif item is not None:
                    self._take_notice(item, stop)
        finally:
            for queue in (self._pictures, self._sound):
                if queue is not None:
                    queue.close()

    def _take_picture(self, picture: Picture, stop: threading.Event) -> None:
        self.position_s = max(self.position_s, picture.time_s)
        if self._source.frames is not None and not self._source.shares_all:
            self._source.frames.write(picture.time_s, picture.image)
        if self._pictures is not None and not self.paused.is_set():
            put_until(self._pictures, picture, stop)

    def _take_sound(self, sound: Sound, stop: threading.Event) -> None:
        if self._sound is None:
            return
        samples = sound.samples if self._begun else _from_zero(sound)
        self._begun = True
        self.position_s = max(self.position_s, sound.end_s)
        if self.paused.is_set():
            samples = np.zeros_like(samples)  # as long as the sound was, so that times stay true
        put_until(self._sound, samples, stop)

    def _take_notice(self, notice: Lost | Returned, stop: threading.Event) -> None:
        """News of loss and return; from files they keep their place among the pictures."""
        if notice.modality == "picture" and self._pictures is not None and not self._source.live:
            put_until(self._pictures, notice, stop)
        else:
            self._outlet(notice)

    def close(self) -> None:
        """Stop reading; what went wrong is in ``thread.error``."""
        self.thread.stop.set()
        if self.thread.started:
            self.thread.join(5.0)


def _from_zero(sound: Sound) -> np.ndarray:
    """Samples that begin at media time zero: silence put before, or what lies before zero cut."""
    offset = round(sound.start_s * SAMPLE_RATE_HZ)
    if offset >= 0:
        return np.concatenate([np.zeros(offset, np.float32), sound.samples])
    return sound.samples[-offset:]

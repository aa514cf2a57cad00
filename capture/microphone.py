"""A microphone as a source: contiguous sound, silence and a notice where the device gives none."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import Protocol

import numpy as np

from capture.listening import Block, Listening
from capture.live import Backoff, Origin, Patience
from capture.portaudio import OnBlock, open_microphone
from capture.sound import downmix
from capture.source import Item, Source
from features.clock import NS_PER_S, Clock, SystemClock
from features.errors import SourceError
from features.queues import BoundedQueue, DropPolicy
from features.threads import OwnedThread

logger = logging.getLogger(__name__)

BLOCKS_QUEUED = 200  # ten seconds
START_S = 2.0  # sound servers take half a second and more to begin
REOPEN_AFTER_S = 1.0  # a stall that heals by itself needs no new stream
LOOK_S = 0.2


class Listener(Protocol):
    """A running input stream."""

    rate_hz: int

    def close(self) -> None:
        """Stop; no block comes after it returned."""


ListenerFactory = Callable[[str, OnBlock], Listener]
"""Opens a device by name or index and hands its blocks to a function; raises ``SourceError``."""


class MicrophoneSource(Source):
    """Sound of one device by name or index (empty: the default one), as 16 kHz mono.

    Times are counted in samples from the first arrival. Without sound for 0.5 s the device is lost,
    silence is given instead, and it is opened again with growing waits.
    """

    live = True

    def __init__(
        self,
        device: str = "",
        *,
        name: str | None = None,
        factory: ListenerFactory = open_microphone,
        clock: Clock | None = None,
        origin: Origin | None = None,
        wake: Callable[[], None] | None = None,
        what: str = "microphone",
    ) -> None:
        """``what`` is it to people, where something is to be said of it."""
        self.device = device
        self._what = what
        self.name = (f"microphone:{device}" if device else "microphone") if name is None else name
        self._factory = factory
        self._clock: Clock = clock or SystemClock()
        self._shared = origin is not None
        self._origin = origin or Origin()
        self._wake = wake or (lambda: None)
        self._queue: BoundedQueue[tuple[int, np.ndarray, int, int]] = BoundedQueue(
            BLOCKS_QUEUED, DropPolicy.REFUSE
        )
        self._listening = Listening()
        self._items: deque[Item] = deque()
        self._listener: Listener | None = None
        self._keeper: OwnedThread | None = None
        self._arrived_ns = 0
        self._missed = 0
        self._started = threading.Event()
        self._why = ""
        self._reopened = 0

    def open(self) -> None:
        """Start listening and wait for the first block; raises ``SourceError``.

        A device that stays quiet for two seconds is declared lost by :meth:`read`, not refused.
        """
        self._listener = self._factory(self.device, self._on_block)
        self.has_sound = True
        self._started.wait(START_S)
        if not self._shared:
            self._origin.set(self._clock.now_ns())
        self._arrived_ns = self._clock.now_ns()
        self._keeper = OwnedThread("microphone keeper", self._keep).start()

    def read(self, timeout_s: float) -> Item | None:
        """The next chunk of sound, or notice of loss and return; ``None`` after ``timeout_s``."""
        patience = Patience(timeout_s)
        while not self._items:
            block = self._queue.get(patience.look_s())
            if self._keeper is not None:
                self._keeper.check()
            if block is not None:
                self._items.extend(self._listening.add(self._placed(*block)))
            elif self._origin.ns:
                now_s = self._origin.time_s(self._clock.now_ns())
                why = f"{self._what}: {self._why or 'no sound arrives'}"
                self._items.extend(self._listening.quiet(now_s, why))
            if block is None and not self._items and patience.over:
                return None
        return self._items.popleft()

    def close(self) -> None:
        """Stop listening."""
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            keeper.close()
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.close()

    @property
    def origin_ns(self) -> int:
        """Monotonic time of media time zero."""
        return self._origin.ns

    @property
    def dropped(self) -> dict[str, int]:
        """Blocks nobody took in time, corrections against the clock, new beginnings."""
        counts = {
            "sound blocks refused": self._queue.dropped,
            f"{self._what} reopened": self._reopened,
        }
        return {**counts, **self._listening.counts.counts}

    def _placed(self, arrived_ns: int, channels: np.ndarray, rate_hz: int, missed: int) -> Block:
        samples = np.nan_to_num(downmix(channels.T))
        return Block(self._origin.time_s(arrived_ns), samples, rate_hz, missed)

    # In PortAudio's thread, which must not wait.

    def _on_block(self, data: np.ndarray) -> None:
        self._arrived_ns = self._clock.now_ns()
        self._started.set()
        listener = self._listener
        if not self._origin.ns or listener is None:
            return
        if self._queue.put((self._arrived_ns, data, listener.rate_hz, self._missed)):
            self._missed = 0
            self._wake()
        else:
            self._missed += len(data)

    # In the keeper's thread: a device that went away is opened again.

    def _keep(self, stop: threading.Event) -> None:
        backoff = Backoff()
        while not stop.wait(LOOK_S):
            quiet_s = (self._clock.now_ns() - self._arrived_ns) / NS_PER_S
            if quiet_s < REOPEN_AFTER_S:
                self._why = ""
                backoff.reset()
            elif not stop.wait(backoff.step()):
                self._reopen()

    def _reopen(self) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.close()
        try:
            self._listener = self._factory(self.device, self._on_block)
            self._reopened += 1
        except SourceError as error:
            self._why = str(error)
            logger.debug("microphone %s: %s", self.device, error)

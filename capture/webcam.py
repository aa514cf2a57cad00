"""A camera as a source: newest picture wins, and a camera that freezes or goes is noticed within 1 s."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Protocol

import numpy as np

from capture.live import Backoff, Origin, Patience
from capture.opencv import open_camera, rgb
from capture.pictures import FrameGrid
from capture.source import Item, Picture, Source
from features.clock import NS_PER_S, Clock, SystemClock
from features.errors import SourceError
from features.queues import BoundedQueue, DropPolicy
from features.samples import Counters, Lost, Returned
from features.threads import OwnedThread

logger = logging.getLogger(__name__)

FROZEN_S = 0.8  # without a new picture
HUNG_S = 15.0  # OpenCV itself gives up a read after 10 s; a thread inside for longer is left behind
OPEN_S = 20.0
STILL_REOPEN_S = (5.0, 60.0)  # a covered lens may stand still for an hour: do not flicker its lamp
PICTURES_QUEUED = 4


class Camera(Protocol):
    """What is used of ``cv2.VideoCapture``; ``read`` blocks until the next picture."""

    def read(self) -> tuple[bool, np.ndarray | None]:
        """Whether it worked, and ``(height, width, 3) uint8`` in BGR order."""

    def release(self) -> None:
        """Give the device back."""


CameraFactory = Callable[[int | str, int, int, float], Camera]
"""Opens a camera of index, width, height, fps; raises ``SourceError``."""


class Webcam(Source):
    """Pictures of one camera, stamped with their arrival on the monotonic clock.

    A camera is lost when no picture comes for 0.8 s (3 periods where fewer than 4 pictures a second
    are asked for), or when all pictures of 0.8 s are the same to the byte: a live sensor always
    has noise, so that is a frozen driver, a still, or a covered lens, and none of them is evidence
    of a face. It is opened again with growing waits and ``Returned`` comes with the next new picture.
    """

    live = True
    shares_all = True

    def __init__(
        self,
        index: int | str = 0,
        *,
        width: int = 640,
        height: int = 480,
        fps: float = 30.0,
        name: str | None = None,
        factory: CameraFactory = open_camera,
        clock: Clock | None = None,
        origin: Origin | None = None,
        wake: Callable[[], None] | None = None,
    ) -> None:
        self.index = index
        self.name = f"webcam:{index}" if name is None else name
        self._format = (width, height, fps)
        self._frozen_s = max(FROZEN_S, 3 / fps if fps < 4 else 0.0)
        self._factory = factory
        self._clock: Clock = clock or SystemClock()
        self._shared = origin is not None
        self._origin = origin or Origin()
        self._wake = wake or (lambda: None)
        self._queue: BoundedQueue[Picture] = BoundedQueue(PICTURES_QUEUED, DropPolicy.NEWEST_WINS)
        self._grid = FrameGrid()
        self._counts = Counters()
        self._ready = threading.Event()
        self._again = threading.Event()
        self._thread: OwnedThread | None = None
        self._left_behind: OwnedThread | None = None
        self._arrived_ns = 0
        self._again_ns = 0
        self._still_backoff = Backoff(*STILL_REOPEN_S)
        self._why = ""
        self._lost = False
        self._after: Picture | None = None
        self._stillness = Stillness(self._frozen_s)

    def open(self) -> None:
        """Open the camera and wait for its first picture; raises ``SourceError``."""
        self._thread = self._start()
        in_time = self._ready.wait(OPEN_S)
        try:
            self._thread.check()
            if not in_time:
                raise SourceError(f"camera {self.index} gave no picture within {OPEN_S:.0f} s")
        except SourceError:
            self.close()
            raise
        self.has_picture = True
        if not self._shared:
            self._origin.set(self._clock.now_ns())

    def read(self, timeout_s: float) -> Item | None:
        """The next picture, or notice of loss and return; ``None`` after ``timeout_s``."""
        if self._after is not None:
            picture, self._after = self._after, None
            return picture
        patience = Patience(timeout_s)
        while True:
            fresh = self._queue.get(patience.look_s())
            if self._thread is not None:
                self._thread.check()
            item = self._judge(fresh) if fresh is not None else self._overdue()
            if item is not None or patience.over:
                return item

    def close(self) -> None:
        """Stop the thread and release the camera."""
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.close()

    @property
    def origin_ns(self) -> int:
        """Monotonic time of media time zero."""
        return self._origin.ns

    @property
    def dropped(self) -> dict[str, int]:
        """Pictures that nobody took in time, and how often the camera was opened again."""
        return {"camera pictures": self._queue.dropped, **self._counts.counts}

    # In the reader's thread: what arrived, what did not.

    def _judge(self, picture: Picture) -> Item | None:
        if self._stillness.see(picture):
            self._reopen_still()
            return self._lose(picture.time_s, "the picture stands still")
        if not self._lost:
            return picture
        self._lost, self._after = False, picture
        return Returned("picture", picture.time_s)

    def _overdue(self) -> Item | None:
        now_ns = self._clock.now_ns()
        quiet_s = (now_ns - max(self._arrived_ns, self._origin.ns)) / NS_PER_S
        if not self._origin.ns or quiet_s <= self._frozen_s:
            return None
        if quiet_s > HUNG_S:
            self._leave_behind()
        why = self._why or f"no new picture for {self._frozen_s:.1f} s"
        return self._lose(self._origin.time_s(now_ns), why)

    def _lose(self, time_s: float, why: str) -> Item | None:
        if self._lost:
            return None
        self._lost = True
        return Lost("picture", time_s, f"camera {self.index}: {why}")

    def _reopen_still(self) -> None:
        now_ns = self._clock.now_ns()
        if not self._lost:
            self._still_backoff.reset()
            self._again_ns = now_ns + int(self._still_backoff.step() * NS_PER_S)
        elif now_ns >= self._again_ns:
            self._again_ns = now_ns + int(self._still_backoff.step() * NS_PER_S)
            self._again.set()

    def _leave_behind(self) -> None:
        """Give up a thread stuck inside the driver, one at a time; it releases its camera itself."""
        if self._left_behind is not None and self._left_behind.alive:
            return
        if self._thread is not None and self._thread.alive:
            logger.warning("camera %s hangs in its driver; opening it anew", self.index)
            self._thread.stop.set()
            self._left_behind, self._thread = self._thread, self._start()

    # In the camera's thread.

    def _start(self) -> OwnedThread:
        return OwnedThread(f"camera {self.index}", self._run, on_exit=self._ready.set).start()

    def _run(self, stop: threading.Event) -> None:
        backoff = Backoff()
        while not stop.is_set():
            try:
                camera = self._factory(self.index, *self._format)
            except SourceError as error:
                if not self._ready.is_set():
                    raise
                self._why = str(error)
            else:
                try:
                    self._film(camera, stop, backoff)
                finally:
                    camera.release()
            if not self._ready.is_set() and not stop.is_set():
                raise SourceError(
                    f"camera {self.index} opens but gives no picture; is another program using it?"
                )
            stop.wait(backoff.step())
            self._counts.add("camera reopened")

    def _film(self, camera: Camera, stop: threading.Event, backoff: Backoff) -> None:
        """Take pictures until the camera fails, or is to be opened again."""
        self._again.clear()
        while not self._again.is_set():
            worked, image = camera.read()
            if stop.is_set():
                return
            if not worked or image is None:
                self._why = "it gives no more pictures; was it pulled out?"
                return
            self._arrived_ns, self._why = self._clock.now_ns(), ""
            backoff.reset()
            self._ready.set()
            time_s = self._origin.time_s(self._arrived_ns)
            if not self._origin.ns or time_s < 0:
                continue
            if self.frames is not None:
                self.frames.write(time_s, image, bgr=True)
            if self._grid.take(time_s):
                self._queue.put(Picture(time_s, rgb(image)))
                self._wake()


class Stillness:
    """Tells pictures that are the same to the byte for ``limit_s`` or longer."""

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._last: np.ndarray | None = None
        self._since_s = 0.0

    def see(self, picture: Picture) -> bool:
        """Whether the picture has stood still for too long."""
        if self._last is None or not np.array_equal(self._last, picture.image):
            self._last, self._since_s = picture.image, picture.time_s
        return picture.time_s - self._since_s >= self._limit_s

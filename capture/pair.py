"""A camera and a microphone as one source on one clock."""

from __future__ import annotations

import threading
from collections.abc import Callable

from capture.live import Origin, Patience
from capture.microphone import MicrophoneSource
from capture.source import Item, Source
from capture.webcam import Webcam
from features.clock import Clock, SystemClock


class Pair(Source):
    """Pictures of a camera and sound of a microphone that share media time zero.

    Each device has its own bounded queue (pictures: newest wins; sound: refused and made up by
    silence only after ten seconds), so that neither can push out the other; sound is read first.
    ``camera`` and ``microphone`` make the devices, given ``clock``, ``origin`` and ``wake``.
    """

    live = True
    shares_all = True

    def __init__(
        self,
        camera: Callable[..., Webcam],
        microphone: Callable[..., MicrophoneSource],
        name: str,
        clock: Clock | None = None,
    ) -> None:
        self.name = name
        self._origin = Origin()
        self._clock: Clock = clock or SystemClock()
        self._signal = threading.Event()
        shared = {"clock": self._clock, "origin": self._origin, "wake": self._signal.set}
        self._camera = camera(**shared)
        self._microphone = microphone(**shared)

    def open(self) -> None:
        """Open both, then let media time begin; raises ``SourceError`` and leaves neither open."""
        self._camera.frames = self.frames
        try:
            self._camera.open()
            self._microphone.open()
        except BaseException:
            self.close()
            raise
        self.has_picture = self.has_sound = True
        self._origin.set(self._clock.now_ns())

    def read(self, timeout_s: float) -> Item | None:
        """The next item of either; ``None`` after ``timeout_s``."""
        patience = Patience(timeout_s)
        while True:
            self._signal.clear()
            item = self._microphone.read(0.0) or self._camera.read(0.0)
            if item is not None or patience.over:
                return item
            self._signal.wait(patience.look_s())

    def close(self) -> None:
        """Close both."""
        try:
            self._microphone.close()
        finally:
            self._camera.close()

    @property
    def origin_ns(self) -> int:
        """Monotonic time of media time zero."""
        return self._origin.ns

    @property
    def dropped(self) -> dict[str, int]:
        """What either lost."""
        return {**self._camera.dropped, **self._microphone.dropped}

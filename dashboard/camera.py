"""The virtual camera: the webcam's picture with the overlay in it, each with the score it belongs to.

The capture worker films; whole pictures come through shared memory, predictions over the bus. A picture
taken at media time t carries the newest window that ends no later than t and is known when the picture
leaves. ``delay_s`` holds pictures back, so that the window that ends at t is known by then.
"""

from __future__ import annotations

import logging
import platform
import threading
from collections import deque
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np

from capture.frames import Frame, FrameReader
from dashboard.burning import Burner
from dashboard.shown import Scores, Shown
from features.bus import BusAddress, Subscriber
from features.clock import NS_PER_S, Clock, SystemClock
from features.errors import TonalityError
from features.messages import Prediction, Transcript
from features.threads import OwnedThread

logger = logging.getLogger(__name__)

FADE_S: Final = 0.8
SILENT_S: Final = 1.0  # without a new picture, after which none is shown any more
MAX_DELAY_S: Final = 2.0
MAX_HELD_BYTES: Final = 400_000_000
RECEIVE_S: Final = 0.2
LATE: Final = 3  # pictures that may wait longer than the delay
GREY: Final = 40
MENDS: Final = {
    "Linux": "install v4l2loopback (Debian, Ubuntu: apt install v4l2loopback-dkms) and load it: "
    "sudo modprobe v4l2loopback devices=1 exclusive_caps=1 card_label=Tonality",
    "Darwin": "install OBS Studio 30 or newer, press 'Start Virtual Camera' in it once, allow its "
    "extension in the system settings, and quit OBS",
    "Windows": "install OBS Studio 26 or newer, which brings the 'OBS Virtual Camera'; OBS need not run",
}
NOT_INSTALLED: Final = (
    "the virtual camera needs the package pyvirtualcam: .venv/bin/pip install -e '.[camera]'"
)


class Sink(Protocol):
    """What is used of ``pyvirtualcam.Camera``."""

    @property
    def device(self) -> str:
        """Its name, as other programs list it."""

    def send(self, frame: np.ndarray) -> None:
        """Show ``(height, width, 3) uint8`` in RGB order."""

    def close(self) -> None:
        """Give the device back."""


@dataclass(frozen=True, slots=True)
class Format:
    """What the virtual camera gives, whatever the webcam gives."""

    width: int = 1280
    height: int = 720
    fps: float = 30.0


def open_virtual_camera(format: Format, device: str | None = None) -> Sink:
    """The system's virtual camera; :class:`TonalityError` says in one line what is to be installed."""
    try:
        import pyvirtualcam
    except ImportError as error:
        raise TonalityError(NOT_INSTALLED) from error
    try:
        sink: Sink = pyvirtualcam.Camera(
            format.width, format.height, format.fps, fmt=pyvirtualcam.PixelFormat.RGB, device=device
        )
    except (RuntimeError, KeyError, OSError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        mend = MENDS.get(platform.system(), "this system is not known to have one")
        raise TonalityError(f"no virtual camera: {mend} ({reason})") from error
    return sink


def fitted(image: np.ndarray, format: Format) -> np.ndarray:
    """The picture in the camera's size, whole, with bars where the shapes differ; always a copy."""
    import cv2

    height, width = image.shape[:2]
    scale = min(format.width / width, format.height / height)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    whole = np.zeros((format.height, format.width, 3), np.uint8)
    left, top = (format.width - size[0]) // 2, (format.height - size[1]) // 2
    whole[top : top + size[1], left : left + size[0]] = cv2.resize(
        image, size, interpolation=method
    )
    return whole


class Mixer:
    """Puts pictures and scores together; no threads, no devices.

    Attributes:
        dropped: pictures held back for the delay that had to go, being too many or too late.
    """

    def __init__(
        self, format: Format, burner: Burner, scores: Scores, delay_s: float = 0.0
    ) -> None:
        """Raises :class:`TonalityError` for a delay that would need too much memory."""
        self.dropped = 0
        self._format = format
        self._burner = burner
        self._scores = scores
        self._delay_s = delay_s
        # Pictures of the webcam, which may be as large as the ring takes them, wait as they are.
        most = min(round(MAX_DELAY_S * 60), MAX_HELD_BYTES // (format.width * format.height * 3))
        if not 0 <= delay_s <= MAX_DELAY_S or most < delay_s * format.fps:
            raise TonalityError(
                f"a delay of {delay_s:g} s is not possible at {format.width}x{format.height}; "
                f"0 to {min(MAX_DELAY_S, most / format.fps):.1f} s are"
            )
        self._held: deque[Frame] = deque()
        self._most = most
        self._last: Shown | None = None
        self._seen_s = 0.0  # media time at which it was last true

    def take(self, frame: Frame) -> None:
        """A picture of the webcam; the oldest goes where too many wait."""
        self._scores.begin(frame.writer)
        if self._held and self._held[-1].writer != frame.writer:
            self._held.clear()
            self._last = None
        self._held.append(frame)
        while len(self._held) > self._most:
            self._held.popleft()
            self.dropped += 1

    def give(self) -> np.ndarray | None:
        """The picture that is due now, with what belongs to it; ``None`` where none is due."""
        if not self._held:
            return None
        due: Frame | None = None
        until_s = self._held[-1].time_s - self._delay_s + 0.5 / self._format.fps
        if self._held[0].time_s <= until_s:
            due = self._held.popleft()
        # Cameras are not even: one goes for each that comes, and more only after a stall.
        while self._held and self._held[0].time_s <= until_s - LATE / self._format.fps:
            due = self._held.popleft()
            self.dropped += 1
        return None if due is None else self.mixed(due)

    def mixed(self, frame: Frame) -> np.ndarray:
        """A picture with its score burnt in."""
        image = fitted(frame.image, self._format)
        shown = self._scores.at(frame.time_s)
        if shown is not None:
            self._last, self._seen_s = shown, frame.time_s
            self._burner.burn(image, shown)
        elif self._last is not None:
            left = 1 - (frame.time_s - self._seen_s) / FADE_S
            if left > 0:
                self._burner.burn(image, self._last, left)
            else:
                self._last = None
        return image

    def nothing(self) -> np.ndarray:
        """What is shown while no picture comes: an even grey, never an old picture."""
        self._held.clear()
        self._last = None
        return np.full((self._format.height, self._format.width, 3), GREY, np.uint8)


class Overlay:
    """Feeds the virtual camera until it is stopped; the bus is heard in a thread of its own.

    Attributes:
        sent: pictures sent.
        taken: of them, pictures of the webcam.
    """

    def __init__(
        self,
        address: BusAddress,
        session: str,
        participant: str,
        frames: FrameReader,
        mixer: Mixer,
        scores: Scores,
        sink: Sink,
        fps: float,
        clock: Clock | None = None,
    ) -> None:
        self.sent = 0
        self.taken = 0
        self._address = address
        self._whose = (session, participant)
        self._frames = frames
        self._mixer = mixer
        self._scores = scores
        self._sink = sink
        self._fps = fps
        self._clock = clock or SystemClock()
        self._lock = threading.Lock()
        self._listener = OwnedThread("overlay scores", self._listen)

    def _listen(self, stop: threading.Event) -> None:
        kinds = ["prediction", "transcript"]
        with closing(Subscriber(self._address, kinds, session=self._whose[0])) as subscriber:
            while not stop.is_set():
                received = subscriber.receive(RECEIVE_S)
                message: Any = None if received is None else received.message
                if (
                    isinstance(message, Prediction | Transcript)
                    and message.participant == self._whose[1]
                ):
                    with self._lock:
                        self._scores.add(message)

    def run(self, stop: threading.Event) -> None:
        """Send pictures until ``stop`` is set; raises what ended the listening."""
        self._listener.start()
        arrived_ns = self._clock.now_ns()
        pause_s = 0.25 / self._fps
        try:
            while not stop.is_set():
                self._listener.check()
                frame = self._frames.newest()
                now_ns = self._clock.now_ns()
                image: np.ndarray | None = None
                with self._lock:
                    if frame is not None:
                        arrived_ns = now_ns
                        self.taken += 1
                        self._mixer.take(frame)
                        image = self._mixer.give()
                    elif now_ns - arrived_ns > SILENT_S * NS_PER_S:
                        image = self._mixer.nothing()
                if image is not None:
                    self._sink.send(image)
                    self.sent += 1
                stop.wait(1 / self._fps if image is not None and frame is None else pause_s)
        finally:
            self._listener.close()

    @property
    def counts(self) -> dict[str, int]:
        """What was lost on the way, by name."""
        return {"pictures missed": self._frames.missed, "pictures dropped": self._mixer.dropped}

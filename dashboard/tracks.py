"""The tracks of a browser as aiortc gives them: frames taken in the page's event loop, made messages."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final

import numpy as np
from aiortc.mediastreams import MediaStreamError
from streamlit_webrtc import webrtc
from streamlit_webrtc.shutdown import SessionShutdownObserver

from capture.pictures import GRID_HZ, FrameGrid, fitted
from capture.relay import Head, PictureHead, SoundHead
from features.clock import NS_PER_S

SETTLE_S: Final = 10.0  # over which the least delay of the way is taken
JITTER_SHARE: Final = 1 / 16  # of a new value in the mean, as in RFC 3550
JUMP_S: Final = 5.0


class MediaClock:
    """Monotonic stamps for frames: their own times (pts) plus the least delay seen of late.

    So the jitter of network and event loop is gone, and a drift between the clocks of browser and
    machine is followed.
    """

    def __init__(self) -> None:
        self.jitter_ms = 0.0
        self._delays: deque[tuple[int, int]] = deque()  # of arrival and delay, both rising
        self._last_ns: int | None = None
        self._stamped_ns = 0

    def stamp(self, media_s: float, arrived_ns: int) -> int:
        """When what is at ``media_s`` of its stream happened; never earlier than the one before."""
        media_ns = round(media_s * NS_PER_S)
        if self._last_ns is not None and abs(media_ns - self._last_ns) > JUMP_S * NS_PER_S:
            self._delays.clear()  # another stream, or a very long gap: its delay is its own
        self._last_ns = media_ns
        delay_ns = arrived_ns - media_ns
        while self._delays and self._delays[-1][1] >= delay_ns:
            self._delays.pop()
        self._delays.append((arrived_ns, delay_ns))
        while self._delays[0][0] < arrived_ns - SETTLE_S * NS_PER_S:
            self._delays.popleft()
        least_ns = self._delays[0][1]
        late_ms = (delay_ns - least_ns) / 1e6
        self.jitter_ms += (late_ms - self.jitter_ms) * JITTER_SHARE
        self._stamped_ns = max(self._stamped_ns, media_ns + least_ns)
        return self._stamped_ns


class TrackSink:
    """Takes the frames of one track, as streamlit-webrtc wants a sink to be; never waits."""

    def __init__(self, take: Callable[[Any, int], None]) -> None:
        self.tracks = 0
        self._take = take
        self._track: Any = None
        self._task: asyncio.Task[None] | None = None

    def addTrack(self, track: Any) -> None:  # noqa: N802 - the library's name
        """Take this track from now on."""
        self.stop()
        self._track = track
        self.tracks += 1

    def hasTrack(self) -> bool:  # noqa: N802 - the library's name
        """Whether there is one to take."""
        return self._track is not None

    def start(self) -> None:
        """Begin, in the running event loop."""
        self._task = asyncio.get_running_loop().create_task(self._run(self._track))

    def stop(self) -> None:
        """Take no more; from any thread."""
        task, self._task, self._track = self._task, None, None
        if task is not None and not task.get_loop().is_closed():
            task.get_loop().call_soon_threadsafe(task.cancel)

    async def _run(self, track: Any) -> None:
        while True:
            try:
                frame = await track.recv()
            except MediaStreamError:  # it has ended
                return
            self._take(frame, time.monotonic_ns())


class _WholeVisit(SessionShutdownObserver):
    """Watches for the end of a browser's visit, not for its way from one of our pages to the next."""

    @staticmethod
    def _resolve_initial_page_script_hash(app_session: Any) -> str:
        return ""  # none to compare with


def outlive_pages() -> None:
    """Let connections go on while another page is shown: what opens them stands beside every page."""
    # There is no setting for this; the versions of the library are bounded.
    vars(webrtc)["SessionShutdownObserver"] = _WholeVisit


class PictureMessages:
    """Pictures as messages, at most thirty a second."""

    def __init__(self) -> None:
        self.clock = MediaClock()
        self._grid = FrameGrid(
            2 * GRID_HZ
        )  # the worker has a grid of its own; this bounds the work

    def make(self, arrived_ns: int, frame: Any) -> tuple[Head, bytes] | None:
        """Head and body of a frame; ``None`` for one that is left out."""
        at_ns = self.clock.stamp(frame.time or 0.0, arrived_ns)
        if not self._grid.take(at_ns / NS_PER_S):
            return None
        width, height = (side // 2 * 2 for side in fitted(frame.width, frame.height))
        if width < 2 or height < 2:
            return None
        planes = frame.reformat(width=width, height=height, format="yuv420p").to_ndarray()
        return PictureHead(
            at_ns=at_ns, width=width, height=height, jitter_ms=round(self.clock.jitter_ms, 1)
        ), planes.tobytes()


class SoundMessages:
    """Blocks of sound as messages, mono; what lies between them by their own times is missed."""

    def __init__(self) -> None:
        self.clock = MediaClock()
        self.gaps = 0
        self._expected_s: float | None = None

    def make(self, arrived_ns: int, frame: Any) -> tuple[Head, bytes]:
        """Head and body of a block."""
        start_s, rate_hz = float(frame.time or 0.0), int(frame.sample_rate)
        missed = 0
        if self._expected_s is not None and 0 < start_s - self._expected_s < JUMP_S:
            missed = round((start_s - self._expected_s) * rate_hz)
            self.gaps += missed > 0
        samples = _mono(frame)
        self._expected_s = start_s + len(samples) / rate_hz
        at_ns = self.clock.stamp(self._expected_s, arrived_ns)
        return SoundHead(
            at_ns=at_ns, rate_hz=rate_hz, missed=missed, jitter_ms=round(self.clock.jitter_ms, 1)
        ), samples.tobytes()


def _mono(frame: Any) -> np.ndarray:
    """``(n,) int16`` out of what aiortc decodes to: packed ``s16``."""
    packed = frame.to_ndarray().reshape(-1, len(frame.layout.channels))
    mono: np.ndarray = packed.mean(axis=1).astype(np.int16)
    return mono

"""From the tracks of a browser, which arrive in the page's process, to the capture worker's sockets.

Frames come in the event loop of the page, which must not wait; two threads of ours turn them into
messages and send them. Pictures: the newest wins. Sound: none is dropped before ten seconds wait; what
is, is counted, and told to the worker, which fills the gap with silence.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import zmq
from aiortc.mediastreams import MediaStreamError
from msgspec.structs import replace

from capture.pictures import GRID_HZ, FrameGrid, fitted
from capture.relay import (
    PICTURES,
    SOUND,
    EndHead,
    Head,
    PictureHead,
    SoundHead,
    address,
    encode,
    relay_socket,
)
from features.clock import NS_PER_S
from features.queues import BoundedQueue, Closed, DropPolicy
from features.samples import Counters
from features.sockets import release_with
from features.threads import OwnedThread

PICTURES_QUEUED: Final = 2
BLOCKS_QUEUED: Final = 500  # ten seconds of 20 ms
WAIT_S: Final = 0.1
GONE_S: Final = 5.0  # sound comes fifty times a second while a page is open, muted or not
SETTLE_S: Final = 10.0  # over which the least delay of the way is taken
LATE_S: Final = 0.1
JUMP_S: Final = 5.0
FLUSH_MS: Final = 500  # for the last word to leave
LEFT: Final = "the browser left the page"

Arrival = tuple[int, Any]
"""Monotonic nanoseconds and a frame of PyAV."""


class MediaClock:
    """Monotonic stamps for frames: their own times (pts) plus the least delay seen of late.

    So the jitter of network and event loop is gone, and a drift between the clocks of browser and
    machine is followed.
    """

    def __init__(self) -> None:
        self.late = 0
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
        self.late += delay_ns - least_ns > LATE_S * NS_PER_S
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


class Relay:
    """One browser's way to one capture worker; ends when the browser leaves, or by :meth:`close`.

    Attributes:
        folder: what the worker's configuration names (``CaptureConfig.relay``).
        video: the sink for the browser's camera.
        audio: the sink for its microphone.
    """

    def __init__(self, parent: Path, gone_s: float = GONE_S) -> None:
        """Bind the sockets in a private folder under ``parent``. Nothing runs before :meth:`start`."""
        self.folder = Path(tempfile.mkdtemp(prefix="b-", dir=parent))
        self.video = TrackSink(self._arrived(PICTURES))
        self.audio = TrackSink(self._arrived(SOUND))
        self._gone_s = gone_s
        self._queues: dict[str, BoundedQueue[Arrival]] = {
            PICTURES: BoundedQueue(PICTURES_QUEUED, DropPolicy.NEWEST_WINS),
            SOUND: BoundedQueue(BLOCKS_QUEUED, DropPolicy.REFUSE),
        }
        self._pictures, self._blocks = _Pictures(), _Blocks()
        self._counts = Counters()
        self._heard_ns = time.monotonic_ns()
        self._ending = ""
        self._lock = threading.Lock()
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._sockets: dict[str, zmq.Socket[bytes]] = {}
        self._threads: dict[str, OwnedThread] = {}
        release_with(self, self._context, self._sockets.values())
        for name in self._queues:
            self._sockets[name] = relay_socket(self._context, zmq.PUSH, name)
            self._sockets[name].bind(address(self.folder, name))

    def start(self) -> None:
        """Let frames go on to the worker from now on."""
        self._heard_ns = time.monotonic_ns()
        for name in self._queues:
            body, release = partial(self._hand_on, name), partial(self._release, name)
            self._threads[name] = OwnedThread(f"browser {name}", body, on_exit=release).start()

    @property
    def alive(self) -> bool:
        """Whether the browser is there, as far as is known."""
        return not self._ending

    @property
    def dropped(self) -> dict[str, int]:
        """What was lost between the browser and the worker, and what came late, by name."""
        counts = {
            "browser pictures left out": self._queues[PICTURES].dropped,
            "browser pictures late": self._pictures.clock.late,
            "browser sound late": self._blocks.clock.late,
            "browser sound gaps": self._blocks.gaps,
            **self._counts.counts,
        }
        return {name: count for name, count in counts.items() if count}

    def close(self, why: str = LEFT) -> None:
        """Tell the worker that it is over, and release everything; safe to call twice."""
        self._end(why)
        for name in self._queues:
            if name in self._threads:
                self._threads[name].close()
            else:
                self._release(name)

    def _end(self, why: str) -> None:
        self._ending = self._ending or why
        self.video.stop()
        self.audio.stop()
        for queue in self._queues.values():
            queue.close()

    def _arrived(self, name: str) -> Callable[[Any, int], None]:
        def take(frame: Any, arrived_ns: int) -> None:
            self._heard_ns = arrived_ns
            self._queues[name].put((arrived_ns, frame))

        return take

    def _release(self, name: str) -> None:
        """Close one socket; with the last one everything goes."""
        with self._lock:
            socket = self._sockets.pop(name, None)
            if socket is None:
                return
            socket.close(linger=FLUSH_MS)
            if not self._sockets:
                self._context.term()
                shutil.rmtree(self.folder, ignore_errors=True)

    # In one thread for each of both.

    def _hand_on(self, name: str, stop: threading.Event) -> None:
        queue, socket, known = self._queues[name], self._sockets[name], False
        make = self._pictures.make if name == PICTURES else self._blocks.make
        while not stop.is_set():
            self._look()
            try:
                arrival = queue.get(WAIT_S)
            except Closed:
                break
            made = None if arrival is None else make(*arrival)
            if made is not None:
                known = self._send(socket, queue, self._told(made[0]), made[1], known)
        if name == SOUND:
            end = self._told(EndHead(at_ns=time.monotonic_ns(), why=self._ending))
            self._send(socket, queue, end, b"", False)

    def _told(self, head: Head) -> Head:
        """The head with what is known of the whole."""
        return replace(
            head,
            picture=self.video.tracks > 0,
            sound=self.audio.tracks > 0,
            counts=self.dropped,
        )

    def _send(
        self,
        socket: zmq.Socket[bytes],
        queue: BoundedQueue[Arrival],
        head: Head,
        body: bytes,
        known: bool,
    ) -> bool:
        """Hand over, waiting for a worker that is ``known``; whether it is now.

        What comes before there is a worker is none of its business and is left out. A picture is
        left out where a newer one waits.
        """
        while True:
            try:
                socket.send_multipart(encode(head, body), zmq.NOBLOCK)
                return True
            except zmq.Again:
                if not known or queue.closed:
                    return known
            if isinstance(head, PictureHead) and len(queue):
                self._counts.add("browser pictures not taken")
                return True
            socket.poll(round(WAIT_S * 1000), zmq.POLLOUT)
            self._look()

    def _look(self) -> None:
        """Notice that the browser has gone: its sound never rests, not even muted."""
        if time.monotonic_ns() - self._heard_ns > self._gone_s * NS_PER_S:
            self._end(LEFT)


class _Pictures:
    """Pictures as messages, at most thirty a second."""

    def __init__(self) -> None:
        self.clock = MediaClock()
        self._grid = FrameGrid(
            2 * GRID_HZ
        )  # the worker has a grid of its own; this bounds the work

    def make(self, arrived_ns: int, frame: Any) -> tuple[Head, bytes] | None:
        at_ns = self.clock.stamp(frame.time or 0.0, arrived_ns)
        if not self._grid.take(at_ns / NS_PER_S):
            return None
        width, height = (side // 2 * 2 for side in fitted(frame.width, frame.height))
        if width < 2 or height < 2:
            return None
        planes = frame.reformat(width=width, height=height, format="yuv420p").to_ndarray()
        return PictureHead(at_ns=at_ns, width=width, height=height), planes.tobytes()


class _Blocks:
    """Blocks of sound as messages, mono; what lies between them by their own times is missed."""

    def __init__(self) -> None:
        self.clock = MediaClock()
        self.gaps = 0
        self._expected_s: float | None = None

    def make(self, arrived_ns: int, frame: Any) -> tuple[Head, bytes] | None:
        start_s, rate_hz = float(frame.time or 0.0), int(frame.sample_rate)
        missed = 0
        if self._expected_s is not None and 0 < start_s - self._expected_s < JUMP_S:
            missed = round((start_s - self._expected_s) * rate_hz)
            self.gaps += missed > 0
        samples = _mono(frame)
        self._expected_s = start_s + len(samples) / rate_hz
        at_ns = self.clock.stamp(self._expected_s, arrived_ns)
        return SoundHead(at_ns=at_ns, rate_hz=rate_hz, missed=missed), samples.tobytes()


def _mono(frame: Any) -> np.ndarray:
    """``(n,) int16`` out of what aiortc decodes to: packed ``s16``."""
    packed = frame.to_ndarray().reshape(-1, len(frame.layout.channels))
    mono: np.ndarray = packed.mean(axis=1).astype(np.int16)
    return mono

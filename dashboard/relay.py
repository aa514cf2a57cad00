"""From the tracks of a browser, which arrive in the page's process, to the capture worker's sockets.

Frames come in the event loop of the page, which must not wait; two threads of ours turn them into
messages and send them. Pictures: the newest wins. Sound: none is dropped before ten seconds wait; what
is, is counted, and told to the worker, which fills the gap with silence.
"""

from __future__ import annotations

import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

import zmq
from msgspec.structs import replace

from capture.relay import (
    PICTURES,
    SOUND,
    EndHead,
    Head,
    PictureHead,
    address,
    encode,
    relay_socket,
)
from dashboard.tracks import PictureMessages, SoundMessages, TrackSink
from features.clock import NS_PER_S
from features.queues import BoundedQueue, Closed, DropPolicy
from features.samples import Counters
from features.sockets import release_with
from features.threads import OwnedThread

PICTURES_QUEUED: Final = 2
BLOCKS_QUEUED: Final = 500  # ten seconds of 20 ms
WAIT_S: Final = 0.1
GONE_S: Final = 5.0  # sound comes fifty times a second while a page is open, muted or not
FLUSH_MS: Final = 500  # for the last word to leave
LEFT: Final = "the browser left the page"

Arrival = tuple[int, Any]
"""Monotonic nanoseconds and a frame of PyAV."""


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
        self._pictures, self._blocks = PictureMessages(), SoundMessages()
        self._counts = Counters()
        self._heard_ns = self._looked_ns = time.monotonic_ns()
        self._quiet_s = 0.0
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
        self._heard_ns = self._looked_ns = time.monotonic_ns()
        for name in self._queues:
            body, release = partial(self._hand_on, name), partial(self._release, name)
            self._threads[name] = OwnedThread(f"browser {name}", body, on_exit=release).start()

    @property
    def alive(self) -> bool:
        """Whether the browser is there, as far as is known."""
        return not self._ending

    @property
    def dropped(self) -> dict[str, int]:
        """What was lost between the browser and the worker, by name."""
        counts = {
            "browser pictures left out": self._queues[PICTURES].dropped,
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
        with self._lock:
            now_ns = time.monotonic_ns()
            heard = self._heard_ns > self._looked_ns
            # a long time between two looks is this process being held up, not the browser
            since_s = min((now_ns - self._looked_ns) / NS_PER_S, WAIT_S)
            self._quiet_s = 0.0 if heard else self._quiet_s + since_s
            self._looked_ns = now_ns
        if self._quiet_s > self._gone_s:
            self._end(LEFT)

"""A browser as camera and microphone: what the page hands on, on the worker's media clock."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable

import zmq

from capture.listening import Block, Listening
from capture.live import Origin, Patience
from capture.pictures import FrameGrid
from capture.relay import (
    PICTURES,
    SOUND,
    EndHead,
    Head,
    PictureHead,
    SoundHead,
    address,
    decode,
    image_of,
    relay_socket,
    samples_of,
)
from capture.source import End, Item, Picture, Source
from capture.webcam import FROZEN_S, Stillness
from features.clock import Clock, SystemClock
from features.errors import MessageError, SourceError
from features.samples import Counters, Lost, Returned
from features.sockets import release_with

logger = logging.getLogger(__name__)

NAME = "browser"
OPEN_S = 20.0
AGAIN = "allow it in the browser's address bar or plug one in, then start again"
SILENT = (
    "browser: neither picture nor sound arrives; leave the page open, allow camera and microphone, "
    "and start again"
)


class BrowserSource(Source):
    """Pictures and sound of one browser, which the page's process receives and hands on.

    Sound is the master: its samples are counted from the first arrival, what never came is silence.
    Pictures are stamped on the same monotonic clock. Both come with the times of their sender, freed
    of the jitter of the way. A picture that stands still (a camera switched off in the browser sends
    black ones) is lost until a new one comes.
    """

    live = True

    def __init__(
        self,
        folder: str,
        *,
        picture: bool = True,
        sound: bool = True,
        open_s: float = OPEN_S,
        clock: Clock | None = None,
    ) -> None:
        self.name = NAME
        self._folder = folder
        self._wanted = {PICTURES: picture, SOUND: sound}
        self._open_s = open_s
        self._clock: Clock = clock or SystemClock()
        self._origin = Origin()
        self._items: deque[Item] = deque()
        self._counts = Counters()
        self._told: dict[str, int] = {}
        self._jitter_ms: dict[str, float] = {}
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._sockets: dict[str, zmq.Socket[bytes]] = {}
        self._poller = zmq.Poller()
        self._waiting: set[str] = set()
        self._sight = _Sight()
        self._hearing = _Hearing()
        self._end: End | None = None
        release_with(self, self._context, self._sockets.values())

    def open(self) -> None:
        """Connect to the page and wait for the browser's first item; raises ``SourceError``."""
        if not self._folder:
            raise SourceError(
                "browser: this source is started on the page (streamlit run dashboard/app.py), "
                "where it is called 'Browser camera'"
            )
        for name, wanted in self._wanted.items():
            if wanted:
                socket = relay_socket(self._context, zmq.PULL, name)
                self._sockets[name] = socket
                socket.connect(address(self._folder, name))
                self._poller.register(socket, zmq.POLLIN)
        patience, first = Patience(self._open_s), None
        while first is None:
            first = self._receive(patience.look_s())
            if first is None and patience.over:
                self.close()
                raise SourceError(SILENT)
        self.has_picture, self.has_sound = self._wanted[PICTURES], self._wanted[SOUND]
        self._origin.set(self._clock.now_ns())
        self._sight.given, self._hearing.given = first[0].picture, first[0].sound
        self._take(*first)

    def read(self, timeout_s: float) -> Item | None:
        """The next item, sound first; ``None`` after ``timeout_s``."""
        patience = Patience(timeout_s)
        while not self._items:
            if self._end is not None:
                return self._end
            received = self._receive(patience.look_s())
            if received is not None:
                self._take(*received)
            self._watch()
            if received is None and not self._items and patience.over:
                return None
        return self._items.popleft()

    def close(self) -> None:
        """Disconnect."""
        for socket in self._sockets.values():
            socket.close(linger=0)
        self._context.term()

    @property
    def origin_ns(self) -> int:
        """Monotonic time of media time zero."""
        return self._origin.ns

    @property
    def dropped(self) -> dict[str, int]:
        """What the browser's way to the page lost, what the page could not hand on, what we left out."""
        return {**self._told, **self._counts.counts, **self._hearing.listening.counts.counts}

    @property
    def gauges(self) -> dict[str, float]:
        """How unevenly pictures and sound arrived at the page."""
        return {f"browser {name} jitter ms": ms for name, ms in self._jitter_ms.items()}

    def _receive(self, timeout_s: float) -> tuple[Head, bytes] | None:
        """What waits, sound before pictures."""
        ready = {socket for socket, _ in self._poller.poll(round(timeout_s * 1000))}
        self._waiting = {name for name, socket in self._sockets.items() if socket in ready}
        for name in (SOUND, PICTURES):
            if name in self._waiting:
                socket = self._sockets[name]
                try:
                    head, body = decode(socket.recv_multipart(zmq.NOBLOCK))
                except MessageError as error:
                    logger.warning("%s", error)
                    self._counts.add("items of the browser refused")
                    continue
                self._jitter_ms[name] = head.jitter_ms
                for what, count in head.counts.items():  # two sockets, so not always the newest
                    self._told[what] = max(count, self._told.get(what, 0))
                return head, body
        return None

    def _take(self, head: Head, body: bytes) -> None:
        time_s = self._origin.time_s(head.at_ns)
        if isinstance(head, SoundHead):
            block = Block(time_s, samples_of(body), head.rate_hz, head.missed)
            self._items.extend(self._hearing.take(block))
        elif isinstance(head, PictureHead):
            self._items.extend(
                self._sight.take(time_s, lambda: Picture(time_s, image_of(head, body)))
            )
        elif isinstance(head, EndHead):
            self.ending = head.why
            self._end = End(max(0.0, self._origin.time_s(self._clock.now_ns())))

    def _watch(self) -> None:
        """Say what does not come; what waits and was only not read yet is not missing."""
        now_s = self._origin.time_s(self._clock.now_ns())
        if self._wanted[SOUND] and SOUND not in self._waiting:
            self._items.extend(self._hearing.quiet(now_s))
        if self._wanted[PICTURES] and PICTURES not in self._waiting:
            self._items.extend(self._sight.quiet(now_s))


class _Hearing:
    """The sound of a browser, or the notice that there is none."""

    def __init__(self) -> None:
        self.given = True
        self.listening = Listening()

    def take(self, block: Block) -> list[Item]:
        return self.listening.add(block)

    def quiet(self, now_s: float) -> list[Item]:
        why = "no sound arrives" if self.given else f"the browser gives no microphone: {AGAIN}"
        return self.listening.quiet(now_s, f"browser: {why}" if self.given else why)


class _Sight:
    """The pictures of a browser on their grid, and notices of their loss and return."""

    def __init__(self) -> None:
        self.given = True
        self._grid = FrameGrid()
        self._stillness = Stillness(FROZEN_S)
        self._lost = False
        self._last_s = 0.0

    def take(self, time_s: float, picture: Callable[[], Picture]) -> list[Item]:
        if time_s < 0 or not self._grid.take(time_s):
            return []
        self._last_s, taken = time_s, picture()
        if self._stillness.see(taken):
            return self._lose(time_s, "browser: the picture stands still; is the camera off?")
        if not self._lost:
            return [taken]
        self._lost = False
        return [Returned("picture", time_s), taken]

    def quiet(self, now_s: float) -> list[Item]:
        if now_s - self._last_s <= FROZEN_S:
            return []
        why = f"browser: no new picture for {FROZEN_S:.1f} s"
        return self._lose(now_s, why if self.given else f"the browser gives no camera: {AGAIN}")

    def _lose(self, time_s: float, why: str) -> list[Item]:
        if self._lost:
            return []
        self._lost = True
        return [Lost("picture", time_s, why)]

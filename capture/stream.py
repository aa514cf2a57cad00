"""A stream by its address (RTSP, HTTP and HLS, RTMP, SRT, UDP) as a live source.

Media time follows the stream's own stamps, bound to the wall clock when the first item arrives, so
that bursts are played evenly. A stream that stalls is lost until it goes on; one that breaks is
opened again with growing waits.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from typing import Any, Final

import av
import av.error

from capture.addresses import shown
from capture.decoding import channels, upright
from capture.listening import Block, Listening
from capture.live import Backoff, Origin, Patience
from capture.pictures import FrameGrid
from capture.sound import downmix
from capture.source import End, Item, Picture, Source
from features.clock import Clock, SystemClock
from features.errors import SourceError
from features.queues import BoundedQueue, Closed, DropPolicy
from features.samples import Counters, Lost, Returned
from features.threads import OwnedThread

logger = logging.getLogger(__name__)

PROTOCOLS: Final = (
    "rtsp,rtsps,rtp,udp,tcp,http,https,httpproxy,tls,crypto,rtmp,rtmps,srt"  # no files
)
ANSWER_S: Final = 10.0  # for opening, and between two packets
QUEUED: Final = 120  # items ahead of their time; then the sender waits
JUMP_S: Final = 10.0  # stamps that leap by more begin a new count
QUIET_S: Final = 1.5  # without a picture for longer it is lost
OPENINGS: Final = 8  # in a row without anything coming

Piece = tuple[
    float, Picture | Block
]  # due at, and what; its time is that on the stream's own clock


class StreamSource(Source):
    """Pictures and sound of a stream; ends when the sender says that it is over."""

    live = True

    def __init__(
        self,
        address: str,
        *,
        picture: bool = True,
        sound: bool = True,
        clock: Clock | None = None,
    ) -> None:
        self.name = shown(address)
        self._address = address
        self._wanted = (picture, sound)
        self._clock: Clock = clock or SystemClock()
        self._origin = Origin()
        self._queue: BoundedQueue[Piece | None] = BoundedQueue(QUEUED, DropPolicy.BLOCK)
        self._held: Piece | None = None
        self._items: deque[Item] = deque()
        self._counts = Counters()
        self._listening = Listening()
        self._grid = FrameGrid()
        self._picture_lost = False
        self._pictured_s = 0.0
        self._over: End | None = None
        self._shift_s: float | None = None
        self._reader: OwnedThread | None = None

    def open(self) -> None:
        """Open the stream; raises ``SourceError`` naming the address and the reason."""
        container = self._connect()
        self.has_picture = self._wanted[0] and bool(container.streams.video)
        self.has_sound = self._wanted[1] and bool(container.streams.audio)
        if not (self.has_picture or self.has_sound):
            container.close()
            raise SourceError(f"{self.name}: holds nothing of what is to be used")
        self._origin.set(self._clock.now_ns())
        self._reader = OwnedThread("stream", lambda stop: self._follow(container, stop)).start()

    def read(self, timeout_s: float) -> Item | None:
        """The next item that is due; ``None`` after ``timeout_s``."""
        patience = Patience(timeout_s)
        while not self._items:
            if self._over is not None:
                return self._over
            if not self._take(patience.look_s()):
                self._watch()
                if patience.over and not self._items:
                    return None
        return self._items.popleft()

    def close(self) -> None:
        """Disconnect."""
        self._queue.close()
        if self._reader is not None:
            self._reader.close(timeout_s=ANSWER_S + 1)

    @property
    def origin_ns(self) -> int:
        """Monotonic time of media time zero."""
        return self._origin.ns

    @property
    def dropped(self) -> dict[str, int]:
        """Broken packets, sound that had to be made up, times that it was opened again."""
        return {**self._counts.counts, **self._listening.counts.counts}

    # -- the reader -----------------------------------------------------------------------------

    def _take(self, wait_s: float) -> bool:
        """Whether something was due and is among the items now."""
        if self._held is None:
            try:
                self._held = self._queue.get(wait_s)
            except Closed:
                if self._reader is not None:
                    self._reader.check()
                self._over = End(max(0.0, self._now_s()))
                return True
            if self._held is None:
                return False
        due_s, piece = self._held
        early_s = due_s - self._now_s()
        if early_s > 0:
            self._clock.sleep(min(early_s, wait_s))
            return False
        self._held = None
        if isinstance(piece, Block):
            self._items.extend(self._listening.add(piece))
        else:
            self._see(piece)
        return True

    def _see(self, picture: Picture) -> None:
        self._pictured_s = self._now_s()
        if picture.time_s < 0 or not self._grid.take(picture.time_s):
            return
        if self._picture_lost:
            self._picture_lost = False
            self._items.append(Returned("picture", picture.time_s))
        self._items.append(picture)

    def _watch(self) -> None:
        """Say what does not come."""
        now_s = self._now_s()
        if self.has_sound:
            self._items.extend(self._listening.quiet(now_s, f"{self.name}: no sound arrives"))
        if self.has_picture and not self._picture_lost and now_s - self._pictured_s > QUIET_S:
            self._picture_lost = True
            self._items.append(Lost("picture", now_s, f"{self.name}: no picture arrives"))

    def _now_s(self) -> float:
        return self._origin.time_s(self._clock.now_ns())

    # -- the thread that follows the stream -----------------------------------------------------

    def _connect(self) -> Any:
        options = {"protocol_whitelist": PROTOCOLS}
        if self._address.startswith("rtsp"):
            options["rtsp_transport"] = (
                "tcp"  # pictures torn by lost packets are worse than late ones
            )
        try:
            return av.open(
                self._address, options=options, timeout=(ANSWER_S, ANSWER_S),
                metadata_errors="replace",
            )  # fmt: skip
        except (av.error.FFmpegError, OSError) as error:
            why = getattr(error, "strerror", None) or str(error)
            raise SourceError(
                f"{self.name}: cannot be opened ({why}); is it on the air?"
            ) from error

    def _follow(self, container: Any, stop: threading.Event) -> None:
        backoff, failed = Backoff(), 0
        try:
            while not stop.is_set():
                finite = container.duration is not None  # a recording, which has an end
                came, whole = self._play(container, stop)
                failed = 0 if came else failed + 1
                if whole and came and finite:
                    return  # the sender says that it is over
                if failed >= OPENINGS:
                    raise SourceError(f"{self.name}: nothing comes any more; is it on the air?")
                if came:
                    backoff.reset()
                container = self._again(backoff, stop)
                if container is None:
                    return
        finally:
            self._queue.close()

    def _again(self, backoff: Backoff, stop: threading.Event) -> Any:
        """The stream opened once more; ``None`` when it is to stop."""
        for _ in range(OPENINGS):
            if stop.wait(backoff.step()):
                return None
            self._counts.add("stream opened again")
            try:
                return self._connect()
            except SourceError as error:
                logger.warning("%s", error)
                last = error
        raise last

    def _play(self, container: Any, stop: threading.Event) -> tuple[bool, bool]:
        """Whether anything came, and whether it came to its end rather than broke."""
        came, self._shift_s = False, None
        streams = [*container.streams.video[:1]] if self.has_picture else []
        streams += [*container.streams.audio[:1]] if self.has_sound else []
        try:
            with container:
                for packet in container.demux(*streams):
                    for frame in self._decoded(packet):
                        came = True
                        if stop.is_set() or not self._hand(frame, stop):
                            return came, False
        except (av.error.FFmpegError, OSError) as error:
            logger.warning("%s: broke off: %s", self.name, error)
            return came, False
        return came, True

    def _decoded(self, packet: Any) -> list[Any]:
        try:
            return list(packet.decode())
        except av.error.FFmpegError as error:
            self._counts.add("broken packets")
            logger.debug("%s: %s", self.name, error)
            return []

    def _hand(self, frame: Any, stop: threading.Event) -> bool:
        """Give a frame to the reader, when there is room; ``False`` when nobody reads any more."""
        if frame.time is None:
            return True
        time_s = self._placed(frame.time)
        if isinstance(frame, av.AudioFrame):
            time_s += frame.samples / frame.sample_rate
            names = [channel.name for channel in frame.layout.channels]
            piece: Picture | Block = Block(
                time_s, downmix(channels(frame), names), frame.sample_rate
            )
        else:
            piece = Picture(time_s, upright(frame))
        while not self._queue.put((time_s, piece), 0.2):
            if stop.is_set() or self._queue.closed:
                return False
        return True

    def _placed(self, stamp_s: float) -> float:
        """Media time of a stamp of the stream: its own pace, from when its first item arrived."""
        now_s = self._now_s()
        if self._shift_s is None or abs(stamp_s + self._shift_s - now_s) > JUMP_S:
            self._shift_s = now_s - stamp_s
        return stamp_s + self._shift_s

"""A stream by its address (RTSP, HTTP and HLS, RTMP, SRT, UDP) as a live source.

Media time follows the stream's own stamps, bound to the wall clock when the first item arrives, so
that bursts are played evenly, and anew when it falls behind for good. A stream that stalls is lost
until it goes on; one that breaks is opened again with growing waits.
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
QUEUED: Final = (
    60  # items handed over, and as many taken ahead of their time; then the sender waits
)
JUMP_S: Final = 10.0  # stamps that leap by more begin a new count
LATE_S: Final = 0.3  # what comes later than this may be called lost before it is there
LASTS_S: Final = 1.0  # late again after this long without catching up: the stream has fallen behind
SETTLE_S: Final = 10.0  # over which lateness is forgotten, and what came early is measured
QUIET_S: Final = 1.5  # without a picture for longer it is lost
OPENINGS: Final = 8  # in a row without anything coming

Piece = tuple[
    float, Picture | Block
]  # due at, and what; its time is that on the stream's own clock


class Playout:
    """Media time of a stream's stamps: their own pace, after a delay that pictures and sound share.

    The delay grows only by lateness that lasts or comes again, as by a sender that was paused, a slow
    clock, bursts, or sound that is sent after its pictures: one gap. What was held up on its way and
    then comes all at once is one gap anyway; growing for it would keep that lag for good. The least
    delay of late, which the browser's tracks take, would be wrong here: bursts would come too late,
    and a recording, which is fetched faster than it is played, would be rushed through.

    What a live stream needs no more it gives back, with a cut: after ten seconds in which everything
    came early (a fast clock, a backlog caught up with). A recording keeps its delay, as nobody waits
    for it to be now, and a cut would lose of it.
    """

    def __init__(self, catches_up: bool) -> None:
        self.delay_s: float | None = None
        self._catches_up = catches_up
        self._late: tuple[float, float] | None = None  # since when, and by how much then
        self._early: tuple[float, float] | None = None  # since when, and the least since

    def place(self, stamp_s: float, now_s: float, held_up: bool = False) -> float:
        """Media time of a stamp that arrives at media time ``now_s``; before it when it is late.

        ``held_up``: the sender waits for us, so how early it is says nothing about its way.
        """
        if self.delay_s is None or abs(stamp_s + self.delay_s - now_s) > JUMP_S:
            self.delay_s, self._late, self._early = now_s - stamp_s, None, None
        late_s = now_s - stamp_s - self.delay_s
        self.delay_s += self._behind_s(late_s, now_s)
        self.delay_s -= self._spare_s(-late_s, now_s, held_up)
        return stamp_s + self.delay_s

    def _behind_s(self, late_s: float, now_s: float) -> float:
        """By how much the stream has fallen behind, when it does not catch up by itself."""
        if late_s <= LATE_S:
            return 0.0
        if self._late is None or now_s - self._late[0] > SETTLE_S:
            self._late = now_s, late_s
        since_s, then_s = self._late
        if now_s - since_s <= LASTS_S:
            return 0.0
        catching_up = late_s < then_s - LATE_S
        self._late = (now_s, late_s) if catching_up else None
        return 0.0 if catching_up else late_s

    def _spare_s(self, early_s: float, now_s: float, held_up: bool) -> float:
        """How much earlier than needed everything has come over the last ten seconds."""
        if held_up or not self._catches_up or early_s <= LATE_S:
            self._early = None
            return 0.0
        since_s, least_s = self._early or (now_s, early_s)
        self._early = since_s, min(least_s, early_s)
        if now_s - since_s <= SETTLE_S:
            return 0.0
        _, spare_s = self._early
        self._early = None
        return spare_s


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
        # Sound and pictures wait apart: what is sent early must not hold up what is due now.
        self._waiting: tuple[deque[Piece], deque[Piece]] = (deque(), deque())
        self._items: deque[Item] = deque()
        self._counts = Counters()
        self._listening = Listening()
        self._grid = FrameGrid()
        self._picture_lost = False
        self._pictured_s = 0.0
        self._over: End | None = None
        self._playout = Playout(catches_up=True)
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
        """Whether something was due and is among the items now, or the stream is over."""
        self._fetch(wait_s)
        line = min((line for line in self._waiting if line), key=_due_s, default=None)
        if line is None:
            return self._over is not None
        early_s = _due_s(line) - self._now_s()
        if early_s > 0:
            self._clock.sleep(min(early_s, wait_s))
            return False
        _, piece = line.popleft()
        if isinstance(piece, Block):
            self._items.extend(self._listening.add(piece))
        else:
            self._see(piece)
        return True

    def _fetch(self, wait_s: float) -> None:
        """Take over what was handed, while there is room; wait for it only where nothing waits."""
        sound, pictures = self._waiting
        try:
            while (waiting := len(sound) + len(pictures)) < QUEUED:
                handed = self._queue.get(0.0 if waiting else wait_s)
                if handed is None:
                    return
                (sound if isinstance(handed[1], Block) else pictures).append(handed)
        except Closed:
            if not waiting:
                if self._reader is not None:
                    self._reader.check()
                self._over = End(max(0.0, self._now_s()))

    def _see(self, picture: Picture) -> None:
        self._pictured_s = self._now_s()
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
        came = False
        self._playout = Playout(catches_up=container.duration is None)
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
        piece = self._piece(frame, self._playout.place(frame.time, self._now_s(), self._full))
        if piece is None:
            return True
        while not self._queue.put(piece, 0.2):
            if stop.is_set() or self._queue.closed:
                return False
        return True

    def _piece(self, frame: Any, time_s: float) -> Piece | None:
        """What begins at ``time_s``; ``None`` for a picture that is left out, before it costs more."""
        if isinstance(frame, av.AudioFrame):
            time_s += frame.samples / frame.sample_rate
            names = [channel.name for channel in frame.layout.channels]
            return time_s, Block(time_s, downmix(channels(frame), names), frame.sample_rate)
        if time_s < 0 or not self._grid.take(time_s):
            return None
        return time_s, Picture(time_s, upright(frame))

    @property
    def _full(self) -> bool:
        return len(self._queue) >= self._queue.size


def _due_s(line: deque[Piece]) -> float:
    return line[0][0]

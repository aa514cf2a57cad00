"""A media file as a source: any container and codec that PyAV reads, paced or as fast as possible."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import av.error

from capture.decoding import PictureTrack, SoundTrack
from capture.pictures import FrameGrid
from capture.probing import Media, probe
from capture.sound import CHUNK, SoundLine
from capture.source import SAMPLE_RATE_HZ, End, Item, Sound, Source
from features.clock import NS_PER_S, Clock, SystemClock
from features.errors import SourceError
from features.samples import Counters, Lost, Returned

TIE_S = 1e-6  # sums of floats differ by less; sound comes before a picture of the same time

PICTURE_OVER_S = 0.5  # sound that outlasts the picture by less than this is the same moment


class FileSource(Source):
    """Pictures and sound of one file, in the order of time.

    A chunk of sound that ends at ``t`` comes before every picture later than ``t``. Sound begins at
    zero and reaches to the end: what the file leaves out is silence. Paced, an item comes when the
    wall clock reaches it (:attr:`origin_ns` is set by the first read); a late reader gets what is due
    at once, nothing is dropped. ``loop`` begins again on a clock that goes on.
    """

    def __init__(
        self,
        path: Path,
        *,
        name: str | None = None,
        picture: bool = True,
        sound: bool = True,
        paced: bool = True,
        loop: bool = False,
        clock: Clock | None = None,
    ) -> None:
        self.path = path
        self.name = str(path) if name is None else name
        self.live = paced
        self._wanted = (picture, sound)
        self._loop = loop
        self._clock: Clock = clock or SystemClock()
        self._counts = Counters()
        self._items: Iterator[Item] | None = None
        self._next: Item | None = None
        self._origin_ns = 0
        self._picture_over = False

    def open(self) -> None:
        """Look into the file; raises ``SourceError`` naming the file and the reason."""
        media = probe(self.path, *self._wanted)
        self.has_picture = media.picture is not None
        self.has_sound = media.sound is not None
        self.duration_s = None if self._loop else media.duration_s
        self._items = self._play(media)

    def read(self, timeout_s: float) -> Item | None:
        """The next item; paced, ``None`` where it is not due within ``timeout_s``."""
        if self._items is None:
            raise SourceError(f"{self.name}: read before it was opened")
        if self._next is None:
            self._next = self._decode(self._items)
        if self.live and not self._wait(self._next, timeout_s):
            return None
        item = self._next
        if not isinstance(item, End):
            self._next = None
        return item

    def close(self) -> None:
        """Close the file."""
        items, self._items, self._next = self._items, None, None
        if isinstance(items, Iterator) and hasattr(items, "close"):
            items.close()

    @property
    def origin_ns(self) -> int:
        """Monotonic time of media time zero; 0 unpaced, and before the first read."""
        return self._origin_ns

    @property
    def dropped(self) -> dict[str, int]:
        """Broken packets and pictures whose stamps go back."""
        return dict(self._counts.counts)

    def _decode(self, items: Iterator[Item]) -> Item:
        try:
            return next(items)
        except StopIteration:
            raise SourceError(f"{self.name}: cannot be read any further") from None
        except av.error.FFmpegError as error:
            raise SourceError(f"{self.name}: cannot be decoded ({error.strerror})") from error

    def _wait(self, item: Item, timeout_s: float) -> bool:
        if not self._origin_ns:
            self._origin_ns = self._clock.now_ns()
        due_s = item.end_s if isinstance(item, Sound) else item.time_s
        passed_s = (self._clock.now_ns() - self._origin_ns) / NS_PER_S
        self._clock.sleep(min(due_s - passed_s, timeout_s))
        return due_s - passed_s <= timeout_s

    def _play(self, media: Media) -> Iterator[Item]:
        line, grid, offset = SoundLine(), FrameGrid(), 0
        while True:
            started = offset
            pictures = PictureTrack(media, grid, offset / SAMPLE_RATE_HZ, self._counts)
            sound = _Sound(media, line, offset, self._counts)
            for picture in pictures:
                yield from sound.until(picture.time_s)
                if self._picture_over:
                    self._picture_over = False
                    yield Returned("picture", picture.time_s)
                yield picture
            picture_end_s = started / SAMPLE_RATE_HZ + pictures.end_s
            yield from self._without_picture(sound, picture_end_s)
            offset = max(sound.end, started + round(pictures.end_s * SAMPLE_RATE_HZ))
            if offset == started:
                raise SourceError(f"{self.name}: nothing in it could be decoded")
            yield from sound.until(offset / SAMPLE_RATE_HZ)
            if self.has_sound:
                yield from line.silence(offset)
            if not self._loop:
                break
        yield from line.rest()
        yield End(offset / SAMPLE_RATE_HZ)

    def _without_picture(self, sound: _Sound, end_s: float) -> Iterator[Item]:
        """The sound that goes on after the last picture, which is said and not waited for."""
        said = not self.has_picture
        for chunk in sound.remaining():
            if not said and chunk.end_s > end_s + PICTURE_OVER_S:
                said = self._picture_over = True
                yield Lost("picture", end_s, "the picture has ended, the sound goes on")
            yield chunk


class _Sound:
    """One pass over a file's sound, given out as far as the pictures are."""

    def __init__(self, media: Media, line: SoundLine, offset: int, counts: Counters) -> None:
        self.end = offset
        self._line = line
        self._offset = offset
        self._chunks = self._write(media, counts) if media.sound is not None else iter(())
        self._pending: Sound | None = None
        self._over = media.sound is None
        self._silent = self._over

    def _write(self, media: Media, counts: Counters) -> Iterator[Sound]:
        for relative, samples in SoundTrack(media, counts):
            position = self._offset + relative
            while self._line.end < position:  # in steps: a gap may be long
                yield from self._line.silence(min(position, self._line.end + CHUNK))
            yield from self._line.write_at(position, samples)
            self.end = max(self.end, self._line.end)

    def _following(self) -> Sound | None:
        if self._pending is None and not self._over:
            self._pending = next(self._chunks, None)
            self._over = self._pending is None
        return self._pending

    def until(self, time_s: float) -> Iterator[Sound]:
        """Chunks that end at or before ``time_s``; silence where the sound is over already."""
        while (chunk := self._following()) is not None and chunk.end_s <= time_s + TIE_S:
            self._pending = None
            yield chunk
        if self._over and not self._silent:
            while self._line.next_end / SAMPLE_RATE_HZ <= time_s + TIE_S:
                yield from self._line.silence(self._line.next_end)

    def remaining(self) -> Iterator[Sound]:
        """All chunks up to the end of the sound itself."""
        while (chunk := self._following()) is not None:
            self._pending = None
            yield chunk

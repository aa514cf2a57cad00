"""Tracks of a media file by PyAV: its pictures on the grid, its sound as pieces at their places.

Each track opens the file for itself, so that badly interleaved files need no memory, and a track
that is switched off costs nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import av.error
import numpy as np

from capture.pictures import FrameGrid, fitted
from capture.probing import BROKEN, DEFAULT_FRAME_S, Media, open_container, packets
from capture.sound import Resampler, downmix
from capture.source import SAMPLE_RATE_HZ, Picture
from features.samples import Counters

logger = logging.getLogger(__name__)

JITTER_S = 0.05  # sound runs by its sample count while its stamps agree to this much
RESET_S = 1.0  # stamps that jump back by more, or beyond the file's end, are not believed
LONGEST_FRAME_S = 10.0  # a longer one is damage
LEAP_S = 600.0  # nor those that jump ahead by more: nobody waits through hours of made-up silence


def frames(container: Any, track: int, broken: Counters) -> Iterator[Any]:
    """Decoded frames of a track; packets that cannot be decoded are skipped and counted."""
    for packet in packets(container, track, broken):
        try:
            decoded = packet.decode()
        except av.error.FFmpegError as error:
            broken.add(BROKEN)
            logger.debug("decoding %s: %s", container.name, error)
            continue
        yield from decoded


class Timeline:
    """Turns the stamps of a track into seconds since the start of the media.

    Missing stamps follow from the frame before; stamps that cannot be true go on from there.
    """

    def __init__(self, media: Media, jitter_s: float = 0.0) -> None:
        self.next_s: float | None = None
        self._shift_s = -media.start_s
        self._limit_s = media.duration_s + RESET_S
        self._jitter_s = jitter_s

    def place(self, stamp_s: float | None, duration_s: float) -> float:
        """Media time of a frame; :attr:`next_s` is where the one after it is expected."""
        expected = 0.0 if self.next_s is None else self.next_s
        time_s = expected if stamp_s is None else stamp_s + self._shift_s
        if time_s > min(max(self._limit_s, expected), expected + LEAP_S) or (
            time_s < expected - RESET_S
        ):
            self._shift_s += expected - time_s
            time_s = expected
        if self.next_s is not None and abs(time_s - expected) <= self._jitter_s:
            time_s = expected
        self.next_s = time_s + duration_s
        return time_s


class PictureTrack:
    """The pictures of a file that the grid takes, upright, RGB, at most 1280 pixels long.

    Every frame is decoded, only those taken are converted. ``end_s`` is where the last one ended.
    """

    def __init__(self, media: Media, grid: FrameGrid, offset_s: float, counts: Counters) -> None:
        self.end_s = 0.0
        self._media = media
        self._grid = grid
        self._offset_s = offset_s
        self._counts = counts

    def __iter__(self) -> Iterator[Picture]:
        track = self._media.picture
        if track is None:
            return
        timeline = Timeline(self._media)
        with open_container(self._media.path) as container:
            stream = container.streams[track]
            stream.thread_type = "AUTO"
            usual_s = float(1 / stream.average_rate) if stream.average_rate else DEFAULT_FRAME_S
            aspect = float(stream.sample_aspect_ratio or 1) or 1.0
            last_s = -1.0
            for frame in frames(container, track, self._counts):
                duration_s = _lasting(frame, usual_s)
                time_s = timeline.place(frame.time, duration_s)
                if time_s < 0 or time_s <= last_s:
                    self._counts.add("pictures out of order")
                    continue
                last_s = time_s
                self.end_s = time_s + duration_s
                if self._grid.take(self._offset_s + time_s):
                    yield Picture(self._offset_s + time_s, upright(frame, aspect))


def _lasting(frame: Any, usual_s: float) -> float:
    """Seconds that a frame is shown; where neither it nor the stream says so believably, a guess."""
    stated_s = float(frame.duration * frame.time_base) if frame.duration else usual_s
    return next((s for s in (stated_s, usual_s) if s <= LONGEST_FRAME_S), DEFAULT_FRAME_S)


def upright(frame: Any, aspect: float = 1.0) -> np.ndarray:
    """A frame as ``(height, width, 3) uint8`` RGB: square pixels, scaled down, turned as marked.

    ``aspect`` is the width of a pixel over its height.
    """
    width, height = fitted(round(frame.width * aspect), frame.height)
    rgb = frame.reformat(width=width, height=height, format="rgb24", interpolation="AREA")
    image: np.ndarray = rgb.to_ndarray()
    turns = round(frame.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(image, turns)) if turns else image


class SoundTrack:
    """The sound of a file as ``(position, samples)``: 16 kHz mono, positions counted in samples.

    Positions rise, pieces of one stretch follow each other without a gap.
    """

    def __init__(self, media: Media, counts: Counters) -> None:
        self._media = media
        self._counts = counts
        self._timeline = Timeline(media, JITTER_S)
        self._resampler: Resampler | None = None
        self._position = 0

    def __iter__(self) -> Iterator[tuple[int, np.ndarray]]:
        track = self._media.sound
        if track is None:
            return
        with open_container(self._media.path) as container:
            for frame in frames(container, track, self._counts):
                yield from self._pieces(frame)
        yield from self._flush()

    def _pieces(self, frame: Any) -> Iterator[tuple[int, np.ndarray]]:
        expected = self._timeline.next_s
        start_s = self._timeline.place(frame.time, frame.samples / frame.sample_rate)
        if (
            self._resampler is None
            or start_s != expected
            or self._resampler.rate_hz != frame.sample_rate
        ):
            yield from self._flush()
            self._resampler = Resampler(frame.sample_rate)
            self._position = round(start_s * SAMPLE_RATE_HZ)
        names = [channel.name for channel in frame.layout.channels]
        yield self._advance(self._resampler.feed(downmix(channels(frame), names)))

    def _flush(self) -> Iterator[tuple[int, np.ndarray]]:
        if self._resampler is not None:
            yield self._advance(self._resampler.finish())

    def _advance(self, samples: np.ndarray) -> tuple[int, np.ndarray]:
        position = self._position
        self._position += len(samples)
        return position, samples


def channels(frame: Any) -> np.ndarray:
    """An audio frame as ``(channels, n) float32`` in -1..1, whatever its sample format."""
    values: np.ndarray = frame.to_ndarray()
    if not frame.format.is_planar:
        values = values.reshape(-1, len(frame.layout.channels)).T
    if values.dtype == np.uint8:
        return (values.astype(np.float32) - 128) / 128
    if np.issubdtype(values.dtype, np.integer):
        return (values / -float(np.iinfo(values.dtype).min)).astype(np.float32)
    return np.nan_to_num(values.astype(np.float32))

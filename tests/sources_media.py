"""Small media files made on the spot, and a clock that tests move by hand."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from capture.source import End, Item, Picture, Sound, Source

MILLI = Fraction(1, 1000)


class HandClock:
    """Time moves only by ``sleep`` and ``advance``."""

    def __init__(self) -> None:
        self.ns = 1_000_000_000_000
        self.slept_s: list[float] = []

    def now_ns(self) -> int:
        return self.ns

    def sleep(self, seconds: float) -> None:
        self.slept_s.append(seconds)
        self.advance(max(0.0, seconds))

    def advance(self, seconds: float) -> None:
        self.ns += round(seconds * 1e9)


def tone(seconds: float, rate_hz: int, channels: int = 1, hz: float = 440.0) -> np.ndarray:
    """``(channels, n) float32``, the same tone at half level in every channel."""
    t = np.arange(round(seconds * rate_hz)) / rate_hz
    return np.tile((0.5 * np.sin(2 * np.pi * hz * t)).astype(np.float32), (channels, 1))


def write_media(
    path: Path,
    times_s: Sequence[float] = (),
    *,
    size: tuple[int, int] = (64, 48),
    codec: str = "mpeg4",
    sound: np.ndarray | None = None,
    rate_hz: int = 48_000,
    layout: str = "mono",
    sound_codec: str = "pcm_s16le",
    sound_start_s: float = 0.0,
) -> Path:
    """A file with one picture at each of ``times_s`` (brightness rises with time) and ``sound``."""
    with av.open(str(path), "w") as container:
        video = audio = None
        if times_s:
            video = container.add_stream(codec, rate=30)
            video.width, video.height = size
            video.pix_fmt = "yuv420p"
            video.time_base = video.codec_context.time_base = MILLI
        if sound is not None:
            audio = container.add_stream(sound_codec, rate=rate_hz, layout=layout)
        for i, time_s in enumerate(times_s):
            image = np.full((size[1], size[0], 3), 20 + 200 * i // len(times_s), np.uint8)
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = round(time_s * 1000), MILLI
            container.mux(video.encode(frame))
        if video is not None:
            container.mux(video.encode())
        if audio is not None:
            pcm = np.ascontiguousarray((sound * 32767).astype(np.int16).T.reshape(1, -1))
            frame = av.AudioFrame.from_ndarray(pcm, format="s16", layout=layout)
            frame.sample_rate, frame.time_base = rate_hz, Fraction(1, rate_hz)
            frame.pts = round(sound_start_s * rate_hz)
            container.mux(audio.encode(frame))
            container.mux(audio.encode())
    return path


def read_all(source: Source) -> list[Item]:
    """Every item up to and with the end."""
    items: list[Item] = []
    while not (items and isinstance(items[-1], End)):
        item = source.read(5.0)
        assert item is not None
        items.append(item)
    return items


def pictures(items: Sequence[Item]) -> list[Picture]:
    return [item for item in items if isinstance(item, Picture)]


def samples(items: Sequence[Item]) -> np.ndarray:
    """All sound joined, after checking that it is contiguous from zero."""
    chunks = [item for item in items if isinstance(item, Sound)]
    at = 0
    for chunk in chunks:
        assert round(chunk.start_s * 16_000) == at
        assert chunk.samples.dtype == np.float32
        at += len(chunk.samples)
    return np.concatenate([c.samples for c in chunks]) if chunks else np.zeros(0, np.float32)


def due_s(item: Item) -> float:
    """When an item is due, to the microsecond: where a picture is shown, where a chunk ends."""
    return round(item.end_s if isinstance(item, Sound) else item.time_s, 6)

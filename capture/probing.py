"""Looking into a media file: what it holds, how long it is, and why it cannot be used."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import av.error
import av.stream

from features.errors import SourceError
from features.samples import Counters

logger = logging.getLogger(__name__)

LOCAL_ONLY = {"protocol_whitelist": "file"}  # playlists must not reach out to the network
MAX_READ_ERRORS = 50  # in a row
DEFAULT_FRAME_S = 1 / 25
BROKEN = "broken packets"


@dataclass(frozen=True, slots=True)
class Media:
    """What a file holds. Track numbers are ``None`` where there is none or it is not wanted."""

    path: Path
    picture: int | None
    sound: int | None
    start_s: float
    duration_s: float


def probe(path: Path, picture: bool = True, sound: bool = True) -> Media:
    """Look into a file. Raises :class:`SourceError` naming the file and why it cannot be used."""
    check_readable(path)
    with open_container(path) as container:
        found = _track(container.streams.video) if picture else None
        heard = _track(container.streams.audio) if sound else None
        if found is None and heard is None:
            raise SourceError(f"{path}: {_nothing(container, picture, sound)}")
        start_s = (container.start_time or 0) / av.time_base
        duration_s = (container.duration or 0) / av.time_base
    if duration_s <= 0:
        start_s, duration_s = _measure(path)
    return Media(path, found, heard, start_s, duration_s)


def open_container(path: Path) -> Any:
    """The file as a PyAV container; raises :class:`SourceError`."""
    try:
        # The prefix keeps colons in names from being read as protocols.
        return av.open(
            f"file:{path.absolute()}", options=dict(LOCAL_ONLY), metadata_errors="replace"
        )
    except av.error.FFmpegError as error:
        raise SourceError(
            f"{path}: not a media file that can be read ({error.strerror})"
        ) from error
    except OSError as error:
        raise SourceError(f"{path}: {error.strerror or error}") from error


def check_readable(path: Path) -> None:
    """Raise :class:`SourceError` for what is no regular file with something in it."""
    try:
        if path.is_dir():
            raise SourceError(f"{path}: is a folder, not a media file")
        if not path.exists():
            raise SourceError(f"{path}: no such file")
        if not path.is_file():
            raise SourceError(f"{path}: is not a regular file")
        with path.open("rb") as file:
            if not file.read(1):
                raise SourceError(f"{path}: the file is empty")
    except PermissionError as error:
        raise SourceError(f"{path}: may not be read; check its permissions") from error
    except OSError as error:
        raise SourceError(f"{path}: {error.strerror or error}") from error


def _track(streams: Any) -> int | None:
    """Number of the first stream that can be decoded and is not a cover picture."""
    cover = av.stream.Disposition.attached_pic | av.stream.Disposition.timed_thumbnails
    for stream in streams:
        if stream.codec_context is not None and not stream.disposition & cover:
            return int(stream.index)
    return None


def _nothing(container: Any, picture: bool, sound: bool) -> str:
    if not picture and _track(container.streams.video) is not None:
        return "holds only a picture, and the picture is switched off"
    if not sound and _track(container.streams.audio) is not None:
        return "holds only sound, and the sound is switched off"
    return "holds neither picture nor sound that can be decoded"


def _measure(path: Path) -> tuple[float, float]:
    """Start and duration by walking over all packets, for files that do not state them."""
    start_s, end_s, counted = float("inf"), 0.0, 0
    rate = DEFAULT_FRAME_S
    with open_container(path) as container:
        for packet in packets(container, None, Counters()):
            if packet.stream.type == "video" and packet.stream.average_rate:
                rate = float(1 / packet.stream.average_rate)
            stamp = packet.pts if packet.pts is not None else packet.dts
            if packet.size and stamp is None:
                counted += 1
            elif stamp is not None and packet.time_base is not None:
                start_s = min(start_s, float(stamp * packet.time_base))
                end_s = max(end_s, float((stamp + (packet.duration or 0)) * packet.time_base))
    if start_s == float("inf"):
        return 0.0, counted * rate
    return start_s, end_s - start_s


def packets(container: Any, track: int | None, broken: Counters) -> Iterator[Any]:
    """Packets of one track (or all), going on after damage, which is counted."""
    errors = 0
    while errors < MAX_READ_ERRORS:
        try:
            for packet in container.demux(*([] if track is None else [container.streams[track]])):
                errors = 0
                yield packet
            return
        except av.error.FFmpegError as error:
            errors += 1
            broken.add(BROKEN)
            logger.debug("reading %s: %s", container.name, error)
    logger.warning("reading %s stopped after %d errors in a row", container.name, errors)

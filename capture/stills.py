"""Still pictures: known by their first bytes, read upright, as large as the pictures of a video."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import cv2
import numpy as np

from capture.pictures import fitted
from capture.probing import check_readable
from features.errors import SourceError
from features.native_log import without_chatter

HEAD_BYTES: Final = 12
MAX_BYTES: Final = 200_000_000
MOVING: Final = (".mjpeg", ".mjpg")  # many JPEG pictures one after another
STARTS: Final = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"BM": "BMP",
    b"II*\x00": "TIFF",
    b"MM\x00*": "TIFF",
    b"\x00\x00\x00\x0cjP  ": "JPEG 2000",
}
BRANDS: Final = {
    b"avif": "AVIF", b"heic": "HEIC", b"heix": "HEIC", b"mif1": "HEIF", b"msf1": "HEIF",
}  # fmt: skip


def still_kind(path: Path) -> str:
    """What kind of picture a file is by its first bytes; empty for anything else, or unreadable."""
    if path.suffix.lower() in MOVING:
        return ""
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except OSError:
        return ""
    if head[:4] == b"RIFF" and head[8:] == b"WEBP":
        return "WebP"
    if head[4:8] == b"ftyp":
        return BRANDS.get(head[8:], "")
    return next((kind for start, kind in STARTS.items() if head.startswith(start)), "")


def read_still(path: Path, name: str = "") -> np.ndarray:
    """A picture as ``(height, width, 3) uint8`` RGB, turned as its camera says, at most 1280 long.

    Raises :class:`SourceError` that names the file and why it cannot be used.
    """
    name = name or str(path)
    check_readable(path)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise SourceError(f"{name}: a picture of more than {MAX_BYTES // 1_000_000} MB")
        coded = np.fromfile(path, np.uint8)
    except OSError as error:
        raise SourceError(f"{name}: {error.strerror or error}") from error
    image = _decode(coded)
    if image is None:
        kind = still_kind(path) or "picture"
        raise SourceError(f"{name}: this {kind} cannot be decoded; save it as JPEG or PNG")
    height, width = image.shape[:2]
    size = fitted(width, height)
    if size != (width, height):
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    rgb: np.ndarray = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    return rgb


def _decode(coded: np.ndarray) -> np.ndarray | None:
    """BGR, turned by its EXIF mark; ``None`` where OpenCV cannot, or finds it too large."""
    with without_chatter(everything=True):
        try:
            decoded: np.ndarray | None = cv2.imdecode(coded, cv2.IMREAD_COLOR)
        except cv2.error:
            return None
    return decoded

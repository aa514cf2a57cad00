"""FER2013's pictures: their faces' shapes, and the crops that the landmarks align.

What a network sees in the crops is added in :mod:`model.corpora.face`; it learned from these very crops,
so they are kept without it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from features.appearance import ANCHORS, PLACES, SIZE, crop
from features.errors import CorpusError
from features.spec import BLENDSHAPES, CROPS, LANDMARKER, POSE
from model.corpora.features_cache import load_arrays, save_arrays
from model.corpora.text import TEST, TRAIN, VALID

FER_FILE: Final = "fer2013/fer2013_jpeg.npz"
PICTURE_PIXELS: Final = 192
BORDER_PIXELS: Final = 32
MIN_CONFIDENCE: Final = 0.3
BLOCK: Final = 512  # pictures per cache file
VALID_IN: Final = 12  # every twelfth training picture validates
SHAPE_WIDTH: Final = len(BLENDSHAPES) + len(POSE)
MARGIN: Final = 8  # pixels around a crop, so that training can turn and move it


@dataclass(frozen=True, slots=True)
class Pictures:
    """FER2013 without duplicates, in an order that is shuffled once and for all."""

    jpeg: np.ndarray
    offset: np.ndarray
    emotion: np.ndarray
    split: np.ndarray
    order: np.ndarray

    def image(self, index: int) -> np.ndarray:
        """One picture, ``(256, 256, 3) uint8``: 48 pixels upscaled to 192, border replicated."""
        coded = self.jpeg[self.offset[index] : self.offset[index + 1]]
        grey = cv2.imdecode(coded, cv2.IMREAD_GRAYSCALE)
        size = (PICTURE_PIXELS, PICTURE_PIXELS)
        large = cv2.resize(grey, size, interpolation=cv2.INTER_CUBIC)
        edge = (BORDER_PIXELS,) * 4
        framed = cv2.copyMakeBorder(large, *edge, cv2.BORDER_REPLICATE)
        colour: np.ndarray = cv2.cvtColor(framed, cv2.COLOR_GRAY2RGB)
        return colour


@dataclass(frozen=True, slots=True)
class Faces:
    """Pictures in which a face was found: ``index (n,)`` into the corpus, ``shapes (n, 58) float32``
    and ``crops (n, 60, 60) uint8``, aligned and with a margin of 8 pixels."""

    index: np.ndarray
    shapes: np.ndarray
    crops: np.ndarray

    @property
    def inner(self) -> np.ndarray:
        """The crops as the network sees them live, ``(n, 44, 44) uint8``."""
        inner: np.ndarray = self.crops[:, MARGIN : MARGIN + SIZE, MARGIN : MARGIN + SIZE]
        return inner


def fer2013(data: Path) -> Pictures:
    """FER2013 (Goodfellow et al. 2013): PublicTest is test, every twelfth training picture valid.

    Byte-identical pictures are kept once, in the test part first.
    """
    path = data / FER_FILE
    if not path.is_file():
        raise CorpusError(f"{path}: no such file; --data names the folder of the corpora")
    kept = load_arrays(path)
    jpeg, offset, usage = kept["jpeg"], kept["offset"], kept["usage"]
    seen: set[bytes] = set()
    order = []
    for index in np.argsort(-usage, kind="stable").tolist():
        digest = hashlib.sha256(jpeg[offset[index] : offset[index + 1]].tobytes()).digest()
        if digest not in seen:
            seen.add(digest)
            order.append(index)
    shuffled = np.random.default_rng(0).permutation(np.sort(order))
    split = np.where(usage > 0, TEST, TRAIN).astype("<U5")
    training = shuffled[usage[shuffled] == 0]
    split[training[::VALID_IN]] = VALID
    return Pictures(jpeg, offset, kept["emotions"][kept["label"]], split, shuffled)


def pictures_folder(cache: Path) -> Path:
    """``CACHE/pictures-KEY``; the key names the landmarker and how crops are aligned."""
    parts = (BLENDSHAPES, POSE, LANDMARKER, CROPS, ANCHORS, PLACES.tolist(), MARGIN)
    return cache / f"pictures-{hashlib.sha256(repr(parts).encode()).hexdigest()[:12]}"


def build_pictures(
    pictures: Pictures,
    landmarker: Path,
    cache: Path,
    advance: Callable[[int], None] = lambda count: None,
) -> None:
    """Find the faces of the blocks that are not in the cache; ``landmarker`` is its weights' folder."""
    from features.face import StillFaceExtractor

    extractor = StillFaceExtractor(landmarker, MIN_CONFIDENCE, appearance=False)
    try:
        for number, block in enumerate(blocks(pictures)):
            path = pictures_folder(cache) / f"{number:04d}.npz"
            if not path.is_file():
                found = []
                for index in block.tolist():
                    image = pictures.image(index)
                    sample = extractor.sample(image)
                    if sample.values is not None and sample.landmarks is not None:
                        aligned = crop(image, sample.landmarks, MARGIN)
                        found.append((index, sample.values, aligned))
                _save(path, found)
            advance(len(block))
    finally:
        extractor.close()


def blocks(pictures: Pictures) -> list[np.ndarray]:
    """Indices of the pictures, as many as a cache file holds at a time."""
    return [pictures.order[i : i + BLOCK] for i in range(0, len(pictures.order), BLOCK)]


def load_block(path: Path) -> Faces:
    """One cache file."""
    kept = load_arrays(path)
    return Faces(kept["index"], kept["shapes"], kept["crops"])


def load_pictures(cache: Path) -> Faces:
    """All blocks built so far; every prefix of them is a fair sample."""
    paths = sorted(pictures_folder(cache).glob("*.npz"))
    if not paths:
        raise CorpusError(
            f"{pictures_folder(cache)}: not built; run 'python -m model.corpora build'"
        )
    parts = [load_block(path) for path in paths]
    return Faces(*(np.concatenate([getattr(p, k) for p in parts]) for k in Faces.__slots__))


def _save(path: Path, found: list[tuple[int, np.ndarray, np.ndarray]]) -> None:
    size = SIZE + 2 * MARGIN
    arrays: dict[str, np.ndarray] = {
        "index": np.array([index for index, _, _ in found], np.int64),
        "shapes": np.array([v for _, v, _ in found], np.float32).reshape(-1, SHAPE_WIDTH),
        "crops": np.array([c for _, _, c in found], np.uint8).reshape(-1, size, size),
    }
    save_arrays(path, arrays)

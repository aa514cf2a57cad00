"""Appearance: what a small network sees in the picture of a face, beside the blendshapes.

The landmarks turn, scale and move the face onto a grey crop whose bony points always lie at the same
places; a convolutional network that learned from web pictures (``model/appearance``) looks at it. Wrinkles,
eyes and cheeks say what 52 blendshapes leave out.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from features.errors import FeatureError
from features.onnx_session import open_session
from features.spec import APPEARANCE

WEIGHTS: Final = Path(__file__).with_name("appearance.onnx")
SIZE: Final = 44  # pixels of the crop that the network sees, across and down
MIDDLE: Final = (SIZE - 1) / 2
# Landmarks that an expression moves least, with their places in the crop: means over web pictures, the
# left half mirrored. Pairs: left, right, how far each lies from the middle, and its row.
PAIRS: Final = (
    (33, 263, 12.2, 16.3), (133, 362, 4.9, 16.8), (159, 386, 9.0, 15.1), (145, 374, 8.6, 17.4),
    (98, 327, 4.4, 28.1), (127, 356, 18.7, 16.0), (234, 454, 18.6, 19.7), (93, 323, 18.4, 23.6),
    (109, 338, 5.1, 3.0), (21, 251, 17.6, 9.2),
)  # fmt: skip
CENTRAL: Final = (
    (168, 15.6), (6, 17.9), (197, 19.8), (195, 21.5), (5, 23.3), (4, 25.5), (1, 27.1), (2, 28.7), (10, 2.9),
)  # fmt: skip
ANCHORS: Final = (*(p[0] for p in PAIRS), *(p[1] for p in PAIRS), *(c[0] for c in CENTRAL))
PLACES: Final = np.array(
    [(MIDDLE - off, row) for _, _, off, row in PAIRS]
    + [(MIDDLE + off, row) for _, _, off, row in PAIRS]
    + [(MIDDLE, row) for _, row in CENTRAL]
)
COARSE: Final = (
    1.2  # more picture than crop pixels than this are averaged first, or they would alias
)
LEAST_CONTRAST: Final = 4.0  # of 255; a flatter crop is not stretched further


class Appearance:
    """Crops in, logits of seven expressions out. Used by one thread."""

    def __init__(self, weights: Path = WEIGHTS) -> None:
        if not weights.is_file():
            raise FeatureError(f"face: {weights} is missing; install Tonality again")
        self._session = open_session(weights)

    def see(self, image: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
        """``(7,) float32`` of the face with ``landmarks (478, 2)`` (0..1) in ``image``, RGB."""
        seen: np.ndarray = self.read(crop(image, landmarks)[None])[0]
        return seen

    def read(self, crops: np.ndarray) -> np.ndarray:
        """``(n, 44, 44) uint8`` to ``(n, 7) float32`` in the order of ``APPEARANCE``."""
        (seen,) = self._session.run(None, {"crops": standard(crops)[:, None]})
        return np.asarray(seen, np.float32).reshape(len(crops), len(APPEARANCE))


def version(weights: Path = WEIGHTS) -> str:
    """First 12 hexadecimal digits of the weights' SHA-256: the spec names them."""
    return hashlib.sha256(weights.read_bytes()).hexdigest()[:12]


def standard(crops: np.ndarray) -> np.ndarray:
    """``(..., h, w)`` to zero mean and unit deviation each, float32: light and contrast say nothing."""
    values = crops.astype(np.float32)
    centred = values - values.mean((-2, -1), keepdims=True)
    scale = centred.std((-2, -1), keepdims=True)
    scaled: np.ndarray = centred / np.maximum(scale, LEAST_CONTRAST)
    return scaled


def crop(image: np.ndarray, landmarks: np.ndarray, margin: int = 0) -> np.ndarray:
    """The face upright and centred, ``(44 + 2 margin, 44 + 2 margin) uint8`` grey.

    ``image (height, width, 3) uint8`` RGB, ``landmarks (478, 2)`` in 0..1 of it. What lies outside of
    the picture repeats its border.
    """
    height, width = image.shape[:2]
    points = landmarks[list(ANCHORS)].astype(np.float64) * (width, height) - 0.5
    onto = similarity(points, PLACES + margin)
    part, moved = _part(image, onto, SIZE + 2 * margin)
    grey = cv2.cvtColor(np.ascontiguousarray(part), cv2.COLOR_RGB2GRAY)
    size = (SIZE + 2 * margin,) * 2
    warped: np.ndarray = cv2.warpAffine(
        grey, moved, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return warped


def similarity(points: np.ndarray, places: np.ndarray) -> np.ndarray:
    """``(2, 3)``: turn, scale and move of ``points (n, 2)`` that come nearest to ``places`` in squares."""
    middle, target = points.mean(0), places.mean(0)
    own, there = points - middle, places - target
    size = max(float((own**2).sum()), 1e-12)
    along = float((own * there).sum()) / size
    across = float((own[:, 0] * there[:, 1] - own[:, 1] * there[:, 0]).sum()) / size
    turn = np.array([[along, -across], [across, along]])
    return np.column_stack([turn, target - turn @ middle])


def _part(image: np.ndarray, onto: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The part of the picture that the crop needs, no finer than the crop, and the map from it."""
    height, width = image.shape[:2]
    coarse = 1.0 / max(float(np.hypot(onto[0, 0], onto[0, 1])), 1e-6)  # picture per crop pixel
    back = cv2.invertAffineTransform(onto)
    corners = np.array([[0, 0], [size, 0], [0, size], [size, size]], np.float64)
    there = corners @ back[:, :2].T + back[:, 2]
    low = np.floor(there.min(0) - 2 * coarse).astype(int)
    high = np.ceil(there.max(0) + 2 * coarse).astype(int)
    left, top = np.clip(low, 0, (width - 1, height - 1)).tolist()
    right, bottom = np.clip(high, (left + 1, top + 1), (width, height)).tolist()
    part = image[top:bottom, left:right]
    scale = np.ones(2)
    if coarse > COARSE:
        small = [max(1, round(n / coarse)) for n in (right - left, bottom - top)]
        part = cv2.resize(np.ascontiguousarray(part), small, interpolation=cv2.INTER_AREA)
        scale = np.array([(right - left) / small[0], (bottom - top) / small[1]])
    first = np.array([left, top]) + 0.5 * scale - 0.5  # the middle of the part's first pixel
    return part, np.column_stack([onto[:, :2] * scale, onto[:, :2] @ first + onto[:, 2]])

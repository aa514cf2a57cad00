"""Crops as cameras would have made them: turned, moved, blurred, compressed, lit otherwise, covered."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np

from features.appearance import MIDDLE, SIZE, standard
from model.corpora.pictures import MARGIN

TURN_DEGREES: Final = 6.0  # standard deviations of what alignment leaves
LOG_SCALE: Final = 0.07
LOG_ASPECT: Final = 0.04
MOVE_PIXELS: Final = 1.3
GAMMA: Final = 0.35
LIGHT: Final = (0.5, 0.35)  # slopes of the light, across and down
PLACE: Final = np.linspace(-0.5, 0.5, SIZE, dtype=np.float32)


def augmented(aligned: np.ndarray, chance: np.random.Generator) -> np.ndarray:
    """An aligned crop with its margin, ``(60, 60) uint8``, to a standardised ``(44, 44) float32``."""
    pixels = cv2.warpAffine(
        aligned,
        _moved(chance),
        (SIZE, SIZE),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    pixels = _coarse(pixels, chance)
    if chance.random() < 0.2:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(chance.integers(30, 90))]
        pixels = cv2.imdecode(cv2.imencode(".jpg", pixels, quality)[1], cv2.IMREAD_GRAYSCALE)
    values = standard(_lit(pixels.astype(np.float32), chance))
    if chance.random() < 0.3:
        values = values + chance.normal(0, chance.uniform(0.03, 0.2), values.shape)
    if chance.random() < 0.4:  # something in front of the face (cutout, DeVries and Taylor 2017)
        high, wide = chance.integers(6, 16, 2)
        top, left = chance.integers(SIZE - high), chance.integers(SIZE - wide)
        values[top : top + high, left : left + wide] = chance.normal(0, 0.5)
    out: np.ndarray = values.astype(np.float32)
    return out


def _moved(chance: np.random.Generator) -> np.ndarray:
    """``(2, 3)``: a turn, a scale, a shift and maybe a mirror about the crop's middle."""
    angle = np.deg2rad(chance.normal(0, TURN_DEGREES))
    scale, aspect = np.exp(chance.normal(0, (LOG_SCALE, LOG_ASPECT)))
    mirror = -1.0 if chance.random() < 0.5 else 1.0
    cos, sin = np.cos(angle) * scale, np.sin(angle) * scale
    turn = np.array([[cos * aspect * mirror, -sin], [sin * mirror, cos / aspect]])
    shift = MIDDLE + chance.normal(0, MOVE_PIXELS, 2) - turn @ np.full(2, MIDDLE + MARGIN)
    return np.column_stack([turn, shift])


def _coarse(pixels: np.ndarray, chance: np.random.Generator) -> np.ndarray:
    """Sometimes out of focus, sometimes from a face that was small in its picture."""
    kind, out = chance.random(), pixels
    if kind < 0.35:
        out = cv2.GaussianBlur(pixels, (0, 0), chance.uniform(0.4, 1.3))
    elif kind < 0.5:
        small = (int(chance.integers(24, 40)),) * 2
        shrunk = cv2.resize(pixels, small, interpolation=cv2.INTER_AREA)
        out = cv2.resize(shrunk, (SIZE, SIZE), interpolation=cv2.INTER_LINEAR)
    return out


def _lit(values: np.ndarray, chance: np.random.Generator) -> np.ndarray:
    if chance.random() < 0.5:
        values = 255.0 * (values / 255.0) ** np.exp(chance.normal(0, GAMMA))
    if chance.random() < 0.4:
        across, down = chance.normal(0, LIGHT)
        values = values * np.clip(1 + across * PLACE[None] + down * PLACE[:, None], 0.2, 2)
    return values

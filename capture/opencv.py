"""Cameras through OpenCV, quietly, and with reasons that people understand."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from capture.live import HINT
from capture.pictures import fitted
from features.errors import SourceError

LARGE = 640 * 480  # beyond it, cameras reach their frame rate only with JPEG
_level = threading.Lock()


def open_camera(index: int | str, width: int, height: int, fps: float) -> Any:
    """``cv2.VideoCapture`` of a camera's index (or a video's path); raises :class:`SourceError`."""
    import cv2

    with quiet():
        camera = cv2.VideoCapture(index)
        if not camera.isOpened():
            camera.release()
            raise SourceError(f"camera {index} cannot be opened: {_why(index)} ({HINT})")
        if isinstance(index, int):
            if width * height > LARGE:
                camera.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG"))
            camera.set(cv2.CAP_PROP_FRAME_WIDTH, width)
            camera.set(cv2.CAP_PROP_FRAME_HEIGHT, height)
            camera.set(cv2.CAP_PROP_FPS, fps)
            camera.set(cv2.CAP_PROP_BUFFERSIZE, 1)
    return camera


def rgb(image: np.ndarray) -> np.ndarray:
    """OpenCV's picture as RGB, grey ones too, scaled down to at most 1280 pixels."""
    import cv2

    height, width = image.shape[:2]
    size = fitted(width, height)
    if size != (width, height):
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    code = cv2.COLOR_GRAY2RGB if image.ndim == 2 else cv2.COLOR_BGR2RGB
    converted: np.ndarray = cv2.cvtColor(image, code)
    return converted


@contextmanager
def quiet() -> Iterator[None]:
    """Silence OpenCV's own lines on standard error; what is wrong is said by us."""
    import cv2

    with _level:
        log = cv2.utils.logging
        before = log.getLogLevel()
        log.setLogLevel(log.LOG_LEVEL_SILENT)
        try:
            yield
        finally:
            log.setLogLevel(before)


def _why(index: int | str) -> str:
    if sys.platform != "linux" or not isinstance(index, int):
        return "there is none, it is in use, or this program may not use it"
    device = Path(f"/dev/video{index}")
    try:
        if not device.exists():
            return f"there is no {device}"
        with device.open("rb"):
            return "it is in use by another program, or gives no pictures"
    except PermissionError:
        return f"{device} may not be read; add yourself to the group 'video' and log in again"
    except OSError as error:
        return error.strerror or str(error)

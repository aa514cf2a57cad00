"""Face: 52 blendshapes, head pose, appearance and landmarks of the one face that is followed.

MediaPipe's FaceLandmarker finds and tracks up to three faces. Several faces make it look for new
ones on every picture (about 2 ms more) and switch off its own smoothing of landmarks, which would
let a live picture trail behind; the gain is that the followed person stays the same one.
Pictures go in at full size: MediaPipe scales what it needs itself, and scaling a 4K picture before
took as long as it saved, while small faces lost detail.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from features.appearance import Appearance
from features.errors import FeatureError
from features.native_log import without_chatter
from features.samples import FaceQuality, FaceSample
from features.spec import BLENDSHAPES

MODEL_FILE = "face_landmarker.task"
MAX_FACES = 3
MIN_CONFIDENCE = 0.5
STILL_CONFIDENCE = 0.3
# Mean luminance (0..255). On darkened clips of five people the blendshapes are wrong by half to all
# of their own spread below 10, and faces are lost between 3 and 9.
DARK_LUMINANCE = 10.0
LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601
KEEP_AREA = 0.6  # the followed face is left for one more than 1 / 0.6 as large
SAME_OVERLAP = 0.2  # share of the smaller box that a face and its last place have in common
KEEP_S = 0.5  # how long a followed face may be gone before another one is taken


@dataclass(frozen=True, slots=True)
class _Face:
    """One found face: its place in MediaPipe's result and its box (left, top, right, bottom)."""

    index: int
    landmarks: np.ndarray
    box: np.ndarray

    @property
    def area(self) -> float:
        """Share of the picture."""
        return _area(self.box)


class FaceFollower:
    """Chooses one face of several: the largest, then the same one for as long as it makes sense."""

    def __init__(self) -> None:
        self._box: np.ndarray | None = None
        self._seen_s = 0.0

    def choose(self, boxes: list[np.ndarray], time_s: float) -> int | None:
        """Number of the box to follow, ``None`` where the followed face is missing for a moment."""
        if self._box is not None and time_s - self._seen_s > KEEP_S:
            self._box = None
        if not boxes:
            return None
        largest = max(range(len(boxes)), key=lambda i: _area(boxes[i]))
        chosen: int | None = largest
        if self._box is not None:
            chosen = self._again(boxes, largest)
        if chosen is not None:
            self._box, self._seen_s = boxes[chosen], time_s
        return chosen

    def _again(self, boxes: list[np.ndarray], largest: int) -> int | None:
        assert self._box is not None
        followed = self._box
        same = max(range(len(boxes)), key=lambda i: _overlap(boxes[i], followed))
        limit = KEEP_AREA * _area(boxes[largest])
        if _overlap(boxes[same], followed) > SAME_OVERLAP * min(
            _area(boxes[same]), _area(followed)
        ):
            return same if _area(boxes[same]) >= limit else largest
        return largest if _area(followed) < limit else None


class FaceExtractor:
    """Pictures in, one sample each out. Used by one thread.

    Raises :class:`FeatureError` where the weights in ``folder`` are missing or cannot be loaded.
    """

    def __init__(self, folder: Path) -> None:
        self._landmarker = _open_landmarker(folder, still=False, confidence=MIN_CONFIDENCE)
        self._appearance = Appearance()
        self._follower = FaceFollower()
        self._first_s: float | None = None
        self._last_s = 0.0
        self._last_ms = 0

    def push(self, image: np.ndarray, time_s: float) -> FaceSample:
        """What ``image (height, width, 3) uint8`` RGB at media time ``time_s`` says.

        ``time_s`` must rise from call to call. MediaPipe gets whole milliseconds since the first
        picture, at least one more than the last time. Where the followed face is gone for less than
        half a second the sample says "no face", even if another face is there.
        """
        _check_image(image)
        result = _detect(self._landmarker, image, self._next_ms(time_s))
        faces = _faces(result)
        chosen = self._follower.choose([face.box for face in faces], time_s)
        return _sample(image, time_s, result, faces, chosen, self._appearance)

    def close(self) -> None:
        """Release the model; safe to call twice."""
        _close(self._landmarker)
        self._landmarker = None

    def _next_ms(self, time_s: float) -> int:
        if self._first_s is None:
            self._first_s = time_s
        elif not time_s > self._last_s:
            raise FeatureError(
                f"face: picture at {time_s:.3f} s after one at {self._last_s:.3f} s; times must rise"
            )
        self._last_s = time_s
        self._last_ms = max(self._last_ms + 1, round((time_s - self._first_s) * 1000))
        return self._last_ms


class StillFaceExtractor:
    """The same numbers from single pictures that have nothing to do with each other.

    Without ``appearance`` they are the first 58 alone: what its network learns from is made so.
    """

    def __init__(
        self, folder: Path, min_confidence: float = STILL_CONFIDENCE, *, appearance: bool = True
    ) -> None:
        self._landmarker = _open_landmarker(folder, still=True, confidence=min_confidence)
        self._appearance = Appearance() if appearance else None

    def sample(self, image: np.ndarray, time_s: float = 0.0) -> FaceSample:
        """What the largest face in ``image (height, width, 3) uint8`` RGB says."""
        _check_image(image)
        result = _detect(self._landmarker, image, None)
        faces = _faces(result)
        chosen = max(range(len(faces)), key=lambda i: faces[i].area) if faces else None
        return _sample(image, time_s, result, faces, chosen, self._appearance)

    def close(self) -> None:
        """Release the model; safe to call twice."""
        _close(self._landmarker)
        self._landmarker = None


def pose(matrix: np.ndarray) -> np.ndarray:
    """Pitch, yaw, roll (radians) and x, y, z (cm) of MediaPipe's ``(4, 4)`` face matrix.

    Axes: x to the right of the picture, y up, z towards the camera, which is at the origin and has
    the lens that MediaPipe assumes (63 degrees high), so that a face in view has a negative z. The
    rotation is ``Ry(yaw) Rx(pitch) Rz(roll)``: positive pitch looks down, positive yaw looks to the
    right of the picture, positive roll tilts the top of the head to the left of the picture.
    """
    pitch = np.arcsin(np.clip(-matrix[1, 2], -1.0, 1.0))
    yaw = np.arctan2(matrix[0, 2], matrix[2, 2])
    roll = np.arctan2(matrix[1, 0], matrix[1, 1])
    return np.array([pitch, yaw, roll, *matrix[:3, 3]], np.float32)


def _open_landmarker(folder: Path, *, still: bool, confidence: float) -> Any:
    path = folder / MODEL_FILE
    if not path.is_file():
        raise FeatureError(f"face: {path} is missing; run 'tonality models fetch'")
    with without_chatter():
        import mediapipe  # noqa: F401  # loads the native library, which logs on loading
        from mediapipe.tasks.python import BaseOptions, vision

        mode = vision.RunningMode.IMAGE if still else vision.RunningMode.VIDEO
        options = vision.FaceLandmarkerOptions(
            base_options=BaseOptions(model_asset_buffer=path.read_bytes()),
            running_mode=mode,
            num_faces=MAX_FACES,
            min_face_detection_confidence=confidence,
            min_face_presence_confidence=confidence,
            min_tracking_confidence=confidence,
            output_face_blendshapes=True,
            output_facial_transformation_matrixes=True,
        )
        try:
            landmarker = vision.FaceLandmarker.create_from_options(options)
        except (RuntimeError, ValueError) as error:
            raise FeatureError(f"face: {path} cannot be loaded: {_line(error)}") from error
        # The graph's threads load their models, and log, until the first picture is through.
        _detect(landmarker, np.zeros((64, 64, 3), np.uint8), None if still else 0)
    return landmarker


def _detect(task: Any, image: np.ndarray, time_ms: int | None) -> Any:
    import mediapipe

    if task is None:
        raise FeatureError("face: a picture was pushed after the end")
    picture = mediapipe.Image(
        image_format=mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(image)
    )
    try:
        if time_ms is None:
            return task.detect(picture)
        return task.detect_for_video(picture, time_ms)
    except (RuntimeError, ValueError) as error:
        raise FeatureError(f"face: MediaPipe failed: {_line(error)}") from error


def _close(landmarker: Any) -> None:
    if landmarker is not None:
        landmarker.close()


def _check_image(image: np.ndarray) -> None:
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape:
        raise FeatureError(
            f"face: a picture must be (height, width, 3) uint8, got {image.shape} {image.dtype}"
        )


def _faces(result: Any) -> list[_Face]:
    faces = []
    for index, points in enumerate(result.face_landmarks):
        landmarks = np.array([(point.x, point.y) for point in points], np.float32)
        box = np.concatenate([landmarks.min(axis=0), landmarks.max(axis=0)])
        faces.append(_Face(index, landmarks, box))
    return faces


def _sample(
    image: np.ndarray,
    time_s: float,
    result: Any,
    faces: list[_Face],
    chosen: int | None,
    appearance: Appearance | None,
) -> FaceSample:
    region = image if chosen is None else _crop(image, faces[chosen].box)
    if _luminance(region) < DARK_LUMINANCE:
        return FaceSample(time_s, FaceQuality.TOO_DARK, len(faces))
    if chosen is None:
        return FaceSample(time_s, FaceQuality.NO_FACE, len(faces))
    index = faces[chosen].index
    shapes = _blendshapes(result.face_blendshapes[index])
    head = pose(np.asarray(result.facial_transformation_matrixes[index]))
    landmarks = faces[chosen].landmarks
    seen = [] if appearance is None else [appearance.see(image, landmarks)]
    values = np.concatenate([shapes, head, *seen])
    return FaceSample(time_s, FaceQuality.OK, len(faces), values, landmarks)


def _blendshapes(categories: list[Any]) -> np.ndarray:
    names = tuple(category.category_name for category in categories)
    if names != BLENDSHAPES:
        missing = [name for name in BLENDSHAPES if name not in names]
        unknown = [name for name in names if name not in BLENDSHAPES]
        raise FeatureError(
            f"face: the weights give other blendshapes than the spec (missing: {missing}, unknown: "
            f"{unknown}, or another order); run 'tonality models verify'"
        )
    return np.array([category.score for category in categories], np.float32)


def _crop(image: np.ndarray, box: np.ndarray) -> np.ndarray:
    """The box's part of the picture; the whole picture where the box lies outside."""
    height, width = image.shape[:2]
    left, right = (int(np.clip(x, 0.0, 1.0) * width) for x in (box[0], box[2]))
    top, bottom = (int(np.clip(y, 0.0, 1.0) * height) for y in (box[1], box[3]))
    part = image[top:bottom, left:right]
    return part if part.size else image


def _luminance(image: np.ndarray) -> float:
    """Mean over about 64 x 64 pixels of the picture, 0..255."""
    rows, columns = (max(1, n // 64) for n in image.shape[:2])
    mean = image[::rows, ::columns].mean(axis=(0, 1), dtype=np.float32)
    return float(mean @ LUMINANCE)


def _area(box: np.ndarray) -> float:
    return float(max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1]))


def _overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Area that two boxes share."""
    return _area(np.concatenate([np.maximum(a[:2], b[:2]), np.minimum(a[2:], b[2:])]))


def _line(error: Exception) -> str:
    return " ".join(str(error).split())

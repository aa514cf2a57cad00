"""Small pictures for people: a JPEG and what was found in it."""

from __future__ import annotations

import cv2
import numpy as np

from features.messages import Preview
from features.samples import FaceSample
from features.spec import BLENDSHAPES

PREVIEW_WIDTH = 320
JPEG_QUALITY = 70
STRONGEST = 5  # expressions named on the page
_SILENT = {"_neutral"}


def make_preview(
    image: np.ndarray, sample: FaceSample, session: str, participant: str, made_ns: int
) -> Preview:
    """A preview of an RGB ``image (H, W, 3) uint8`` with the landmarks of its face."""
    height = max(1, round(image.shape[0] * PREVIEW_WIDTH / image.shape[1]))
    small = cv2.resize(image, (PREVIEW_WIDTH, height), interpolation=cv2.INTER_AREA)
    encoded, jpeg = cv2.imencode(
        ".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    )
    landmarks = sample.landmarks
    return Preview(
        session=session,
        participant=participant,
        start_s=sample.time_s,
        end_s=sample.time_s,
        made_ns=made_ns,
        jpeg=jpeg.tobytes() if encoded else b"",
        landmarks=np.zeros((0, 2), np.float32) if landmarks is None else landmarks,
        quality=sample.quality.value,
        faces=sample.faces,
        expressions=_strongest(sample),
        pose_deg=_pose_deg(sample),
    )


def _pose_deg(sample: FaceSample) -> tuple[float, ...]:
    """Pitch, yaw and roll of the head in degrees."""
    if sample.values is None:
        return ()
    first = len(BLENDSHAPES)
    return tuple(np.degrees(sample.values[first : first + 3]).round(1).tolist())


def _strongest(sample: FaceSample) -> dict[str, float]:
    if sample.values is None:
        return {}
    named = zip(BLENDSHAPES, sample.values.tolist(), strict=False)  # the pose follows, unnamed
    ranked = sorted((p for p in named if p[0] not in _SILENT), key=lambda p: -p[1])
    return {name: round(value, 3) for name, value in ranked[:STRONGEST]}

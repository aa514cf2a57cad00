"""Faces that hold still made to live: tremor, speech, gaps, and people with faces of their own.

Still pictures of faces know nothing of speech, and models of them take a speaking mouth, or the
lowered brows of everybody who looks at a screen, for a bad mood. So the same face is shown with its
mouth moving as in speech and with the offsets of cameras, under the same label.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from features.messages import Statistics
from features.spec import BLENDSHAPES, FACE, LIVE, POSE
from model.networks.inputs import Prior, blend, normalise

STEPS: Final = LIVE.steps(FACE)
SHAPES: Final = len(BLENDSHAPES)
HIDDEN: Final = tuple(
    name
    for name in (*BLENDSHAPES, *POSE)
    if name.startswith(("_neutral", "eyeLook")) or name in POSE
)  # gaze and pose say where people sit, and still pictures say nothing true about them
SPEAKING: Final = tuple(
    name for name in BLENDSHAPES if name.startswith(("jaw", "mouth")) and "Smile" not in name
)
SPEECH_SHARE: Final = 0.6  # of training faces, the share that speaks
CAMERA_SHARE: Final = 0.75  # the share that is seen as a webcam would see it
PERSON_SHARE: Final = 0.5  # and the share that belongs to somebody seen before
GAP_SHARE: Final = 0.2
LONGEST_SEEN_S: Final = 600.0
# How far neutral webcam faces lie from neutral web pictures, in deviations of the pictures: measured
# on neutral videos as +2 to +3 for lowered brows, +1 to +2 for squints and pressed lips. One number is
# drawn for each group of shapes, so that a steady offset of these says nothing.
CAMERA: Final[dict[tuple[str, ...], float]] = {
    ("browDownLeft", "browDownRight"): 2.5,
    ("eyeSquintLeft", "eyeSquintRight"): 1.5,
    ("mouthPressLeft", "mouthPressRight"): 1.2,
    ("mouthClose",): 1.2,
    ("mouthRollLower", "mouthRollUpper"): 0.8,
    ("mouthPucker",): 0.8,
    ("browInnerUp", "browOuterUpLeft", "browOuterUpRight"): -0.8,
}
CAMERA_REST: Final = 0.2  # and any other shape, either way
STILL_SHARE: Final = 0.3  # the share that is a picture: it holds perfectly still for the window
# How a face trembles that holds still: blendshapes are probabilities, and what is plainly there or
# plainly not there does not move. Standard deviation at a half; neutral videos show .02 to .03 there,
# some shapes twice that.
TREMOR: Final = 0.025
TREMOR_STAYS: Final = 0.8


def face_columns() -> np.ndarray:
    """``(58,) float32``: 0 for the shapes' columns that are hidden from the network."""
    return np.array([name not in HIDDEN for name in (*BLENDSHAPES, *POSE)], np.float32)


def speech_motion(values: np.ndarray) -> np.ndarray:
    """How a speaking mouth leaves its rest, ``(n, 65)`` of a neutral speaker's frames.

    The rest is the tenth percentile over the frames; columns other than the mouth's stay zero.
    """
    motion = np.zeros_like(values)
    mouth = [BLENDSHAPES.index(name) for name in SPEAKING]
    motion[:, mouth] = values[:, mouth] - np.quantile(values[:, mouth], 0.1, axis=0)
    return motion


@dataclass(frozen=True, slots=True)
class FaceMaker:
    """Makes windows out of single faces. ``neutral (m, 65)``: faces at rest, of other people;
    ``motion (n, 65)`` at 10 Hz: mouths that speak."""

    prior: Prior
    neutral: np.ndarray
    motion: np.ndarray

    def window(
        self, face: np.ndarray, own: Statistics | None, chance: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """A random window of one face ``(65,)``: normalised ``(40, 65)`` and its mask.

        ``own`` are statistics of this very person; a person made up takes their place where there
        are none.
        """
        face = face.copy()
        if own is None and chance.random() < PERSON_SHARE:
            face, own = self._person(face, chance)
        if chance.random() < CAMERA_SHARE:
            face = face + self._camera(chance)
        face[:SHAPES] = np.clip(face[:SHAPES], 0.0, 1.0)
        if chance.random() < STILL_SHARE:
            return self.still(face, own)
        values = face + _tremor(face, chance)
        if chance.random() < SPEECH_SHARE:
            values = values + self._speech(chance)
        values[:, :SHAPES] = np.clip(values[:, :SHAPES], 0.0, 1.0)
        mask = _gaps(chance)
        return normalise(values, mask, blend(own, self.prior)), mask

    def still(self, face: np.ndarray, own: Statistics | None) -> tuple[np.ndarray, np.ndarray]:
        """The face without any of this, for judging: the whole window shows it."""
        mask = np.ones(STEPS, bool)
        values = np.repeat(face[None], STEPS, axis=0)
        return normalise(values, mask, blend(own, self.prior)), mask

    def _person(
        self, face: np.ndarray, chance: np.random.Generator
    ) -> tuple[np.ndarray, Statistics]:
        """The face on somebody whose rest differs from most people's, and what was seen of them."""
        rest_of_all = self.neutral.mean(0)
        stranger = self.neutral[chance.integers(len(self.neutral))]
        own = chance.uniform(0.0, 0.8) * (stranger - rest_of_all)
        variance = self.prior.variance * np.float32(chance.uniform(0.2, 1.0))
        seconds = float(np.exp(chance.uniform(np.log(4.0), np.log(LONGEST_SEEN_S))))
        mean = (rest_of_all + own).astype(np.float32)
        return face + own, Statistics(mean, variance, seconds)

    def _camera(self, chance: np.random.Generator) -> np.ndarray:
        """What a camera adds to the shapes for as long as it looks, ``(65,)``."""
        offset = CAMERA_REST * chance.normal(size=len(self.prior.mean))
        offset[SHAPES + len(POSE) :] = 0.0  # pictures were taken by cameras of all kinds
        for shapes, size in CAMERA.items():
            offset[[BLENDSHAPES.index(name) for name in shapes]] += size * abs(chance.normal())
        scaled: np.ndarray = offset * np.sqrt(self.prior.variance)
        return scaled

    def _speech(self, chance: np.random.Generator) -> np.ndarray:
        speed = chance.uniform(0.6, 1.6)
        places = (chance.uniform(0, len(self.motion)) + speed * np.arange(STEPS)).astype(int)
        amplitude = chance.uniform(0.3, 2.0, (1, self.motion.shape[1]))
        moved: np.ndarray = self.motion[places % len(self.motion)] * amplitude
        return moved


def speaker_statistics(values: np.ndarray, seconds_each: float) -> Statistics:
    """What clips with faces ``(n, 65)`` of one person leave behind."""
    return Statistics(
        values.mean(0).astype(np.float32),
        values.var(0).astype(np.float32),
        seconds_each * len(values),
    )


def _tremor(face: np.ndarray, chance: np.random.Generator) -> np.ndarray:
    """Movement that stays a while, ``(40, 65)``, of a face ``(65,)`` that holds still."""
    fresh = chance.normal(size=(STEPS, SHAPES))
    kept = np.sqrt(1 - TREMOR_STAYS**2)
    for step in range(1, STEPS):
        fresh[step] = TREMOR_STAYS * fresh[step - 1] + kept * fresh[step]
    moved = np.zeros((STEPS, len(face)))
    moved[:, :SHAPES] = TREMOR * 4.0 * face[:SHAPES] * (1.0 - face[:SHAPES]) * fresh
    return moved


def _gaps(chance: np.random.Generator) -> np.ndarray:
    """Which steps have a face: mostly all, sometimes a beginning, an end or a middle is missing."""
    mask = np.ones(STEPS, bool)
    if chance.random() < GAP_SHARE:
        first, length = chance.integers(STEPS), chance.integers(1, STEPS * 3 // 4)
        mask[first : first + length] = False
    return mask

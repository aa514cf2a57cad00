"""What extractors give: plain records on the session's media clock."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum

import msgspec
import numpy as np


class Word(msgspec.Struct, frozen=True):
    """One recognised word. Times are media seconds; ``probability`` is the recogniser's own."""

    text: str
    start_s: float
    end_s: float
    probability: float = 1.0


class FaceQuality(StrEnum):
    """Why a picture gave a face, or did not."""

    OK = "ok"
    NO_FACE = "no face"
    TOO_DARK = "too dark"


@dataclass(frozen=True, slots=True)
class FaceSample:
    """What one picture says about the followed face.

    ``values`` is ``(65,) float32``: 52 blendshapes in 0..1, then pitch, yaw, roll in radians, then
    x, y, z of the head in centimetres from the camera, then what the picture shows (logits of seven
    expressions); ``None`` where no face was found.
    ``landmarks`` is ``(478, 2) float32`` in picture coordinates 0..1, for drawing only.
    """

    time_s: float
    quality: FaceQuality
    faces: int = 0
    values: np.ndarray | None = None
    landmarks: np.ndarray | None = None


@dataclass(frozen=True, slots=True)
class VoiceChunk:
    """Consecutive eGeMAPSv02 low-level descriptors, ``(n, 25) float32``.

    Frame ``first + i`` starts at ``(first + i) / 100`` seconds after the sound's first sample, whose
    media time is ``origin_s``.
    """

    origin_s: float
    first: int
    values: np.ndarray


@dataclass(frozen=True, slots=True)
class ActivityChunk:
    """Probability of speech per 32 ms of sound (Silero VAD), ``(n,) float32``.

    Value ``first + i`` is about ``origin_s + (first + i) * 0.032`` and the 32 ms that follow.
    """

    origin_s: float
    first: int
    probability: np.ndarray


@dataclass(frozen=True, slots=True)
class StateChunk:
    """Mean of the recogniser's encoder states over cells of 0.25 s, ``(n, 512) float16``.

    Cells lie on the grid of media time: cell ``k`` covers ``[k / 4, (k + 1) / 4)``. A cell is given
    out once and never changes; cells without speech are never given.
    """

    cells: tuple[int, ...]
    values: np.ndarray


@dataclass(frozen=True, slots=True)
class SpeechUpdate:
    """What the recogniser knows more than before.

    ``stable`` holds the words that became stable now; they never change again. ``tentative``
    replaces every tentative word given before. No stable word that starts before
    ``stable_until_s`` will still come; ``heard_until_s`` is how far the sound was looked at. A state
    replaces that of the same cell given before, unless the cell begins before ``states_until_s``.
    """

    stable: tuple[Word, ...] = ()
    tentative: tuple[Word, ...] = ()
    stable_until_s: float = 0.0
    heard_until_s: float = 0.0
    states: StateChunk | None = None
    states_until_s: float = math.inf


@dataclass(frozen=True, slots=True)
class Lost:
    """A source lost its picture or sound at ``time_s``; the streams made of it are missing."""

    modality: str  # "picture" or "sound"
    time_s: float
    reason: str


@dataclass(frozen=True, slots=True)
class Returned:
    """A lost picture or sound is back from ``time_s`` on."""

    modality: str
    time_s: float


@dataclass(slots=True)
class Counters:
    """Named counts that only grow; shown to people as they are."""

    counts: dict[str, int] = field(default_factory=dict)

    def add(self, name: str, amount: int = 1) -> None:
        """Count ``amount`` more of ``name``."""
        self.counts[name] = self.counts.get(name, 0) + amount

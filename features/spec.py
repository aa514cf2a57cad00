"""The feature spec: names, order, units, rates and extractor versions, hashed.

A checkpoint carries the spec it was trained on, every window the hash of the spec it was cut with;
the predictor refuses a window whose hash is another one. Training and live use this same object.
"""

from __future__ import annotations

import hashlib
from typing import Final

import msgspec

FACE: Final = "face"  # stream names: blendshapes, pose and appearance
VOICE: Final = "voice"  # eGeMAPSv02 low-level descriptors
STATES: Final = "states"  # the recogniser's encoder states

BLENDSHAPES: Final = (
    "_neutral", "browDownLeft", "browDownRight", "browInnerUp", "browOuterUpLeft",
    "browOuterUpRight", "cheekPuff", "cheekSquintLeft", "cheekSquintRight", "eyeBlinkLeft",
    "eyeBlinkRight", "eyeLookDownLeft", "eyeLookDownRight", "eyeLookInLeft", "eyeLookInRight",
    "eyeLookOutLeft", "eyeLookOutRight", "eyeLookUpLeft", "eyeLookUpRight", "eyeSquintLeft",
    "eyeSquintRight", "eyeWideLeft", "eyeWideRight", "jawForward", "jawLeft", "jawOpen",
    "jawRight", "mouthClose", "mouthDimpleLeft", "mouthDimpleRight", "mouthFrownLeft",
    "mouthFrownRight", "mouthFunnel", "mouthLeft", "mouthLowerDownLeft", "mouthLowerDownRight",
    "mouthPressLeft", "mouthPressRight", "mouthPucker", "mouthRight", "mouthRollLower",
    "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper", "mouthSmileLeft", "mouthSmileRight",
    "mouthStretchLeft", "mouthStretchRight", "mouthUpperUpLeft", "mouthUpperUpRight",
    "noseSneerLeft", "noseSneerRight",
)  # fmt: skip
# Logits of the expressions that a network sees in the picture.
EXPRESSIONS: Final = ("angry", "disgust", "fearful", "sad", "neutral", "happy", "surprised")
APPEARANCE: Final = tuple(f"seen_{name}" for name in EXPRESSIONS)
POSE: Final = ("pitch_rad", "yaw_rad", "roll_rad", "x_cm", "y_cm", "z_cm")

DESCRIPTORS: Final = (
    "Loudness_sma3", "alphaRatio_sma3", "hammarbergIndex_sma3", "slope0-500_sma3",
    "slope500-1500_sma3", "spectralFlux_sma3", "mfcc1_sma3", "mfcc2_sma3", "mfcc3_sma3",
    "mfcc4_sma3", "F0semitoneFrom27.5Hz_sma3nz", "jitterLocal_sma3nz", "shimmerLocaldB_sma3nz",
    "HNRdBACF_sma3nz", "logRelF0-H1-H2_sma3nz", "logRelF0-H1-A3_sma3nz", "F1frequency_sma3nz",
    "F1bandwidth_sma3nz", "F1amplitudeLogRelF0_sma3nz", "F2frequency_sma3nz",
    "F2bandwidth_sma3nz", "F2amplitudeLogRelF0_sma3nz", "F3frequency_sma3nz",
    "F3bandwidth_sma3nz", "F3amplitudeLogRelF0_sma3nz",
)  # fmt: skip
# From pitch on (pitch, glottis, formants) the descriptors mean something only in voiced frames, those
# with a pitch; elsewhere openSMILE writes zeros and floor values.
PITCH_COLUMN: Final = DESCRIPTORS.index("F0semitoneFrom27.5Hz_sma3nz")
VOICED_COLUMNS: Final = slice(PITCH_COLUMN, len(DESCRIPTORS))
STATE_WIDTH: Final = 512


LANDMARKER: Final = "mediapipe 0.10.33 FaceLandmarker float16/1 64184e229b26"
CROPS: Final = "grey crops of 44 pixels that 29 landmarks align"


class StreamSpec(msgspec.Struct, frozen=True):
    """One named feature stream: its columns in order, its rate on the window's grid, its maker."""

    name: str
    modality: str
    rate_hz: int
    columns: tuple[str, ...]
    extractor: str

    @property
    def width(self) -> int:
        """Number of columns."""
        return len(self.columns)


class Spec(msgspec.Struct, frozen=True):
    """Everything a window's content depends on."""

    length_s: float
    hop_s: float
    text: str
    streams: tuple[StreamSpec, ...]

    @property
    def hash(self) -> str:
        """First 16 hexadecimal digits of the SHA-256 over the spec's canonical JSON."""
        canonical = msgspec.json.encode(self, order="deterministic")
        return hashlib.sha256(canonical).hexdigest()[:16]

    def key(self, *names: str) -> str:
        """First 12 hexadecimal digits of the SHA-256 over some streams: whose extractors they are."""
        streams = [self.stream(name) for name in names]
        return hashlib.sha256(msgspec.json.encode(streams, order="deterministic")).hexdigest()[:12]

    def stream(self, name: str) -> StreamSpec:
        """The stream of that name; raises ``KeyError`` where there is none."""
        for stream in self.streams:
            if stream.name == name:
                return stream
        raise KeyError(name)

    def steps(self, name: str) -> int:
        """Number of grid steps of a stream in one window."""
        return round(self.length_s * self.stream(name).rate_hz)


LIVE: Final = Spec(
    length_s=4.0,
    hop_s=0.5,
    text="stable words whose middle lies in the window, with those before them back to a pause of 0.7 s or "
    "the end of a sentence, 12 s and 40 words at most; lower-cased, without punctuation",
    streams=(
        StreamSpec(
            FACE, "face", 10, BLENDSHAPES + POSE + APPEARANCE,
            f"{LANDMARKER}, video mode, 15 Hz, linear to grid; appearance 8ed453ceabe1 on {CROPS}",
        ),
        StreamSpec(VOICE, "voice", 100, DESCRIPTORS, "opensmile 2.6.0 eGeMAPSv02 low level, 16 kHz"),
        StreamSpec(
            STATES, "voice", 4, tuple(f"state{i}" for i in range(STATE_WIDTH)),
            "whisper-base d01c3014881c int8 encoder, means of 0.25 s, first pass that heard 1.2 s "
            "after a cell or the last of its utterance",
        ),
    ),
)  # fmt: skip

"""Speech activity: Silero VAD v6 (inside faster-whisper) as a stream.

The model looks at 512 samples at a time, with the 64 samples before them and its recurrent state
carried along; so the probabilities do not depend on how the sound was cut into chunks.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from features.errors import FeatureError
from features.onnx_session import open_session
from features.samples import ActivityChunk

FRAME_SAMPLES = 512
CONTEXT_SAMPLES = 64
FRAME_S = FRAME_SAMPLES / 16_000
STATE_SHAPE = (1, 1, 128)
MAX_BATCH_FRAMES = 1_000  # bounds the memory of one call, about half a minute of sound


class SpeechActivity:
    """Sound in, probability of speech per 32 ms out. One thread feeds; nothing to close."""

    def __init__(self, origin_s: float = 0.0) -> None:
        self._origin_s = origin_s
        self._session = _open_session()
        self._first = 0
        self._rest = np.zeros(0, np.float32)
        self._context = np.zeros(CONTEXT_SAMPLES, np.float32)
        self._h = np.zeros(STATE_SHAPE, np.float32)
        self._c = np.zeros(STATE_SHAPE, np.float32)

    def feed(self, samples: np.ndarray) -> ActivityChunk | None:
        """Hand in the next ``(n,) float32`` samples in -1..1 at 16 kHz.

        Gives the frames that are complete now, or ``None``; samples of an incomplete frame wait for
        the next call. Raises :class:`FeatureError` for samples that are not numbers or not in one row.
        """
        if samples.ndim != 1:
            raise FeatureError(f"activity: sound must have one axis, got shape {samples.shape}")
        if not np.isfinite(samples).all():
            raise FeatureError("activity: the sound holds values that are not numbers")
        sound = np.concatenate([self._rest, samples.astype(np.float32, copy=False)])
        count = len(sound) // FRAME_SAMPLES
        self._rest = sound[count * FRAME_SAMPLES :].copy()
        if count == 0:
            return None
        frames = sound[: count * FRAME_SAMPLES].reshape(count, FRAME_SAMPLES)
        first, self._first = self._first, self._first + count
        return ActivityChunk(self._origin_s, first, self._probabilities(frames))

    def _probabilities(self, frames: np.ndarray) -> np.ndarray:
        batches = range(0, len(frames), MAX_BATCH_FRAMES)
        return np.concatenate([self._run(frames[i : i + MAX_BATCH_FRAMES]) for i in batches])

    def _run(self, frames: np.ndarray) -> np.ndarray:
        tails = frames[:, -CONTEXT_SAMPLES:]
        before = np.concatenate([self._context[None], tails[:-1]])
        self._context = tails[-1].copy()
        rows = np.concatenate([before, frames], axis=1)
        inputs = {"input": rows, "h": self._h, "c": self._c}
        probability, self._h, self._c = self._session.run(None, inputs)
        return np.asarray(probability, np.float32)


def _open_session() -> Any:
    """A session over the model inside the faster-whisper package."""
    # Found, not imported: importing faster_whisper would load the whole recogniser.
    spec = find_spec("faster_whisper")
    if spec is None or spec.origin is None:
        raise FeatureError("activity: faster-whisper is not installed; pip install faster-whisper")
    path = Path(spec.origin).parent / "assets" / "silero_vad_v6.onnx"
    if not path.is_file():
        raise FeatureError(f"activity: {path} is missing; install faster-whisper 1.2.1 again")
    return open_session(path)

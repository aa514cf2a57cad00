"""Any sound to 16 kHz mono without gaps: downmix, streaming resampler, chunks of equal length."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import soxr

from capture.source import SAMPLE_RATE_HZ, Sound

CHUNK = SAMPLE_RATE_HZ // 10

# ITU-R BS.775 to stereo, then the mean of both sides; the low-frequency effects are left out.
# The centre carries the dialogue.
WEIGHTS = {
    "FL": 0.5,
    "FR": 0.5,
    "FC": 0.7071,
    "BL": 0.3536,
    "BR": 0.3536,
    "SL": 0.3536,
    "SR": 0.3536,
    "BC": 0.5,
    "LFE": 0.0,
    "LFE2": 0.0,
}


def downmix(channels: np.ndarray, names: Sequence[str] = ()) -> np.ndarray:
    """One channel ``(n,) float32`` out of ``channels (c, n)``.

    Up to two channels, and channels without known ``names``, give their mean; surround sound is
    weighted after ITU-R BS.775 and limited to -1..1.
    """
    if len(channels) == 1:
        return np.ascontiguousarray(channels[0], dtype=np.float32)
    if len(channels) == 2 or len(names) != len(channels) or any(n not in WEIGHTS for n in names):
        mean: np.ndarray = channels.mean(axis=0, dtype=np.float32)
        return mean
    weights = np.array([WEIGHTS[name] for name in names], dtype=np.float32)
    mixed: np.ndarray = np.clip(weights @ channels.astype(np.float32), -1.0, 1.0)
    return mixed


class Resampler:
    """A stream of mono samples at ``rate_hz`` to 16 kHz (soxr, quality HQ).

    How the input is cut into pieces changes nothing in the output, whose length is that of the
    input times ``16000 / rate_hz``, rounded.
    """

    def __init__(self, rate_hz: int) -> None:
        self.rate_hz = rate_hz
        self._stream: soxr.ResampleStream | None = None
        if rate_hz != SAMPLE_RATE_HZ:
            self._stream = soxr.ResampleStream(
                rate_hz, SAMPLE_RATE_HZ, 1, dtype="float32", quality="HQ"
            )

    def feed(self, samples: np.ndarray, last: bool = False) -> np.ndarray:
        """What is ready after ``samples (n,) float32``; ``last`` gives out the tail and ends it."""
        samples = np.ascontiguousarray(samples, dtype=np.float32)
        if self._stream is None:
            return samples
        ready: np.ndarray = self._stream.resample_chunk(samples, last=last)
        limited: np.ndarray = np.clip(ready, -1.0, 1.0)
        return limited

    def finish(self) -> np.ndarray:
        """The tail; the resampler cannot be fed any more."""
        return self.feed(np.zeros(0, np.float32), last=True)


class SoundLine:
    """A contiguous line of samples from media time zero, given out in chunks of 0.1 s.

    ``end`` counts the samples written: the position of the next one.
    """

    def __init__(self) -> None:
        self.end = 0
        self._start = 0
        self._parts: list[np.ndarray] = []

    @property
    def next_end(self) -> int:
        """Position at which the next chunk ends."""
        return self._start + CHUNK

    def write(self, samples: np.ndarray) -> list[Sound]:
        """Append samples; gives the chunks that became complete."""
        self._parts.append(samples)
        self.end += len(samples)
        if self.end - self._start < CHUNK:
            return []
        joined = np.concatenate(self._parts)
        whole = len(joined) // CHUNK
        chunks = [self._chunk(joined[i * CHUNK : (i + 1) * CHUNK]) for i in range(whole)]
        self._parts = [joined[whole * CHUNK :]]
        return chunks

    def write_at(self, position: int, samples: np.ndarray) -> list[Sound]:
        """Append samples that belong at ``position``: silence before them, or their overlap cut."""
        ready = self.silence(position)
        overlap = self.end - position
        return ready + self.write(samples[overlap:] if overlap > 0 else samples)

    def silence(self, position: int) -> list[Sound]:
        """Fill with silence up to ``position``; does nothing where there is sound already."""
        missing = position - self.end
        return self.write(np.zeros(missing, np.float32)) if missing > 0 else []

    def rest(self) -> list[Sound]:
        """The last, shorter chunk, if anything is left."""
        left = np.concatenate(self._parts) if self._parts else np.zeros(0, np.float32)
        self._parts = []
        return [self._chunk(left)] if len(left) else []

    def _chunk(self, samples: np.ndarray) -> Sound:
        chunk = Sound(self._start / SAMPLE_RATE_HZ, samples)
        self._start += len(samples)
        return chunk

"""Windows to tensors: normalisation by running statistics, pooling in time, masks, batches.

Training and live use these same functions, so that a number means the same in both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec
import numpy as np
import torch
from torch import Tensor

from features.errors import FeatureError
from features.messages import MODALITIES, Present, Statistics, StreamData
from features.spec import (
    APPEARANCE,
    DESCRIPTORS,
    FACE,
    LIVE,
    PITCH_COLUMN,
    STATES,
    VOICE,
    VOICED_COLUMNS,
    Spec,
)

GRID_HZ: Final = 10  # common rate of voice and face in the network
CLIP: Final = 5.0  # normalised values beyond this say no more than that they are extreme
MIN_SCALE: Final = 1e-3
VOICE_WIDTH: Final = len(DESCRIPTORS) + 1  # descriptors and the share of voiced frames


class Prior(msgspec.Struct, frozen=True):
    """What is believed of a stream before a participant was heard or seen.

    ``mean (D,)`` and ``variance (D,)`` float32 weigh as much as ``seconds`` of the participant's own.
    ``rest (D,)`` is the mean of many people at rest, ``None`` where it is not known.
    """

    mean: np.ndarray
    variance: np.ndarray
    seconds: float
    rest: np.ndarray | None = None


@dataclass(frozen=True, slots=True)
class Sample:
    """One window, normalised: ``voice (T, 26)``, ``states (K, 512)``, ``face (T, 65)`` and masks."""

    voice: np.ndarray
    voice_mask: np.ndarray
    states: np.ndarray
    states_mask: np.ndarray
    face: np.ndarray
    face_mask: np.ndarray
    present: np.ndarray


@dataclass(frozen=True, slots=True)
class Batch:
    """Tensors of B windows; ``present (B, 3)`` in the order of ``MODALITIES``.

    ``text (B, N, 384)``, ``voice (B, T, 26)``, ``states (B, K, 512)``, ``face (B, T, 65)``, each
    with its mask. Masked places hold zeros; the appearance, the face's last seven columns, is not a
    number where no picture was seen (live, there always is one).
    """

    text: Tensor
    text_mask: Tensor
    voice: Tensor
    voice_mask: Tensor
    states: Tensor
    states_mask: Tensor
    face: Tensor
    face_mask: Tensor
    present: Tensor

    def __len__(self) -> int:
        return len(self.present)


def blend(statistics: Statistics | None, prior: Prior) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation to normalise by, each ``(D,)``.

    ``(n * participant + n0 * prior) / (n + n0)`` for mean and variance, with ``n`` seconds of the
    participant and ``n0`` seconds that the prior is worth. Where the participant's rest is known,
    the mean is that of the prior, moved so that this rest is read as most people's rest is: it then
    neither drifts nor depends on the mood of the session.
    """
    mean, variance = prior.mean, prior.variance
    if statistics is not None and statistics.seconds > 0:
        share = statistics.seconds / (statistics.seconds + prior.seconds)
        mean = share * statistics.mean + (1 - share) * prior.mean
        variance = share * statistics.variance + (1 - share) * prior.variance
    if statistics is not None and statistics.rest is not None and prior.rest is not None:
        mean = prior.mean + (statistics.rest - prior.rest)
    return mean, np.maximum(np.sqrt(np.maximum(variance, 0.0)), MIN_SCALE)


def normalise(
    values: np.ndarray, mask: np.ndarray, scaling: tuple[np.ndarray, np.ndarray]
) -> np.ndarray:
    """``(T, D)`` to zero mean and unit deviation, clipped, zero where masked; float32."""
    mean, scale = scaling
    known = np.where(mask[:, None], values, mean).astype(np.float32)
    scaled: np.ndarray = np.clip((known - mean) / scale, -CLIP, CLIP).astype(np.float32)
    return scaled


def pool_voice(
    values: np.ndarray, mask: np.ndarray, scaling: tuple[np.ndarray, np.ndarray], factor: int
) -> tuple[np.ndarray, np.ndarray]:
    """Descriptors ``(T, 25)`` to cells of ``factor`` frames: ``(T / factor, 26)`` and mask.

    Voiced-only columns are averaged over voiced frames (openSMILE writes zeros or floor values
    elsewhere); the last column is the share of valid frames that are voiced.
    """
    voiced = mask & (values[:, PITCH_COLUMN] > 0)
    counted = np.repeat(mask[:, None], values.shape[1], axis=1)
    counted[:, VOICED_COLUMNS] = voiced[:, None]
    scaled = np.where(counted, normalise(values, mask, scaling), 0.0)
    frames = counted.reshape(-1, factor, values.shape[1]).sum(1)
    pooled = scaled.reshape(-1, factor, values.shape[1]).sum(1) / np.maximum(frames, 1)
    valid = mask.reshape(-1, factor).sum(1)
    share = voiced.reshape(-1, factor).sum(1) / np.maximum(valid, 1)
    return np.column_stack([pooled, share]).astype(np.float32), valid > 0


def prepare(
    streams: Mapping[str, StreamData],
    statistics: Mapping[str, Statistics],
    present: Present,
    priors: Mapping[str, Prior],
    spec: Spec = LIVE,
) -> Sample:
    """One window's streams, normalised and on the network's grid.

    Raises :class:`FeatureError` like :func:`check_streams`. A modality whose streams are fully masked counts as missing whatever ``present`` says.
    """
    check_streams(streams, statistics, spec)
    face, voice, states = streams[FACE], streams[VOICE], streams[STATES]
    scaling = {name: blend(statistics.get(name), prior) for name, prior in priors.items()}
    pooled, pooled_mask = pool_voice(
        voice.values, voice.mask, scaling[VOICE], spec.stream(VOICE).rate_hz // GRID_HZ
    )
    heard = present.voice and bool(voice.mask.any() or states.mask.any())
    seen = present.face and bool(face.mask.any())
    return Sample(
        voice=pooled,
        voice_mask=pooled_mask,
        states=normalise(states.values, states.mask, scaling[STATES]),
        states_mask=states.mask,
        face=normalise(face.values, face.mask, scaling[FACE]),
        face_mask=face.mask,
        present=np.array([present.text, heard, seen]),
    )


def check_streams(
    streams: Mapping[str, StreamData], statistics: Mapping[str, Statistics], spec: Spec
) -> None:
    """Raise :class:`FeatureError` for absent streams, shapes that are not the spec's, no numbers."""
    for stream in spec.streams:
        data = streams.get(stream.name)
        if data is None:
            raise FeatureError(f"a window without the stream '{stream.name}'")
        expected = (spec.steps(stream.name), stream.width)
        if data.values.shape != expected or data.mask.shape != expected[:1]:
            raise FeatureError(
                f"stream '{stream.name}' has shape {data.values.shape}, the spec says {expected}"
            )
        first = stream.width - (len(APPEARANCE) if stream.name == FACE else 0)  # it may be unknown
        if not np.isfinite(data.values[data.mask, :first]).all():
            raise FeatureError(f"stream '{stream.name}' holds values that are not numbers")
        own = statistics.get(stream.name)
        if own is not None and not _sound(own, stream.width, first):
            raise FeatureError(
                f"statistics of '{stream.name}' are not {stream.width} finite numbers"
            )


def _sound(own: Statistics, width: int, first: int) -> bool:
    known = [own.mean, own.variance, *([] if own.rest is None else [own.rest])]
    return all(x.shape == (width,) and bool(np.isfinite(x[:first]).all()) for x in known)


def collate(samples: Sequence[Sample], text: Tensor, text_mask: Tensor) -> Batch:
    """Samples and their token states ``(B, N, 384)`` with mask to one batch on the text's device.

    Text without a single valid token counts as missing.
    """

    def stack(name: str) -> Tensor:
        rows = np.stack([getattr(sample, name) for sample in samples])
        return torch.from_numpy(rows).to(text.device)

    present = stack("present")
    present[:, MODALITIES.index("text")] &= text_mask.any(1)
    return Batch(
        text=text,
        text_mask=text_mask,
        voice=stack("voice"),
        voice_mask=stack("voice_mask"),
        states=stack("states"),
        states_mask=stack("states_mask"),
        face=stack("face"),
        face_mask=stack("face_mask"),
        present=present,
    )

"""The emotions that every modality is read for, and their sides: negative, neutral, positive."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from torch import Tensor

EMOTIONS: Final = (
    "angry", "disgust", "fearful", "sad", "neutral", "calm", "happy", "surprised",
)  # fmt: skip
NEGATIVE: Final = slice(0, 4)
NEUTRAL: Final = slice(4, 6)
POSITIVE: Final = slice(6, 7)
ACTED_POSITIVE: Final = slice(5, 7)  # RAVDESS' calm counts as positive where two sides are told
SIDES: Final = (NEGATIVE, NEUTRAL, POSITIVE)  # surprise has no side
OTHER_NAMES: Final = {
    "anger": "angry", "fear": "fearful", "sadness": "sad", "happiness": "happy",
    "surprise": "surprised", "boredom": "neutral",
}  # fmt: skip


def targets_of(names: np.ndarray) -> np.ndarray:
    """Names ``(n,)`` in any corpus's spelling to ``(n, 8) bool``: one true each."""
    own = [OTHER_NAMES.get(name, name) for name in names.tolist()]
    return np.array([[name == emotion for emotion in EMOTIONS] for name in own], bool)


def targets_of_sides(sides: np.ndarray) -> np.ndarray:
    """Sides ``(n,)`` 0, 1, 2, or -1 for unknown, to ``(n, 8) bool``: any emotion of the side will do."""
    out = np.ones((len(sides), len(EMOTIONS)), bool)
    for side, members in enumerate(SIDES):
        out[sides == side] = False
        out[sides == side, members] = True
    return out


def side_logits(logits: Tensor) -> Tensor:
    """``(..., 8)`` to ``(..., 3)``: negative, neutral, positive."""
    return torch.stack([logits[..., members].logsumexp(-1) for members in SIDES], -1)


def positive_odds(logits: Tensor) -> Tensor:
    """``(..., 8)`` to logarithmic odds ``(...)`` of happy or calm against the negative emotions."""
    return logits[..., ACTED_POSITIVE].logsumexp(-1) - logits[..., NEGATIVE].logsumexp(-1)


def happy_odds(logits: Tensor) -> Tensor:
    """``(..., 8)`` to logarithmic odds ``(...)`` of happy against the negative emotions."""
    return logits[..., POSITIVE].logsumexp(-1) - logits[..., NEGATIVE].logsumexp(-1)


def surprise(logits: Tensor, targets: Tensor) -> Tensor:
    """Minus the logarithm of the probability of ``targets (N, 8) bool``, per row of ``(N, 8)``."""
    told = logits.masked_fill(~targets, -torch.inf).logsumexp(-1)
    return logits.logsumexp(-1) - told

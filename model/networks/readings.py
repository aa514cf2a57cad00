"""What each modality says by itself: a summary of its window, and the emotions and score read off it.

A transformer over steps learns slowly from a thousand clips what the mean and the deviation of each
feature over the window say at once (statistics pooling, Snyder et al. 2018): those are read first,
and what the steps say is added.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn

from features.spec import STATE_WIDTH
from model.networks.blocks import masked_mean
from model.networks.emotions import EMOTIONS
from model.networks.inputs import VOICE_WIDTH, Batch

SCORE: Final = len(EMOTIONS)  # columns of a reading: logits of the emotions, score, trust
TRUST: Final = SCORE + 1
READING: Final = TRUST + 1
LARGE: Final = 8.0  # scaled statistics beyond this say no more than that they are extreme
LEAST_SCALE: Final = 0.05
SEEN_SHARE: Final = 0.75  # of what is seen in pictures, against what shapes say


def statistics(values: Tensor, mask: Tensor) -> Tensor:
    """Mean and deviation over the valid steps, ``(B, T, D), (B, T) -> (B, 2 D)``; zeros for none."""
    mean = masked_mean(values, mask)
    square = masked_mean((values - mean.unsqueeze(1)).square(), mask)
    return torch.cat([mean, (square + 1e-6).sqrt() * mask.any(1, keepdim=True)], -1)


class Summary(nn.Module):
    """Statistics of a stream, on the scale of the training windows, to one vector."""

    centre: Tensor
    scale: Tensor

    def __init__(self, inputs: int, width: int, dropout: float) -> None:
        super().__init__()
        self.register_buffer("centre", torch.zeros(2 * inputs))
        self.register_buffer("scale", torch.ones(2 * inputs))
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(2 * inputs, width)

    def forward(self, values: Tensor, mask: Tensor) -> Tensor:
        """``(B, T, inputs)`` and ``(B, T) bool`` to ``(B, width)``."""
        return self.project(self.scaled(statistics(values, mask)))

    def scaled(self, found: Tensor) -> Tensor:
        """Statistics ``(B, 2 inputs)`` on the training windows' scale."""
        return ((found - self.centre) / self.scale).clamp(-LARGE, LARGE)

    def project(self, scaled: Tensor) -> Tensor:
        """Scaled statistics to ``(B, width)``."""
        summary: Tensor = self.linear(self.dropout(scaled))
        return summary

    def learn_scale(self, found: Tensor) -> None:
        """Take centre and scale from statistics ``(N, 2 inputs)`` of training windows."""
        if len(found) > 1:
            self.centre.copy_(found.mean(0))
            self.scale.copy_(found.std(0).clamp(min=LEAST_SCALE))


class VoiceSummary(nn.Module):
    """The two streams of the voice; a learned vector stands for one that is not there."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.descriptors = Summary(VOICE_WIDTH, width, dropout)
        self.states = Summary(STATE_WIDTH, width, dropout)
        self.missing = nn.Parameter(torch.zeros(2, width))

    def forward(self, batch: Batch) -> Tensor:
        """``(B, width)``."""
        descriptors = self.descriptors.scaled(statistics(batch.voice, batch.voice_mask))
        states = self.states.scaled(statistics(batch.states, batch.states_mask))
        there = torch.stack([batch.voice_mask.any(1), batch.states_mask.any(1)], 1)
        return self.project(torch.cat([descriptors, states], 1), there)

    def project(self, scaled: Tensor, there: Tensor) -> Tensor:
        """Scaled statistics of both, ``(B, 52 + 1024)``, and which are ``there (B, 2) bool``."""
        parts = (scaled[:, : 2 * VOICE_WIDTH], scaled[:, 2 * VOICE_WIDTH :])
        made = [
            own.project(x) for own, x in zip((self.descriptors, self.states), parts, strict=True)
        ]
        kept = [torch.where(there[:, i : i + 1], x, self.missing[i]) for i, x in enumerate(made)]
        return kept[0] + kept[1]


class AppearanceReading(nn.Module):
    """What a network saw in the pictures of a window, as a reading, beside that of the shapes.

    The network knows its training pictures by heart, so what it says is taken as it is, on average over
    the window, and never learned from again. Logarithms of probabilities are put together in shares that
    were best on validation pictures; the score is the valence of what is then likely, each side as likely
    beforehand as it is while people talk.
    """

    usual: Tensor
    valence: Tensor

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.direct = nn.Linear(inputs, len(EMOTIONS)).requires_grad_(False)
        nn.init.zeros_(self.direct.weight)
        nn.init.zeros_(self.direct.bias)
        self.register_buffer("usual", torch.zeros(len(EMOTIONS)))  # logarithms
        self.register_buffer("valence", torch.zeros(len(EMOTIONS)))

    def forward(self, shapes: Tensor, seen: Tensor, mask: Tensor) -> Tensor:
        """Both readings of ``shapes (B, 10)`` and ``seen (B, T, 7)`` as one, the trust that of shapes.

        Where nothing was ``seen`` (not a number), or by a network without weights, the shapes' reading
        stays as it is.
        """
        known = mask & seen.isfinite().all(-1)
        said = self.direct(masked_mean(seen.nan_to_num(0.0), known)).log_softmax(1)
        own = shapes[:, :SCORE].log_softmax(1)
        both = SEEN_SHARE * said + (1 - SEEN_SHARE) * own
        score = (both + self.usual).softmax(1) @ self.valence
        joint = torch.cat([both, score[:, None], shapes[:, TRUST:]], 1)
        return torch.where(known.any(1, keepdim=True) & self.direct.weight.any(), joint, shapes)


class Reading(nn.Sequential):
    """A summary to a reading: emotions, score (not bounded), and how far to trust it."""

    def __init__(self, inputs: int, hidden: int, dropout: float) -> None:
        super().__init__(
            nn.GELU(), nn.Dropout(dropout), nn.Linear(inputs, hidden),
            nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, READING),
        )  # fmt: skip

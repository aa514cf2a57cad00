"""The discriminator of SATI (arXiv 2409.00143, second version): prototypes and a cosine margin."""

from __future__ import annotations

from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SCALE: Final = 30.0
MARGIN: Final = 0.5
PROTOTYPE_DECAY: Final = 0.01


def margin_cosine_loss(
    codes: Tensor, prototypes: Tensor, classes: Tensor, scale: float = SCALE, margin: float = MARGIN
) -> Tensor:
    """Cross entropy over ``scale * (cos - margin)`` of the true class and ``scale * cos`` of others.

    ``codes (N, D)``, ``prototypes (C, D)``, ``classes (N,)``; large-margin cosine loss after Wang et
    al. 2018 (CosFace). Mean over the codes.
    """
    cosines = F.normalize(codes, dim=-1) @ F.normalize(prototypes, dim=-1).T
    handicap = margin * F.one_hot(classes, len(prototypes)).to(cosines.dtype)
    return F.cross_entropy(scale * (cosines - handicap), classes)


class MarginDiscriminator(nn.Module):
    """Guesses which modality a pooled code came from, by its angle to a prototype of each."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Dropout(dropout))
        self.prototypes = nn.Parameter(torch.empty(3, width))
        nn.init.xavier_uniform_(self.prototypes)

    def forward(self, codes: Tensor) -> Tensor:
        """``(N, width)`` to scaled cosines without the margin, ``(N, 3)``."""
        features = F.normalize(self.layers(codes), dim=-1)
        return SCALE * features @ F.normalize(self.prototypes, dim=-1).T

    def loss(self, codes: Tensor, classes: Tensor) -> Tensor:
        """Margin loss of ``codes (N, width)`` against ``classes (N,)`` and the prototypes' decay."""
        apart = margin_cosine_loss(self.layers(codes), self.prototypes, classes)
        return apart + PROTOTYPE_DECAY * self.prototypes.square().sum()

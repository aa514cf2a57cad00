"""A residual network with squeezed channels for grey crops of 44 pixels, 0.6 million parameters.

Residual blocks (He et al. 2016) with squeeze and excitation (Hu et al. 2018), on pixels that are folded
two by two into channels first: small enough for fifteen pictures a second on a few hundredths of a core.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from features.spec import EXPRESSIONS

FOLD: Final = 2
SQUEEZE: Final = 8
WIDTHS: Final = (32, 32, 64, 128, 128)  # of the stem and the blocks
EMBEDDING: Final = 32
DROPOUT: Final = 0.3


class Squeeze(nn.Module):
    """Channels scaled by what the whole picture says of them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.narrow = nn.Linear(width, width // SQUEEZE)
        self.wide = nn.Linear(width // SQUEEZE, width)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` to the same."""
        share = torch.sigmoid(self.wide(F.relu(self.narrow(x.mean((2, 3))))))
        return x * share[:, :, None, None]


class Block(nn.Module):
    """Two convolutions beside a shortcut; halves the picture where the width grows."""

    def __init__(self, before: int, after: int, *, squeezed: bool) -> None:
        super().__init__()
        stride = 2 if after > before else 1
        self.body = nn.Sequential(
            nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU(),
            nn.Conv2d(after, after, 3, 1, 1, bias=False), nn.BatchNorm2d(after),
            Squeeze(after) if squeezed else nn.Identity(),
        )  # fmt: skip
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1:
            self.shortcut = nn.Sequential(
                nn.AvgPool2d(2, ceil_mode=True),
                nn.Conv2d(before, after, 1, bias=False),
                nn.BatchNorm2d(after),
            )

    def forward(self, x: Tensor) -> Tensor:
        """``(B, before, H, W)`` to ``(B, after, H', W')``."""
        joined: Tensor = F.relu(self.body(x) + self.shortcut(x))
        return joined


class AppearanceNetwork(nn.Module):
    """Standardised crops ``(B, 1, 44, 44)`` to logits of seven expressions.

    In training ``(B, 8)``: a valence is learned beside them. In evaluation ``(B, 7)``, with ``common (7,)``
    taken off: logarithms of how often each expression's side comes in training, so that the sides are
    judged as if they came alike.
    """

    common: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("common", torch.zeros(len(EXPRESSIONS)))
        stem = WIDTHS[0]
        self.stem = nn.Sequential(
            nn.Conv2d(FOLD**2, stem, 3, 1, 1, bias=False), nn.BatchNorm2d(stem), nn.ReLU()
        )
        pairs = enumerate(pairwise(WIDTHS))
        self.blocks = nn.Sequential(*(Block(a, b, squeezed=i > 0) for i, (a, b) in pairs))
        self.dropout = nn.Dropout(DROPOUT)
        self.embed = nn.Linear(WIDTHS[-1], EMBEDDING)
        self.head = nn.Linear(EMBEDDING, len(EXPRESSIONS) + 1)

    def forward(self, crops: Tensor) -> Tensor:
        """Scores of the expressions before the softmax; in training the valence, -2..2, behind them."""
        seen = self.blocks(self.stem(F.pixel_unshuffle(crops, FOLD))).mean((2, 3))
        said: Tensor = self.head(self.embed(self.dropout(seen)))
        return said if self.training else said[:, :-1] - self.common

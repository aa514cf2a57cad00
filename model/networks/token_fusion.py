"""Transformer fusion with adapters, of MITR-DNet (arXiv 2501.05474): voice and face, both with text.

Works on one pooled token per modality, so that every softmax is over one element, in both variants:
what is called attention is a linear map there. A reading where the sources are silent: the norms of
the self-attention layer come after (PyTorch's default).
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.networks.blocks import Positions


class Adapter(nn.Module):
    """Down, ReLU, up; the way up begins at zero, so that an adapter begins as nothing."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.down = nn.Linear(width, inner)
        self.up = nn.Linear(inner, width)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, values: Tensor) -> Tensor:
        """``(..., width) -> (..., width)``."""
        return cast(Tensor, self.up(F.relu(self.down(values))))


class CrossAdapter(nn.Module):
    """XAA: attention to the other branch, then an adapter with a learnable scale."""

    def __init__(self, width: int, heads: int, inner: int, dropout: float) -> None:
        super().__init__()
        self.own_norm = nn.LayerNorm(width)
        self.other_norm = nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, heads, dropout, batch_first=True)
        self.adapter = Adapter(width, inner)
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, own: Tensor, other: Tensor) -> Tensor:
        """``(B, 1, width)`` twice to ``(B, 1, width)``."""
        asked = self.other_norm(other)
        answer, _ = self.attention(self.own_norm(own), asked, asked, need_weights=False)
        return cast(Tensor, self.scale * self.adapter(answer))


class Branch(nn.Module):
    """One companion with text added: self-attention, perceptron, TSA and XAA adapters."""

    def __init__(
        self, width: int, heads: int, inner: int, cross_inner: int, dropout: float
    ) -> None:
        super().__init__()
        self.positions = Positions(1, width)
        self.dropout = nn.Dropout(dropout)
        self.layer = nn.TransformerEncoderLayer(
            width, heads, width, dropout, activation="gelu", batch_first=True
        )
        self.perceptron = nn.Sequential(nn.Linear(width, inner), nn.ReLU(), nn.Linear(inner, width))
        self.own_adapter = nn.Sequential(nn.LayerNorm(width), Adapter(width, inner))
        self.cross_adapter = CrossAdapter(width, heads, cross_inner, dropout)

    def attend(self, companion: Tensor, text: Tensor) -> Tensor:
        """``(B, 1, width)`` twice to ``(B, 1, width)``."""
        joint = self.dropout(self.positions(companion) + text)
        return companion + cast(Tensor, self.layer(joint))

    def adapt(self, own: Tensor, other: Tensor) -> Tensor:
        """What :meth:`attend` gave, here and in the other branch, to this branch's share."""
        within = own + self.perceptron(own) + self.own_adapter(own)
        return cast(Tensor, within + self.cross_adapter(own, other))


class TokenFusion(nn.Module):
    """Three pooled modalities to one vector."""

    def __init__(
        self, width: int, heads: int, inner: int, cross_inner: int, dropout: float
    ) -> None:
        super().__init__()
        self.voice = Branch(width, heads, inner, cross_inner, dropout)
        self.face = Branch(width, heads, inner, cross_inner, dropout)

    def forward(self, text: Tensor, voice: Tensor, face: Tensor) -> Tensor:
        """``(B, width)`` each to ``(B, width)``."""
        said = text.unsqueeze(1)
        heard = self.voice.attend(voice.unsqueeze(1), said)
        shown = self.face.attend(face.unsqueeze(1), said)
        return (self.voice.adapt(heard, shown) + self.face.adapt(shown, heard)).squeeze(1)


class ConcatenationFusion(nn.Module):
    """The ablation: the three vectors side by side through a perceptron."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(3 * width, width), nn.ReLU(), nn.Dropout(dropout), nn.Linear(width, width)
        )

    def forward(self, text: Tensor, voice: Tensor, face: Tensor) -> Tensor:
        """``(B, width)`` each to ``(B, width)``."""
        return cast(Tensor, self.layers(torch.cat([text, voice, face], -1)))

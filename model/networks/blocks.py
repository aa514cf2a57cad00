"""Parts of RTIL (arXiv 2409.00143): stream encoders, gate, discriminator, text-driven fusion.

All sequences are batch-first ``(B, T, width)`` with a mask ``(B, T) bool`` that is true where there
is data. What lies at masked places never reaches an output that is read.
"""

from __future__ import annotations

import math
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean over the valid steps, ``(B, T, D), (B, T) -> (B, D)``; zero where no step is valid."""
    weights = mask.unsqueeze(-1).to(values.dtype)
    return (values * weights).sum(1) / weights.sum(1).clamp(min=1.0)


def join_steps(values: Tensor, mask: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Means of ``count`` neighbouring valid steps each: ``(B, T, D), (B, T)`` to a ``count``-th of T.

    A last group that is not full is made up with masked steps.
    """
    missing = -values.shape[1] % count
    values, mask = F.pad(values, (0, 0, 0, missing)), F.pad(mask, (0, missing))
    rows, steps, width = values.shape
    grouped = values.reshape(rows, steps // count, count, width)
    known = mask.reshape(rows, steps // count, count)
    weight = known.unsqueeze(-1).to(values.dtype)
    return (grouped * weight).sum(2) / weight.sum(2).clamp(min=1.0), known.any(2)


def sinusoids(steps: int, width: int) -> Tensor:
    """Sine and cosine position code, ``(steps, width)``; an odd width ends on a sine."""
    position = torch.arange(steps, dtype=torch.float32).unsqueeze(1)
    rate = torch.exp(torch.arange(0, width, 2, dtype=torch.float32) * (-math.log(10_000.0) / width))
    table = torch.zeros(steps, width)
    table[:, 0::2] = torch.sin(position * rate)
    table[:, 1::2] = torch.cos(position * rate[: width // 2])
    return table


class Positions(nn.Module):
    """Adds the position code to a sequence of at most ``steps`` steps."""

    table: Tensor

    def __init__(self, steps: int, width: int) -> None:
        super().__init__()
        self.register_buffer("table", sinusoids(steps, width), persistent=False)

    def forward(self, values: Tensor) -> Tensor:
        """``(B, T, width) -> (B, T, width)``."""
        return values + self.table[: values.shape[1]]


class _Reverse(torch.autograd.Function):
    """Identity whose gradient is multiplied by ``-scale``."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, scale: float) -> Tensor:
        ctx.scale = scale
        return values.view_as(values)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return -ctx.scale * gradients[0], None


def reverse_gradient(values: Tensor, scale: float = 1.0) -> Tensor:
    """The same values; the gradient that flows back is turned round and scaled."""
    return cast(Tensor, _Reverse.apply(values, scale))  # type: ignore[no-untyped-call]


class Projection(nn.Sequential):
    """Linear, ReLU, LayerNorm: brings a modality to the common width."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__(nn.Linear(inputs, width), nn.ReLU(), nn.LayerNorm(width))


class StreamEncoder(nn.Module):
    """Position code, one transformer layer that sees only valid steps, then the projection."""

    def __init__(
        self, width: int, heads: int, feedforward: int, dropout: float, steps: int
    ) -> None:
        super().__init__()
        self.positions = Positions(steps, width)
        self.layer = nn.TransformerEncoderLayer(
            width, heads, feedforward, dropout, batch_first=True
        )
        self.project = Projection(width, width)

    def forward(self, values: Tensor, mask: Tensor) -> Tensor:
        """``(B, T, width)`` of embedded steps and their mask to ``(B, T, width)``."""
        encoded = self.layer(self.positions(values), src_key_padding_mask=~keep_one(mask))
        return cast(Tensor, self.project(encoded))


def keep_one(mask: Tensor) -> Tensor:
    """The mask with step 0 opened in rows that are all closed.

    Attention over no step at all is not a number; such rows are computed and never read.
    """
    empty = ~mask.any(1, keepdim=True)
    first = torch.zeros_like(mask)
    first[:, :1] = True
    return mask | (empty & first)


class Discriminator(nn.Module):
    """Guesses which modality a pooled code came from; three-way logits (RTIL v1)."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(width, width), nn.ReLU(), nn.Dropout(dropout), nn.Linear(width, 3)
        )

    def forward(self, codes: Tensor) -> Tensor:
        """``(N, width) -> (N, 3)``."""
        return cast(Tensor, self.layers(codes))

    def loss(self, codes: Tensor, classes: Tensor) -> Tensor:
        """Cross entropy of ``codes (N, width)`` against ``classes (N,)``, mean over the codes."""
        return F.cross_entropy(self(codes), classes)


class BilinearGate(nn.Module):
    """Factorised bilinear pooling of two invariant codes to one gate per step.

    The published code takes the sign of the gate, whose gradient is zero, so that it never learns:
    ``hard``. ``straight-through`` keeps the hard gate and gives it the gradient of a sigmoid;
    ``soft`` is that sigmoid; ``open`` is always one, for ablation.
    """

    def __init__(self, width: int, hidden: int, factor: int, dropout: float, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.factor = factor
        self.left = nn.Linear(width, hidden * factor, bias=False)
        self.right = nn.Linear(width, hidden * factor, bias=False)
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(hidden, 1)
        if kind != "hard":  # begins open: nothing is learned through a closed gate
            nn.init.ones_(self.out.bias)

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        """``(B, T, width)`` twice to ``(B, T, 1)`` in 0..1."""
        if self.kind == "open":
            return torch.ones_like(left[..., :1])
        joint = self.dropout(self.left(left) * self.right(right))
        pooled = F.normalize(joint.unflatten(-1, (-1, self.factor)).sum(-1), dim=-1)
        soft = torch.sigmoid(4.0 * torch.tanh(self.out(pooled)))
        if self.kind == "soft":
            return soft
        hard = (soft > 0.5).to(soft.dtype)
        return hard if self.kind == "hard" else hard + soft - soft.detach()


class GatedAttention(nn.Module):
    """One side of the fusion: text asks a companion, a gate weighs the answer at every text step.

    The companion's invariant codes are carried to the text's steps by the same attention weights,
    so that streams on different clocks can be compared step by step. ``published`` is the form of
    the public code: word-aligned codes are compared as they lie, and the answer has a bias.
    """

    def __init__(
        self, width: int, heads: int, dropout: float, gate: BilinearGate, published: bool = False
    ) -> None:
        super().__init__()
        self.published = published
        self.attention = nn.MultiheadAttention(width, heads, dropout, bias=False, batch_first=True)
        if published:
            self.attention.out_proj.bias = nn.Parameter(torch.zeros(width))
        self.gate = gate
        self.norm = nn.LayerNorm(width)

    def forward(
        self, text: Tensor, text_shared: Tensor, other: Tensor, other_shared: Tensor, mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Text ``(B, N, width)``, companion ``(B, T, width)`` with ``mask (B, T)``.

        Gives ``(B, N, width)`` and the gate ``(B, N, 1)``. At least one step of ``mask`` is true.
        """
        answer, weights = self.attention(text, other, other, key_padding_mask=~mask)
        matched = other_shared if self.published else torch.bmm(weights, other_shared)
        gate = self.gate(matched, text_shared)
        return self.norm(gate * answer + text), gate

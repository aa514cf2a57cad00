"""MITR-DNet (arXiv 2501.05474): causal encoders, MIB-TRL and transformer fusion, for missing data.

Its training scheme, a teacher that sees everything and a student that does not, is no part of the
network: see ``distillation``. As ``faithful``, the way the public code behaves, or as ``intended``:

================  ============================================  ======================================
part              faithful                                      intended
================  ============================================  ======================================
backward stream   the channels turned round; summed as it is    time turned round and turned back
lost steps        zeros, taken for data                         a learned token
missing modality  the mean of a sequence of zeros               a learned vector
padding           in attention, batch statistics and means      masked everywhere
positions         none where a step's first column is zero      everywhere
means over time   over all steps, padding included              over known steps
================  ============================================  ======================================

The same in both, as published: a causal mask in the encoders, one head on the raw columns, ReLU
before the gates, fusion of single pooled tokens. Readings where the sources are silent: the layout
of the position code, and no dropout beyond the named ones.
"""

from __future__ import annotations

import math
from typing import Final, Literal, cast

import msgspec
import torch
from torch import Tensor, nn

from model.networks.blocks import Positions, masked_mean
from model.networks.temporal_blocks import TemporalStreams
from model.networks.token_fusion import ConcatenationFusion, TokenFusion
from model.networks.views import Representations, SequenceBatch, Tensors, Widths, seen, three

VARIANTS: Final = ("faithful", "intended")


class MITRConfig(msgspec.Struct, frozen=True):
    """Sizes and rates; the whole of what rebuilds a network. Made by :func:`mitr_config`.

    Attributes:
        flip: what the backward stream turns round: ``channels``, ``time`` or ``none``.
        fusion: ``transformer``, or ``concatenation`` for ablation.
        attention_dropout: of the encoders of text, voice and face.
    """

    variant: str
    widths: Widths
    flip: Literal["channels", "time", "none"]
    fusion: Literal["transformer", "concatenation"] = "transformer"
    outputs: int = 1
    steps: int = 1024
    channels: int = 25
    kernel: int = 2
    dilations: tuple[int, ...] = (1, 2, 4, 8)
    expansion: int = 4
    fusion_heads: int = 10
    adapter: int = 50
    cross_adapter: int = 64
    embed_dropout: float = 0.2
    attention_dropout: tuple[float, float, float] = (0.3, 0.2, 0.0)
    block_dropout: float = 0.01
    fusion_dropout: float = 0.1
    head_dropout: float = 0.5

    @property
    def faithful(self) -> bool:
        """Whether it behaves as the public code."""
        return self.variant == "faithful"


def mitr_config(variant: str, widths: Widths, outputs: int = 1) -> MITRConfig:
    """A variant by name. Raises :class:`ValueError` for a name that does not exist."""
    if variant not in VARIANTS:
        raise ValueError(f"no MITR-DNet as '{variant}'; there are {VARIANTS}")
    published = variant == "faithful"
    return MITRConfig(variant, widths, "channels" if published else "time", outputs=outputs)


class CausalEncoder(nn.Module):
    """One transformer layer on raw columns, norms first; a step sees itself and earlier steps."""

    def __init__(self, width: int, attention_dropout: float, config: MITRConfig) -> None:
        super().__init__()
        self.published = config.faithful
        self.scale = math.sqrt(width)
        self.positions = Positions(config.steps, width)
        self.embed_dropout = nn.Dropout(config.embed_dropout)
        self.attention_norm = nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, 1, attention_dropout, batch_first=True)
        self.perceptron = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, config.expansion * width),
            nn.ReLU(),
            nn.Linear(config.expansion * width, width),
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, values: Tensor, valid: Tensor) -> Tensor:
        """``(B, T, width)`` and ``(B, T) bool`` to ``(B, T, width)``."""
        hidden = self.embed_dropout(self._placed(values))
        asked = self.attention_norm(hidden)
        closed = ~self._visible(valid)
        answer, _ = self.attention(asked, asked, asked, attn_mask=closed, need_weights=False)
        hidden = hidden + answer
        return cast(Tensor, self.norm(hidden + self.perceptron(hidden)))

    def _placed(self, values: Tensor) -> Tensor:
        scaled = values * self.scale
        placed = self.positions(scaled)
        if not self.published:
            return cast(Tensor, placed)
        return torch.where(values[..., :1] == 0, scaled, placed)

    def _visible(self, valid: Tensor) -> Tensor:
        """``(B, T, T)``: the second step may be seen by the first; a step always sees itself."""
        steps = valid.shape[1]
        earlier = torch.ones(steps, steps, dtype=torch.bool, device=valid.device).tril()
        if self.published:
            return earlier
        self_too = torch.eye(steps, dtype=torch.bool, device=valid.device)
        return earlier & (valid.unsqueeze(1) | self_too)


class MITR(nn.Module):
    """The network; fulfils :class:`model.networks.views.SequenceNetwork`."""

    def __init__(self, config: MITRConfig) -> None:
        super().__init__()
        self.config = config
        width = self.representation
        self.encoders = nn.ModuleList(
            CausalEncoder(w, dropout, config)
            for w, dropout in zip(config.widths, config.attention_dropout, strict=True)
        )
        self.streams = nn.ModuleList(self._streams(w) for w in config.widths)
        self.fusion = self._fusion()
        self.head = nn.Sequential(
            nn.Linear(width, width),
            nn.ReLU(),
            nn.Dropout(config.head_dropout),
            nn.Linear(width, config.outputs),
        )
        if not config.faithful:
            self.lost = nn.ParameterList(0.02 * torch.randn(w) for w in config.widths)
            self.absent = nn.Parameter(0.1 * torch.randn(3, width))

    @property
    def widths(self) -> Widths:
        """Columns that each modality must have."""
        return self.config.widths

    @property
    def representation(self) -> int:
        """Channels of all blocks side by side."""
        return self.config.channels * len(self.config.dilations)

    def _streams(self, inputs: int) -> TemporalStreams:
        c = self.config
        return TemporalStreams(inputs, c.channels, c.kernel, c.dilations, c.block_dropout, c.flip)

    def _fusion(self) -> nn.Module:
        c = self.config
        if c.fusion == "concatenation":
            return ConcatenationFusion(self.representation, c.fusion_dropout)
        return TokenFusion(
            self.representation, c.fusion_heads, c.adapter, c.cross_adapter, c.fusion_dropout
        )

    def forward(self, batch: SequenceBatch, known: Tensors | None = None) -> Representations:
        """The batch as seen through ``known``; any subset of steps and modalities will do.

        Raises :class:`FeatureError` for widths that are not the configuration's and for sequences
        that are too long.
        """
        known = seen(batch, known, self.config.widths, self.config.steps)
        steps = three(self._sequence(m, batch, known[m]) for m in range(3))
        pooled = three(self._pool(m, step, known[m]) for m, step in enumerate(steps))
        fused = self.fusion(*pooled)
        prediction = self.head(fused)
        if self.config.outputs == 1:
            prediction = prediction.squeeze(-1)
        return Representations(prediction, fused, pooled, steps)

    def _sequence(self, m: int, batch: SequenceBatch, known: Tensor) -> Tensor:
        """One modality's steps, ``(B, T, representation)``; zeros where no sample has any."""
        values, valid = batch.values[m], batch.valid[m]
        if not self.config.faithful and not bool(valid.any()):
            return values.new_zeros(*valid.shape, self.representation)
        if self.config.faithful:
            filled = values.masked_fill((valid & ~known).unsqueeze(-1), 0.0)
            return cast(Tensor, self.streams[m](self.encoders[m](filled, valid), None))
        filled = torch.where(known.unsqueeze(-1), values, self.lost[m])
        return cast(Tensor, self.streams[m](self.encoders[m](filled, valid), valid))

    def _pool(self, m: int, steps: Tensor, known: Tensor) -> Tensor:
        if self.config.faithful:
            return steps.mean(1)
        present = known.any(1, keepdim=True)
        return torch.where(present, masked_mean(steps, known), self.absent[m])

"""Configuration and encoders of the RTIL family (arXiv 2409.00143); ``rtil_family`` explains both."""

from __future__ import annotations

from typing import Final, Literal, cast

import msgspec
from torch import Tensor, nn

from model.networks.blocks import Projection, StreamEncoder
from model.networks.views import Widths

FORMS: Final = ("rtil", "sati", "svr")
VARIANTS: Final = ("faithful", "intended")


class FamilyConfig(msgspec.Struct, frozen=True):
    """Sizes and rates; the whole of what rebuilds a network. Made by :func:`family_config`.

    Attributes:
        voice_heads: of the published encoder on raw columns; two need an even number of columns.
        mix_heads: of the layer over the two answers.
        fusion: ``gated``: text asks voice and face through gates; ``concatenation``, for ablation,
            puts the pooled modalities side by side.
    """

    form: str
    variant: str
    widths: Widths
    gate: Literal["hard", "straight-through", "soft", "open"]
    fusion: Literal["gated", "concatenation"] = "gated"
    outputs: int = 1
    width: int = 128
    heads: int = 4
    voice_heads: int = 2
    mix_heads: int = 1
    feedforward: int = 2048
    steps: int = 1024
    gate_hidden: int = 32
    gate_factor: int = 2
    dropout: float = 0.1
    cross_dropout: float = 0.2
    gate_dropout: float = 0.4
    head_dropout: float = 0.6
    discriminator_dropout: float = 0.6

    @property
    def faithful(self) -> bool:
        """Whether it behaves as the public code."""
        return self.variant == "faithful"


def family_config(form: str, variant: str, widths: Widths, outputs: int = 1) -> FamilyConfig:
    """A published form by name, for features of the given widths and so many outputs.

    Raises :class:`ValueError` for names that do not exist.
    """
    if form not in FORMS or variant not in VARIANTS:
        raise ValueError(f"no network '{form}' as '{variant}'; there are {FORMS} as {VARIANTS}")
    return FamilyConfig(
        form,
        variant,
        widths,
        gate="hard" if variant == "faithful" else "straight-through",
        outputs=outputs,
        voice_heads=2 if widths[1] % 2 == 0 else 1,
    )


class RawEncoder(nn.Module):
    """The published encoder: a transformer layer on raw columns, no positions, no mask."""

    def __init__(self, inputs: int, heads: int, config: FamilyConfig) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(
            inputs, heads, config.feedforward, config.dropout, batch_first=True
        )
        self.project = Projection(inputs, config.width)

    def forward(self, values: Tensor, mask: Tensor) -> Tensor:
        """``(B, T, inputs) -> (B, T, width)``; the mask is not looked at."""
        return cast(Tensor, self.project(self.layer(values)))


class EmbeddedEncoder(nn.Module):
    """Columns to the common width, then a transformer layer that attends to known steps only."""

    def __init__(self, inputs: int, config: FamilyConfig) -> None:
        super().__init__()
        c = config
        self.embed = nn.Linear(inputs, c.width)
        self.encode = StreamEncoder(c.width, c.heads, c.feedforward, c.dropout, c.steps)

    def forward(self, values: Tensor, mask: Tensor) -> Tensor:
        """``(B, T, inputs)`` with ``(B, T) bool`` to ``(B, T, width)``."""
        return cast(Tensor, self.encode(self.embed(values), mask))


class TextProjection(nn.Module):
    """Token states need no encoder of their own: they are projected step by step."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.project = Projection(inputs, width)

    def forward(self, values: Tensor, mask: Tensor) -> Tensor:
        """``(B, T, inputs) -> (B, T, width)``; no step sees another."""
        return cast(Tensor, self.project(values))

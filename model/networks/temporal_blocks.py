"""MIB-TRL, the temporal part of MITR-DNet (arXiv 2501.05474): dilated causal gated blocks, two ways.

Everything here takes sequences as columns first, ``(B, C, T)``, with an optional mask ``(B, T) bool``.
With a mask, padding stays zero after every operation and takes no part in the normalisation, so
that it cannot change what a valid step says, in training neither.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FLIPS: Final = ("channels", "time", "none")


class MaskedBatchNorm(nn.BatchNorm1d):
    """Batch normalisation whose statistics are those of the valid steps only."""

    def forward(self, values: Tensor, mask: Tensor | None = None) -> Tensor:
        """``(B, C, T)`` and ``(B, T) bool`` to ``(B, C, T)``; without a mask all steps are valid."""
        if mask is None or not self.training:
            return super().forward(values)
        numbers = values.float()  # half precision cannot count the steps of a batch
        weights = mask.unsqueeze(1).to(numbers.dtype)
        count = weights.sum().clamp(min=1.0)
        mean = (numbers * weights).sum((0, 2)) / count
        centred = numbers - mean[:, None]
        variance = (centred.square() * weights).sum((0, 2)) / count
        self._remember(mean.detach(), variance.detach(), count)
        scaled = centred * (variance + self.eps).rsqrt()[:, None]
        return (scaled * self.weight[:, None] + self.bias[:, None]).to(values.dtype)

    def _remember(self, mean: Tensor, variance: Tensor, count: Tensor) -> None:
        share = cast(float, self.momentum)
        unbiased = variance * count / (count - 1.0).clamp(min=1.0)
        cast(Tensor, self.running_mean).lerp_(mean, share)
        cast(Tensor, self.running_var).lerp_(unbiased, share)
        cast(Tensor, self.num_batches_tracked).add_(1)


def hide(values: Tensor, mask: Tensor | None) -> Tensor:
    """``(B, C, T)`` with zeros where the mask is false."""
    return values if mask is None else values.masked_fill(~mask.unsqueeze(1), 0.0)


class CausalConvolution(nn.Module):
    """Dilated convolution over this and earlier steps, batch normalisation, ReLU, dropout."""

    def __init__(
        self, inputs: int, channels: int, kernel: int, dilation: int, dropout: float
    ) -> None:
        super().__init__()
        self.reach = (kernel - 1) * dilation
        self.convolution = nn.Conv1d(inputs, channels, kernel, dilation=dilation)
        self.norm = MaskedBatchNorm(channels)
        self.dropout = nn.Dropout(dropout)

    def forward(self, values: Tensor, mask: Tensor | None) -> Tensor:
        """``(B, inputs, T) -> (B, channels, T)``."""
        convolved = self.convolution(F.pad(values, (self.reach, 0)))
        return hide(self.dropout(F.relu(self.norm(convolved, mask))), mask)


class DilatedGate(nn.Module):
    """Two parallel causal convolutions, one gating the other, mixed and added to the input.

    Both end in a ReLU, as published, so that the gate never falls below one half.
    """

    def __init__(self, channels: int, kernel: int, dilation: int, dropout: float) -> None:
        super().__init__()
        self.content = CausalConvolution(channels, channels, kernel, dilation, dropout)
        self.gate = CausalConvolution(channels, channels, kernel, dilation, dropout)
        self.mix = nn.Conv1d(channels, channels, 1)

    def forward(self, values: Tensor, mask: Tensor | None) -> Tensor:
        """``(B, channels, T) -> (B, channels, T)``."""
        gated = torch.tanh(self.content(values, mask)) * torch.sigmoid(self.gate(values, mask))
        return hide(values + self.mix(gated), mask)


class TemporalStreams(nn.Module):
    """A forward and a backward stream through the same blocks; each block's sum is kept.

    ``flip`` says what the backward stream turns round: ``time`` (and turns it back before the sum),
    ``channels`` (what the public code does), or ``none``: there is no backward stream.
    """

    def __init__(
        self,
        inputs: int,
        channels: int,
        kernel: int,
        dilations: Sequence[int],
        dropout: float,
        flip: str,
    ) -> None:
        super().__init__()
        if flip not in FLIPS:
            raise ValueError(f"no flip '{flip}'; there are {FLIPS}")
        self.flip = flip
        self.enter = CausalConvolution(inputs, channels, 1, 1, dropout)
        if flip != "none":
            self.enter_backward = CausalConvolution(inputs, channels, 1, 1, dropout)
        self.blocks = nn.ModuleList(DilatedGate(channels, kernel, d, dropout) for d in dilations)

    def turn(self, values: Tensor) -> Tensor:
        """``(B, C, T)`` turned round; twice is once too often: it gives the input again."""
        return values.flip(2 if self.flip == "time" else 1)

    def forward(self, values: Tensor, mask: Tensor | None) -> Tensor:
        """``(B, T, inputs) -> (B, T, blocks x channels)``."""
        if mask is not None and bool(mask.all()):
            mask = None  # nothing to hide: faster, and the same
        columns = hide(values.transpose(1, 2), mask)
        found = self._run(self.enter(columns, mask), mask)
        if self.flip != "none":
            turned = mask.flip(1) if mask is not None and self.flip == "time" else mask
            backward = self._run(self.enter_backward(self.turn(columns), turned), turned)
            if self.flip == "time":
                backward = [self.turn(stream) for stream in backward]
            found = [ahead + back for ahead, back in zip(found, backward, strict=True)]
        return torch.cat(found, 1).transpose(1, 2)

    def _run(self, stream: Tensor, mask: Tensor | None) -> list[Tensor]:
        found = []
        for block in self.blocks:
            stream = block(stream, mask)
            found.append(stream)
        return found

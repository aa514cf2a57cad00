"""Words alone: a linear answer on the mean of what a text encoder says of each known token.

The plainest network there is, so that what it reaches is the encoder's doing.
"""

from __future__ import annotations

from typing import cast

import msgspec
import torch
from torch import Tensor, nn

from model.networks.blocks import masked_mean
from model.networks.views import Representations, SequenceBatch, Tensors, Widths, seen, three


class TextMeanConfig(msgspec.Struct, frozen=True):
    """Sizes and rates; voice and face are not looked at, whatever their widths."""

    widths: Widths
    outputs: int = 1
    dropout: float = 0.1
    steps: int = 1024

    @property
    def faithful(self) -> bool:
        """Never: there is no published code of it; padding is masked."""
        return False


class TextMean(nn.Module):
    """Mean over the known tokens, dropout, one linear layer; fulfils ``views.SequenceNetwork``.

    A sample without a word is a learned vector.
    """

    def __init__(self, config: TextMeanConfig) -> None:
        super().__init__()
        self.config = config
        width = self.representation
        self.absent = nn.Parameter(0.02 * torch.randn(width))
        self.head = nn.Sequential(nn.Dropout(config.dropout), nn.Linear(width, config.outputs))

    @property
    def widths(self) -> Widths:
        """Columns that each modality must have."""
        return self.config.widths

    @property
    def representation(self) -> int:
        """The width of the token states."""
        return self.config.widths[0]

    def forward(self, batch: SequenceBatch, known: Tensors | None = None) -> Representations:
        """The batch as seen through ``known``; only its text is read.

        Raises :class:`features.errors.FeatureError` for widths that are not the configuration's.
        """
        known = seen(batch, known, self.config.widths, self.config.steps)
        words, told = batch.values[0], known[0]
        own = masked_mean(words, told)
        fused = torch.where(told.any(1, keepdim=True), own, self.absent)
        prediction = cast(Tensor, self.head(fused))
        if self.config.outputs == 1:
            prediction = prediction.squeeze(-1)
        silent = torch.zeros_like(fused)
        steps = three(
            words if m == 0 else words.new_zeros(*mask.shape, self.representation)
            for m, mask in enumerate(known)
        )
        return Representations(prediction, fused, (fused, silent, silent), steps)

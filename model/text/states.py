"""The contract of text encoders: words to token states, whichever encoder makes them.

``model.text.encoder.TextEncoder`` (gte-small, frozen) and ``model.text.tunable.TunableText`` (any BERT or
RoBERTa, frozen or tuned) fulfil it. Networks of sequences only see the states.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from model.text.encoder import Tokens


class TextStates(Protocol):
    """An encoder of texts. Frozen, partly or wholly tuned: that is its own affair."""

    @property
    def width(self) -> int:
        """Columns of a state."""
        ...

    def tokenize(self, texts: Sequence[str]) -> Tokens:
        """Texts to padded token ids and their mask, marks at both ends included."""
        ...

    def __call__(self, ids: Tensor, mask: Tensor) -> Tensor:
        """``ids (B, N)`` and ``mask (B, N) bool`` to ``(B, N, width)``; padding changes nothing."""
        ...


def word_tokens(mask: Tensor) -> Tensor:
    """``(B, N) bool`` without the mark at the start and the one at the end of each text."""
    places = torch.arange(mask.shape[1], device=mask.device)
    last = mask.sum(1, keepdim=True) - 1
    return mask & (places > 0) & (places < last)


def lose_words(tokens: Tokens, known: Tensor, unknown: int) -> Tokens:
    """The tokens with those not in ``known (B, N) bool`` replaced by the id ``unknown``.

    The marks at both ends stay. Encoding the result keeps the lost words out of the states of the
    others, which hiding finished states would not.
    """
    gone = word_tokens(tokens.mask) & ~known
    return Tokens(tokens.ids.masked_fill(gone, unknown), tokens.mask)

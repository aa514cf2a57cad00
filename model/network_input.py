"""From splits to what networks of sequences take: tensors, and masks of what is there and known."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from torch import Tensor

from features.errors import FeatureError
from model import text
from model.splits import Split, Stream, tokens_of
from model.text_states import TextStates
from model.views import SequenceBatch, Tensors, Widths, batch_of, three

BERT_UNKNOWN: Final = 100  # the id of [UNK] in bert-base-uncased, which gte-small and MiniLM share


def tokenised(split: Split, encoder: TextStates, unknown: int = BERT_UNKNOWN) -> Split:
    """The split with its words as ``encoder``'s tokens, so that a protocol can take some away.

    Raises :class:`FeatureError` for a split without words.
    """
    if split.text is None or split.text.raw is None:
        raise FeatureError("the split has no words to tokenise")
    made = encoder.tokenize(split.text.raw)
    return split.with_tokens(tokens_of(made.ids.numpy(), made.mask.numpy(), unknown))


def text_tokens(split: Split) -> text.Tokens:
    """The split's tokens, lost ones as [UNK], for an encoder to turn into states.

    Raises :class:`FeatureError` for a split without tokens.
    """
    if split.text is None or split.text.tokens is None:
        raise FeatureError("the split has no tokens; tokenise its words first")
    tokens = split.text.tokens
    return text.Tokens(torch.from_numpy(tokens.ids), torch.from_numpy(tokens.valid))


def network_input(
    split: Split, widths: Widths | None = None, states: Tensor | None = None
) -> tuple[SequenceBatch, Tensors]:
    """The samples as a batch, and the steps that are known (``(B, T) bool`` of each modality).

    ``states (B, N, D)`` are the text encoder's for :func:`text_tokens`; without them text is the
    split's features, or missing. ``widths`` are the network's, for modalities that are missing.
    A fixed token is known only where some word is. Raises :class:`FeatureError` for states that
    do not fit the tokens and for a split of words only.
    """
    parts = [_words(split, states), _part(split.audio), _part(split.vision)]
    if all(part is None for part in parts):
        raise FeatureError("the split has words only; tokenise and encode them first")
    shown = [None if part is None else (part[0], part[1]) for part in parts]
    own = widths or three_widths(shown)
    batch = batch_of(shown, own)
    known = three(
        torch.zeros_like(valid) if part is None else part[2]
        for part, valid in zip(parts, batch.valid, strict=True)
    )
    return batch, known


def three_widths(parts: list[tuple[Tensor, Tensor] | None]) -> Widths:
    """Columns of each modality; 1 for one that is missing."""
    words, voice, face = (1 if part is None else part[0].shape[-1] for part in parts)
    return words, voice, face


def labels_of(split: Split, classes: int = 0) -> Tensor:
    """``(B,) float32``, or ``(B,) int64`` where the labels are classes."""
    labels = torch.from_numpy(np.ascontiguousarray(split.labels))
    return labels.long() if classes else labels


def _words(split: Split, states: Tensor | None) -> tuple[Tensor, Tensor, Tensor] | None:
    if states is None:
        return _part(split.streams.get("text"))
    tokens = split.text.tokens if split.text is not None else None
    if tokens is None or states.shape[:2] != tokens.ids.shape:
        found = "no tokens" if tokens is None else f"tokens {tokens.ids.shape}"
        raise FeatureError(f"states {tuple(states.shape)} for {found}")
    told = (tokens.known & ~tokens.fixed).any(1)
    known = torch.from_numpy(tokens.known & told[:, None]).to(states.device)
    return states, torch.from_numpy(tokens.valid).to(states.device), known


def _part(stream: Stream | None) -> tuple[Tensor, Tensor, Tensor] | None:
    if stream is None:
        return None
    values, valid, known = (
        torch.from_numpy(np.ascontiguousarray(own))
        for own in (stream.values, stream.valid, stream.known)
    )
    return values, valid, known

"""From splits to what networks of sequences take: tensors, and masks of what is there and known."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from torch import Tensor

from features.errors import FeatureError
from model.data.splits import MODALITIES, Split
from model.data.streams import tokens_of
from model.networks.views import SequenceBatch, Tensors, Widths
from model.research.batches import sequence_batch
from model.text import encoder as text
from model.text.states import TextStates

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
    split's features, or missing. A lost token is there and not known, so that what it was can be
    asked for; [CLS] and [SEP] are known where some word is. ``widths`` are the network's, for
    modalities that are missing. Raises :class:`FeatureError` for states that do not fit the tokens
    and for a split of words only.
    """
    own = widths or _widths(split, states)
    rows = np.arange(len(split))
    if states is None:
        return sequence_batch(split, rows, own)
    tokens = split.text.tokens if split.text is not None else None
    if tokens is None or states.shape[:2] != tokens.ids.shape:
        found = "no tokens" if tokens is None else f"tokens {tokens.ids.shape}"
        raise FeatureError(f"states {tuple(states.shape)} for {found}")
    text_there = (states, torch.from_numpy(tokens.valid))
    batch, (_, voice, face) = sequence_batch(split, rows, own, text_there, states.device)
    told = (tokens.known & ~tokens.fixed).any(1, keepdims=True)
    return batch, (torch.from_numpy(tokens.known & told).to(states.device), voice, face)


def _widths(split: Split, states: Tensor | None) -> Widths:
    """Columns of each modality; 1 for one that is missing."""
    found = {name: stream.width for name, stream in split.streams.items()}
    if states is not None:
        found["text"] = states.shape[-1]
    if not found:
        raise FeatureError("the split has words only; tokenise and encode them first")
    words, voice, face = (found.get(name, 1) for name in MODALITIES)
    return words, voice, face


def labels_of(split: Split, classes: int = 0) -> Tensor:
    """``(B,) float32``, or ``(B,) int64`` where the labels are classes."""
    labels = torch.from_numpy(np.ascontiguousarray(split.labels))
    return labels.long() if classes else labels

"""Texts as one vector each: the mean of a text encoder's states over the words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from model.networks.blocks import masked_mean
from model.research.inputs import ENCODED, blocks
from model.text.encoder import Tokens
from model.text.states import TextStates, word_tokens


@torch.no_grad()
def sentence_vectors(texts: Sequence[str], encoder: TextStates) -> np.ndarray:
    """``(N, D) float32``; zero for a text without words."""
    tokens = encoder.tokenize(texts)
    found = torch.zeros(len(texts), encoder.width)
    for rows in blocks(tokens.mask.sum(1).argsort(stable=True), ENCODED):
        longest = int(tokens.mask[rows].sum(1).max())
        part = Tokens(tokens.ids[rows, :longest], tokens.mask[rows, :longest])
        states = encoder(part.ids, part.mask).float()
        found[rows] = masked_mean(states, word_tokens(part.mask))
    return found.numpy()

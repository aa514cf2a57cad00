"""Samples of a split as tensors for a network of sequences."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from model.data.splits import Split
from model.data.streams import Stream
from model.networks.views import SequenceBatch, Tensors, Widths, batch_of, three


def sequence_batch(
    split: Split,
    rows: np.ndarray | Sequence[int],
    widths: Widths,
    text: tuple[Tensor, Tensor] | None = None,
    device: torch.device | str = "cpu",
) -> tuple[SequenceBatch, Tensors]:
    """The samples of these rows and what is known of them, as the networks take both.

    Text is the split's features unless ``text`` gives ``(states, valid)`` of these rows, made by an
    encoder; all of that counts as known: words that were lost went into the encoder as unknown
    ones. Modalities that the data set lacks are filled with invalid steps of the width asked for.
    """
    chosen = np.asarray(rows, np.int64)
    words = None if split.text is None else split.text.features
    streams = (None if text is not None else words, split.audio, split.vision)
    parts = [_tensors(stream, chosen, device) for stream in streams]
    known = [None if part is None else part[2] for part in parts]
    pairs = [None if part is None else part[:2] for part in parts]
    if text is not None:
        states, valid = text
        pairs[0], known[0] = (states.to(device), valid.to(device)), valid.to(device)
    batch = batch_of(pairs, widths)
    shown = three(
        valid if mask is None else mask for mask, valid in zip(known, batch.valid, strict=True)
    )
    return batch, shown


def _tensors(
    stream: Stream | None, rows: np.ndarray, device: torch.device | str
) -> tuple[Tensor, Tensor, Tensor] | None:
    if stream is None:
        return None
    values, valid, known = (
        torch.from_numpy(array[rows]).to(device)
        for array in (stream.values, stream.valid, stream.known)
    )
    return values, valid, known

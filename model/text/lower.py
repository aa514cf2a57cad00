"""The frozen lower layers' output, computed once and kept on disk.

Tuning only the upper layers, every epoch would compute the same lower activations again; kept in
float16 they are 768 bytes a token and make the tuning fit two cores.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor

from model.text.encoder import MAX_TOKENS, TextEncoder

BLOCK: Final = 2048  # texts per file: what is lost when the run is killed
BATCH: Final = 64


class LowerActivations:
    """Hidden states below the tuned layers for a list of texts, each ``(tokens, 384) float16``."""

    def __init__(self) -> None:
        self._rows: list[np.ndarray] = []

    def __len__(self) -> int:
        return len(self._rows)

    def length(self, index: int) -> int:
        """Number of tokens of a text."""
        return len(self._rows[index])

    @classmethod
    def compute(
        cls,
        encoder: TextEncoder,
        texts: Sequence[str],
        folder: Path,
        precision: torch.dtype = torch.float32,
        advance: Callable[[int], None] = lambda count: None,
    ) -> LowerActivations:
        """Activations of ``texts``, taken from ``folder`` where an earlier run left them there.

        ``advance`` hears how many texts more are done. The encoder must be as it was loaded.
        """
        folder.mkdir(parents=True, exist_ok=True)
        lower = cls()
        for start in range(0, len(texts), BLOCK):
            block = texts[start : start + BLOCK]
            lower._rows += _block(encoder, block, folder, precision)
            advance(len(block))
        return lower

    def batch(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """``hidden (B, N, 384) float32`` and ``mask (B, N) bool`` of some texts, padded."""
        longest = max(self.length(index) for index in indices)
        hidden = torch.zeros(len(indices), longest, TextEncoder.width)
        mask = torch.zeros(len(indices), longest, dtype=torch.bool)
        for row, index in enumerate(indices):
            states = self._rows[index]
            hidden[row, : len(states)] = torch.from_numpy(states.astype(np.float32))
            mask[row, : len(states)] = True
        return hidden, mask


def _block(
    encoder: TextEncoder, texts: Sequence[str], folder: Path, precision: torch.dtype
) -> list[np.ndarray]:
    key = hashlib.sha256(
        "\n".join([f"{encoder.tuned_layers} {MAX_TOKENS} {precision}", *texts]).encode()
    )
    path = folder / f"lower-{key.hexdigest()[:20]}.npz"
    if path.is_file():
        with np.load(path, allow_pickle=False) as kept:
            states, lengths = kept["states"], kept["lengths"]
    else:
        computed = _compute(encoder, texts, precision)
        lengths = np.array([len(item) for item in computed])
        states = np.concatenate(computed)
        part = path.with_suffix(".part")
        with part.open("wb") as file:
            np.savez(file, states=states, lengths=lengths)
        part.replace(path)
    return np.split(states, np.cumsum(lengths)[:-1])


def _compute(
    encoder: TextEncoder, texts: Sequence[str], precision: torch.dtype
) -> list[np.ndarray]:
    computed: list[np.ndarray] = [np.empty(0)] * len(texts)
    by_length = sorted(range(len(texts)), key=lambda index: len(texts[index]))
    for start in range(0, len(texts), BATCH):
        batch = by_length[start : start + BATCH]
        tokens = encoder.tokenize([texts[index] for index in batch])
        with torch.no_grad(), torch.autocast("cpu", precision, precision != torch.float32):
            hidden = encoder.lower(tokens.ids, tokens.mask).half().numpy()
        for row, index in enumerate(batch):
            computed[index] = hidden[row][tokens.mask[row].numpy()].copy()
    return computed

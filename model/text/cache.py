"""What an encoder says of texts, kept on disk, so that the next run need not encode them again."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from model.text.encoder import Tokens

logger = logging.getLogger(__name__)


def remembered(
    folder: Path | None, encoder: str, tokens: Tokens, compute: Callable[[], Tensor]
) -> Tensor:
    """``compute()``, states ``(N, T, D)`` of tokens, or what it gave an earlier run in ``folder``.

    ``encoder`` says what computes, to the layer. States of padding are zero and are not kept. A
    damaged file is computed again.
    """
    if folder is None:
        return compute()
    key = hashlib.sha256(encoder.encode())
    for part in (tokens.ids, tokens.mask):
        key.update(str(tuple(part.shape)).encode())
        key.update(part.contiguous().numpy().tobytes())
    path = folder / f"{key.hexdigest()[:20]}.safetensors"
    if path.is_file():
        try:
            kept = load_file(path)["states"]
            states = kept.new_zeros(*tokens.mask.shape, kept.shape[-1])
            states[tokens.mask] = kept
            return states
        except (SafetensorError, KeyError, RuntimeError) as error:
            logger.warning("%s is damaged (%s); encoding again", path, error)
    states = compute()
    folder.mkdir(parents=True, exist_ok=True)
    part_file = path.with_suffix(".part")
    save_file({"states": states[tokens.mask].contiguous()}, part_file)
    part_file.replace(path)
    return states


def cut(tokens: Tokens, rows: Tensor) -> Tokens:
    """Some texts without the padding that all of them have; at least one step is left."""
    mask = tokens.mask[rows]
    places = torch.arange(1, mask.shape[1] + 1)
    longest = max(1, int((mask * places).max())) if mask.numel() else 1
    return Tokens(tokens.ids[rows][:, :longest], mask[:, :longest])

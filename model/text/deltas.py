"""Tuned weights as what tuning changed of them, a byte a number.

Tuning moves a weight by a hundredth of its size, so that a 127th of a row's greatest change is finer
than float16 is for the weight itself, at half the bytes: all twelve layers of the text encoder take
21 MB.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import torch
from torch import Tensor

from features.errors import CheckpointError

STEP: Final = ".step"  # behind the name of a packed matrix: what its whole numbers count, by row
MOST: Final = 127


def packed(tuned: Mapping[str, Tensor], base: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Matrices as ``int8`` differences from ``base`` and a ``float32`` step a row; vectors as ``float16``.

    ``base`` has the tensors before tuning under the same names.
    """
    found: dict[str, Tensor] = {}
    for name, value in tuned.items():
        if value.dim() != 2:
            found[name] = value.half()
            continue
        change = value.float() - base[name].float()
        step = change.abs().amax(1, keepdim=True) / MOST
        counts = torch.where(step > 0, change / step, 0.0).round()
        found[name] = counts.to(torch.int8).contiguous()
        found[name + STEP] = step.squeeze(1).contiguous()
    return found


def unpacked(tuned: Mapping[str, Tensor], base: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tuned weights again, ``float32``; tensors that were never packed stay what they are.

    Raises :class:`CheckpointError` where a packed matrix does not belong to ``base``.
    """
    found = {}
    for name, value in tuned.items():
        if name.endswith(STEP):
            continue
        if value.dtype != torch.int8:
            found[name] = value.float()
            continue
        step, own = tuned.get(name + STEP), base.get(name)
        if step is None or own is None or own.shape != value.shape or len(step) != len(value):
            raise CheckpointError(f"tuned text tensors do not fit: '{name}' is of another encoder")
        found[name] = own.float() + value.float() * step.float().unsqueeze(1)
    return found

"""Batches of sequences and small networks of every kind, for the tests of research networks."""

from __future__ import annotations

import msgspec
import torch
from torch import Tensor, nn

from model.networks.family_parts import family_config
from model.networks.mitr import MITR, mitr_config
from model.networks.rtil_family import RTILFamily
from model.networks.views import SequenceBatch, SequenceNetwork, Widths, three

WIDTHS: Widths = (12, 6, 7)
NAMES = ("rtil", "sati", "svr", "mitr")
ROWS = 4


def make_network(
    name: str, variant: str, seed: int = 0, widths: Widths = WIDTHS
) -> SequenceNetwork:
    """A small network of that name, in evaluation mode, without any dropout."""
    torch.manual_seed(seed)
    network: RTILFamily | MITR
    if name == "mitr":
        config = mitr_config(variant, widths)
        config = msgspec.structs.replace(config, channels=5, fusion_heads=2, adapter=6)
        network = MITR(config)
    else:
        own = family_config(name, variant, widths)
        own = msgspec.structs.replace(own, width=16, heads=2, feedforward=16, gate_hidden=8)
        network = RTILFamily(own)
    return without_dropout(network).eval()  # type: ignore[return-value]


def without_dropout(network: nn.Module) -> nn.Module:
    for part in network.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.0
        if isinstance(part, nn.MultiheadAttention):
            part.dropout = 0.0
    return network


def make_batch(
    seed: int = 0,
    rows: int = ROWS,
    steps: tuple[int, int, int] = (6, 6, 6),
    widths: Widths = WIDTHS,
) -> SequenceBatch:
    """Normal noise; the samples are of different lengths, the first fills all steps."""
    generator = torch.Generator().manual_seed(seed)
    values = three(
        torch.randn(rows, t, w, generator=generator) for t, w in zip(steps, widths, strict=True)
    )
    lengths = torch.randint(2, 100, (rows,), generator=generator) % (min(steps) - 1) + 2
    lengths[0] = max(steps)
    valid = three(torch.arange(t) < lengths.clamp(max=t)[:, None] for t in steps)
    return SequenceBatch(
        three(v * m.unsqueeze(-1) for v, m in zip(values, valid, strict=True)), valid
    )


def drop_steps(batch: SequenceBatch, seed: int, rate: float = 0.4) -> tuple[Tensor, Tensor, Tensor]:
    """Masks of what is still known when steps are lost at random."""
    generator = torch.Generator().manual_seed(seed)
    return three(m & (torch.rand(m.shape, generator=generator) >= rate) for m in batch.valid)


def pad(batch: SequenceBatch, extra: int, fill: float) -> SequenceBatch:
    """The batch with so many invalid steps more, and ``fill`` in all invalid ones."""
    values, valid = [], []
    for value, mask in zip(batch.values, batch.valid, strict=True):
        more = value.new_zeros(len(value), extra, value.shape[-1])
        longer = torch.cat([mask, torch.zeros(len(mask), extra, dtype=torch.bool)], 1)
        values.append(torch.cat([value, more], 1).masked_fill(~longer.unsqueeze(-1), fill))
        valid.append(longer)
    return SequenceBatch(three(values), three(valid))

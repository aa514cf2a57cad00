"""What a network says of samples, in batches."""

from __future__ import annotations

import torch
from torch import Tensor

from model.research.inputs import Seen, blocks
from model.research.presets import ResearchNetwork


@torch.no_grad()
def predict(
    network: ResearchNetwork, seen: Seen, batch: int = 64, device: torch.device | str = "cpu"
) -> Tensor:
    """What a network says of all samples: ``(N,)`` or ``(N, K) float32`` on the CPU."""
    network.eval()
    if seen.encoder is not None:
        seen.encoder.eval()
    place = torch.device(device)
    found = []
    for rows in blocks(torch.arange(len(seen.batch)), batch):
        part = shown_to(network, seen, rows, place)
        found.append(network(part.batch, part.known).prediction.float().cpu())
    return torch.cat(found)


def shown_to(network: ResearchNetwork, seen: Seen, rows: Tensor, device: torch.device) -> Seen:
    """Some samples on a device, encoded, without common padding unless the network looks at it."""
    part = seen.select(rows, device)
    return (part if network.config.faithful else part.trimmed()).encoded()

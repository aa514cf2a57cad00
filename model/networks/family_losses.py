"""The losses of the RTIL family as named sets; what differs stands in ``rtil_family``'s table.

Total: ``task + .4 domain + consistency + reconstruction + temporal`` (arXiv 2409.00143, public code).
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec
import torch
import torch.nn.functional as F
from torch import Tensor

from features.messages import MODALITIES
from model.networks.family_parts import FORMS, VARIANTS
from model.networks.losses import (
    Disentangling,
    batch_temporal_loss,
    consistency_loss,
    domain_loss,
    reconstruction_loss,
    temporal_loss,
    variation_loss,
)
from model.networks.rtil import Codes
from model.networks.rtil_family import FamilyView

FACE: Final = (MODALITIES.index("face"),)
ALL: Final = tuple(range(len(MODALITIES)))


class FamilyWeights(msgspec.Struct, frozen=True):
    """How much each loss counts and which form it takes; zero switches a loss off.

    Attributes:
        temporal_form: ``batch`` (averaged over the batch first), ``sample`` (divergence per
            sample) or ``variation`` (absolute first differences per sample).
        temporal_modalities: which of text 0, voice 1, face 2 it smooths.
        reconstruct: ``pooled`` (every step from the mean) or ``steps``.
    """

    temporal_form: Literal["batch", "sample", "variation"]
    temporal_modalities: tuple[int, ...]
    temperature: float
    reverse_private: bool
    reconstruct: Literal["pooled", "steps"]
    domain: float = 0.4
    consistency: float = 1.0
    reconstruction: float = 1.0
    temporal: float = 1.0
    reversal: float = 1.0


def family_weights(form: str, variant: str) -> FamilyWeights:
    """The losses of a published form by name. Raises :class:`ValueError` for unknown names."""
    if form not in FORMS or variant not in VARIANTS:
        raise ValueError(f"no losses of '{form}' as '{variant}'; there are {FORMS} as {VARIANTS}")
    smoothed = ALL if form == "svr" else FACE
    if variant == "faithful":
        return FamilyWeights("batch", smoothed, 1.0, True, "pooled")
    return FamilyWeights("variation" if form == "svr" else "sample", smoothed, 0.2, False, "steps")


def family_losses(
    network: Disentangling, view: FamilyView, weights: FamilyWeights
) -> dict[str, Tensor]:
    """All losses but the task's, weighted, by name; those with weight zero are left out."""
    parts = {}
    codes, present = view.codes, view.present
    if weights.domain:
        domain = domain_loss(network, codes, present, weights.reversal, weights.reverse_private)
        parts["domain"] = weights.domain * domain
    if weights.consistency:
        parts["consistency"] = weights.consistency * consistency_loss(codes, present)
    if weights.reconstruction:
        parts["reconstruction"] = weights.reconstruction * _rebuild(network, view, weights)
    if weights.temporal:
        parts["temporal"] = weights.temporal * sequential_variation(codes, weights)
    return parts


def pooled_reconstruction(network: Disentangling, view: FamilyView) -> Tensor:
    """The published form: every step of the features against one vector rebuilt from the mean."""
    total = view.pooled[0].sum() * 0.0
    for decoder, pooled, features in zip(
        network.decoders, view.pooled, view.codes.features, strict=True
    ):
        rebuilt = decoder(pooled).unsqueeze(1).expand_as(features)
        total = total + F.mse_loss(rebuilt, features)
    return total / len(view.pooled)


def _rebuild(network: Disentangling, view: FamilyView, weights: FamilyWeights) -> Tensor:
    if weights.reconstruct == "pooled":
        return pooled_reconstruction(network, view)
    return reconstruction_loss(network, view.codes, view.present)


def sequential_variation(codes: Codes, weights: FamilyWeights) -> Tensor:
    """Change from step to step of private and shared codes, mean over the smoothed modalities."""
    found = []
    for m in weights.temporal_modalities:
        both = torch.cat([codes.private[m], codes.shared[m]], -1)
        if weights.temporal_form == "batch":
            found.append(batch_temporal_loss(both, weights.temperature))
        elif weights.temporal_form == "sample":
            found.append(temporal_loss(both, codes.masks[m], weights.temperature))
        else:
            found.append(variation_loss(both, codes.masks[m]))
    return torch.stack(found).mean()

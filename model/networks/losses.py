"""The losses of RTIL, made to matter: masked, per sample, and with a gate that can learn.

Sources: arXiv 2409.00143 (task, domain, consistency, reconstruction, temporal-invariant losses),
central moment discrepancy after Zellinger et al. 2017. A pair or sample without the modality in
question takes no part.
"""

from __future__ import annotations

from itertools import combinations
from typing import Final, Protocol

import msgspec
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.networks.blocks import masked_mean, reverse_gradient
from model.networks.rtil import Codes

MOMENTS: Final = 5
EPSILON: Final = 1e-10
MIN_ROWS: Final = 2  # a moment needs more than one sample


class ModalityDiscriminator(Protocol):
    """Tells pooled codes ``(N, width)`` by the modality ``(N,)`` that they came from."""

    def loss(self, codes: Tensor, classes: Tensor) -> Tensor:
        """One number: how badly it was told."""
        ...


class Disentangling(Protocol):
    """What the losses need of a network that splits modalities into private and shared codes."""

    @property
    def discriminator(self) -> ModalityDiscriminator:
        """Guesses the modality of a code."""
        ...

    @property
    def decoders(self) -> nn.ModuleList:
        """One per modality: the sum of its codes back to its features, both of the same width."""
        ...


class LossWeights(msgspec.Struct, frozen=True):
    """How much each loss counts beside the task's; ``temperature`` sharpens the temporal one."""

    consistency: float = 0.1
    domain: float = 0.1
    reconstruction: float = 0.1
    temporal: float = 1.0
    alone: float = 0.3
    temperature: float = 0.2
    reversal: float = 1.0


def central_moment_discrepancy(left: Tensor, right: Tensor, moments: int = MOMENTS) -> Tensor:
    """``||E x - E y|| + sum_{k=2..moments} ||E (x - E x)^k - E (y - E y)^k||`` of ``(N, D)`` each."""
    mean_left, mean_right = left.mean(0), right.mean(0)
    centred_left, centred_right = left - mean_left, right - mean_right
    total = _norm(mean_left - mean_right)
    for k in range(2, moments + 1):
        total = total + _norm(centred_left.pow(k).mean(0) - centred_right.pow(k).mean(0))
    return total


def _norm(values: Tensor) -> Tensor:
    """Euclidean norm with a finite gradient at zero."""
    return (values.square().sum() + EPSILON**2).sqrt()


def consistency_loss(codes: Codes, present: Tensor) -> Tensor:
    """Mean discrepancy of the pooled shared codes over the pairs that occur together."""
    pooled = [masked_mean(x, k) for x, k in zip(codes.shared, codes.masks, strict=True)]
    there = _there(codes, present)
    found = []
    for a, b in combinations(range(len(pooled)), 2):
        rows = there[:, a] & there[:, b]
        if int(rows.sum()) >= MIN_ROWS:
            found.append(central_moment_discrepancy(pooled[a][rows], pooled[b][rows]))
    return torch.stack(found).mean() if found else pooled[0].sum() * 0.0


def domain_loss(
    network: Disentangling,
    codes: Codes,
    present: Tensor,
    reversal: float,
    reverse_private: bool = False,
) -> Tensor:
    """The discriminator's loss on pooled shared codes (gradient reversed) and on private ones.

    The shared codes learn to be indistinguishable, the private ones to be told apart, unless
    ``reverse_private`` turns their gradient round too, as the published code does.
    """
    there = _there(codes, present)
    shared = [masked_mean(x, k) for x, k in zip(codes.shared, codes.masks, strict=True)]
    private = [masked_mean(x, k) for x, k in zip(codes.private, codes.masks, strict=True)]
    classes = torch.nonzero(there)[:, 1]
    if len(classes) == 0:
        return shared[0].sum() * 0.0
    common = reverse_gradient(torch.stack(shared, 1)[there], reversal)
    own = torch.stack(private, 1)[there]
    if reverse_private:
        own = reverse_gradient(own, reversal)
    return network.discriminator.loss(common, classes) + network.discriminator.loss(own, classes)


def reconstruction_loss(network: Disentangling, codes: Codes, present: Tensor) -> Tensor:
    """Mean squared error of rebuilding each modality's features from its two codes, step by step."""
    total = codes.private[0].sum() * 0.0
    for m, decoder in enumerate(network.decoders):
        valid = codes.masks[m] & present[:, m : m + 1]
        if bool(valid.any()):
            rebuilt = decoder((codes.private[m] + codes.shared[m])[valid])
            total = total + F.mse_loss(rebuilt, codes.features[m][valid].detach())
    return total / len(network.decoders)


def temporal_loss(sequence: Tensor, mask: Tensor, temperature: float) -> Tensor:
    """Jensen-Shannon divergence between neighbouring valid steps, ``(B, T, D), (B, T) -> ()``.

    Each step is a softmax over its D columns; per sample, natural logarithm, mean over all pairs.
    """
    pairs = mask[:, 1:] & mask[:, :-1]
    if not bool(pairs.any()):
        return sequence.sum() * 0.0
    steps = torch.softmax(sequence / temperature, dim=-1)
    return jensen_shannon(steps[:, :-1][pairs], steps[:, 1:][pairs]).mean()


def batch_temporal_loss(sequence: Tensor, temperature: float = 1.0) -> Tensor:
    """The published form: steps are averaged over the batch before they are compared.

    ``(B, T, D) -> ()``, padding included; near zero, because averages of many samples hardly differ.
    """
    steps = torch.softmax(sequence / temperature, dim=-1).mean(0)
    if len(steps) < MIN_ROWS:
        return sequence.sum() * 0.0
    return jensen_shannon(steps[:-1], steps[1:]).mean()


def jensen_shannon(left: Tensor, right: Tensor) -> Tensor:
    """Divergence of two distributions over the last dimension, natural logarithm: ``(N, D) -> (N,)``."""
    middle = ((left + right) / 2).clamp(min=EPSILON).log()
    apart = [(p * (p.clamp(min=EPSILON).log() - middle)).sum(-1) for p in (left, right)]
    return (apart[0] + apart[1]) / 2


def variation_loss(sequence: Tensor, mask: Tensor) -> Tensor:
    """Total variation in time, ``(B, T, D), (B, T) -> ()``.

    The mean absolute first difference between neighbouring valid steps.
    """
    pairs = mask[:, 1:] & mask[:, :-1]
    if not bool(pairs.any()):
        return sequence.sum() * 0.0
    return (sequence[:, 1:] - sequence[:, :-1])[pairs].abs().mean()


def temporal_invariance(codes: Codes, present: Tensor, temperature: float) -> Tensor:
    """:func:`temporal_loss` of private and shared codes together, averaged over voice and face."""
    losses = []
    for m in (1, 2):
        valid = codes.masks[m] & present[:, m : m + 1]
        both = torch.cat([codes.private[m], codes.shared[m]], -1)
        losses.append(temporal_loss(both, valid, temperature))
    return torch.stack(losses).mean()


def regularisers(
    network: Disentangling, codes: Codes, present: Tensor, weights: LossWeights
) -> dict[str, Tensor]:
    """All losses but the task's, weighted, by name."""
    return {
        "consistency": weights.consistency * consistency_loss(codes, present),
        "domain": weights.domain * domain_loss(network, codes, present, weights.reversal),
        "reconstruction": weights.reconstruction * reconstruction_loss(network, codes, present),
        "temporal": weights.temporal * temporal_invariance(codes, present, weights.temperature),
    }


def _there(codes: Codes, present: Tensor) -> Tensor:
    """``(B, 3)``: the modality is present and has at least one valid step."""
    return present & torch.stack([mask.any(1) for mask in codes.masks], 1)

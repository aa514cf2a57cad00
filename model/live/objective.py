"""What the live model is asked: disturbed windows, subsets of their modalities, truths, losses."""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from model.live.plan import LivePlan
from model.networks.emotions import EMOTIONS, surprise
from model.networks.inputs import Batch
from model.networks.losses import regularisers
from model.networks.rtil import RTIL, SHAPE_WIDTH, Codes


def disturb(batch: Batch, plan: LivePlan) -> Batch:
    """Hide one of the voice's streams, blur both, drop tokens and pictures, as torch's chance has it."""
    size = len(batch)
    hide = torch.rand(size, 1)
    voice_mask = batch.voice_mask & (hide > plan.drop_stream)
    states_mask = batch.states_mask & (hide < 1 - plan.drop_stream)
    empty = ~(voice_mask.any(1) | states_mask.any(1)).unsqueeze(1)  # never hide all there is
    voice_mask, states_mask = (
        torch.where(empty, before, after)
        for before, after in ((batch.voice_mask, voice_mask), (batch.states_mask, states_mask))
    )
    kept = torch.rand(batch.text_mask.shape) > plan.drop_token
    kept[:, 0] = True
    face = batch.face.clone()
    face[torch.rand(size) < plan.drop_seen, :, SHAPE_WIDTH:] = torch.nan
    return replace(
        batch,
        text_mask=batch.text_mask & kept,
        voice=_blurred(batch.voice, voice_mask, plan.voice_noise),
        voice_mask=voice_mask,
        states=_blurred(batch.states, states_mask, plan.voice_noise),
        states_mask=states_mask,
        face=face,
    )


def _blurred(values: Tensor, mask: Tensor, noise: float) -> Tensor:
    """Noise on every step, and a shift of the whole window as of statistics that are off."""
    shift = noise * torch.randn(len(values), 1, values.shape[2])
    blurred = values + noise * torch.randn_like(values) + shift
    return blurred * mask.unsqueeze(-1)


def random_subset(present: Tensor) -> Tensor:
    """A random part ``(B, 3)`` of what is present, never nothing where there is something."""
    chosen = present & (torch.rand(present.shape) < 0.5)
    none = ~chosen.any(1, keepdim=True)
    return torch.where(none, present, chosen)


def truth_of(labels: Tensor, subsets: Tensor, plan: LivePlan) -> Tensor:
    """What a subset ``(B, 3)`` of modalities with ``labels (B, 3)`` is to be scored, ``(B,)``: their
    mean, each as much as it is relied on and as far as it is from rest."""
    weight = subsets * torch.tensor(plan.reliance) * (plan.at_rest + labels.abs())
    return (labels * weight).sum(1) / weight.sum(1).clamp(min=1e-6)


def losses(
    network: RTIL,
    batch: Batch,
    labels: Tensor,
    targets: Tensor,
    plan: LivePlan,
    weights: Tensor | None = None,
) -> dict[str, Tensor]:
    """The task's loss on everything and on a random subset, each modality's own readings, and the
    regularisers. ``labels (B, 3)``, ``targets (B, 3, 8) bool``, ``weights (B, 3)`` of these."""
    codes = network.encode(batch)
    subsets = torch.cat([batch.present, random_subset(batch.present)])
    twice: Codes = codes.select(torch.arange(len(batch)).repeat(2))
    score = network.fuse(twice, subsets).score
    truth, there = truth_of(labels.repeat(2, 1), subsets, plan), subsets.any(1)
    own = F.smooth_l1_loss(network.score_alone(codes), labels, reduction="none")[batch.present]
    logits = torch.stack(codes.readings, 1)[..., : len(EMOTIONS)]
    missed = surprise(logits[batch.present], targets[batch.present])
    if weights is not None:
        missed = missed * weights[batch.present]
    return {
        "task": F.smooth_l1_loss(score[there], truth[there]),
        "alone": plan.weights.alone * own.mean(),
        "emotions": plan.emotions * missed.mean(),
        **regularisers(network, codes, batch.present, plan.weights),
    }

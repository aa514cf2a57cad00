"""Distillation for missing data: a scheme of training, not a model (from MITR-DNet, arXiv 2501.05474).

One network sees each sample twice: complete, as the teacher, and with steps lost, as the student.
Any :class:`model.networks.views.SequenceNetwork` can be wrapped. At test time only ``network`` is used.

Total: ``student + teacher + consistency + reconstruction + transfer`` where, with bars for the teacher
and tildes for the student, z a modality's pooled vector and F the fused one,

- student, teacher: the task's loss of either view (published: L1);
- consistency: SimSiam per modality, ``-1/2 [cos(p~, sg(zp_bar)) + cos(p_bar, sg(zp~))]``, so that the
  total can be negative;
- reconstruction: smooth L1 between the rebuilt and the true columns at lost steps only;
- transfer: ``.3 (sum mean|z~ - F_bar| + sum MSE(z~, z_bar) + sum MSE(z~, F~))``.

A modality that a sample does not have even in its complete view takes no part in consistency and
transfer. In ``faithful`` nothing of the teacher in the transfer is detached, so that it is pulled
towards the student; in ``intended`` it is. The published validation weighs the transfer with .1
instead of .3.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import msgspec
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.networks.views import Representations, SequenceBatch, SequenceNetwork, Tensors, three

Task = Callable[[Tensor, Tensor], Tensor]
VARIANTS: Final = ("faithful", "intended")
EPSILON: Final = 1e-6


class DistillationWeights(msgspec.Struct, frozen=True):
    """How much each loss counts; zero switches it off."""

    detach_teacher: bool
    teacher: float = 1.0
    consistency: float = 1.0
    reconstruction: float = 1.0
    transfer: float = 0.3


def distillation_weights(variant: str) -> DistillationWeights:
    """The weights of a variant by name. Raises :class:`ValueError` for unknown names."""
    if variant not in VARIANTS:
        raise ValueError(f"no distillation as '{variant}'; there are {VARIANTS}")
    return DistillationWeights(detach_teacher=variant == "intended")


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """The same samples as the teacher and as the student sees them."""

    teacher: Representations
    student: Representations


class Consistency(nn.Module):
    """SimSiam (Chen and He 2021) between two views of one modality."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.projector = nn.Sequential(nn.Linear(width, width), nn.BatchNorm1d(width, affine=False))
        self.predictor = nn.Sequential(
            nn.Linear(width, width // 2, bias=False),
            nn.BatchNorm1d(width // 2),
            nn.ReLU(),
            nn.Linear(width // 2, width),
        )

    def forward(self, complete: Tensor, masked: Tensor) -> Tensor:
        """``(B, width)`` twice to a number in -1..1; in training B is at least 2."""
        target_complete, target_masked = self.projector(complete), self.projector(masked)
        return -0.5 * (
            similarity(self.predictor(target_masked), target_complete)
            + similarity(self.predictor(target_complete), target_masked)
        )


def similarity(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean cosine of ``(B, D)`` pairs; the target gets no gradient."""
    return F.cosine_similarity(predicted, target.detach(), dim=-1).mean()


def lost_reconstruction(rebuilt: Tensor, target: Tensor, lost: Tensor) -> Tensor:
    """Smooth L1 over the lost steps, per number: ``(B, T, D)`` twice and ``(B, T) bool``."""
    apart = F.smooth_l1_loss(rebuilt, target.detach(), reduction="none").sum(-1)
    count = lost.sum() * target.shape[-1]
    return apart.masked_fill(~lost, 0.0).sum() / (count + EPSILON)


def transfer_loss(pair: Pair, there: Tensor, detach_teacher: bool) -> Tensor:
    """What the student's modalities are pulled to: the teacher's fusion, the teacher's, its own.

    ``there (B, 3) bool`` says which modalities a sample has at all; others take no part.
    """
    teacher, student = pair.teacher, pair.student
    fused = teacher.fused.detach() if detach_teacher else teacher.fused
    total = student.fused.sum() * 0.0
    for m, rows in enumerate(there.unbind(1)):
        if not bool(rows.any()):
            continue
        own, guide = student.pooled[m][rows], teacher.pooled[m][rows]
        guide = guide.detach() if detach_teacher else guide
        total = total + (own - fused[rows]).abs().mean()
        total = total + F.mse_loss(own, guide) + F.mse_loss(own, student.fused[rows])
    return total


class Distillation(nn.Module):
    """A network with what the scheme adds: heads for consistency and for reconstruction.

    Attributes:
        network: the wrapped network, shared by teacher and student.
    """

    def __init__(self, network: SequenceNetwork, weights: DistillationWeights) -> None:
        super().__init__()
        self.network = network
        self.weights = weights
        width = network.representation
        self.consistency = nn.ModuleList(Consistency(width) for _ in network.widths)
        self.rebuild = nn.ModuleList(nn.Linear(width, columns) for columns in network.widths)

    def forward(
        self, complete: SequenceBatch, known: Tensors, masked: SequenceBatch | None = None
    ) -> Pair:
        """Both views; the student is shown only the steps in ``known``.

        ``masked`` is the batch that the student gets, by default the same. It must be given when a
        contextual encoder made the text: the states of the words that are left would tell of those
        that were lost, so that the text has to be encoded again with its words replaced.
        """
        shown = complete if masked is None else masked
        return Pair(self.network(complete), self.network(shown, known))

    def losses(
        self,
        pair: Pair,
        complete: SequenceBatch,
        lost: Tensors,
        target: Tensor,
        task: Task = F.l1_loss,
    ) -> dict[str, Tensor]:
        """All losses, weighted, by name; their sum is what is minimised.

        ``lost`` are the valid steps ``(B, T)`` that the student has to rebuild (see
        :func:`lost_steps`), ``target`` what ``task(prediction, target)`` takes. Losses of the
        network itself can be taken from either view of the pair besides.
        """
        weights = self.weights
        there = torch.stack([mask.any(1) for mask in complete.valid], 1)
        parts = {"student": task(pair.student.prediction, target)}
        if weights.teacher:
            parts["teacher"] = weights.teacher * task(pair.teacher.prediction, target)
        if weights.consistency:
            parts["consistency"] = weights.consistency * self._agree(pair, there)
        if weights.reconstruction:
            rebuilt = self._rebuild(pair.student, complete, lost)
            parts["reconstruction"] = weights.reconstruction * rebuilt
        if weights.transfer:
            pulled = transfer_loss(pair, there, weights.detach_teacher)
            parts["transfer"] = weights.transfer * pulled
        return parts

    def _agree(self, pair: Pair, there: Tensor) -> Tensor:
        total = pair.student.fused.sum() * 0.0
        least = 2 if self.training else 1  # batch statistics need two samples
        for m, (head, rows) in enumerate(zip(self.consistency, there.unbind(1), strict=True)):
            if int(rows.sum()) >= least:
                total = total + head(pair.teacher.pooled[m][rows], pair.student.pooled[m][rows])
        return total

    def _rebuild(self, student: Representations, complete: SequenceBatch, lost: Tensors) -> Tensor:
        found = [
            lost_reconstruction(decoder(steps), values, mask)
            for decoder, steps, values, mask in zip(
                self.rebuild, student.steps, complete.values, lost, strict=True
            )
        ]
        return torch.stack(found).sum()


def lost_steps(batch: SequenceBatch, known: Tensors) -> Tensors:
    """The valid steps that are not known."""
    return three(valid & ~mask for valid, mask in zip(batch.valid, known, strict=True))

"""Which samples a training sees when, and how fast it learns: by seed, epoch and update alone."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from model.research.inputs import blocks
from model.research.presets import TrainingPlan


def batches(
    plan: TrainingPlan, seed: int, epoch: int, size: int, lengths: Callable[[], Tensor]
) -> list[Tensor]:
    """Rows of each batch of an epoch over ``size`` samples.

    One sample alone has no batch statistics and waits for its turn. ``lengths () -> (size,)``, steps
    of each text, is asked for only where the plan has batches of texts of like lengths.
    """
    chance = np.random.default_rng([seed, 1, epoch])
    order = torch.from_numpy(chance.permutation(size))
    found = blocks(order, plan.batch)
    if plan.pool > 1:
        steps = lengths()
        pools = blocks(order, plan.batch * plan.pool)
        sorted_ = [pool[steps[pool].argsort(stable=True)] for pool in pools]
        found = [rows for pool in sorted_ for rows in blocks(pool, plan.batch)]
        found = [found[place] for place in chance.permutation(len(found))]
    return [rows for rows in found if len(rows) > 1]


def rate(plan: TrainingPlan, step: int, steps: int) -> float:
    """Learning rate of an update: over ``steps``, a twentieth to warm up, then half a cosine."""
    if plan.schedule == "constant":
        return plan.learning_rate
    warm = max(1, steps // 20)
    rest = max(0.0, (step - warm) / max(1, steps - warm))
    return plan.learning_rate * min((step + 1) / warm, 0.5 + 0.5 * math.cos(math.pi * rest))

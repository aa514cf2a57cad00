"""Which epoch is kept, and when to stop waiting for a better one; validation alone decides."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from model.research.presets import TrainingPlan
from model.research.training_state import Epoch

CLEARLY: Final = 0.03  # of the constant's loss
ACCURACIES: Final = ("acc2_has0", "acc2", "acc")


@dataclass(frozen=True, slots=True)
class Selection:
    """The plan's rules. ``idle`` is the loss on validation of the constant that is best there."""

    plan: TrainingPlan
    idle: float

    @property
    def first(self) -> int:
        """Epochs that cannot be selected; the last one always can."""
        return min(int(self.plan.first * self.plan.epochs), self.plan.epochs - 1)

    def over(self, history: Sequence[Epoch], best_epoch: int) -> bool:
        """Whether all epochs are over, or nothing got better for too long."""
        waited = len(history) - max(best_epoch, self.first)
        ended = len(history) >= self.plan.epochs
        return ended or (waited >= self.plan.patience and self._learned(history))

    def _learned(self, history: Sequence[Epoch]) -> bool:
        """Whether validation was ever clearly better than a constant would be."""
        if not self.plan.grace:
            return True
        losses = [entry["valid_loss"] for entry in history]
        return min(losses, default=math.inf) < (1.0 - CLEARLY) * self.idle

    def better(self, measured: Epoch, history: Sequence[Epoch], best_epoch: int) -> bool:
        """Whether an epoch that follows ``history`` is to be kept; ``best_epoch`` counts from 1."""
        if len(history) < self.first:
            return False
        return not best_epoch or self._worth(measured) > self._worth(history[best_epoch - 1])

    def _worth(self, measured: Epoch) -> float:
        if self.plan.select == "loss":
            return -measured["valid_loss"]
        return next(measured[f"valid_{n}"] for n in ACCURACIES if f"valid_{n}" in measured)

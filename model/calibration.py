"""Intervals of stated coverage, one width per subset of modalities (split conformal prediction)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
import numpy as np

from features.messages import MODALITIES
from model.networks.rtil import LIMIT

VOICED: Final = MODALITIES.index("voice")


def subset_name(present: Sequence[bool]) -> str:
    """``text+voice`` and the like, in the order of ``MODALITIES``; empty for nothing."""
    return "+".join(name for name, there in zip(MODALITIES, present, strict=True) if there)


class Calibration(msgspec.Struct, frozen=True):
    """Half width of the interval by subset, from residuals on data that was not trained on.

    That of the empty subset is how far labels of voices lie from 0: what is known before one is known.
    """

    coverage: float = 0.8
    half_widths: dict[str, float] = {}

    def interval(
        self, score: float, present: Sequence[bool], known: float = 1.0
    ) -> tuple[float, float]:
        """Low and high around a score, within -3..3.

        A subset that was never calibrated gets the whole scale: nothing narrower is known. ``known`` is
        how far the voice counts, 0 to 1, as in :func:`model.networks.rtil.held_back`.
        """
        half = self.half(present, known)
        return max(-LIMIT, score - half), min(LIMIT, score + half)

    def half(self, present: Sequence[bool], known: float = 1.0) -> float:
        """Half of the interval's width.

        A voice held back to a share leaves that share of its own error and, independent of it, the rest of
        what is not known without it: the two are added as deviations are, and never below the subset's own.
        """
        own = self.half_widths.get(subset_name(present), 2 * LIMIT)
        if not present[VOICED]:
            return own
        rest = [there and m != VOICED for m, there in enumerate(present)]
        without = self.half_widths.get(subset_name(rest), own)
        return max(own, math.hypot(known * own, (1 - known) * without))


def half_width(residuals: np.ndarray, coverage: float) -> float:
    """The conformal quantile of ``|residuals| (N,)``: rank ``ceil((N + 1) * coverage)``.

    The whole scale where N is too small for the coverage asked for.
    """
    rank = math.ceil((len(residuals) + 1) * coverage)
    if rank > len(residuals):
        return 2 * LIMIT
    return float(np.sort(np.abs(residuals))[rank - 1])


def calibrate(residuals: Mapping[str, np.ndarray], coverage: float = 0.8) -> Calibration:
    """The table from residuals (truth minus score) by :func:`subset_name`."""
    widths = {name: half_width(values, coverage) for name, values in residuals.items()}
    return Calibration(coverage, widths)

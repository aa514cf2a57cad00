"""The field's metrics, with the conventions stated that papers leave out.

Scores and labels are ``(n,)``. Accuracies, F1 and shares are in percent. F1 is always the mean of the
classes' F1 weighted by how often each class is the *label* (older code swapped the arguments and
weighted by predictions, which flatters collapsed models).

On -3..3 (CMU-MOSI, CMU-MOSEI; as in MulT, Tsai et al. 2019, and MMSA):

- ``mae``, ``r`` (Pearson): of the scores as they are, not clipped.
- ``acc2_has0``, ``f1_has0``: negative against non-negative (``>= 0``), all samples.
- ``acc2_non0``, ``f1_non0``: negative against positive (``> 0``), samples whose label is zero left out.
- ``acc3``, ``acc5``, ``acc7``: score and label clipped to -1..1, -2..2, -3..3, then rounded, halves
  to the even number; the share that is equal.

On -1..1 (CH-SIMS; Yu et al. 2020): everything, MAE too, of scores clipped to -1..1; classes are the
intervals between the edges of :data:`SIMS_EDGES`, closed above, so that zero is *negative* in ``acc2``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Final

import numpy as np

from features.errors import TonalityError

RESAMPLED: Final = 200
ERROR: Final = "_se"
SIMS_EDGES: Final = {2: (0.0,), 3: (-0.1, 0.1), 5: (-0.7, -0.1, 0.1, 0.7)}


def regression(predicted: np.ndarray, label: np.ndarray) -> dict[str, float]:
    """MAE, r, Acc-2 and F1 in both forms, Acc-3, Acc-5 and Acc-7 of scores on -3..3."""
    predicted, label = _pair(predicted, label)
    signed = label != 0
    return {
        "mae": float(np.abs(predicted - label).mean()),
        "r": pearson(predicted, label),
        "acc2_has0": accuracy(predicted >= 0, label >= 0),
        "f1_has0": weighted_f1(predicted >= 0, label >= 0),
        "acc2_non0": accuracy(predicted[signed] > 0, label[signed] > 0),
        "f1_non0": weighted_f1(predicted[signed] > 0, label[signed] > 0),
        **{f"acc{2 * top + 1}": accuracy(*rounded(predicted, label, top)) for top in (1, 2, 3)},
    }


def sims(predicted: np.ndarray, label: np.ndarray) -> dict[str, float]:
    """MAE, r, Acc-2, F1, Acc-3 and Acc-5 of scores on -1..1, as CH-SIMS is judged."""
    predicted, label = (np.clip(own, -1.0, 1.0) for own in _pair(predicted, label))
    return {
        "mae": float(np.abs(predicted - label).mean()),
        "r": pearson(predicted, label),
        "acc2": accuracy(in_classes(predicted, 2), in_classes(label, 2)),
        "f1": weighted_f1(in_classes(predicted, 2), in_classes(label, 2)),
        "acc3": accuracy(in_classes(predicted, 3), in_classes(label, 3)),
        "acc5": accuracy(in_classes(predicted, 5), in_classes(label, 5)),
    }


def classification(predicted: np.ndarray, label: np.ndarray) -> dict[str, float]:
    """Accuracy and weighted F1 of classes."""
    predicted, label = _pair(predicted, label)
    return {"acc": accuracy(predicted, label), "f1": weighted_f1(predicted, label)}


def suited(
    predicted: np.ndarray, label: np.ndarray, low: float, high: float, classes: int = 0
) -> dict[str, float]:
    """The metrics that suit labels on ``low..high`` or in ``classes``.

    -1..1 is judged as CH-SIMS; any other scale is moved linearly to -3..3 and judged there, except
    ``mae``, which stays in the units of the labels.
    """
    if classes:
        return classification(predicted, label)
    if (low, high) == (-1.0, 1.0):
        return sims(predicted, label)
    if (low, high) == (-3.0, 3.0):
        return regression(predicted, label)
    slope = 6.0 / (high - low)
    moved = (slope * (np.asarray(own, np.float64) - low) - 3.0 for own in (predicted, label))
    found = regression(*(np.round(own, 6) for own in moved))
    return {**found, "mae": found["mae"] / slope}


def accuracy(predicted: np.ndarray, label: np.ndarray) -> float:
    """Share of equal entries; 0 where there are none."""
    return percent(predicted == label)


def weighted_f1(predicted: np.ndarray, label: np.ndarray) -> float:
    """Mean of the classes' F1, weighted by how often each is the label; 0 where there is none."""
    if len(label) == 0:
        return 0.0
    try:
        from sklearn.metrics import f1_score
    except ImportError as error:
        raise TonalityError(
            "metrics need scikit-learn; install it with: pip install 'tonality[train]'"
        ) from error
    return 100.0 * float(f1_score(label, predicted, average="weighted", zero_division=0.0))


def pearson(predicted: np.ndarray, label: np.ndarray) -> float:
    """Correlation of ``(n,)`` and ``(n,)``; 0 where one of them does not vary."""
    if len(predicted) < 2 or np.ptp(predicted) == 0 or np.ptp(label) == 0:
        return 0.0
    found = float(np.corrcoef(predicted, label)[0, 1])
    return found if np.isfinite(found) else 0.0


def rounded(predicted: np.ndarray, label: np.ndarray, top: int) -> tuple[np.ndarray, np.ndarray]:
    """Both clipped to ``-top..top`` and rounded, halves to the even number."""
    return np.round(np.clip(predicted, -top, top)), np.round(np.clip(label, -top, top))


def in_classes(score: np.ndarray, count: int) -> np.ndarray:
    """The class 0..``count - 1`` of each score on -1..1, single precision as labels are kept."""
    edges = np.asarray(SIMS_EDGES[count], np.float32)
    return np.digitize(np.asarray(score, np.float32), edges, right=True)


def three_classes(score: np.ndarray, threshold: float) -> np.ndarray:
    """-1, 0 or +1 per score: 0 within ``threshold`` of zero."""
    return np.where(np.abs(score) > threshold, np.sign(score), 0.0)


def percent(hits: np.ndarray) -> float:
    """Share of true values, 0 to 100."""
    return 100.0 * float(np.mean(hits)) if np.size(hits) else 0.0


def auilc(rates: Sequence[float], scores: Sequence[float]) -> float:
    """Area under the line of a metric over the missing rate, by trapezoids (Yuan et al. 2021).

    Not divided by the range: over 0..1 it is like a mean, over 0...5 like half of one.
    """
    if len(rates) != len(scores) or len(rates) < 2:
        raise ValueError(f"{len(scores)} scores at {len(rates)} rates; an area needs two or more")
    return float(np.trapezoid(np.asarray(scores, np.float64), np.asarray(rates, np.float64)))


def standard_errors(
    measure: Callable[[np.ndarray], Mapping[str, float]], groups: np.ndarray
) -> dict[str, float]:
    """How far each measure goes by the chance of who was asked, as ``NAME_se``: its deviation over samples
    drawn again (bootstrap, Efron 1979; 200 times), times sqrt(G / (G - 1)) for G groups, as few vary too little.

    ``measure`` takes indices of samples, of which some are there twice; those of one of ``groups (n,)``,
    as one person's clips, are drawn together. Draws in which a measure is not a number do not count for it.
    """
    chance = np.random.default_rng(0)
    members = [np.flatnonzero(groups == own) for own in np.unique(groups)]
    again = []
    for _ in range(RESAMPLED):
        drawn = chance.integers(len(members), size=len(members))
        again.append(measure(np.concatenate([members[i] for i in drawn])))
    few = np.sqrt(len(members) / max(1, len(members) - 1))
    return {f"{k}{ERROR}": float(few * np.nanstd([own[k] for own in again])) for k in again[0]}


@dataclass(frozen=True, slots=True)
class Spread:
    """A metric over ``n`` seeds: mean, and the standard deviation of a sample (``n - 1``)."""

    mean: float
    deviation: float
    n: int

    def __str__(self) -> str:
        return f"{self.mean:.3g} ± {self.deviation:.2g} (n={self.n})"


def over_seeds(runs: Sequence[Mapping[str, float]]) -> dict[str, Spread]:
    """Metrics of several runs to mean and deviation; the deviation of a single run is 0."""
    if not runs:
        raise ValueError("no runs to average")
    found = {}
    for key in runs[0]:
        own = [run[key] for run in runs]
        found[key] = Spread(fmean(own), stdev(own) if len(own) > 1 else 0.0, len(own))
    return found


def _pair(predicted: np.ndarray, label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both ``(n,)`` in double precision and finite, or ValueError."""
    one, other = np.asarray(predicted, np.float64), np.asarray(label, np.float64)
    if one.shape != other.shape or one.ndim != 1 or not len(one):
        raise ValueError(f"scores {one.shape} and labels {other.shape}; expected (n,) of both")
    if not (np.isfinite(one).all() and np.isfinite(other).all()):
        raise ValueError("scores or labels that are no numbers")
    return one, other

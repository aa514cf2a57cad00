"""The field's measures of sentiment scores on the scale of -3 to +3."""

from __future__ import annotations

import numpy as np


def regression(predicted: np.ndarray, label: np.ndarray) -> dict[str, float]:
    """MAE, Pearson's r, Acc-7 and both kinds of Acc-2 of ``(n,)`` scores, accuracies in percent.

    ``acc2_has0``: negative against non-negative over all. ``acc2_non0``: negative against positive
    where the label is not zero. Both are in use since MulT (Tsai et al. 2019) and are not the same.
    """
    spoken_up = label != 0
    return {
        "mae": float(np.abs(predicted - label).mean()),
        "r": pearson(predicted, label),
        "acc2_has0": percent((predicted >= 0) == (label >= 0)),
        "acc2_non0": percent((predicted[spoken_up] > 0) == (label[spoken_up] > 0)),
        "acc7": percent(np.round(np.clip(predicted, -3, 3)) == np.round(np.clip(label, -3, 3))),
    }


def pearson(predicted: np.ndarray, label: np.ndarray) -> float:
    """Correlation of ``(n,)`` and ``(n,)``; 0 where one of them does not vary."""
    if len(predicted) < 2 or predicted.std() == 0 or label.std() == 0:
        return 0.0
    return float(np.corrcoef(predicted, label)[0, 1])


def weighted_f1(predicted: np.ndarray, label: np.ndarray) -> float:
    """Mean of the classes' F1, weighted by how often each is the label, in percent."""
    total = 0.0
    for kind in np.unique(label):
        hit = float(((predicted == kind) & (label == kind)).sum())
        claimed, there = float((predicted == kind).sum()), float((label == kind).sum())
        total += there * (2 * hit / (claimed + there) if claimed + there else 0.0)
    return 100.0 * total / len(label)


def three_classes(score: np.ndarray, threshold: float) -> np.ndarray:
    """-1, 0 or +1 per score: 0 within ``threshold`` of zero."""
    return np.where(np.abs(score) > threshold, np.sign(score), 0.0)


def percent(hits: np.ndarray) -> float:
    """Share of true values, 0 to 100."""
    return 100.0 * float(hits.mean()) if len(hits) else 0.0

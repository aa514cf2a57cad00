"""What any network must beat: a constant, and ridge regression on the mean of the known steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from model.data.splits import TRAIN, VALID, SequenceData
from model.metrics import suited
from model.research.inputs import Inputs, Seen

PENALTIES: Final = (1.0, 10.0, 100.0, 1e3, 1e4)


@dataclass(frozen=True, slots=True, eq=False)
class Baseline:
    """``predict`` takes samples as networks see them; ``valid`` are its metrics on validation."""

    predict: Callable[[Seen], np.ndarray]
    valid: dict[str, float]
    parameters: int


def columns(seen: Seen) -> np.ndarray:
    """``(N, D)``: of each modality the mean of the known steps, zero where there is none.

    Sequences of utterances (an odd number of few steps) add the step in the middle: what is judged.
    """
    found = []
    for values, known in zip(seen.batch.values, seen.known, strict=True):
        weights = known.unsqueeze(-1).float()
        mean = (values * weights).sum(1) / weights.sum(1).clamp(min=1.0)
        found.append(mean.numpy())
        steps = values.shape[1]
        if steps % 2 and 1 < steps < 10:
            middle = values[:, steps // 2] * weights[:, steps // 2]
            found.append(middle.numpy())
    return np.concatenate(found, 1).astype(np.float64)


def constant(inputs: Inputs) -> Baseline:
    """The median of the training labels, or the most frequent class."""
    labels = inputs.data.splits[TRAIN].labels
    classes = inputs.data.classes
    said = float(np.bincount(labels.astype(int)).argmax()) if classes else float(np.median(labels))
    found = _judged(inputs, lambda seen: np.full(len(seen.batch), said), 1)
    return replace(found, valid=found.valid | least(inputs.data))


def least(data: SequenceData) -> dict[str, float]:
    """What the constant that is best on validation gives there: below it nothing was learned.

    The one bar for every network, ours and other packages': a constant chosen on the training split
    can be far easier to beat (on YouTube 25 % are right instead of 44).
    """
    labels = data.splits[VALID].labels
    if data.classes:
        return {"constant_acc": 100.0 * float(np.bincount(labels.astype(int)).max() / len(labels))}
    return {"constant_mae": float(np.abs(labels - np.median(labels)).mean())}


def ridge(inputs: Inputs) -> Baseline:
    """Linear regression (or classification) with the penalty that validates best; fitted on train."""
    return max((_ridge(inputs, penalty) for penalty in PENALTIES), key=_worth)


def _worth(found: Baseline) -> float:
    return found.valid["valid_acc"] if "valid_mae" not in found.valid else -found.valid["valid_mae"]


def _ridge(inputs: Inputs, penalty: float) -> Baseline:
    from sklearn.linear_model import Ridge, RidgeClassifier

    data = inputs.data
    model = (RidgeClassifier if data.classes else Ridge)(alpha=penalty)
    seen = columns(inputs.complete(TRAIN))
    model.fit(seen, data.splits[TRAIN].labels)
    return _judged(inputs, lambda own: model.predict(columns(own)), seen.shape[1] + 1)


def _judged(inputs: Inputs, predict: Callable[[Seen], np.ndarray], parameters: int) -> Baseline:
    data = inputs.data
    found = suited(
        predict(inputs.complete(VALID)), data.splits[VALID].labels, data.low, data.high,
        data.classes,
    )  # fmt: skip
    return Baseline(predict, {f"valid_{name}": value for name, value in found.items()}, parameters)


BASELINES: Final[dict[str, Callable[[Inputs], Baseline]]] = {"constant": constant, "ridge": ridge}

"""Metrics against examples worked out by hand and against other people's formulas.

Run time: about 2 s.
"""

from __future__ import annotations

import builtins
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import integrate, stats
from sklearn.metrics import classification_report

from features.errors import TonalityError
from model.metrics import (
    auilc,
    classification,
    in_classes,
    over_seeds,
    pearson,
    regression,
    sims,
    suited,
    weighted_f1,
)

#                  wrong side, zero label, exact half, beyond the scale, right
LABEL = np.array([-1.0, 0.0, 0.0, 2.5, 3.0, -0.4, 1.0], np.float32)
SCORE = np.array([0.2, -0.1, 0.3, 1.5, 4.2, -0.6, 0.0], np.float32)


def test_every_metric_of_an_example_by_hand() -> None:
    found = regression(SCORE, LABEL)
    assert found["mae"] == pytest.approx((1.2 + 0.1 + 0.3 + 1.0 + 1.2 + 0.2 + 1.0) / 7)
    # negative / non-negative: labels - + + + + - +, scores + - + + + - +
    assert found["acc2_has0"] == pytest.approx(100 * 5 / 7)
    # negative / positive without the two zeros: labels - + + - +, scores + + + - -
    assert found["acc2_non0"] == pytest.approx(100 * 3 / 5)
    # to whole numbers, halves to even: labels -1 0 0 2 3 0 1, scores 0 0 0 2 3 -1 0
    assert found["acc7"] == pytest.approx(100 * 4 / 7)
    # clipped to -2..2: labels -1 0 0 2 2 0 1, scores 0 0 0 2 2 -1 0
    assert found["acc5"] == pytest.approx(100 * 4 / 7)
    # clipped to -1..1: labels -1 0 0 1 1 0 1, scores 0 0 0 1 1 -1 0
    assert found["acc3"] == pytest.approx(100 * 4 / 7)
    # has0: negative 1 of 2 found among 2 said; positive 4 of 5 found among 5 said
    assert found["f1_has0"] == pytest.approx(100 * (2 * 0.5 + 5 * 0.8) / 7)
    # non0: negative 1 of 2 among 2 said; positive 2 of 3 among 3 said
    assert found["f1_non0"] == pytest.approx(100 * (2 * 0.5 + 3 * 2 / 3) / 5)


def test_scores_are_not_clipped_for_error_and_correlation() -> None:
    label = np.array([-3.0, 0.0, 3.0])
    found = regression(np.array([-6.0, 0.0, 6.0]), label)
    assert found["mae"] == pytest.approx(2.0)
    assert found["r"] == pytest.approx(1.0)
    assert found["acc7"] == 100.0


def test_halves_go_to_the_even_number() -> None:
    label = np.array([0.0, 2.0, 2.0, -2.0, 0.0])
    found = regression(np.array([0.5, 1.5, 2.5, -2.5, -0.5]), label)
    assert found["acc7"] == 100.0


def test_the_two_forms_of_acc2_differ_where_zero_matters() -> None:
    label = np.array([0.0, 0.0, 0.0, 1.0])
    found = regression(np.array([-1.0, -1.0, -1.0, 1.0]), label)
    assert found["acc2_has0"] == 25.0
    assert found["acc2_non0"] == 100.0
    # a score of exactly zero is non-negative, and is not positive
    zero = regression(np.array([0.0, 0.0]), np.array([1.0, -1.0]))
    assert (zero["acc2_has0"], zero["acc2_non0"]) == (50.0, 50.0)
    nothing = regression(np.array([0.5]), np.array([0.0]))
    assert (nothing["acc2_non0"], nothing["f1_non0"]) == (0.0, 0.0)


def test_f1_is_weighted_by_labels_not_by_predictions() -> None:
    """The published mistake: with the arguments swapped a collapsed model looks better."""
    label = np.array([0, 0, 0, 1, 1])
    collapsed = np.zeros(5, int)
    assert weighted_f1(collapsed, label) == pytest.approx(100 * 0.6 * 0.75)
    assert weighted_f1(label, collapsed) == pytest.approx(100 * 0.75)


@given(
    arrays(np.int64, 40, elements=st.integers(-2, 2)),
    arrays(np.int64, 40, elements=st.integers(-2, 2)),
)
def test_weighted_f1_by_its_definition(label: np.ndarray, predicted: np.ndarray) -> None:
    total = 0.0
    for kind in set(label.tolist()):
        hit = int(((label == kind) & (predicted == kind)).sum())
        either = int((label == kind).sum()) + int((predicted == kind).sum())
        total += (label == kind).mean() * 2 * hit / either
    assert weighted_f1(predicted, label) == pytest.approx(100 * total)
    report = classification_report(label, predicted, output_dict=True, zero_division=0.0)
    assert classification(predicted, label)["f1"] == pytest.approx(
        100 * report["weighted avg"]["f1-score"]
    )


@given(arrays(np.float64, 30, elements=st.integers(-300, 300).map(lambda n: n / 100)))
def test_correlation_is_that_of_scipy(label: np.ndarray) -> None:
    score = np.random.default_rng(0).normal(size=30) + 0.3 * label
    if np.ptp(label) == 0:
        assert pearson(score, label) == 0.0
    else:
        assert pearson(score, label) == pytest.approx(stats.pearsonr(score, label).statistic)


def test_constant_scores_have_no_correlation_and_say_zero() -> None:
    assert regression(np.full(5, 0.1, np.float32), np.arange(5.0) - 2)["r"] == 0.0


def test_sims_by_hand() -> None:
    label = np.array([-1.0, -0.6, 0.0, 0.2, 0.8, 1.0])
    score = np.array([-1.7, -0.1, 0.05, 0.0, 0.7, 0.71])
    found = sims(score, label)
    assert found["mae"] == pytest.approx((0 + 0.5 + 0.05 + 0.2 + 0.1 + 0.29) / 6)
    # zero is negative: labels - - - + + +, scores - - + - + +
    assert found["acc2"] == pytest.approx(100 * 4 / 6)
    # labels 0 0 1 2 2 2, scores 0 0 1 1 2 2 (-.1 belongs to the lowest)
    assert found["acc3"] == pytest.approx(100 * 5 / 6)
    # labels 0 1 2 3 4 4, scores 0 1 2 2 3 4 (.7 belongs to the fourth)
    assert found["acc5"] == pytest.approx(100 * 4 / 6)
    assert found["f1"] == pytest.approx(100 * 4 / 6)


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_sims_edges_are_closed_above_in_any_precision(kind: Any) -> None:
    score = np.array([-1, -0.7, -0.1, 0.0, 0.1, 0.7, 1], kind)
    assert in_classes(score, 5).tolist() == [0, 0, 1, 2, 2, 3, 4]
    assert in_classes(score, 3).tolist() == [0, 0, 0, 1, 1, 2, 2]
    assert in_classes(score, 2).tolist() == [0, 0, 0, 0, 1, 1, 1]


def test_auilc_is_the_area() -> None:
    rates = [0.0, 0.1, 0.2, 0.3]
    scores = [80.0, 70.0, 64.0, 60.0]
    assert auilc(rates, scores) == pytest.approx(0.1 * (40 + 70 + 64 + 30))
    assert auilc(rates, scores) == pytest.approx(float(integrate.trapezoid(scores, rates)))
    half = [step / 10 for step in range(6)]
    assert auilc(half, [78.6] * 6) == pytest.approx(39.3)  # CH-SIMS is integrated over 0..0.5
    for wrong in ([1.0], [1.0, 2.0]):
        with pytest.raises(ValueError, match="area"):
            auilc([0.0], wrong)


def test_other_scales_are_judged_in_their_own_units() -> None:
    label = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    score = np.array([2.0, 2.0, 3.1, 4.0, 3.0])
    found = suited(score, label, 1.0, 5.0)
    assert found["mae"] == pytest.approx((1 + 0 + 0.1 + 0 + 2) / 5)
    assert found["acc2_has0"] == 100.0
    assert found["acc2_non0"] == 75.0  # 3 of 1..5 is neutral, neither negative nor positive
    assert suited(SCORE, LABEL, -3.0, 3.0) == regression(SCORE, LABEL)
    assert suited(SCORE, LABEL, -1.0, 1.0) == sims(SCORE, LABEL)
    assert suited(np.array([0, 1, 1]), np.array([0, 1, 2]), 0, 2, classes=3)["acc"] == (
        pytest.approx(200 / 3)
    )


def test_deviation_over_seeds_is_that_of_a_sample() -> None:
    runs = [{"mae": 0.70, "r": 0.8}, {"mae": 0.74, "r": 0.8}, {"mae": 0.72, "r": 0.8}]
    found = over_seeds(runs)
    assert found["mae"].mean == pytest.approx(0.72)
    assert found["mae"].deviation == pytest.approx(np.std([0.70, 0.74, 0.72], ddof=1))
    assert (found["r"].deviation, found["r"].n) == (pytest.approx(0.0), 3)
    assert over_seeds(runs[:1])["mae"].deviation == 0.0
    with pytest.raises(ValueError, match="no runs"):
        over_seeds([])


def test_what_is_no_number_is_refused() -> None:
    for wrong in (np.array([np.nan]), np.array([np.inf]), np.zeros((1, 1)), np.zeros(2)):
        with pytest.raises(ValueError, match="scores"):
            regression(wrong, np.zeros(1))
    with pytest.raises(ValueError, match="scores"):
        sims(np.zeros(0), np.zeros(0))


def test_without_scikit_learn_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def refuse(name: str, *rest: Any, **more: Any) -> Any:
        if name.startswith("sklearn"):
            raise ImportError(name)
        return real(name, *rest, **more)

    for name in [name for name in sys.modules if name.startswith("sklearn")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(TonalityError, match="pip install"):
        weighted_f1(np.array([0, 1]), np.array([0, 1]))

"""Intervals judged on people who were left out. Run time: under a second."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.live.crossed import left_out


def test_nobody_left_out_is_judged_by_their_own_residuals() -> None:
    calm, wild = np.linspace(-1.0, 1.0, 21), 5.0 * np.ones(21)
    found = left_out({"voice": [calm, calm, wild], "text+voice": [calm, wild]}, 0.8)
    # both calm ones lie within the wild one's width; the wild one in nobody's
    assert found == {"voice": {"n": 63.0, "coverage": pytest.approx(42 / 63)}}
    assert left_out({"voice": [calm]}, 0.8) == {}, "there is nobody else"


@given(st.integers(0, 2**32 - 1), st.integers(5, 12))
def test_people_alike_are_covered_as_often_as_is_said(seed: int, people: int) -> None:
    chance = np.random.default_rng(seed)
    parts = [chance.normal(size=200) for _ in range(people)]
    found = left_out({"voice": parts}, 0.8)["voice"]["coverage"]
    assert found == pytest.approx(0.8, abs=0.06)

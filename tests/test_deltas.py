"""Tuned weights packed as changes: how exact, how small, and what does not fit."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from features.errors import CheckpointError
from model.text.deltas import MOST, STEP, packed, unpacked


@given(st.integers(0, 2**32 - 1), st.floats(1e-6, 1e2), st.integers(1, 9), st.integers(1, 9))
def test_no_number_moves_by_more_than_half_a_step(
    seed: int, change: float, rows: int, columns: int
) -> None:
    chance = torch.Generator().manual_seed(seed)
    base = {"w": torch.randn(rows, columns, generator=chance), "b": torch.zeros(rows)}
    moved = base["w"] + change * torch.randn(rows, columns, generator=chance)
    found = packed({"w": moved, "b": base["b"] + 1}, base)
    assert found["w"].dtype == torch.int8
    again = unpacked(found, base)
    half = (moved - base["w"]).abs().amax(1, keepdim=True) / MOST / 2
    rounding = 1e-6 * (1 + moved.abs() + base["w"].abs())
    assert bool(((again["w"] - moved).abs() <= half + rounding).all())
    assert torch.equal(again["b"], base["b"] + 1)


def test_what_was_not_tuned_stays_the_same_number() -> None:
    base = {"w": torch.randn(4, 3)}
    assert torch.equal(unpacked(packed(base, base), base)["w"], base["w"])


def test_plain_tensors_pass() -> None:
    plain = {"w": torch.randn(4, 3).half()}
    assert torch.equal(unpacked(plain, {})["w"], plain["w"].float())


@pytest.mark.parametrize("broken", ["no step", "other rows", "other name"])
def test_changes_of_another_encoder_are_refused(broken: str) -> None:
    base = {"w": torch.randn(4, 3)}
    found = packed({"w": base["w"] + 0.1}, base)
    if broken == "no step":
        del found["w" + STEP]
    own = {"other rows": {"w": torch.randn(5, 3)}, "other name": {}}.get(broken, base)
    with pytest.raises(CheckpointError, match="'w' is of another encoder"):
        unpacked(found, own)

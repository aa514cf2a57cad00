"""Smoothing: never beyond its inputs, never across gaps, and exactly as late as it says. About 3 s."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dashboard.smoothing import MAX_LAG_S, smooth

HOP_S = 0.5
SCRIPT = Path(__file__).parents[1] / "dashboard" / "static" / "smoothing.js"
scores = st.floats(-3.0, 3.0)
lags = st.floats(0.0, MAX_LAG_S)


def line(seq: int, score: float | None, half: float = 0.5, **more: Any) -> dict[str, Any]:
    if score is None:
        empty = {"sentiment": None, "low": None, "high": None}
        return {"seq": seq, "end_s": (seq + 1) * HOP_S, **empty, "shared": 0.0, "contribution": {}}
    parts = {"text": 0.5 * score, "voice": 0.2 * score, "face": -0.1 * score}
    return {
        "seq": seq,
        "end_s": (seq + 1) * HOP_S,
        "sentiment": score,
        "low": max(-3.0, score - half),
        "high": min(3.0, score + half),
        "contribution": parts,
        "shared": score - sum(parts.values()),
        **more,
    }


@st.composite
def curves(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Lines in order, with windows missing, without score, and of every width."""
    out, seq = [], 0
    for _ in range(draw(st.integers(1, 30))):
        seq += draw(st.sampled_from([1, 1, 1, 1, 2, 5]))
        score = draw(st.one_of(scores, scores, scores, st.none()))
        out.append(line(seq, score, draw(st.floats(0.0, 3.0))))
    return out


def stretches(lines: list[dict[str, Any]]) -> list[list[int]]:
    """Places of lines that follow each other without a gap."""
    out: list[list[int]] = []
    for place, one in enumerate(lines):
        if one["sentiment"] is None:
            continue
        follows = out and out[-1][-1] == place - 1 and lines[place - 1]["seq"] == one["seq"] - 1
        if follows:
            out[-1].append(place)
        else:
            out.append([place])
    return out


@given(curves(), lags)
def test_it_never_leaves_the_range_of_its_stretch_and_never_lags_more_than_it_says(
    lines: list[dict[str, Any]], lag_s: float
) -> None:
    out = smooth(lines, lag_s)
    assert [one is None for one in out] == [one["sentiment"] is None for one in lines]
    for stretch in stretches(lines):
        first = out[stretch[0]]
        assert first is not None
        assert (first.sentiment, first.lag_ms) == (lines[stretch[0]]["sentiment"], 0.0)
        for count, place in enumerate(stretch, 1):
            before = [lines[p] for p in stretch[:count]]
            one = out[place]
            assert one is not None
            for name in ("sentiment", "low", "high"):
                known = [other[name] for other in before]
                assert min(known) <= getattr(one, name) <= max(known)
            assert one.low <= one.sentiment <= one.high
            assert 0.0 <= one.lag_ms <= 1e3 * lag_s + 1e-6


@given(curves(), lags)
def test_what_was_added_up_still_does(lines: list[dict[str, Any]], lag_s: float) -> None:
    for one in smooth(lines, lag_s):
        if one is not None:
            assert sum(one.contribution.values()) + one.shared == pytest.approx(
                one.sentiment, abs=1e-9
            )


@given(scores, lags, st.lists(st.floats(0.01, 3.0), min_size=1, max_size=30))
def test_what_is_constant_stays(score: float, lag_s: float, halves: list[float]) -> None:
    lines = [line(k, score, half) for k, half in enumerate(halves)]
    assert [one.sentiment for one in smooth(lines, lag_s) if one] == [score] * len(lines)


@given(curves())
def test_no_lag_is_no_change(lines: list[dict[str, Any]]) -> None:
    for one, before in zip(smooth(lines, 0.0), lines, strict=True):
        if one is not None:
            assert one.sentiment == before["sentiment"] and one.lag_ms == 0.0


@given(st.floats(0.1, MAX_LAG_S), st.floats(0.1, 2.5), st.floats(0.2, 3.0))
@settings(max_examples=40)
def test_the_lag_on_a_step_is_the_stated_one(lag_s: float, half: float, height: float) -> None:
    """How far the smoothed step trails: the area between the two, over the step's height."""
    start, length = 80, 400
    lines = [line(k, 0.0 if k < start else height, width=half) for k in range(length)]
    for one in lines:  # the same width everywhere, also where the scale would end
        one["low"], one["high"] = one["sentiment"] - half, one["sentiment"] + half
    out = [one for one in smooth(lines, lag_s) if one is not None]
    assert out[start - 1].lag_ms == pytest.approx(1e3 * lag_s)
    area_s = sum(HOP_S * (height - one.sentiment) for one in out[start:])
    assert area_s / height == pytest.approx(lag_s, rel=1e-3)


@given(curves(), lags)
def test_the_future_changes_nothing(lines: list[dict[str, Any]], lag_s: float) -> None:
    half = len(lines) // 2
    assert smooth(lines, lag_s)[:half] == smooth(lines[:half], lag_s)


def test_a_surer_window_weighs_more() -> None:
    def last(half: float) -> float:
        out = smooth([line(0, 0.0), line(1, 0.0), line(2, 1.0, half)], 1.0)[-1]
        assert out is not None
        return out.sentiment

    assert last(0.2) > last(0.5) > last(1.5) > 0.0


def test_a_lag_beyond_the_scale_is_refused() -> None:
    for lag_s in (-0.1, MAX_LAG_S + 1, float("nan")):
        with pytest.raises(ValueError, match="outside 0 to 5"):
            smooth([], lag_s)


def test_the_page_smooths_as_the_command_line_does(tmp_path: Path) -> None:
    """Both implementations, through the script engine that drives the browser tests."""
    from playwright._impl._driver import compute_driver_executable

    halves, values = (0.2, 0.9, 1.5), (0.0, 1.0, -2.0, 2.9, 0.3)
    lines = [
        line(k + 3 * (k > 20), None if k == 9 else values[k % 5], halves[k % 3]) for k in range(40)
    ]
    (tmp_path / "smoothing.mjs").write_text(SCRIPT.read_text())
    program = """
import { smooth } from "./smoothing.mjs";
const { lines, lags } = JSON.parse(process.argv[2]);
console.log(JSON.stringify(lags.map((lag) => smooth(lines, lag))));
"""
    (tmp_path / "program.mjs").write_text(program)
    lags = [0.0, 0.4, 1.0, 5.0]
    node = compute_driver_executable()[0]
    asked = json.dumps({"lines": lines, "lags": lags})
    done = subprocess.run(
        [node, "program.mjs", asked],
        cwd=tmp_path, capture_output=True, text=True, timeout=30, check=True,
    )  # fmt: skip
    for lag_s, told in zip(lags, json.loads(done.stdout), strict=True):
        for one, other in zip(smooth(lines, lag_s), told, strict=True):
            assert (one is None) == (other is None)
            if one is not None:
                assert other.pop("contribution") == pytest.approx(one.contribution, abs=1e-9)
                for name, value in other.items():
                    assert value == pytest.approx(getattr(one, name), abs=1e-9)

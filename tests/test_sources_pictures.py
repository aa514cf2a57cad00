"""The grid of pictures: the times alone decide."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from capture.pictures import GRID_HZ, GRID_SLACK_S, FrameGrid, fitted

TIMES = st.lists(st.integers(0, 20_000), unique=True).map(lambda ms: [m / 1000 for m in sorted(ms)])


def taken(times: list[float]) -> list[float]:
    grid = FrameGrid()
    return [t for t in times if grid.take(t)]


@given(TIMES)
def test_never_two_in_a_cell_and_always_the_first(times: list[float]) -> None:
    cells = [math.floor((t + GRID_SLACK_S) * GRID_HZ) for t in times]
    chosen = taken(times)
    assert [math.floor((t + GRID_SLACK_S) * GRID_HZ) for t in chosen] == sorted(set(cells))
    assert chosen == [times[cells.index(c)] for c in sorted(set(cells))]


@given(TIMES)
def test_filtering_twice_changes_nothing(times: list[float]) -> None:
    assert taken(taken(times)) == taken(times)


def test_fifteen_per_second_keep_every_picture_even_in_milliseconds() -> None:
    exact = [k / 15 for k in range(300)]
    rounded = [round(t, 3) for t in exact]
    assert taken(exact) == exact
    assert taken(rounded) == rounded


def test_thirty_per_second_keep_every_other() -> None:
    times = [k / 30 for k in range(300)]
    assert taken(times) == times[::2]


def test_slow_sources_keep_all() -> None:
    times = [k / 12 for k in range(100)]
    assert taken(times) == times


def test_longest_side() -> None:
    assert fitted(3840, 2160) == (1280, 720)
    assert fitted(1080, 1920) == (720, 1280)
    assert fitted(640, 480) == (640, 480)

"""Which pictures are taken, and how large: what every source of pictures does alike."""

from __future__ import annotations

import math

GRID_HZ = 15.0
GRID_SLACK_S = 0.001  # containers round times to milliseconds: 0.133 s is meant as 2/15
LONGEST_SIDE = 1280  # face landmarks gain nothing from more


class FrameGrid:
    """Takes the first picture in each cell of a grid of media time, and no other.

    Cell ``k`` is ``[k / rate_hz, (k + 1) / rate_hz)``. What is taken depends on the times alone, so a
    file and a live run of it take the same pictures, and filtering twice changes nothing.
    """

    def __init__(self, rate_hz: float = GRID_HZ) -> None:
        self.rate_hz = rate_hz
        self._cell: int | None = None

    def take(self, time_s: float) -> bool:
        """Whether the picture shown at ``time_s`` is wanted; ask once per picture, in order."""
        cell = math.floor((time_s + GRID_SLACK_S) * self.rate_hz)
        if self._cell is not None and cell <= self._cell:
            return False
        self._cell = cell
        return True


def fitted(width: int, height: int) -> tuple[int, int]:
    """Width and height scaled down, where needed, so that the longer side is ``LONGEST_SIDE``."""
    scale = min(1.0, LONGEST_SIDE / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))

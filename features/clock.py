"""Time, handed in so that tests need not wait for it.

Media time is float seconds on a session's own clock. Stamps of creation are nanoseconds of the
system's monotonic clock, which all processes of one machine share, so that a lag is a subtraction.
"""

from __future__ import annotations

import time
from typing import Protocol

NS_PER_S = 1_000_000_000


class Clock(Protocol):
    """Monotonic time and a sleep that goes with it."""

    def now_ns(self) -> int:
        """Nanoseconds of a clock that never goes back."""

    def sleep(self, seconds: float) -> None:
        """Wait; returns at once for zero or less."""


class SystemClock:
    """The machine's monotonic clock."""

    def now_ns(self) -> int:
        """Nanoseconds since an arbitrary start, the same in every process of this machine."""
        return time.monotonic_ns()

    def sleep(self, seconds: float) -> None:
        """Block the calling thread."""
        if seconds > 0:
            time.sleep(seconds)

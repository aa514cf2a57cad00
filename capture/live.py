"""What live devices share: media time zero on the monotonic clock, and watching for silence."""

from __future__ import annotations

import time

from features.clock import NS_PER_S

LOOK_S = 0.05  # how often a waiting reader looks whether a device went quiet
HINT = "`tonality devices` lists what there is"


class Origin:
    """Media time zero of a session, shared by its devices; unset until all of them are open."""

    def __init__(self) -> None:
        self.ns = 0

    def set(self, now_ns: int) -> None:
        """Let media time begin now; only the first call counts."""
        if not self.ns:
            self.ns = now_ns

    def time_s(self, at_ns: int) -> float:
        """Media time of a monotonic stamp; negative before the beginning."""
        return (at_ns - self.ns) / NS_PER_S


class Backoff:
    """Growing waits between attempts to get a device back."""

    def __init__(self, first_s: float = 0.25, longest_s: float = 5.0) -> None:
        self._first_s = first_s
        self._longest_s = longest_s
        self._next_s = first_s

    def step(self) -> float:
        """Seconds to wait before the next attempt."""
        wait_s = self._next_s
        self._next_s = min(2 * wait_s, self._longest_s)
        return wait_s

    def reset(self) -> None:
        """It works again: begin with the shortest wait."""
        self._next_s = self._first_s


class Patience:
    """What is left of a reader's timeout, in looks of at most ``LOOK_S``."""

    def __init__(self, timeout_s: float) -> None:
        self._deadline = time.monotonic() + timeout_s

    @property
    def over(self) -> bool:
        """Whether the timeout has passed."""
        return time.monotonic() >= self._deadline

    def look_s(self) -> float:
        """Seconds to wait before looking again."""
        return min(LOOK_S, max(0.0, self._deadline - time.monotonic()))

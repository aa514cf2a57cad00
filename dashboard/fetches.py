"""All fetches of models that a runtime waits for, each begun once."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from dashboard.readiness import Fetch, MakeAssets, not_here
from features.errors import TonalityError, WorkerError

logger = logging.getLogger(__name__)

Names = tuple[str, ...]


class Fetches:
    """Fetches by the models that they bring; every method may be called from any thread."""

    def __init__(self, make_assets: MakeAssets) -> None:
        self._make_assets = make_assets
        self._lock = threading.Lock()
        self._fetches: dict[Names, Fetch] = {}

    def here(self, names: Names) -> bool:
        """Whether all of these models are here."""
        if not names:
            return True
        try:
            return not not_here(names, self._make_assets())
        except TonalityError as error:
            logger.debug("%s", error)  # the fetch comes upon it again, and tells it
            return False

    def begin(self, names: Names, then: Callable[[], None]) -> None:
        """Fetch these models, and call ``then`` once they are here."""
        with self._lock:
            self._fetches[names] = Fetch(names, self._make_assets, then)

    def have(self, names: Names) -> bool:
        """Whether they are here; ``False`` while they are being fetched, which this begins.

        Raises :class:`WorkerError` where they cannot be had.
        """
        with self._lock:
            fetch = self._fetches.get(names)
        if fetch is None:
            return self.here(names) or self._again(names, _nothing)
        if fetch.state[0] == "failed":
            if not self.here(names):
                raise WorkerError(fetch.state[1])
            return self._again(names, fetch.then)  # brought by somebody else since
        if fetch.alive:
            return False
        fetch.check()
        return True

    def _again(self, names: Names, then: Callable[[], None]) -> bool:
        self.begin(names, then)
        return False

    def state_of(self, names: Names) -> tuple[str, str] | None:
        """``fetching`` or ``failed`` with how far it is or why; ``None`` where they are not fetched."""
        with self._lock:
            fetch = self._fetches.get(names)
        return None if fetch is None else fetch.state

    @property
    def words(self) -> str:
        """How far the newest that goes on is; empty while nothing is fetched."""
        with self._lock:
            going = [fetch for fetch in self._fetches.values() if fetch.alive]
        return going[-1].state[1] if going else ""

    def check(self) -> None:
        """Raise what ended a thread, if it was a mistake of ours."""
        with self._lock:
            fetches = list(self._fetches.values())
        for fetch in fetches:
            fetch.check()

    def close(self) -> None:
        """Give all up; others may be begun afterwards."""
        with self._lock:
            fetches = list(self._fetches.values())
            self._fetches.clear()
        for fetch in fetches:
            fetch.close()


def _nothing() -> None:
    """What follows a fetch that only a session waits for."""

"""The models that are needed, brought here before any worker starts, so that workers need no network."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from typing import Final

from capture.config import CaptureConfig
from features.assets import Assets, State, offline
from features.errors import TonalityError
from features.threads import OwnedThread

logger = logging.getLogger(__name__)

RETRY_S: Final = 15.0  # after a failed fetch; a line may come back
INFERENCE: Final = "gte-small"
FACE: Final = "face-landmarker"
DEMO: Final = "demo-clip"

MakeAssets = Callable[[], Assets]


def models_for(config: CaptureConfig) -> tuple[str, ...]:
    """The names of all models and media that a session of this configuration needs."""
    names = [INFERENCE]
    if config.picture:
        names.append(FACE)
    if config.sound and config.words:
        names.append(f"whisper-{config.recogniser}")
    if config.source == "demo":
        names.append(DEMO)
    return tuple(names)


def not_here(names: Iterable[str], assets: Assets) -> tuple[str, ...]:
    """Those of the models that are missing or not verified yet; quick, nothing is hashed."""
    verified: dict[str, bool] = {}
    for state in assets.states():
        known = state.state is State.VERIFIED
        verified[state.asset] = verified.get(state.asset, True) and known
    return tuple(name for name in names if not verified.get(name, False))


class Fetch:
    """Fetches models in a thread of its own until all are here, then calls ``then`` in that thread.

    What fails is tried again, because a line may come back, unless fetching is forbidden.
    """

    def __init__(
        self, names: tuple[str, ...], make_assets: MakeAssets, then: Callable[[], None]
    ) -> None:
        self.names = names
        self.then = then
        self._make_assets = make_assets
        self._lock = threading.Lock()
        self._detail, self._failed = "fetching models", False
        self._thread = OwnedThread("models", self._run).start()

    @property
    def state(self) -> tuple[str, str]:
        """``fetching`` or ``failed``, and how far it is or why."""
        with self._lock:
            return "failed" if self._failed else "fetching", self._detail

    @property
    def alive(self) -> bool:
        """Whether it goes on."""
        return self._thread.alive

    def check(self) -> None:
        """Raise what ended the thread, if it was a mistake of ours."""
        self._thread.check()

    def close(self) -> None:
        """Give up: downloads are ended, nothing half is left."""
        self._thread.close()

    def _run(self, stop: threading.Event) -> None:
        try:
            while not stop.is_set():
                if self._try(stop):
                    self.then()
                    return
                if self._failed:
                    return
                stop.wait(RETRY_S)
        except _Stopped:
            logger.debug("fetching of %s was given up", ", ".join(self.names))

    def _try(self, stop: threading.Event) -> bool:
        try:
            assets = self._make_assets()
            for number, name in enumerate(self.names, start=1):
                assets.fetch([name], _Teller(self._tell, number, len(self.names), stop))
        except TonalityError as error:
            logger.warning("%s", error)
            with self._lock:
                self._failed = offline()
                self._detail = str(error) if self._failed else f"{error}; trying again"
            return False
        return True

    def _tell(self, detail: str) -> None:
        with self._lock:
            self._detail = detail


class _Stopped(BaseException):
    """The way out of the middle of a download, past handlers that would try the next place."""


class _Teller:
    """Progress in words."""

    def __init__(
        self, tell: Callable[[str], None], number: int, count: int, stop: threading.Event
    ) -> None:
        self._tell = tell
        self._place = f"fetching models, {number} of {count}" if count > 1 else "fetching models"
        self._stop = stop

    def __call__(self, step: str, done: int, total: int | None) -> None:
        if self._stop.is_set():
            raise _Stopped
        percent = f" {100 * done // total} %" if total else ""
        self._tell(f"{self._place}:{percent} ({step})")

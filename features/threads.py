"""Threads that are named, stoppable and joined, and that hand their exception to their owner."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

logger = logging.getLogger(__name__)


class OwnedThread:
    """Runs ``body(stop)`` in a daemon thread; ``stop`` is the event it must watch.

    The exception that ends the body is kept and raised in the owner's thread by :meth:`check` and
    :meth:`close`, so that it is never lost in a thread nobody watches.
    """

    def __init__(
        self,
        name: str,
        body: Callable[[threading.Event], None],
        on_exit: Callable[[], None] | None = None,
    ) -> None:
        self.name = name
        self.stop = threading.Event()
        self._body = body
        self._on_exit = on_exit
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> OwnedThread:
        """Start, and give back the thread for chaining."""
        self._thread.start()
        return self

    def _run(self) -> None:
        try:
            self._body(self.stop)
        except BaseException as error:
            logger.debug("thread %s failed", self.name, exc_info=True)
            self._error = error
        try:
            if self._on_exit is not None:
                self._on_exit()
        except BaseException as error:
            logger.debug("clean-up of thread %s failed", self.name, exc_info=True)
            self._error = self._error or error

    @property
    def started(self) -> bool:
        """Whether the thread was ever started."""
        return self._thread.ident is not None

    @property
    def alive(self) -> bool:
        """Whether the body still runs."""
        return self._thread.is_alive()

    @property
    def error(self) -> BaseException | None:
        """What ended the body, if it failed."""
        return self._error

    def check(self) -> None:
        """Raise what ended the body, once."""
        error, self._error = self._error, None
        if error is not None:
            raise error

    def join(self, timeout_s: float) -> bool:
        """Wait for the body to end by itself; ``False`` if it still runs."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def close(self, timeout_s: float = 5.0) -> None:
        """Ask to stop, wait, raise what went wrong; a thread that stays is logged, never hidden."""
        self.stop.set()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(timeout_s)
            if self._thread.is_alive():
                logger.error("thread %s did not stop within %.1f s", self.name, timeout_s)
        self.check()

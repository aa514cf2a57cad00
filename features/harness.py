"""What every worker process shares: its orders, its heartbeat, its end.

The supervisor starts ``python -m capture.worker`` or ``python -m model.worker`` and writes one line
of JSON, a :class:`Setup`, to its standard input; every later line is a :class:`Command`. The end of
standard input means that the parent is gone, however it ended, and the worker stops by itself.

A worker module ends with::

    if __name__ == "__main__":
        sys.exit(run_worker(main))

where ``main(harness)`` works until ``harness.stop`` is set, and calls ``harness.heartbeat`` in its
loop, so that a beating heart shows that the loop turns.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import Final, TypeVar

import msgspec
import numpy as np
import psutil
from msgspec.structs import replace

from features.bus import BusAddress, Publisher
from features.clock import NS_PER_S
from features.errors import TonalityError, WorkerError
from features.messages import AnyMessage, Lamp, Status
from features.queues import BoundedQueue, Closed, DropPolicy
from features.threads import OwnedThread

logger = logging.getLogger(__name__)

BEAT_S: Final = 1.0
GRACE_S: Final = 4.0  # from the order to stop until the process is ended the hard way
SETUP_S: Final = 30.0
MAX_LINE_BYTES: Final = 1_000_000
MAX_COMMANDS: Final = 64
FLUSH_S: Final = 0.5  # for the last message to leave
EXIT_CRASHED: Final = 1
EXIT_REFUSED: Final = 2  # a TonalityError: starting again would not help

T = TypeVar("T")


class Setup(msgspec.Struct, frozen=True):
    """First line of a worker's standard input. ``config`` is decoded by the worker's own type.

    ``paused``: the worker takes the place of one that was paused, and must begin so. ``carried``:
    what the one before told to carry on with, by name.
    """

    name: str
    role: str
    session: str = ""
    participant: str = ""
    bus: BusAddress | None = None
    config: msgspec.Raw = msgspec.Raw(b"{}")
    grace_s: float = GRACE_S
    paused: bool = False
    carried: dict[str, list[float]] = {}


class Command(msgspec.Struct, frozen=True):
    """An order to a worker: ``stop`` (obeyed by the harness), ``pause``, ``resume``, ``rest`` ..."""

    do: str
    arguments: dict[str, str] = {}


class Harness:
    """A worker's hold on its surroundings.

    Attributes:
        name: the worker's name, which is also the origin of its messages.
        role: ``capture``, ``inference`` ...
        session: identifier of the session, empty for workers of all sessions.
        participant: whose worker this is, or empty.
        address: the bus, for workers that subscribe; ``None`` where they work alone.
        paused: whether to begin paused, before anything is captured.
        carried: what the run before left for this one, each ``(D,) float32``; empty in a first run.
        stop: set when the worker must end; ``main`` then has ``grace_s`` to return.
        commands: what the supervisor ordered, in order; closed when the worker must end.
    """

    def __init__(self, setup: Setup) -> None:
        """Connect to the bus of ``setup``, if there is one."""
        self.name = setup.name
        self.role = setup.role
        self.session = setup.session
        self.participant = setup.participant
        self.address = setup.bus
        self.grace_s = setup.grace_s
        self.paused = setup.paused
        self.carried = {name: np.array(v, np.float32) for name, v in setup.carried.items()}
        self.stop = threading.Event()
        self.commands: BoundedQueue[Command] = BoundedQueue(MAX_COMMANDS, DropPolicy.BLOCK)
        self.publisher = None if setup.bus is None else Publisher(setup.bus, setup.name)
        self._config = setup.config
        self._process = psutil.Process()
        self._process.cpu_percent()  # the first call only sets the mark
        self._beat_lock = threading.Lock()
        self._last: Status | None = None

    def config(self, kind: type[T]) -> T:
        """The configuration as ``kind``; raises :class:`WorkerError` where it does not fit."""
        try:
            return msgspec.json.decode(self._config, type=kind)
        except msgspec.MsgspecError as error:
            raise WorkerError(f"{self.name}: configuration: {error}") from error

    def publish(self, message: AnyMessage) -> bool:
        """Send on the bus; ``False`` where the message was refused or there is no bus."""
        return self.publisher is not None and self.publisher.send(message)

    def heartbeat(
        self,
        state: str,
        detail: str = "",
        counters: Mapping[str, int] | None = None,
        gauges: Mapping[str, float] | None = None,
        lamps: Mapping[str, Lamp] | None = None,
        losses: Mapping[str, int] | None = None,
        media_s: float = 0.0,
        carry: Mapping[str, np.ndarray] | None = None,
    ) -> bool:
        """Say that the worker lives; call it as often as the loop turns, from any thread.

        Publishes about once a second, and at once when ``state`` or ``detail`` changed. Adds memory
        (MiB), processor time (percent of one core) and refused messages. ``True`` if published.
        """
        now_ns = time.monotonic_ns()
        with self._beat_lock:
            last = self._last
            if (
                last is not None
                and (state, detail) == (last.state, last.detail)
                and now_ns - last.made_ns < BEAT_S * NS_PER_S
            ):
                return False
            refused = 0 if self.publisher is None else self.publisher.refused
            self._last = Status(
                session=self.session,
                participant=self.participant,
                start_s=media_s,
                end_s=media_s,
                made_ns=now_ns,
                worker=self.name,
                role=self.role,
                pid=os.getpid(),
                state=state,
                detail=detail,
                counters=dict(counters or {}),
                losses={**(losses or {}), "messages the bus refused": refused},
                gauges={**(gauges or {}), **self._usage()},
                lamps=dict(lamps or {}),
                carry=dict(carry or {}),
            )
            return self.publish(self._last)

    def last_word(self, state: str, detail: str = "") -> None:
        """Publish the final state with the counts known so far, unless ``main`` has said it."""
        with self._beat_lock:
            last = self._last
            if last is not None and last.state != state:
                now_ns = time.monotonic_ns()
                self._last = replace(last, state=state, detail=detail, made_ns=now_ns)
                self.publish(self._last)

    def _usage(self) -> dict[str, float]:
        memory_mib = self._process.memory_info().rss / 2**20
        return {"memory_mib": memory_mib, "cpu_percent": self._process.cpu_percent()}

    def end(self) -> None:
        """Ask ``main`` to return, and see to it that the process ends even if it does not."""
        if not self.stop.is_set():
            # needs no interpreter lock: ends the process even out of a call that never comes back
            faulthandler.dump_traceback_later(self.grace_s, exit=True)
            self.stop.set()
            self.commands.close()

    def close(self) -> None:
        """Let the last message leave, and close the bus."""
        if self.publisher is not None:
            self.publisher.close(FLUSH_S)


class Orders:
    """Reads standard input in a thread of its own; :meth:`setup` first, then :meth:`serve`."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lines: BoundedQueue[bytes] = BoundedQueue(4, DropPolicy.BLOCK)
        # Blocked in a read as long as the parent lives, so it is never joined.
        self._reader = OwnedThread("orders", self._read, on_exit=self._lines.close).start()
        self._server: OwnedThread | None = None

    def setup(self) -> Setup:
        """The first line; raises :class:`WorkerError` where none comes or it does not fit."""
        try:
            line = self._lines.get(SETUP_S)
            if line is None:
                raise WorkerError(f"no configuration on standard input within {SETUP_S:.0f} s")
            return msgspec.json.decode(line, type=Setup)
        except Closed:
            raise WorkerError(
                "no configuration on standard input; workers are started by 'tonality'"
            ) from self._reader.error
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise WorkerError(f"first line of standard input: {error}") from error

    def serve(self, harness: Harness) -> None:
        """From now on hand commands to the harness, and end it when the input ends."""
        self._server = OwnedThread(
            "commands", lambda stop: self._hand(harness), on_exit=harness.end
        ).start()

    def check(self) -> None:
        """Raise what went wrong with the input."""
        self._reader.check()
        if self._server is not None:
            self._server.check()

    def _read(self, stop: threading.Event) -> None:
        rest = b""
        while piece := os.read(self._descriptor, 65536):
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                if not self._lines.put(line, SETUP_S):
                    raise WorkerError("commands come faster than they are taken")
            if len(rest) > MAX_LINE_BYTES:
                raise WorkerError(f"a line of input is longer than {MAX_LINE_BYTES} bytes")

    def _hand(self, harness: Harness) -> None:
        while not harness.stop.is_set():
            try:
                line = self._lines.get(0.2)
            except Closed:
                logger.info("standard input ended: the parent is gone, so stop")
                return
            if line is not None and not self._obey(harness, line):
                return

    def _obey(self, harness: Harness, line: bytes) -> bool:
        try:
            command = msgspec.json.decode(line, type=Command)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            logger.warning("command not understood: %s", error)
            return True
        if command.do == "stop":
            return False
        if not harness.commands.put(command, timeout_s=5.0) and not harness.commands.closed:
            raise WorkerError(f"{harness.name} does not take its commands; '{command.do}' was lost")
        return True


def run_worker(main: Callable[[Harness], None]) -> int:
    """Run ``main`` as this process's work and give back the exit code.

    0: it returned. 2: a :class:`TonalityError`, one line on standard error; starting again would
    not help. 1: anything else, with a traceback. Takes over signals and logging of the process.
    """
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(levelname)s %(name)s: %(message)s"
    )
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the group; the parent decides
    harness: Harness | None = None
    try:
        orders = Orders(sys.stdin.fileno())
        harness = Harness(orders.setup())
        _listen_to_signals(harness)
        orders.serve(harness)
        harness.heartbeat("starting")
        main(harness)
        orders.check()
        harness.last_word("ended")
        return 0
    except TonalityError as error:
        sys.stderr.write(f"{error}\n")
        _report_failure(harness, str(error))
        return EXIT_REFUSED
    except Exception as error:
        logger.exception("worker failed")
        _report_failure(harness, f"{type(error).__name__}: {error}")
        return EXIT_CRASHED
    finally:
        if harness is not None:
            harness.close()
            # threads of native libraries can keep the interpreter from ending
            faulthandler.dump_traceback_later(harness.grace_s, exit=True)


def _listen_to_signals(harness: Harness) -> None:
    def end(number: int, frame: object) -> None:
        # a handler must not wait for locks that the interrupted code may hold
        threading.Thread(target=harness.end, name="signal", daemon=True).start()

    signal.signal(signal.SIGTERM, end)


def _report_failure(harness: Harness | None, detail: str) -> None:
    if harness is not None:
        harness.last_word("failed", detail)

"""An inference worker that loads until a file says that it may run, or that it refuses.

``checkpoint`` is the file's path: while it is not there the worker says ``starting``.
"""

from __future__ import annotations

import sys
from pathlib import Path

from features.errors import WorkerError
from features.harness import Harness, run_worker
from tests.workers.obedient import ObedientConfig


def main(harness: Harness) -> None:
    gate = Path(harness.config(ObedientConfig).checkpoint or "")
    while not harness.stop.is_set():
        opened = gate.is_file()
        if opened and gate.read_text() == "refuse":
            raise WorkerError("the checkpoint is broken: train it again")
        harness.heartbeat("running" if opened else "starting", "")
        harness.stop.wait(0.05)


if __name__ == "__main__":
    sys.exit(run_worker(main))

"""The real server and page over scripted workers: ``streamlit run tests/workers/scripted_app.py``."""

from __future__ import annotations

import functools
import os
from pathlib import Path

from starlette.middleware import Middleware
from streamlit.starlette import App

import dashboard
from dashboard.feed import routes
from dashboard.gate import Gate
from dashboard.runtime import Runtime
from dashboard.server import lifespan
from dashboard.supervisor import Timing

gate = os.environ.get("TONALITY_TEST_GATE")  # where the inference worker waits for this file
# How long a frozen worker may be silent before it is started again.
silent_s = float(os.environ.get("TONALITY_TEST_SILENT_S", Timing().silent_s))
restart_s = float(os.environ.get("TONALITY_TEST_RESTART_S", Timing().first_delay_s))
make = functools.partial(
    Runtime,
    timing=Timing(silent_s=silent_s, first_delay_s=restart_s),
    checkpoint=gate,
    capture_module="tests.workers.scripted",
    inference_module="tests.workers.gated" if gate else "tests.workers.obedient",
)
app = App(
    Path(dashboard.__file__).with_name("page.py"),
    lifespan=lifespan(make),
    routes=routes(),
    middleware=[Middleware(Gate)],
)

"""The server: ``streamlit run dashboard/app.py``.

Streamlit's own ASGI app carries the page; the lifespan starts the workers once per server, and our
routes (feed, health, scripts) live on the same port. Only this machine may connect.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from starlette.middleware import Middleware
from streamlit.starlette import App

from capture.config import CaptureConfig
from dashboard.feed import routes
from dashboard.gate import Gate
from dashboard.readiness import models_for
from dashboard.runtime import Runtime
from dashboard.server import lifespan, refuse_other_addresses

refuse_other_addresses()
app = App(
    Path(__file__).with_name("page.py"),
    lifespan=lifespan(partial(Runtime, models=models_for(CaptureConfig()))),
    routes=routes(),
    middleware=[Middleware(Gate)],
)

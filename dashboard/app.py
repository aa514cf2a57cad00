"""The server: ``streamlit run dashboard/app.py``.

Streamlit's own ASGI app carries the page; the lifespan starts the workers once per server, and our
routes (feed, health, scripts) live on the same port. Only this machine may connect.
"""

from __future__ import annotations

from pathlib import Path

from starlette.middleware import Middleware
from streamlit.starlette import App

from dashboard.feed import routes
from dashboard.gate import LoopbackOnly
from dashboard.runtime import Runtime
from dashboard.server import lifespan, refuse_other_addresses

refuse_other_addresses()
app = App(
    Path(__file__).with_name("page.py"),
    lifespan=lifespan(Runtime),
    routes=routes(),
    middleware=[Middleware(LoopbackOnly)],
)

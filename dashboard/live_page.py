"""The page on which a session is watched: one component that moves by itself, and its orders."""

from __future__ import annotations

import streamlit as st

from dashboard import sidebar
from dashboard.component import live
from dashboard.server import current

LIVE = "live"


def show() -> None:
    """Mount the live part for the state that the server is in."""
    server = current()
    members = [] if server is None else server.participants()
    live(
        {
            "session": members[0].session if members else None,
            "state": members[0].state if members else "none",
            "runs": st.session_state.runs,
        },
        key=LIVE,
        on_command=_command,
    )


def _command() -> None:
    """Carry out what was asked for by key; marks and the like need no run (see ``orders``)."""
    server = current()
    order = st.session_state[LIVE].get("command") or {}
    members = [] if server is None else server.participants()
    if server is not None and members and order.get("do") in ("pause", "resume"):
        sidebar.pause(server, members, order["do"] == "pause")

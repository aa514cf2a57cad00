"""The page on which a session is watched: one component that moves by itself, and its orders."""

from __future__ import annotations

import streamlit as st

from dashboard import sidebar
from dashboard.component import live
from dashboard.server import current

LIVE = "live"
LONGEST_NOTE = 300  # characters


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
    """Carry out what was asked for by key or by a button of the live part."""
    server = current()
    order = st.session_state[LIVE].get("command") or {}
    members = [] if server is None else server.participants()
    if server is None or not members:
        return
    if order.get("do") in ("pause", "resume"):
        sidebar.pause(server, members, order["do"] == "pause")
    elif order.get("do") == "rest":
        sidebar.attempt(
            server.rest, str(order.get("session", "")), str(order.get("participant", ""))
        )
    elif order.get("do") == "mark":
        moments = {str(name): float(at_s) for name, at_s in order.get("at", {}).items()}
        text = str(order.get("text", ""))[:LONGEST_NOTE]
        sidebar.attempt(server.mark, str(order.get("session", "")), moments, text)

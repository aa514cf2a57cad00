"""The page's script: which page is shown, and what is chosen, started and stopped on it.

It runs once when a browser comes, once per click, and once when the live part reports another
state; nothing heavy is imported, so that the first paint does not wait for any worker.
"""

from __future__ import annotations

import streamlit as st

from dashboard import about_page, health_page, live_page, looks, sessions_page, sidebar
from dashboard.component import STATIC
from dashboard.server import current


def main() -> None:
    """Lay out the chosen page, and what is running beside it."""
    st.set_page_config(page_title="Tonality", page_icon=str(STATIC / "icon.svg"), layout="wide")
    st.html(looks.STYLE)
    st.session_state.runs = st.session_state.get("runs", 0) + 1
    server = current()
    if server is None:
        st.error("The server is not ready. Start it with: streamlit run dashboard/app.py")
        return
    shown = st.navigation(
        [
            st.Page(live_page.show, title="Live", url_path="live", default=True),
            st.Page(sessions_page.show, title="Sessions", url_path="sessions"),
            st.Page(health_page.show, title="Health", url_path="workers"),
            st.Page(about_page.show, title="About this score", url_path="about"),
        ],
        position="top",
    )
    with st.sidebar:
        sidebar.show(server)
    shown.run()


main()

"""The page on which kept sessions are listed, opened, compared, exported and deleted."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import partial

import streamlit as st

from dashboard.component import review
from dashboard.kept import Kept
from dashboard.reviewing import FORMS, exported
from dashboard.server import Server, current
from features.errors import TonalityError

NOTHING = """
Nothing is kept yet, and nothing is ever kept by itself.

To keep a session, choose **Keep** above Start, or while it runs (on a small screen that is behind »
at the top left). Scores, words and marks are then written to this machine's disk; pictures and sound
never are. What is kept is deleted by itself when its time is over.
"""


def show() -> None:
    """A list, then the chosen session or two of them."""
    st.title("Sessions")
    server = current()
    if server is None:
        return
    kept = server.kept.all()
    if server.keeper.trouble:
        st.error(server.keeper.trouble)
    if not kept:
        st.info(NOTHING)
        return
    with st.container(key="sessions"):
        chosen = _choice(server, kept)
    review({"sessions": [one.head.session for one in chosen]}, key="review")


def _choice(server: Server, kept: Sequence[Kept]) -> list[Kept]:
    names = {one.head.session: one for one in kept}
    left, right = st.columns(2)
    first = left.selectbox(
        f"Session ({len(kept)} kept)",
        list(names),
        key="opened",
        format_func=lambda name: _title(names[name]),
    )
    others = [name for name in names if name != first]
    second = right.selectbox(
        "Compare with",
        others,
        index=None,
        key="compared",
        placeholder="no other session",
        format_func=lambda name: _title(names[name]),
        disabled=not others,
    )
    one = names[first]
    st.caption(_described(one))
    _actions(server, one)
    return [one] if second is None else [one, names[second]]


def _actions(server: Server, kept: Kept) -> None:
    session = kept.head.session
    with st.container(horizontal=True):
        for form, media_type in FORMS.items():
            st.download_button(
                f"Export {'CSV' if form == 'csv' else 'JSON lines'}",
                data=partial(exported, server.kept, session, form),
                file_name=f"{session}.{form}",
                mime=media_type,
                on_click="ignore",
                icon=":material/download:",
            )
        with st.popover("Delete", icon=":material/delete:"):
            st.write("It is gone for good, from this page and from the disk.")
            if st.button("Delete this session", key=f"delete {session}"):
                try:
                    server.delete_kept(session)
                except TonalityError as error:
                    st.error(str(error))
                else:
                    st.rerun()


def _title(kept: Kept) -> str:
    minutes = max(0.0, kept.last - kept.head.begun) / 60
    length = f"{minutes:.0f} min" if minutes >= 1 else f"{minutes * 60:.0f} s"
    return f"{_when(kept.head.begun, '%H:%M:%S')}, {length}"  # two may begin in one minute


def _described(kept: Kept) -> str:
    purpose = kept.head.purpose or "not stated"
    return (
        f"Purpose: {purpose}. {_size(kept.size)} on disk, deleted by itself on {_when(kept.until)}."
    )


def _size(count: int) -> str:
    return f"{count / 2**20:.1f} MiB" if count >= 2**20 else f"{count / 2**10:.0f} KiB"


def _when(at: float, clock: str = "%H:%M") -> str:
    return f"{datetime.fromtimestamp(at):%d %b %Y, {clock}}"

"""The page that says how everything stands: one component that moves by itself."""

from __future__ import annotations

import streamlit as st

from dashboard.component import health


def show() -> None:
    """Mount it; the script has nothing to tell it."""
    st.title("Health")
    health(key="health")

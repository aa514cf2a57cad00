"""The moving parts of the page as Streamlit components: markup, style, and a loader.

The scripts themselves are modules that the server hands out under ``/assets``, so that the page's
script sends only a few lines of state at each run, and the picture moves without any run.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import streamlit as st

STATIC = Path(__file__).parent / "static"

LOADER = """
const parts = new WeakMap();
const LEAVING_MS = 5000;
let clicked = -LEAVING_MS;

// A run asked for between the click on another page's link and that page's arrival would be one of
// this page, and bring it back.
const noteLink = (event) => {
  if (event.target.closest?.("a[href]")) clicked = performance.now();
};
document.addEventListener("click", noteLink, true);

// What the script has to know of a state: where nothing runs, no more than that.
const gist = (name, session) => (["none", "stopped"].includes(name ?? "none") ? "none" : `${session} ${name}`);

export default function (component) {
  const { parentElement, data, setTriggerValue, setStateValue } = component;
  let part = parts.get(parentElement);
  if (!part) {
    part = { open: true, inner: null };
    parts.set(parentElement, part);
    import(new URL("assets/%(script)s.js", document.baseURI).href).then((module) => {
      if (!part.open) return;
      part.inner = new module.%(part)s(parentElement.querySelector(".%(script)s"), part.host);
      part.inner.update(part.data);
    });
  }
  part.data = data;
  part.host = part.host ?? {};
  part.host.command = (order) => setTriggerValue("command", order);
  part.host.state = (name, session, known) => {
    const now = gist(name, session);
    if (name === "offline" || now === part.told || performance.now() - clicked < LEAVING_MS) return;
    part.told = now;
    if (now !== gist(known.state, known.session)) setStateValue("state", { name, session });
  };
  part.inner?.update(data);
  // Streamlit also ends a call that the next one has overtaken, and may do so after that next one was
  // made: only where the element has left the page is it the part that ends.
  return () => {
    if (parentElement.isConnected || !part.open) return;
    part.open = false;
    part.inner?.close();
    parts.delete(parentElement);
  };
}
"""


@cache
def _component(script: str, part: str) -> Any:
    return st.components.v2.component(
        f"tonality_{script}",
        html=(STATIC / f"{script}.html").read_text(encoding="utf-8"),
        css=(STATIC / f"{script}.css").read_text(encoding="utf-8"),
        js=LOADER % {"script": script, "part": part},
    )


def live(data: dict[str, Any], key: str, on_command: Callable[[], None]) -> Any:
    """Mount the live part. ``data`` says what the script knows: ``session``, ``state``, ``runs``.

    The result has ``command`` (``{"do": "pause"}`` or ``resume``, for one run) and ``state`` (name and
    session, set when the browser sees another state than ``data`` says).
    """
    return _component("live", "Live")(
        key=key,
        data=data,
        default={"state": None},
        on_command_change=on_command,
        on_state_change=_nothing,
    )


def health(key: str) -> None:
    """Mount the tables of workers, lags and losses, which ask the feed for everything."""
    _component("health", "Health")(key=key, data={}, default={})


def review(data: dict[str, Any], key: str) -> None:
    """Mount the curves of kept sessions; ``data`` names one or two of them in ``sessions``."""
    _component("review", "Review")(key=key, data=data, default={})


def _nothing() -> None:
    """Only so that the component's values exist."""

"""The live part of the page as a Streamlit component: its markup, its style, and a loader.

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

export default function (component) {
  const { parentElement, data, setTriggerValue, setStateValue } = component;
  let part = parts.get(parentElement);
  if (!part) {
    part = { open: true, live: null };
    parts.set(parentElement, part);
    import(new URL("assets/live.js", document.baseURI).href).then(({ Live }) => {
      if (!part.open) return;
      part.live = new Live(parentElement.querySelector(".live"), part.host);
      part.live.update(part.data);
    });
  }
  part.data = data;
  part.host = part.host ?? {};
  part.host.command = (name) => setTriggerValue("command", name);
  part.host.state = (name, session, known) => {
    if (name === "offline") return;
    const now = `${session ?? ""} ${name}`;
    if (now === part.told || (known.session === session && known.state === name)) return;
    part.told = now;
    setStateValue("state", { name, session });
  };
  part.live?.update(data);
  return () => {
    part.open = false;
    part.live?.close();
    parts.delete(parentElement);
  };
}
"""


@cache
def _component() -> Any:
    return st.components.v2.component(
        "tonality_live",
        html=(STATIC / "live.html").read_text(encoding="utf-8"),
        css=(STATIC / "live.css").read_text(encoding="utf-8"),
        js=LOADER,
    )


def live(data: dict[str, Any], key: str, on_command: Callable[[], None]) -> Any:
    """Mount the live part. ``data`` says what the script knows: ``session``, ``state``, ``runs``.

    The result has ``command`` (``pause`` or ``resume``, by the space bar, for one run) and
    ``state`` (name and session, set when the browser sees another state than ``data`` says).
    """
    return _component()(
        key=key,
        data=data,
        default={"state": None},
        on_command_change=on_command,
        on_state_change=_nothing,
    )


def _nothing() -> None:
    """Only so that the component's values exist."""

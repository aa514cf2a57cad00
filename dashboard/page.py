"""The page's script: what is chosen, started and stopped. The moving part needs no run of it.

It runs once when a browser comes, once per click, and once when the live part reports another
state; nothing heavy is imported, so that the first paint does not wait for any worker.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import streamlit as st

from capture.config import RECOGNISERS
from dashboard import choices
from dashboard.component import STATIC, live
from dashboard.server import Server, current
from dashboard.supervisor import OVER, WorkerState
from features.errors import TonalityError

LIVE = "live"


def main() -> None:
    """Lay out the page for the state that the server is in."""
    st.set_page_config(page_title="Tonality", page_icon=str(STATIC / "icon.svg"), layout="wide")
    st.html(choices.STYLE)
    st.session_state.runs = st.session_state.get("runs", 0) + 1
    server = current()
    if server is None:
        st.error("The server is not ready. Start it with: streamlit run dashboard/app.py")
        return
    session = server.session()
    with st.sidebar:
        st.title("Tonality")
        if session is None or session.state in OVER:
            _chooser(server)
        else:
            _running(server, session)
        _notices()
    _live(session)


def _live(session: WorkerState | None) -> None:
    live(
        {
            "session": None if session is None else session.session,
            "state": "none" if session is None else session.state,
            "runs": st.session_state.runs,
        },
        key=LIVE,
        on_command=_command,
    )


def _command() -> None:
    """Carry out what was asked for by key."""
    server = current()
    session = None if server is None else server.session()
    command = st.session_state[LIVE].get("command")
    if server is not None and session is not None and command in ("pause", "resume"):
        _pause(server, session, command == "pause")


def _running(server: Server, session: WorkerState) -> None:
    config = server.configs.get(session.session)
    st.markdown(_headline(session))
    if config is not None:
        st.caption(choices.described(config))
    paused = session.paused or session.state == "paused"
    left, right = st.columns(2)
    label = "Resume" if paused else "Pause"
    if left.button(label, width="stretch", help="Space bar", disabled=session.pid is None):
        _pause(server, session, not paused)
        st.rerun()
    if right.button("Stop", width="stretch", type="primary"):
        _attempt(server.stop_session, session.session)
        st.rerun()


def _headline(session: WorkerState) -> str:
    if session.paused or session.state == "paused":
        return "**Paused**"  # also while a paused worker that died begins again
    if session.state == "starting" and session.pid is None:
        return "**About to start**"
    return ":red[●] **Monitoring is on**"


def _pause(server: Server, session: WorkerState, pause: bool) -> None:
    if session.pid is None:  # about to start, or to start again: there is nothing to pause
        return
    act = server.runtime.pause_session if pause else server.runtime.resume_session
    _attempt(act, session.session)


def _attempt(act: Any, *arguments: Any) -> bool:
    """Do it; a refusal is shown in the words of its error, and kept for the next run."""
    try:
        act(*arguments)
    except TonalityError as error:
        st.session_state.refusal = str(error)
        return False
    st.session_state.pop("refusal", None)
    return True


def _chooser(server: Server) -> None:
    kind = st.radio("Source", choices.SOURCES, key="source")
    source = _source(server, kind)
    use = st.pills(
        "Use", choices.USES, selection_mode="multi", default=choices.USES, key="use",
        help=choices.USES_HELP,
    )  # fmt: skip
    recogniser: str = RECOGNISERS[0]
    if choices.WORDS in use:
        recogniser = st.selectbox(
            "Recogniser", RECOGNISERS, key="recogniser", format_func=choices.recogniser_name
        )
    purpose = st.selectbox(
        "Purpose", choices.PURPOSES, index=None, key="purpose", accept_new_options=True,
        placeholder="What is it for? Choose or write",
        help="Kept with the session and shown while it runs.",
    )  # fmt: skip
    missing = choices.missing(source, use, purpose)
    start = st.button("Start", type="primary", width="stretch", disabled=bool(missing))
    st.caption(missing or choices.ready(use))
    if start and source is not None:
        config = choices.config(kind, source, use, recogniser, purpose or "")
        if _attempt(server.start_session, config):
            st.rerun()
    if "refusal" in st.session_state:
        st.error(st.session_state.refusal)


def _source(server: Server, kind: str) -> str | None:
    """The source in the words of ``CaptureConfig.source``, or ``None`` while it is not chosen."""
    if kind == choices.DEMO:
        return "demo"
    if kind == choices.DEVICES:
        return _devices()
    upload = st.file_uploader("File", type=choices.FILE_TYPES, key="upload")
    path = st.text_input("or its path on this machine", key="path").strip()
    if upload is not None:
        return _kept(server, upload)
    if path and not Path(path).expanduser().is_file():
        st.caption(f"There is no file '{path}'.")
        return None
    # Absolute, so that no file of the name 'demo' or 'webcam' is taken for one.
    return str(Path(path).expanduser().resolve()) if path else None


def _kept(server: Server, upload: Any) -> str:
    """The path of an uploaded file, written once; it is deleted when the server ends."""
    folder = server.uploads / upload.file_id
    path = folder / Path(upload.name).name
    if not path.is_file():
        folder.mkdir(exist_ok=True)
        path.write_bytes(upload.getbuffer())
    return str(path)


def _devices() -> str | None:
    found = _list_devices()
    camera = _pick("Camera", found.cameras)
    microphone = _pick("Microphone", found.microphones)
    for problem in found.problems:
        st.caption(problem)
    if not found.cameras and not found.microphones:
        st.caption("No camera and no microphone found: plug one in, then look again.")
    if st.button("Look again", type="tertiary", icon=":material/refresh:"):
        _list_devices.clear()
        st.rerun()
    return choices.devices_source(camera, microphone)


def _pick(label: str, names: dict[int, str]) -> int | None:
    options = [*names, None]
    return st.selectbox(
        label,
        options,
        key=label,
        format_func=lambda index: "none" if index is None else names.get(index, str(index)),
    )


@st.cache_data(ttl=60, show_spinner="Looking for devices")
def _list_devices() -> choices.Found:
    return choices.list_devices()


def _notices() -> None:
    st.divider()
    st.caption(choices.NOTICE)
    with st.expander("Law and licences"):
        st.markdown(choices.LAW)


main()

"""What stands beside every page: what is running, and how a session is chosen, started, stopped."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import streamlit as st

from capture import addresses
from capture.config import RECOGNISERS, CaptureConfig
from dashboard import browser, choices
from dashboard.server import Server
from dashboard.supervisor import OVER, WorkerState
from features.errors import TonalityError

Picker = Callable[[Server, str], str | None]  # gives the words of ``CaptureConfig.source``


def show(server: Server) -> None:
    """Everything beside the page."""
    st.title("Tonality")
    above, connection, below = st.container(), st.container(), st.container()
    with connection:  # first, because a run that ends early must not pass it over
        browser.slot(server)
    members = server.participants()
    if all(member.state in OVER for member in members):
        with above:
            kind = st.radio("Source", list(PICKERS), key="source")
            source = PICKERS[kind](server, "")
        with below:
            _chooser(server, kind, source)
    else:
        with below:
            _running(server, members)
    st.divider()
    st.caption(choices.notice(_kept_now(server, members)))


def _kept_now(server: Server, members: list[WorkerState]) -> bool:
    chosen = choices.KEEP.get(st.session_state.get("keep", ""), 0.0) > 0
    return server.keeper.keeps(members[0].session) if members else chosen


def pause(server: Server, members: list[WorkerState], rest: bool) -> None:
    """Let a session rest, or go on."""
    if any(member.pid is not None for member in members):  # else there is nothing to pause yet
        act = server.runtime.pause_session if rest else server.runtime.resume_session
        attempt(act, members[0].session)


def _running(server: Server, members: list[WorkerState]) -> None:
    session = members[0].session
    st.markdown(_headline(members))
    for member in members:
        config = server.configs.get((session, member.participant))
        if config is not None:
            st.caption(choices.described(config, named=len(members) > 1))
    paused = _paused(members)
    left, right = st.columns(2)
    label = "Resume" if paused else "Pause"
    loading = all(member.pid is None for member in members)
    if left.button(label, width="stretch", help="Space bar", disabled=loading):
        pause(server, members, not paused)
        st.rerun()
    if right.button("Stop", width="stretch", type="primary"):
        attempt(server.stop_session, session)
        st.rerun()
    _keeping(server, session)
    if not loading:
        with st.expander("Add a participant"):
            _joining(server, members)
    _refusal()


def _keeping(server: Server, session: str) -> None:
    """What is kept of the running session, and the choice to begin with it."""
    if server.keeper.trouble:
        st.error(server.keeper.trouble)
    elif server.keeper.keeps(session):
        kept = server.kept.find(session)
        st.caption(f"Scores, words and marks are kept for {choices.lasting(kept.head.keep_s)}.")
        return
    with st.popover("Keep from now on", width="stretch"):
        options = [name for name, keep_s in choices.KEEP.items() if keep_s]
        chosen = st.selectbox("Keep", options, key="keep late", help=choices.KEEP_HELP)
        if st.button("Keep", width="stretch", key="keep now"):
            attempt(server.keep, choices.KEEP[chosen])
            st.rerun()


def _paused(members: list[WorkerState]) -> bool:
    return any(member.paused or member.state == "paused" for member in members)


def _headline(members: list[WorkerState]) -> str:
    if _paused(members):
        return "**Paused**"  # also while a paused worker that died begins again
    if all(member.state == "starting" and member.pid is None for member in members):
        return "**About to start**"
    return ":red[●] **Monitoring is on**"


def attempt(act: Any, *arguments: Any) -> bool:
    """Do it; a refusal is shown in the words of its error, and kept for the next run."""
    try:
        act(*arguments)
    except TonalityError as error:
        st.session_state.refusal = str(error)
        return False
    st.session_state.pop("refusal", None)
    return True


def _refusal() -> None:
    if "refusal" in st.session_state:
        st.error(st.session_state.refusal)


def _chooser(server: Server, kind: str, source: str | None) -> None:
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
    keep = st.selectbox("Keep", list(choices.KEEP), key="keep", help=choices.KEEP_HELP)
    missing = choices.missing(source, use, purpose)
    start = st.button("Start", type="primary", width="stretch", disabled=bool(missing))
    st.caption(missing or choices.ready(use))
    if start and source is not None:
        config = choices.config(kind, source, use, recogniser, purpose or "")
        if attempt(browser.started, server, config):
            if choices.KEEP[keep]:
                attempt(server.keep, choices.KEEP[keep])
            st.rerun()
    _refusal()


def _joining(server: Server, members: list[WorkerState]) -> None:
    """One more person in the running session, for the same purpose."""
    session = members[0].session
    first = server.configs.get((session, members[0].participant), CaptureConfig())
    name = st.text_input("Name", key="join name", placeholder="Who is it?").strip()
    kind = st.radio("Their source", list(PICKERS), key="join source")
    source = PICKERS[kind](server, "join ")
    taken = name in {member.participant for member in members}
    if taken:
        st.caption(f"'{name}' is captured already: choose another name.")
    ready = bool(name) and not taken and source is not None
    if st.button("Add", width="stretch", disabled=not ready) and source is not None:
        use = choices.used(first)
        config = choices.config(
            kind, source, use, first.recogniser, first.purpose, session=session, participant=name
        )
        if attempt(browser.started, server, config):
            st.rerun()


def _demo(server: Server, prefix: str) -> str | None:
    return "demo"


def _file(server: Server, prefix: str) -> str | None:
    upload = st.file_uploader("File", type=choices.FILE_TYPES, key=f"{prefix}upload")
    path = st.text_input("or its path on this machine", key=f"{prefix}path").strip()
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


def _stream(server: Server, prefix: str) -> str | None:
    address = st.text_input(
        "Address", key=f"{prefix}address", placeholder="rtsp://camera.local/stream",
        help="RTSP, HTTP or HLS, RTMP, SRT. User and password in it are not shown or kept.",
    ).strip()  # fmt: skip
    if address and not addresses.is_address(address):
        st.caption("Not the address of a stream: one begins with rtsp://, https:// or the like.")
        return None
    return address or None


def _devices(server: Server, prefix: str) -> str | None:
    found = _list_devices()
    camera = _pick("Camera", found.cameras, prefix)
    microphone = _pick("Microphone", found.microphones, prefix)
    for problem in found.problems:
        st.caption(problem)
    if not found.cameras and not found.microphones:
        st.caption("No camera and no microphone found: plug one in, then look again.")
    if st.button("Look again", key=f"{prefix}look", type="tertiary", icon=":material/refresh:"):
        _list_devices.clear()
        st.rerun()
    return choices.devices_source(camera, microphone)


def _heard(server: Server, prefix: str) -> str | None:
    found = _list_devices()
    st.caption(choices.HEARD_NOTICE)
    if not found.speakers:
        st.caption(f"No output can be heard here: {found.mend}.")
        return None
    name = st.selectbox("Output", list(found.speakers), key=f"{prefix}output",
                        format_func=lambda one: found.speakers.get(one, one))  # fmt: skip
    return None if name is None else f"speakers:{name}"


def _pick(label: str, names: dict[int, str], prefix: str) -> int | None:
    options = [*names, None]
    return st.selectbox(
        label,
        options,
        key=f"{prefix}{label}",
        format_func=lambda index: "none" if index is None else names.get(index, str(index)),
    )


@st.cache_data(ttl=60, show_spinner="Looking for devices")
def _list_devices() -> choices.Found:
    return choices.list_devices()


# What can be chosen, in this order; a further kind of source needs one more line and its picker.
PICKERS: dict[str, Picker] = {
    choices.DEMO: _demo,
    choices.DEVICES: _devices,
    choices.FILE: _file,
    choices.STREAM: _stream,
    choices.BROWSER: browser.source,
    choices.HEARD: _heard,
}

"""The browser as camera and microphone: one connection per tab, through streamlit-webrtc.

The component asks for the devices (the browser's own prompt is the consent) and brings the tracks to
this process; a :class:`dashboard.relay.Relay` hands them on to the capture worker. Its place on the
page never changes while it is connected, because a component that moves is begun anew.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import streamlit as st
from msgspec.structs import replace

from capture.config import CaptureConfig
from dashboard import choices
from dashboard.gate import Access
from dashboard.server import Server
from dashboard.supervisor import OVER
from features.errors import TonalityError

if TYPE_CHECKING:
    from dashboard.relay import Relay

KEY: Final = "browser-camera"
MINE: Final = "browser"  # what this tab has connected
LET_GO: Final = "browser let go"  # that its last connection opened too much
STOPPED: Final = "the browser's camera and microphone were stopped"

LABELS: Final = {
    "start": "Connect",
    "stop": "Disconnect",
    "select_device": "Devices",
    "device_ask_permission": "Please allow camera and microphone in the browser's prompt.",
    "device_not_available": "No camera or microphone was found: plug one in, then try again.",
    "device_access_denied": "The browser refused: allow it at the left of the address bar.",
    "media_api_not_available": "Browsers give devices only to https:// pages and to localhost.",
}
CONNECT: Final = (
    "Connect, and allow camera and microphone in the browser's prompt; nothing is read before "
    "Start. If it refuses, allow them at the left of the address bar. Without a camera, take Face "
    "out of what is used. From another machine the page must be https."
)
TOO_MUCH: Final = "The browser opened more than is to be used, and was let go; nothing was read. Press Connect again."
CONNECTED: Final = "This browser is connected. Leaving the page ends the session."
PICTURE: Final = {"width": {"ideal": 640}, "height": {"ideal": 480}, "frameRate": {"ideal": 30}}
# As the microphone gives it: what tidies speech up for a call takes away what a voice tells.
SOUND: Final = {"echoCancellation": False, "noiseSuppression": False, "autoGainControl": False}


class Mine:
    """This tab's connection, from the browser's yes until it stops."""

    def __init__(self, relay: Relay, kinds: tuple[bool, bool]) -> None:
        self.relay = relay
        self.kinds = kinds
        self.member: tuple[str, str] | None = None  # session and participant, once started

    @property
    def too_much(self) -> bool:
        """Whether a device is open that is not to be used: Connect came before the last choice did."""
        opened = self.relay.video.tracks > 0, self.relay.audio.tracks > 0
        return any(
            is_open and not wanted for is_open, wanted in zip(opened, self.kinds, strict=True)
        )


def slot(server: Server) -> None:
    """The connection of this tab, where one is chosen or open; call it first, and in every run."""
    active, mine = _active(), _mine()
    if mine is not None and not active:
        mine.relay.close(STOPPED)
        st.session_state[LET_GO] = mine.too_much
        del st.session_state[MINE]
    chosen = _chosen(server)
    if not (active or chosen):
        return
    kinds = _kinds(server)
    try:
        stop = active and (_over(server) or (_unused() and (not chosen or _differs(kinds))))
        if active and _mine() is None:
            st.session_state[MINE] = Mine(_relay(server), kinds)
        _connection(kinds, stop)
    except TonalityError as error:
        st.error(str(error))


def source(server: Server, prefix: str) -> str | None:
    """The words of ``CaptureConfig.source`` once this browser is connected."""
    mine = _mine()
    context = st.session_state.get(KEY)
    if (
        mine is not None
        and mine.member is None
        and mine.relay.alive
        and context
        and context.state.playing
    ):
        st.caption(TOO_MUCH if mine.too_much else CONNECTED)
        return None if mine.too_much else "browser"
    st.caption(TOO_MUCH if st.session_state.get(LET_GO) else CONNECT)
    return None


def started(server: Server, config: CaptureConfig) -> str:
    """Start a session as the server does; one from this browser takes this tab's connection."""
    mine = _mine()
    if config.source != "browser":
        return server.start_session(config)
    if mine is None or not mine.relay.alive:
        raise TonalityError("browser: the connection is gone; press Connect again")
    config = replace(config, relay=str(mine.relay.folder))
    session = server.start_session(config)
    mine.member = (session, config.participant)
    return session


def _mine() -> Mine | None:
    mine: Mine | None = st.session_state.get(MINE)
    return mine


def _active() -> bool:
    """Whether the browser has said yes, and has not stopped since."""
    context = st.session_state.get(KEY)
    return context is not None and (context.state.playing or context.state.signalling)


def _unused() -> bool:
    mine = _mine()
    return mine is None or mine.member is None


def _differs(kinds: tuple[bool, bool]) -> bool:
    """Whether what is open is not what is to be used: a camera must not stay on for words alone."""
    mine = _mine()
    return mine is not None and (mine.kinds != kinds or mine.too_much)


def _over(server: Server) -> bool:
    """Whether this connection has served: its session is over, or it broke."""
    mine = _mine()
    if mine is None:
        return False
    if not mine.relay.alive:
        return True
    if mine.member is None:
        return False
    going = {
        (state.session, state.participant)
        for state in server.participants()
        if state.state not in OVER
    }
    return mine.member not in going


def _chosen(server: Server) -> bool:
    key = "join source" if _running(server) else "source"
    return st.session_state.get(key) == choices.BROWSER


def _running(server: Server) -> bool:
    return any(state.state not in OVER for state in server.participants())


def _kinds(server: Server) -> tuple[bool, bool]:
    """Whether picture and sound are to be used."""
    use = st.session_state.get("use", choices.USES)
    members = server.participants() if _running(server) else []
    if members:
        first = server.configs.get((members[0].session, members[0].participant))
        use = choices.used(first) if first is not None else use
    return choices.FACE in use, choices.VOICE in use or choices.WORDS in use


def _relay(server: Server) -> Relay:
    from dashboard.relay import Relay

    relay = Relay(server.uploads)
    relay.start()
    return relay


def _connection(kinds: tuple[bool, bool], stop: bool) -> None:
    from streamlit_webrtc import WebRtcMode, webrtc_streamer

    from dashboard.ice import IceServers, settle
    from dashboard.tracks import outlive_pages

    servers = IceServers.named()
    settle(servers, Access.named())
    outlive_pages()
    mine = _mine()
    picture, sound = kinds if mine is None else mine.kinds
    hidden: dict[str, Any] = {"autoPlay": True, "muted": True, "style": {"display": "none"}}
    connect: Any = webrtc_streamer  # its overloads do not know a sink without a processor
    connect(
        key=KEY,
        mode=WebRtcMode.SENDONLY,
        rtc_configuration=servers.configuration(),
        media_stream_constraints={"video": picture and PICTURE, "audio": sound and SOUND},
        sink_video_track=None if mine is None else mine.relay.video,
        sink_audio_track=None if mine is None else mine.relay.audio,
        desired_playing_state=False if stop else None,
        video_html_attrs=hidden,  # the page shows what is read, with what is found in it
        audio_html_attrs=hidden,
        translations=LABELS,
    )

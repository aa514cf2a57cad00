"""Which addresses a browser is offered, and which servers are asked: none, unless they are named."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator

import aioice.ice
import pytest
from aiortc import RTCConfiguration, RTCPeerConnection
from streamlit_webrtc.component import _resolve_server_rtc_configuration as server_side
from streamlit_webrtc.component import enhance_frontend_rtc_configuration as browser_side

from dashboard.gate import Access
from dashboard.ice import IceServers, settle
from features.errors import SourceError

TURN = {
    "TONALITY_ICE_SERVERS": "stun:stun.example.org:3478, turn:turn.example.org?transport=tcp",
    "TONALITY_ICE_USERNAME": "anna",
    "TONALITY_ICE_PASSWORD": "secret-word",
}


@pytest.fixture(autouse=True)
def settled() -> Iterator[None]:
    yield
    settle(IceServers(), Access())


def offered(configuration: RTCConfiguration) -> list[str]:
    """The addresses in what a connection offers."""

    async def gather() -> str:
        connection = RTCPeerConnection(configuration)
        connection.addTransceiver("audio", direction="recvonly")
        await connection.setLocalDescription(await connection.createOffer())
        text = connection.localDescription.sdp
        await connection.close()
        return str(text)

    lines = [line for line in asyncio.run(gather()).splitlines() if "a=candidate" in line]
    return [line.split()[4] for line in lines]


def test_by_default_nobody_is_asked_and_only_this_machine_is_offered() -> None:
    servers = IceServers.named({})
    settle(servers, Access())
    configuration = servers.configuration()
    assert configuration == {"iceServers": []}
    assert browser_side(configuration) == {"iceServers": []}  # the library's own default is public
    ours = server_side(configuration)
    assert ours.iceServers == []
    assert set(offered(ours)) == {"127.0.0.1"}


def test_by_default_no_name_is_looked_up_on_the_network() -> None:
    settle(IceServers(), Access())

    async def resolve() -> object:
        protocol = await aioice.ice.get_or_create_mdns_protocol(object())
        return await protocol.resolve("0b9a3d2e-0000-4000-8000-000000000000.local")

    assert asyncio.run(resolve()) is None


def test_where_other_machines_may_come_in_they_are_offered_our_addresses() -> None:
    settle(IceServers(), Access(hosts=frozenset({"tonality.lan"})))
    offers = aioice.ice.get_host_addresses(use_ipv4=True, use_ipv6=True)
    assert offers[0] == "127.0.0.1"
    assert set(offers[1:]).isdisjoint({"127.0.0.1", "::1"})
    assert aioice.ice.get_or_create_mdns_protocol.__module__ == "aioice.ice"


def test_named_servers_reach_both_ends_and_their_password_no_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    servers = IceServers.named(TURN)
    both = servers.configuration()
    assert both["iceServers"] == [
        {"urls": ["stun:stun.example.org:3478"]},
        {
            "urls": ["turn:turn.example.org?transport=tcp"],
            "username": "anna",
            "credential": "secret-word",
        },
    ]
    assert browser_side(both) == both
    assert [server.urls for server in server_side(both).iceServers or []] == [
        ["stun:stun.example.org:3478"],
        ["turn:turn.example.org?transport=tcp"],
    ]
    settle(servers, Access())
    assert "secret-word" not in repr(servers) + caplog.text
    assert "anna" not in repr(servers) + caplog.text


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"TONALITY_ICE_SERVERS": "example.org"}, "is no STUN or TURN server"),
        ({"TONALITY_ICE_SERVERS": "https://example.org"}, "is no STUN or TURN server"),
        ({"TONALITY_ICE_SERVERS": "turn:example.org"}, "TONALITY_ICE_PASSWORD"),
        ({"TONALITY_ICE_SERVERS": "turn:me:secret-word@example.org"}, "turn:…@example.org"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_one_line(
    environment: dict[str, str], said: str
) -> None:
    with pytest.raises(SourceError) as caught:
        IceServers.named(environment)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value) and "secret-word" not in str(caught.value)

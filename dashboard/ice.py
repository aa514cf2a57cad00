"""How a browser's pictures and sound find their way to this server: addresses, STUN, TURN.

By default the server offers the browser this machine's loopback address and nothing else, asks no
STUN server (the libraries would ask a public one) and looks up no names on the local network. Where
the user lets other machines in (``TONALITY_HOSTS``) it offers its addresses there too, which is all
that a local network needs. ``TONALITY_ICE_SERVERS`` names STUN and TURN servers for ways beyond.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import aioice.ice

from dashboard.gate import Access
from features.errors import SourceError

SERVERS: Final = "TONALITY_ICE_SERVERS"
USERNAME: Final = "TONALITY_ICE_USERNAME"
PASSWORD: Final = "TONALITY_ICE_PASSWORD"
URL: Final = re.compile(r"(stun|turns?):[^\s:/?,@]+(:\d{1,5})?(\?transport=(udp|tcp))?")
HERE: Final = "127.0.0.1"

_all_addresses = aioice.ice.get_host_addresses
_look_up = aioice.ice.get_or_create_mdns_protocol


@dataclass(frozen=True, slots=True)
class IceServers:
    """STUN and TURN servers that the user has named; none by default.

    Attributes:
        stun: ``stun:HOST[:PORT]``.
        turn: ``turn:HOST[:PORT][?transport=tcp]`` or ``turns:``; they relay media, so they want a name
            and a password.
    """

    stun: tuple[str, ...] = ()
    turn: tuple[str, ...] = ()
    username: str = field(default="", repr=False)
    password: str = field(default="", repr=False)

    @classmethod
    def named(cls, environment: Mapping[str, str] = os.environ) -> IceServers:
        """What the environment names; raises :class:`SourceError` where it cannot be meant."""
        urls = [url.strip() for url in environment.get(SERVERS, "").split(",") if url.strip()]
        for url in urls:
            if URL.fullmatch(url) is None:
                raise SourceError(
                    f"{SERVERS}: '{_without_secrets(url)}' is no STUN or TURN server; write "
                    "stun:HOST:PORT or turn:HOST:PORT, several with commas between"
                )
        turn = tuple(url for url in urls if url.startswith("turn"))
        username, password = environment.get(USERNAME, ""), environment.get(PASSWORD, "")
        if turn and not (username and password):
            raise SourceError(f"{SERVERS} names a TURN server: set {USERNAME} and {PASSWORD} too")
        return cls(tuple(u for u in urls if u.startswith("stun")), turn, username, password)

    def configuration(self) -> dict[str, Any]:
        """The same for both ends of the connection; an empty list asks nobody."""
        servers: list[dict[str, Any]] = [{"urls": [url]} for url in self.stun]
        for url in self.turn:
            servers.append({"urls": [url], "username": self.username, "credential": self.password})
        return {"iceServers": servers}


def settle(servers: IceServers, access: Access) -> None:
    """Decide which addresses this process offers to browsers from now on."""
    here_only = not (servers.stun or servers.turn or access.beyond)
    aioice.ice.get_host_addresses = _here if here_only else _here_and_beyond
    aioice.ice.get_or_create_mdns_protocol = _no_names if here_only else _look_up


def _here(use_ipv4: bool, use_ipv6: bool) -> list[str]:
    return [HERE] if use_ipv4 else []


def _here_and_beyond(use_ipv4: bool, use_ipv6: bool) -> list[str]:
    return [*_here(use_ipv4, use_ipv6), *_all_addresses(use_ipv4, use_ipv6)]


class _NoNames:
    """Knows no name: a browser on this machine reaches us by our address, whatever it calls its own."""

    async def resolve(self, hostname: str, timeout: float = 1.0) -> None:
        """Nothing, without asking the network."""


async def _no_names(subscriber: object) -> Any:
    return _NoNames()


def _without_secrets(url: str) -> str:
    """People write ``turn:name:password@host``; what is before the ``@`` is not repeated."""
    scheme, _, rest = url.partition(":")
    return f"{scheme}:…@{rest.rpartition('@')[2]}" if "@" in rest else url

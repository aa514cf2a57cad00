"""Who may talk to the server: this machine, and whom the user has named.

Without a word from the user only this machine may connect, and only pages that this server itself
gave out may read. ``TONALITY_HOSTS`` names the hosts under which others may reach it,
``TONALITY_ORIGINS`` the other sites whose pages may read the feed.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from features.errors import BindError

HOSTS_VARIABLE: Final = "TONALITY_HOSTS"
ORIGINS_VARIABLE: Final = "TONALITY_ORIGINS"
HOST: Final = re.compile(r"(\[[0-9a-f:]+\]|[0-9a-z]([0-9a-z.-]*[0-9a-z])?)(:\d{1,5})?")
# What other sites' pages may read, where they are named; never the page that starts and stops.
READABLE: Final = frozenset(
    {"/feed", "/predictions", "/events", "/snapshot", "/health", "/metrics", "/openapi.json"}
)
PLAIN_ORIGINS: Final = ("localhost", "127.0.0.1")


def is_loopback(host: str) -> bool:
    """Whether a host name or address means this machine, by its very spelling (nothing is resolved)."""
    name = host.strip("[]").lower()
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True, slots=True)
class Access:
    """Hosts and origins that the user has named, in lower case; none of either by default.

    Attributes:
        hosts: names or addresses, with a port or without (then any port), under which the server may
            be reached, also by other machines.
        origins: as browsers say them, ``https://name[:port]``; their pages may read the feed.
    """

    hosts: frozenset[str] = field(default_factory=frozenset)
    origins: frozenset[str] = field(default_factory=frozenset)

    @classmethod
    def named(cls, environment: Mapping[str, str] = os.environ) -> Access:
        """What the environment names, comma-separated; :class:`BindError` for what is neither."""
        hosts = _listed(environment, HOSTS_VARIABLE)
        origins = _listed(environment, ORIGINS_VARIABLE)
        for host in hosts:
            if HOST.fullmatch(host) is None or host.strip("[]") in ("0.0.0.0", "::"):
                raise BindError(
                    f"{HOSTS_VARIABLE}: '{host}' is not the name or address of one host; write "
                    "tonality.lan or 192.168.1.20:8501, several with commas between"
                )
        for origin in origins:
            scheme, found, rest = origin.partition("://")
            if scheme not in ("http", "https") or not found or HOST.fullmatch(rest) is None:
                raise BindError(
                    f"{ORIGINS_VARIABLE}: '{origin}' is not an origin; write http://127.0.0.1:3000, "
                    "several with commas between"
                )
        return cls(hosts, origins)

    @property
    def beyond(self) -> bool:
        """Whether any host but this machine itself is named."""
        return not all(is_loopback(_without_port(host)) for host in self.hosts)

    def host(self, host: str) -> bool:
        """Whether a ``Host`` header is one of those named."""
        host = host.lower()
        return bool({host, _without_port(host)} & self.hosts)


def _listed(environment: Mapping[str, str], variable: str) -> frozenset[str]:
    words = environment.get(variable, "").split(",")
    return frozenset(word.strip().rstrip("/").lower() for word in words if word.strip())


def _without_port(host: str) -> str:
    return re.sub(r":\d+$", "", host) if not host.endswith("]") else host


def require_allowed(address: str | None, access: Access | None = None) -> None:
    """Raise :class:`BindError` for a server that others could reach, unless the user named hosts."""
    if address is not None and is_loopback(address):
        return
    if access is not None and access.beyond:
        return
    shown = address or "every network interface"
    raise BindError(
        f"the page would listen on {shown}: refused, because everybody who reaches it could watch; "
        f"name the hosts under which they may, {HOSTS_VARIABLE}=NAME_OR_ADDRESS, or start it with "
        "--server.address 127.0.0.1"
    )


class Gate:
    """ASGI middleware: refuses other machines, other host names and other sites' pages.

    The host name is checked against DNS rebinding, the origin against other sites (and other local
    servers) whose pages would read the feed through the user's browser. What ``access`` names may
    come in; by default that is what the environment names.
    """

    def __init__(self, app: ASGIApp, access: Access | None = None) -> None:
        self.app = app
        self.access = Access.named() if access is None else access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the connection through, or close it with the reason."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        reason = refusal(scope, self.access)
        if reason is None:
            await self.app(_with_plain_origin(scope), receive, self._telling(scope, send))
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008, "reason": reason})
        else:
            await PlainTextResponse(reason, status_code=403)(scope, receive, send)

    def _telling(self, scope: Scope, send: Send) -> Send:
        """Tells the browser of a named site that its page may read the answer."""
        origin = _headers(scope).get(b"origin", "")
        if scope["type"] != "http" or origin.lower() not in self.access.origins:
            return send

        async def tell(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["Access-Control-Allow-Origin"] = origin
                headers.add_vary_header("Origin")
            await send(message)

        return tell


def refusal(scope: Scope, access: Access | None = None) -> str | None:
    """Why a connection is refused, or ``None`` where it may come in."""
    access = access or Access()
    headers = _headers(scope)
    host, origin = headers.get(b"host", ""), headers.get(b"origin")
    try:
        name = urlsplit(f"//{host}").hostname or ""
        site = host if origin is None else urlsplit(origin).netloc
    except ValueError:
        return "host or origin cannot be read"
    client = scope.get("client")
    if client is None or not (is_loopback(client[0]) or access.host(host)):
        return "only this machine may connect"
    if not (is_loopback(name) or access.host(host)):
        return f"host '{host}' is not this machine, and not named in {HOSTS_VARIABLE}"
    if site.lower() != host.lower() and not (
        scope.get("path") in READABLE and origin is not None and origin.lower() in access.origins
    ):
        return f"origin '{origin}' is another site, and may not read this"
    return None


def _headers(scope: Scope) -> dict[bytes, str]:
    return {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}


def _with_plain_origin(scope: Scope) -> Scope:
    """The scope with an origin that nobody behind the gate has to look up.

    Who may come in has been decided; Streamlit would compare an origin that it does not know with
    this machine's outer address, which it asks a server outside for.
    """
    origin = _headers(scope).get(b"origin")
    if origin is None or urlsplit(origin).hostname in PLAIN_ORIGINS:
        return scope
    kept = [pair for pair in scope["headers"] if pair[0].lower() != b"origin"]
    return {**scope, "headers": [*kept, (b"origin", b"http://localhost")]}

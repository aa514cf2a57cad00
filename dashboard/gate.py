"""Who may talk to the server: this machine, and pages that this server itself gave out."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from features.errors import BindError


def is_loopback(host: str) -> bool:
    """Whether a host name or address means this machine, by its very spelling (nothing is resolved)."""
    name = host.strip("[]").lower()
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def require_loopback(address: str | None) -> None:
    """Raise :class:`BindError` unless the server listens on this machine alone."""
    if address is None or not is_loopback(address):
        shown = address or "every network interface"
        raise BindError(
            f"the page would listen on {shown}: refused until keys exist; start it with "
            "--server.address 127.0.0.1"
        )


class LoopbackOnly:
    """ASGI middleware: refuses other machines, other host names and other sites' pages.

    The host name is checked against DNS rebinding, the origin against other sites (and other local
    servers) whose pages would read the feed through the user's browser.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the connection through, or close it with the reason."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        reason = refusal(scope)
        if reason is None:
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008, "reason": reason})
        else:
            await PlainTextResponse(reason, status_code=403)(scope, receive, send)


def refusal(scope: Scope) -> str | None:
    """Why a connection is refused, or ``None`` where it may come in."""
    headers = {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}
    client = scope.get("client")
    if client is None or not is_loopback(client[0]):
        return "only this machine may connect"
    host = headers.get(b"host", "")
    origin = headers.get(b"origin")
    try:
        name = urlsplit(f"//{host}").hostname or ""
        site = host if origin is None else urlsplit(origin).netloc
    except ValueError:
        return "host or origin cannot be read"
    if not is_loopback(name):
        return f"host '{host}' is not this machine"
    if site != host:
        return f"origin '{origin}' is another site"
    return None

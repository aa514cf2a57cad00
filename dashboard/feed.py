"""The server's own routes beside Streamlit's: the live feed, its scripts, and its health."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from dashboard import events, kept_routes, openapi, orders, overlay
from dashboard.events import until_gone
from dashboard.hub import Client, Hub
from dashboard.server import current

logger = logging.getLogger(__name__)

STATIC = Path(__file__).parent / "static"
TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
BEAT_S = 1.0  # the feed tells its own drops once a second, also when nothing else happens


async def health(request: Request) -> JSONResponse:
    """``GET /health``: whether the workers stand, as JSON; 503 while something does not."""
    server = current()
    if server is None:
        return JSONResponse({"ok": False, "detail": "the server is starting"}, status_code=503)
    state = server.health()
    return JSONResponse(state, status_code=200 if state["ok"] else 503)


async def asset(request: Request) -> Response:
    """``GET /assets/NAME``: one of our own scripts; only files of the static folder are known."""
    path = STATIC / request.path_params["name"]
    if path.parent != STATIC or path.suffix not in TYPES or not path.is_file():
        return Response("no such asset", status_code=404)
    headers = {"Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff"}
    return FileResponse(path, media_type=TYPES[path.suffix], headers=headers)


async def feed(socket: WebSocket) -> None:
    """``WS /feed``: a snapshot first, then every change; JSON as text, pictures as binary frames.

    With ``pictures=0`` none are sent.
    """
    server = current()
    hub = None if server is None else server.hub
    await socket.accept()
    pictures = socket.query_params.get("pictures") != "0"
    client = None if hub is None else hub.join(asyncio.get_running_loop(), pictures)
    if hub is None or client is None:
        reason = "the server is starting" if hub is None else "too many browsers"
        await socket.close(code=1013, reason=reason)
        return
    gone = asyncio.create_task(until_gone(socket))
    try:
        await _serve(socket, hub, client, gone)
    except (WebSocketDisconnect, RuntimeError) as error:
        logger.debug("a browser left: %s", error)
    finally:
        hub.leave(client)
        gone.cancel()


async def _serve(socket: WebSocket, hub: Hub, client: Client, gone: asyncio.Task[None]) -> None:
    loop = asyncio.get_running_loop()
    due = 0.0
    while not gone.done() and hub.alive:
        messages = client.take(hub.snapshot)
        for message in messages:
            if isinstance(message, str):
                await socket.send_text(message)
            else:
                await socket.send_bytes(message)
        if loop.time() >= due:
            due = loop.time() + BEAT_S
            await socket.send_json({"type": "beat", "dropped": client.dropped})
        await client.wait(BEAT_S)


def routes() -> list[BaseRoute]:
    """All routes of ours."""
    return [
        WebSocketRoute("/feed", feed),
        Route("/health", health),
        Route("/assets/{name}", asset),
        *events.routes(),
        *kept_routes.routes(),
        *openapi.routes(),
        *orders.routes(),
        *overlay.routes(),
    ]

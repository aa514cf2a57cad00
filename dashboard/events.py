"""Predictions for programs: as server-sent events, over a WebSocket, and what is known now.

Every line is the very one that ``tonality score --format jsonl`` prints.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import Final

import anyio
import msgspec
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from dashboard.clients import Follower, Line, Wanted
from dashboard.hub import Hub
from dashboard.schema import Lost, Snapshot, WorkerLine
from dashboard.server import current

logger = logging.getLogger(__name__)

LOOK_S: Final = 1.0  # how often a quiet stream looks whether the hub still listens
PING_S: Final = 15
SEND_S: Final = 20.0  # a program that takes nothing for so long is let go
FELL_BEHIND: Final = 1013
TOO_MANY: Final = "too many programs listen; the limit is 32"
STARTING: Final = "the server is starting"


def _wanted(query: Mapping[str, str]) -> Wanted:
    return Wanted(
        query.get("session") or None,
        query.get("participant") or None,
        query.get("final", "0").lower() in ("1", "true", "yes"),
    )


def _follow(query: Mapping[str, str]) -> tuple[Hub, Follower] | str:
    """The hub and a queue of its lines, or why there is none."""
    server = current()
    if server is None:
        return STARTING
    follower = server.hub.follow(asyncio.get_running_loop(), _wanted(query))
    return TOO_MANY if follower is None else (server.hub, follower)


async def events(request: Request) -> Response:
    """``GET /events``: an event ``prediction`` for each, and ``lost`` where the program was too slow."""
    joined = _follow(request.query_params)
    if isinstance(joined, str):
        return JSONResponse({"detail": joined}, status_code=503, headers={"Retry-After": "2"})
    end = anyio.Event()  # set when the server is about to end
    return EventSourceResponse(
        _stream(*joined, end),
        ping=PING_S,
        send_timeout=SEND_S,
        shutdown_event=end,
        shutdown_grace_period=2 * LOOK_S,
    )


async def _stream(hub: Hub, follower: Follower, end: anyio.Event) -> AsyncIterator[ServerSentEvent]:
    try:
        yield ServerSentEvent(comment="predictions follow", retry=2000)
        async with contextlib.aclosing(_batches(hub, follower, end)) as batches:
            async for lost, lines in batches:
                if lost:
                    told = msgspec.json.encode(Lost(lost)).decode()
                    yield ServerSentEvent(told, event="lost")
                for line in lines:
                    yield ServerSentEvent(line.text, event="prediction", id=line.name)
    finally:
        hub.leave(follower)


async def _batches(
    hub: Hub, follower: Follower, end: anyio.Event
) -> AsyncGenerator[tuple[int, list[Line]], None]:
    while hub.alive and not end.is_set():
        lost, lines = follower.take()
        if lost or lines:
            yield lost, lines
        await follower.wait(LOOK_S)


async def predictions(socket: WebSocket) -> None:
    """``WS /predictions``: each message is a line; who falls behind is told so, and closed."""
    await socket.accept()
    joined = _follow(socket.query_params)
    if isinstance(joined, str):
        await socket.close(code=1013, reason=joined)
        return
    hub, follower = joined
    gone = asyncio.create_task(until_gone(socket))
    try:
        await _send_lines(socket, hub, follower, gone)
    except (WebSocketDisconnect, RuntimeError) as error:
        logger.debug("a program left: %s", error)
    finally:
        hub.leave(follower)
        gone.cancel()


async def _send_lines(
    socket: WebSocket, hub: Hub, follower: Follower, gone: asyncio.Task[None]
) -> None:
    while not gone.done() and hub.alive:
        lost, lines = follower.take()
        if lost:
            reason = f"fell behind: {lost} predictions lost; connect again"
            await socket.close(code=FELL_BEHIND, reason=reason)
            return
        for line in lines:
            await socket.send_text(line.text)
        await follower.wait(LOOK_S)


async def until_gone(socket: WebSocket) -> None:
    """Return when the other side has gone; what it says is not listened to."""
    while True:
        message = await socket.receive()
        if message["type"] == "websocket.disconnect":
            return


async def snapshot(request: Request) -> Response:
    """``GET /snapshot``: the newest of each participant, and the last ``seconds`` of predictions."""
    server = current()
    if server is None:
        return JSONResponse({"detail": STARTING}, status_code=503, headers={"Retry-After": "2"})
    try:
        seconds = float(request.query_params.get("seconds", "0"))
    except ValueError:
        return JSONResponse({"detail": "'seconds' is not a number"}, status_code=400)
    known = await asyncio.to_thread(server.hub.participants, seconds, _wanted(request.query_params))
    workers = msgspec.convert(await asyncio.to_thread(server.workers), list[WorkerLine])
    return Response(
        msgspec.json.encode(Snapshot(known, workers)),
        media_type="application/json",
        headers={"Cache-Control": "no-store"},
    )


async def metrics(request: Request) -> Response:
    """``GET /metrics``: figures for Prometheus."""
    from dashboard.metrics import CONTENT_TYPE_LATEST

    server = current()
    if server is None:
        return Response(STARTING, status_code=503)
    hub, workers = server.hub, await asyncio.to_thread(server.workers)
    text = await asyncio.to_thread(hub.metrics.text, workers, hub.health())
    return Response(text, media_type=CONTENT_TYPE_LATEST)


def routes() -> list[BaseRoute]:
    """What programs ask for."""
    return [
        Route("/events", events),
        WebSocketRoute("/predictions", predictions),
        Route("/snapshot", snapshot),
        Route("/metrics", metrics),
    ]

"""What the live part orders without a run of the page's script: marks, and the resting baseline."""

from __future__ import annotations

import asyncio
from typing import Final, Literal

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from dashboard.server import Server, current
from features.errors import TonalityError

LONGEST_NOTE: Final = 300  # characters
MOST_BYTES: Final = 8192


class Order(msgspec.Struct, frozen=True):
    """``mark`` marks ``at`` (media seconds by participant) with a ``text``; ``rest`` begins a rest."""

    do: Literal["mark", "rest"]
    session: str
    participant: str = ""
    at: dict[str, float] = {}
    text: str = ""


async def order(request: Request) -> Response:
    """``POST /orders``: carry one out; 204, or 400 with the reason in ``detail``."""
    server = current()
    if server is None:
        return JSONResponse({"detail": "the server is starting"}, status_code=503)
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > MOST_BYTES:
            return JSONResponse({"detail": "too long"}, status_code=413)
    try:
        wanted = msgspec.json.decode(body, type=Order)
        await asyncio.to_thread(_carry_out, server, wanted)
    except (msgspec.MsgspecError, TonalityError) as error:
        return JSONResponse({"detail": str(error)}, status_code=400)
    return Response(status_code=204)


def _carry_out(server: Server, wanted: Order) -> None:
    if wanted.do == "rest":
        server.rest(wanted.session, wanted.participant)
    else:
        server.mark(wanted.session, wanted.at, wanted.text[:LONGEST_NOTE])


def routes() -> list[BaseRoute]:
    """The one route."""
    return [Route("/orders", order, methods=["POST"])]

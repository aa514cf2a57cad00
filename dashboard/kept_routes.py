"""Kept sessions for the page's scripts and for downloads: read only, on this machine only."""

from __future__ import annotations

from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from dashboard.reviewing import FORMS, exported, headline, review
from dashboard.server import current
from features.errors import TonalityError


def listed(request: Request) -> Response:
    """``GET /kept``: the sessions that are kept, the newest first."""
    server = current()
    if server is None:
        return _refused("the server is starting", 503)
    return JSONResponse([headline(kept) for kept in server.kept.all()])


def one(request: Request) -> Response:
    """``GET /kept/SESSION``: a session as the page draws it."""
    server = current()
    if server is None:
        return _refused("the server is starting", 503)
    try:
        return JSONResponse(review(server.kept, request.path_params["session"]))
    except TonalityError as error:
        return _refused(str(error), 404)


def download(request: Request) -> Response:
    """``GET /kept/SESSION/FORM``: its predictions as ``tonality score`` would print them."""
    server = current()
    session, form = request.path_params["session"], request.path_params["form"]
    if server is None:
        return _refused("the server is starting", 503)
    if form not in FORMS:
        return _refused(f"no format '{form}'; there are {', '.join(FORMS)}", 404)
    try:
        body = exported(server.kept, session, form)
    except TonalityError as error:
        return _refused(str(error), 404)
    name = quote(f"{session}.{form}")
    attached = {"Content-Disposition": f"attachment; filename*=UTF-8''{name}"}
    return Response(body, media_type=FORMS[form], headers=attached)


def _refused(why: str, status: int) -> Response:
    return JSONResponse({"detail": why}, status_code=status)


def routes() -> list[BaseRoute]:
    """All routes of kept sessions."""
    return [
        Route("/kept", listed),
        Route("/kept/{session}", one),
        Route("/kept/{session}/{form}", download),
    ]

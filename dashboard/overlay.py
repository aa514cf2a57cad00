"""``GET /overlay``: the transparent page for OBS and other compositors; its parts are in ``static/``."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from starlette.requests import Request
from starlette.responses import FileResponse
from starlette.routing import BaseRoute, Route

PAGE: Final = Path(__file__).parent / "static" / "overlay.html"
# Nothing from outside; inline styles, because compositors put the user's own CSS in that way.
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; connect-src 'self'"
)


async def overlay(request: Request) -> FileResponse:
    """The page; what it shows is chosen by query parameters, in the browser."""
    headers = {"Cache-Control": "no-cache", "Content-Security-Policy": POLICY}
    return FileResponse(PAGE, media_type="text/html; charset=utf-8", headers=headers)


def routes() -> list[BaseRoute]:
    """The overlay's page."""
    return [Route("/overlay", overlay)]

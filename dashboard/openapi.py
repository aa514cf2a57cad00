"""The description of the feed: OpenAPI for programs, and a page for people that loads nothing else."""

from __future__ import annotations

import json
import re
from functools import cache
from html import escape
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse
from starlette.routing import BaseRoute, Route

from dashboard import schema

STYLE: Final = Path(__file__).parent / "static" / "docs.css"
POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; img-src 'self'"

Parameter = dict[str, Any]


def _parameter(name: str, told: str, **kind: Any) -> Parameter:
    return {"name": name, "in": "query", "description": told, "schema": kind}


WHOSE: Final = [
    _parameter("session", "Only this session.", type="string"),
    _parameter("participant", "Only this participant.", type="string"),
]
FINAL: Final = _parameter(
    "final",
    "1: only the last revision of each window, as 'tonality score' prints it.",
    type="string",
    enum=["0", "1"],
    default="0",
)
SECONDS: Final = _parameter(
    "seconds",
    "Give the predictions of the last so many media seconds too, at most ten minutes.",
    type="number",
    minimum=0,
    default=0,
)
EVENTS: Final = """Server-sent events that never end. Event `prediction`: one line, the very characters
that `tonality score --format jsonl` prints; its id is `session/participant/seq.revision`. Event `lost`:
how many predictions this program was too slow for. A later `revision` of the same `seq` replaces the
earlier one."""
SOCKET: Final = """A WebSocket; each text message is one line, the very characters that
`tonality score --format jsonl` prints. Nothing has to be sent. Who falls behind by more than 256
predictions is closed with code 1013 and told how many were lost."""


def _json(told: str, name: str) -> dict[str, Any]:
    shape = {"$ref": f"#/components/schemas/{name}"}
    return {"description": told, "content": {"application/json": {"schema": shape}}}


def _get(summary: str, told: str, answers: dict[str, Any], parameters: list[Parameter]) -> Any:
    parts = {"summary": summary, "description": " ".join(told.split()), "responses": answers}
    return {"get": {**parts, "parameters": parameters} if parameters else parts}


@cache
def description() -> dict[str, Any]:
    """The whole API in OpenAPI 3.1; the shapes come from the typed records themselves."""
    refused = {"403": {"description": "Another machine, host name or site, which nobody named."}}
    starting = {"503": {"description": "The server is starting, or too many programs listen."}}
    stream = {
        "description": "A stream of lines.",
        "content": {
            "text/event-stream": {"schema": {"$ref": "#/components/schemas/PredictionLine"}}
        },
    }
    text = {"content": {"text/plain": {"schema": {"type": "string"}}}}
    switching = {"101": {"description": "The WebSocket stands."}}
    paths = {
        "/predictions": _get(
            "Predictions over a WebSocket", SOCKET, switching | refused, [*WHOSE, FINAL]
        ),
        "/events": _get(
            "Predictions as server-sent events",
            EVENTS,
            {"200": stream} | refused | starting,
            [*WHOSE, FINAL],
        ),
        "/snapshot": _get(
            "What is known now",
            "The newest prediction of each participant, its words, and the workers.",
            {"200": _json("Now.", "Snapshot")} | refused | starting,
            [*WHOSE, FINAL, SECONDS],
        ),
        "/health": _get(
            "Whether everything stands",
            "For watchers: 200 while it does, 503 while something does not.",
            {"200": _json("All stands.", "Health"), "503": _json("Something does not.", "Health")}
            | refused,
            [],
        ),
        "/metrics": _get(
            "Figures for Prometheus",
            "Frames, drops by reason, lag, restarts and ages, in Prometheus' text format.",
            {"200": {"description": "The figures.", **text}} | refused | starting,
            [],
        ),
    }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Tonality",
            "version": version("tonality"),
            "summary": "How a conversation feels, from -3 (very negative) to +3 (very positive).",
            "description": "Only this machine may ask, unless TONALITY_HOSTS names hosts; pages of "
            "other sites only where TONALITY_ORIGINS names them. Nothing can be changed here.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "jsonSchemaDialect": "https://json-schema.org/draft/2020-12/schema",
        "paths": paths,
        "components": {"schemas": schema.schemas()},
    }


async def openapi(request: Request) -> JSONResponse:
    """``GET /openapi.json``."""
    return JSONResponse(description())


async def docs(request: Request) -> HTMLResponse:
    """``GET /docs``: the same, for people."""
    return HTMLResponse(page(), headers={"Content-Security-Policy": POLICY})


@cache
def page() -> str:
    """The description as one page of HTML."""
    told = description()
    info = told["info"]
    paths = "".join(_path(path, operation["get"]) for path, operation in told["paths"].items())
    shapes = "".join(_shape(name, one) for name, one in told["components"]["schemas"].items())
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(info['title'])}: the feed</title>"
        f"<style>{STYLE.read_text(encoding='utf-8')}</style></head><body><main>"
        f"<h1>{escape(info['title'])}: the feed</h1><p>{_told(info['summary'])}</p>"
        f"<p>{_told(info['description'])}</p>"
        '<p>For programs: <a href="openapi.json">openapi.json</a></p>'
        f"<h2>What can be asked</h2>{paths}<h2>What is answered</h2>{shapes}</main></body></html>"
    )


def _told(words: str) -> str:
    """Words as HTML; what stands between backticks is code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(words))


def _path(path: str, operation: dict[str, Any]) -> str:
    rows = "".join(
        f"<tr><td><code>{escape(one['name'])}</code></td><td>{_told(one['description'])}</td></tr>"
        for one in operation.get("parameters", [])
    )
    table = f"<table><caption>Parameters</caption>{rows}</table>" if rows else ""
    answers = "".join(
        f"<li><b>{code}</b> {_told(one['description'])} {_link(one)}</li>"
        for code, one in operation["responses"].items()
    )
    return (
        f"<section><h3><code>GET {escape(path)}</code> {_told(operation['summary'])}</h3>"
        f"<p>{_told(operation['description'])}</p>{table}<ul>{answers}</ul></section>"
    )


def _link(answer: dict[str, Any]) -> str:
    for content in answer.get("content", {}).values():
        reference = content["schema"].get("$ref", "")
        if reference:
            name = reference.rpartition("/")[2]
            return f'<a href="#{escape(name)}">{escape(name)}</a>'
    return ""


def _shape(name: str, shape: dict[str, Any]) -> str:
    rows = "".join(
        f"<tr><td><code>{escape(key)}</code></td><td>{_kind(kind)}</td></tr>"
        for key, kind in shape.get("properties", {}).items()
    )
    told = _told(shape.get("description", ""))
    return f'<section id="{escape(name)}"><h3>{escape(name)}</h3><p>{told}</p><table>{rows}</table></section>'


def _kind(kind: dict[str, Any]) -> str:
    """A shape in a few words."""
    if "$ref" in kind:
        name = kind["$ref"].rpartition("/")[2]
        return f'<a href="#{escape(name)}">{escape(name)}</a>'
    if "anyOf" in kind:
        return " or ".join(_kind(one) for one in kind["anyOf"])
    if kind.get("type") == "array":
        return f"list of {_kind(kind.get('items', {}))}"
    limits = {key: kind[key] for key in ("minimum", "maximum") if key in kind}
    words = str(kind.get("type", json.dumps(kind)))
    if limits:
        words += f", {limits.get('minimum', '')} to {limits.get('maximum', '')}"
    return escape(words)


def routes() -> list[BaseRoute]:
    """The description, in both forms."""
    return [Route("/openapi.json", openapi), Route("/docs", docs)]

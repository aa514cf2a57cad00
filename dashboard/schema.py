"""What the server says to programs, as typed records; the API's description is made from them."""

from __future__ import annotations

from inspect import cleandoc
from typing import Any

import msgspec

from dashboard.lines import PredictionLine


class WorkerLine(msgspec.Struct, frozen=True):
    """One worker process: what it does, why, how often it was started again, and why last."""

    name: str
    role: str
    session: str
    participant: str
    state: str
    detail: str
    pid: int | None
    restarts: int
    memory_mib: int
    paused: bool = False
    failure: str = ""


class ParticipantNow(msgspec.Struct, frozen=True):
    """One participant as known now.

    ``age_s`` is how long ago ``latest`` was made (null before the first); ``words`` are the last
    half minute's, as far as they are stable; ``predictions`` are those asked for by ``seconds``.
    """

    session: str
    participant: str
    age_s: float | None
    latest: PredictionLine | None
    words: str
    predictions: list[PredictionLine]


class Snapshot(msgspec.Struct, frozen=True):
    """Everything that is known now."""

    participants: list[ParticipantNow]
    workers: list[WorkerLine]


class Health(msgspec.Struct, frozen=True):
    """Whether everything stands; ``hub`` counts messages, drops and listeners."""

    ok: bool
    workers: list[WorkerLine] = []
    hub: dict[str, int] = {}
    detail: str = ""


class Lost(msgspec.Struct, frozen=True):
    """Told to a program that could not follow: how many predictions it was not sent."""

    lost: int


SPOKEN = (PredictionLine, ParticipantNow, Snapshot, WorkerLine, Health, Lost)


def schemas(reference: str = "#/components/schemas/{name}") -> dict[str, Any]:
    """JSON Schema (2020-12) of each record by name; ``reference`` is how they point to each other."""
    _, components = msgspec.json.schema_components(SPOKEN, ref_template=reference)
    for shape in components.values():
        if "description" in shape:
            shape["description"] = cleandoc(shape["description"]).replace("``", "`")
    return dict(components)

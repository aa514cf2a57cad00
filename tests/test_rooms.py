"""Imports run one way: between the packages, and between the rooms of ``model``."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[1]
ANY: Final = {"model.commands", "model.metrics", "model.weight_files"}
LIVE_PRODUCT: Final = {
    "model.calibration", "model.checkpoint", "model.predictor", "model.resting", "model.worker",
}  # fmt: skip
MAY: Final[dict[str, set[str]]] = {
    "features": set(),
    "capture": {"features"},
    "dashboard": {"features", "capture", "model"},
    "model": {"features"},
    "model.corpora": {"features", *ANY},
    "model.appearance": {"features", "model.corpora", "model.networks", *ANY},
    "model.data": {"features", "model.corpora", *ANY},
    "model.networks": {"features", "model.data.splits"},
    "model.text": {"features"},
    "model.research": {"features", "model.data", "model.networks", "model.text", *ANY},
    "model.live": {
        "features", "model.corpora", "model.networks", "model.text", "model.research",
        *LIVE_PRODUCT, *ANY,
    },
    "model.results": {
        "features", "model.data", "model.networks", "model.text", "model.research", *ANY,
    },
    **{key: {"features"} for key in ANY},
    **{key: {"features", "model.networks", "model.text", *LIVE_PRODUCT, *ANY} for key in LIVE_PRODUCT},
}  # fmt: skip
OURS: Final = ("features", "capture", "model", "dashboard")


def modules() -> Iterator[tuple[str, Path]]:
    """Names and files of all modules of ours."""
    for package in OURS:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def imported(path: Path, known: set[str]) -> set[str]:
    """Modules of ours that a file imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            names = {f"{node.module}.{alias.name}" for alias in node.names} & known
            found |= names or {node.module or ""}
    return found & known


def within(module: str, rooms: set[str]) -> bool:
    """Whether a module is one of the rooms, or lies in one."""
    return any(module == room or module.startswith(f"{room}.") for room in rooms)


def room_of(module: str) -> str:
    """The narrowest that has rules."""
    return max((room for room in MAY if within(module, {room})), key=len)


FILES: Final = dict(modules())
IMPORTS: Final = {name: imported(path, set(FILES)) for name, path in FILES.items()}


@pytest.mark.parametrize("room", sorted(MAY))
def test_a_room_imports_what_it_may(room: str) -> None:
    own = [name for name in FILES if room_of(name) == room]
    assert own, f"{room} is empty: mend the rules"
    broken = {
        f"{name} -> {other}"
        for name in own
        for other in IMPORTS[name]
        if not within(other, MAY[room]) and room_of(other) != room
    }
    assert not broken


def test_no_module_imports_itself_by_way_of_others() -> None:
    left = {name: set(others) for name, others in IMPORTS.items()}
    while ready := {name for name, others in left.items() if not others & left.keys()}:
        left = {name: others for name, others in left.items() if name not in ready}
    assert not left, "these import each other, or what does"


def test_every_folder_with_modules_is_a_package() -> None:
    for path in FILES.values():
        assert path.with_name("__init__.py").is_file(), f"{path.parent} would not be installed"

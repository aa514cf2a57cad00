"""The files of a checkpoint folder: read against their hash, written whole, never executable."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Final

from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from features.errors import CheckpointError

WEIGHTS: Final = "model.safetensors"
MANIFEST: Final = "checkpoint.json"


def read_tensors(path: Path, expected: str) -> dict[str, Tensor]:
    """Tensors of a safetensors file of that SHA-256; raises :class:`CheckpointError`."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}") from error
    actual = hashlib.sha256(content).hexdigest()
    if actual != expected:
        raise CheckpointError(f"{path} has SHA-256 {actual}, {MANIFEST} says {expected}")
    try:
        return dict(load(content))
    except SafetensorError as error:
        raise CheckpointError(f"{path} is damaged: {error}") from error


def under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Those whose names begin with ``prefix``, without it."""
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def write_whole(path: Path, content: bytes) -> None:
    """Write beside it and put in its place, so that nobody reads half a file."""
    partial = path.with_suffix(path.suffix + ".part")
    partial.write_bytes(content)
    partial.replace(path)


def code_version() -> str:
    """Tonality's version, for the record."""
    try:
        return metadata.version("tonality")
    except metadata.PackageNotFoundError:
        return "unknown"

"""Extracted features of corpora on disk: one small npz per clip or block, written at once.

The folder's name carries the hash of the streams' specs, so that features of another extractor are
never mixed in. A killed build loses at most the file it was writing.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np


def save_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write a compressed npz whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)
    part.replace(path)


def load_arrays(path: Path) -> dict[str, np.ndarray]:
    """All arrays of an npz; never unpickles."""
    with np.load(path, allow_pickle=False) as kept:
        return {name: kept[name] for name in kept.files}

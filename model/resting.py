"""How most people's face and voice are at rest, which somebody's own rest is set equal to.

The means belong to the extractors, not to a checkpoint; ``python -m model.live.resting build``
makes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from features.errors import CheckpointError
from features.spec import LIVE, Spec
from model.networks.inputs import Prior

FILE: Final = Path(__file__).parent / "checkpoints" / "rest" / "rest.json"
DIGITS: Final = 6


class RestingStream(msgspec.Struct, frozen=True):
    """Mean of one stream at rest, and the key of the extractor that it belongs to."""

    extractor: str
    mean: list[float]


@lru_cache(maxsize=1)
def _kept() -> dict[str, RestingStream]:
    try:
        return msgspec.json.decode(FILE.read_bytes(), type=dict[str, RestingStream])
    except (OSError, msgspec.MsgspecError) as error:
        raise CheckpointError(f"{FILE}: {error}; install Tonality again") from error


def with_rest(priors: Mapping[str, Prior]) -> dict[str, Prior]:
    """The priors with most people's rest, for streams of the extractors that it was made with."""
    kept = _kept()
    return {
        name: msgspec.structs.replace(prior, rest=np.array(kept[name].mean, np.float32))
        if name in kept and kept[name].extractor == LIVE.key(name)
        else prior
        for name, prior in priors.items()
    }


def save(means: Mapping[str, np.ndarray], path: Path = FILE, spec: Spec = LIVE) -> None:
    """Write means ``(D,)`` by stream."""
    kept = {
        stream.name: RestingStream(
            spec.key(stream.name),
            [float(f"{value:.{DIGITS}g}") for value in means[stream.name].tolist()],
        )
        for stream in spec.streams
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.encode(kept) + b"\n")

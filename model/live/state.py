"""What a training run of the live model keeps on disk so that a killed one goes on: no pickle."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from model.networks.rtil import RTIL

logger = logging.getLogger(__name__)

AVERAGE: Final = 0.99  # of the average that stays at each update


@dataclass(slots=True)
class LiveState:
    """Network, optimiser and the network's moving average after ``epoch`` epochs.

    Single steps make scores of small groups, such as neutral faces, swing; the average does not.

    ``state.safetensors`` in ``folder`` is replaced at once. A state with another ``key`` is not gone
    on with, which the log says. Nothing random is kept: chance is drawn anew for every
    step from its number.
    """

    folder: Path
    key: str
    network: RTIL
    average: RTIL
    optimiser: torch.optim.Optimizer
    epoch: int = 0
    history: list[dict[str, float]] = field(default_factory=list)

    def resume(self) -> None:
        """Take up the saved state, if there is one of this run."""
        tensors, notes = self._read("state")
        if not tensors:
            return
        self._put(tensors, "network.", self.network)
        self._put(tensors, "average.", self.average)
        for index, parameter in enumerate(self._parameters()):
            prefix = f"optimiser.{index}."
            kept = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
            if kept:
                self.optimiser.state[parameter] = kept
        stored = json.loads(notes)
        self.epoch, self.history = stored["epoch"], stored["history"]

    def follow(self, step: int) -> None:
        """Let the average follow the network after update ``step``."""
        follow(self.average, self.network, step)

    def judge(self, measured: dict[str, float]) -> None:
        """End an epoch with the average's measures and keep everything."""
        self.epoch += 1
        self.history.append({"epoch": self.epoch, **measured})
        tensors = _weights("average.", self.average) | _weights("network.", self.network)
        for index, parameter in enumerate(self._parameters()):
            for name, value in self.optimiser.state.get(parameter, {}).items():
                tensors[f"optimiser.{index}.{name}"] = value
        self._write("state", tensors)

    def take_average(self) -> None:
        """Put the average's weights into the network."""
        self.network.load_state_dict(self.average.state_dict())

    def _put(self, tensors: dict[str, Tensor], prefix: str, network: RTIL) -> None:
        own = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
        network.load_state_dict(own)

    def _parameters(self) -> list[torch.nn.Parameter]:
        return [p for group in self.optimiser.param_groups for p in group["params"]]

    def _write(self, name: str, tensors: dict[str, Tensor]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        notes = {"epoch": self.epoch, "history": self.history}
        part = self.folder / f"{name}.part"
        contiguous = {k: v.contiguous() for k, v in tensors.items()}
        save_file(contiguous, part, metadata={"key": self.key, "notes": json.dumps(notes)})
        part.replace(self.folder / f"{name}.safetensors")

    def _read(self, name: str) -> tuple[dict[str, Tensor], str]:
        path = self.folder / f"{name}.safetensors"
        if not path.is_file():
            return {}, ""
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata()
            if metadata["key"] != self.key:
                logger.info("%s: of another plan or other data; begun anew", path)
                return {}, ""
            tensors = {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118
        return tensors, metadata["notes"]


@torch.no_grad()
def follow(average: RTIL, network: RTIL, step: int) -> None:
    """Move ``average`` towards ``network`` as it is after update ``step``, far at first."""
    share = max(1.0 - AVERAGE, 9.0 / (10.0 + step))
    own = dict(network.named_parameters())
    for name, value in average.named_parameters():
        value.lerp_(own[name], share)


def digest(value: Any) -> str:
    """Short hash of what ``value`` holds: arrays, tensors, numbers and text, in dataclasses, structs,
    mappings and sequences. Raises ``TypeError`` for all else, whose text may be an address."""
    found = hashlib.sha256()
    for part in _parts(value):
        found.update(part)
    return found.hexdigest()[:16]


def _parts(value: Any) -> Iterator[bytes | memoryview]:
    """Bytes that tell ``value`` from any other; kinds and sizes come first, so that none run together."""
    if isinstance(value, Tensor):
        value = value.detach().cpu().numpy()
    if isinstance(value, (np.ndarray, np.generic)):
        if value.dtype.hasobject:
            raise TypeError("arrays of objects hold addresses, which say nothing")
        yield f"array {value.dtype.str} {value.shape};".encode()
        yield np.ascontiguousarray(value).data
    elif value is None or isinstance(value, (str, int, float)):
        text = repr(value).encode()
        yield f"one {len(text)};".encode()
        yield text
    else:
        yield f"{type(value).__name__};".encode()
        yield from _members(value)


def _members(value: Any) -> Iterator[bytes | memoryview]:
    """Of what holds others, those; of mappings in the order of their keys."""
    if isinstance(value, Mapping):
        own: Sequence[Any] = [pair for key in sorted(value) for pair in (key, value[key])]
    elif isinstance(value, msgspec.Struct):
        own = [getattr(value, name) for name in value.__struct_fields__]
    elif is_dataclass(value):
        own = [getattr(value, each.name) for each in fields(value)]
    elif isinstance(value, Sequence) and not isinstance(value, (bytes, bytearray)):
        own = value
    else:
        raise TypeError(f"no digest of a {type(value).__name__}")
    yield f"{len(own)};".encode()
    for each in own:
        yield from _parts(each)


def _weights(prefix: str, network: RTIL) -> dict[str, Tensor]:
    return {f"{prefix}{k}": v.detach().clone() for k, v in network.state_dict().items()}

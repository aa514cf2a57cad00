"""What a training run of the live model keeps on disk so that a killed one goes on: no pickle."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from model.rtil import RTIL


@dataclass(slots=True)
class LiveState:
    """Network and optimiser after ``epoch`` epochs, and the best network so far.

    ``state.safetensors`` and ``best.safetensors`` in ``folder`` are each replaced at once. A state
    with another ``key`` is not gone on with. Nothing random is kept: chance is drawn anew for every
    step from its number.
    """

    folder: Path
    key: str
    network: RTIL
    optimiser: torch.optim.Optimizer
    epoch: int = 0
    best_epoch: int = 0
    history: list[dict[str, float]] = field(default_factory=list)

    def resume(self) -> None:
        """Take up the saved state, if there is one of this run."""
        tensors, notes = self._read("state")
        if not tensors:
            return
        self._put(tensors)
        for index, parameter in enumerate(self._parameters()):
            prefix = f"optimiser.{index}."
            kept = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
            if kept:
                self.optimiser.state[parameter] = kept
        stored = json.loads(notes)
        self.epoch, self.best_epoch = stored["epoch"], stored["best_epoch"]
        self.history = stored["history"]

    def judge(self, measured: dict[str, float]) -> None:
        """End an epoch with its measures; the best network is the one with the least ``total``."""
        least = min((entry["total"] for entry in self.history), default=float("inf"))
        self.epoch += 1
        self.history.append({"epoch": self.epoch, **measured})
        if measured["total"] < least:
            self.best_epoch = self.epoch
            self._write("best", self._weights())
        tensors = self._weights()
        for index, parameter in enumerate(self._parameters()):
            for name, value in self.optimiser.state.get(parameter, {}).items():
                tensors[f"optimiser.{index}.{name}"] = value
        self._write("state", tensors)

    def restore_best(self) -> None:
        """Put the best network's weights back."""
        tensors, _ = self._read("best")
        if tensors:
            self._put(tensors)

    def _weights(self) -> dict[str, Tensor]:
        return {f"network.{k}": v.detach() for k, v in self.network.state_dict().items()}

    def _put(self, tensors: dict[str, Tensor]) -> None:
        own = {
            k.removeprefix("network."): v for k, v in tensors.items() if k.startswith("network.")
        }
        self.network.load_state_dict(own)

    def _parameters(self) -> list[torch.nn.Parameter]:
        return [p for group in self.optimiser.param_groups for p in group["params"]]

    def _write(self, name: str, tensors: dict[str, Tensor]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        notes = {"epoch": self.epoch, "best_epoch": self.best_epoch, "history": self.history}
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
                return {}, ""
            tensors = {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118
        return tensors, metadata["notes"]

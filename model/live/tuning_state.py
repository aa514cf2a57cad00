"""What a tuning run keeps on disk so that a killed one goes on: safetensors, no pickle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from model.text.encoder import TextEncoder


class TuningState:
    """Layers, head, optimiser and random state of a run, and where its stages ended.

    Files in ``folder``: ``state.safetensors`` (the newest) and ``end-N.safetensors`` (weights at the
    end of stage 1, N = 0, and of each run of stage 2), each replaced at once, so that a kill leaves the
    one before. A state with another ``key`` is not gone on with.

    Attributes:
        history: ``[updates done, validation error]`` of every judgement.
    """

    def __init__(
        self,
        folder: Path,
        key: str,
        encoder: TextEncoder,
        head: nn.Module,
        optimiser: torch.optim.Optimizer,
    ) -> None:
        self.encoder, self.head = encoder, head
        self.history: list[list[float]] = []
        self._folder, self._key, self._optimiser = folder, key, optimiser

    def resume(self) -> int:
        """Take up the saved state, if there is one of this run; gives the updates done so far."""
        tensors, notes = self._read("state")
        if not tensors:
            return 0
        self._put(tensors)
        self._put_optimiser(tensors)
        torch.set_rng_state(tensors["random"])
        self.history = notes["history"]
        return int(notes["step"])

    def save(self, step: int) -> None:
        """Keep the state after ``step`` updates."""
        tensors = {**self._weights(), "random": torch.get_rng_state()}
        for index, parameter in enumerate(self._parameters()):
            for name, value in self._optimiser.state.get(parameter, {}).items():
                tensors[f"optimiser.{index}.{name}"] = value
        self._write("state", tensors, {"step": step})

    def judge(self, error: float, step: int) -> None:
        """Note a validation error."""
        self.history.append([step, error])

    def end(self, run: int) -> None:
        """Keep the weights at the end of stage 1 (0) or of a run; the next run begins at stage 1's."""
        self._write(f"end-{run}", self._weights(), {})
        self._put(self._read("end-0")[0])
        self._optimiser.state.clear()

    def take_mean(self, runs: int) -> None:
        """Put the mean of the runs' weights in (Wortsman et al. 2022, model soups)."""
        ends = [self._read(f"end-{run}")[0] for run in range(1, runs + 1)]
        self._put({name: torch.stack([end[name] for end in ends]).mean(0) for name in ends[0]})

    def _weights(self) -> dict[str, Tensor]:
        learning = {n: p.detach() for n, p in self.encoder.named_parameters() if p.requires_grad}
        own = {f"head.{name}": value for name, value in self.head.state_dict().items()}
        return {**learning, **own}

    def _put(self, tensors: dict[str, Tensor]) -> None:
        names = {name for name, p in self.encoder.named_parameters() if p.requires_grad}
        layers = {name: tensors[name] for name in names}
        self.encoder.load_state_dict(layers, strict=False)
        head = {n.removeprefix("head."): v for n, v in tensors.items() if n.startswith("head.")}
        self.head.load_state_dict(head)

    def _put_optimiser(self, tensors: dict[str, Tensor]) -> None:
        for index, parameter in enumerate(self._parameters()):
            prefix = f"optimiser.{index}."
            kept = {n.removeprefix(prefix): v for n, v in tensors.items() if n.startswith(prefix)}
            if kept:
                self._optimiser.state[parameter] = kept

    def _parameters(self) -> list[nn.Parameter]:
        return [p for group in self._optimiser.param_groups for p in group["params"]]

    def _write(self, name: str, tensors: dict[str, Tensor], notes: dict[str, Any]) -> None:
        notes = {"key": self._key, "history": self.history, **notes}
        part = self._folder / f"{name}.part"
        contiguous = {key: value.contiguous() for key, value in tensors.items()}
        save_file(contiguous, part, metadata={"notes": json.dumps(notes)})
        part.replace(self._folder / f"{name}.safetensors")

    def _read(self, name: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
        path = self._folder / f"{name}.safetensors"
        if not path.is_file():
            return {}, {}
        with safe_open(path, framework="pt") as file:
            notes: dict[str, Any] = json.loads(file.metadata()["notes"])
            if notes["key"] != self._key:
                return {}, {}
            return {key: file.get_tensor(key) for key in file.keys()}, notes  # noqa: SIM118

"""What a training keeps so that a killed one goes on: weights, their average, the optimiser."""

from __future__ import annotations

import logging
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

logger = logging.getLogger(__name__)


class TrainingState:
    """``state.safetensors`` in ``folder``, replaced at once; one with another ``key`` is not gone on
    with, which the log says.

    Nothing random is kept: chance is drawn anew for each epoch.
    """

    def __init__(
        self,
        folder: Path,
        key: str,
        network: nn.Module,
        average: nn.Module,
        optimiser: torch.optim.Optimizer,
    ) -> None:
        self._path, self._key = folder / "state.safetensors", key
        self._modules = {"network.": network, "average.": average}
        self._optimiser = optimiser

    def resume(self) -> int:
        """Take up the saved state, if there is one of this run; gives the epochs that are done."""
        if not self._path.is_file():
            return 0
        with safe_open(self._path, framework="pt") as file:
            notes = file.metadata()
            if notes["key"] != self._key:
                logger.info("%s: of another plan or other data; begun anew", self._path)
                return 0
            tensors = {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118
        for prefix, module in self._modules.items():
            own = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
            module.load_state_dict(own)
        for index, parameter in enumerate(self._parameters()):
            prefix = f"optimiser.{index}."
            own = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
            self._optimiser.state[parameter] = own
        return int(notes["epochs"])

    def save(self, epochs: int) -> None:
        """Keep the state after so many epochs."""
        tensors: dict[str, Tensor] = {}
        for prefix, module in self._modules.items():
            tensors |= {f"{prefix}{k}": v.contiguous() for k, v in module.state_dict().items()}
        for index, parameter in enumerate(self._parameters()):
            for name, value in self._optimiser.state[parameter].items():
                tensors[f"optimiser.{index}.{name}"] = value.contiguous()
        self._path.parent.mkdir(parents=True, exist_ok=True)
        part = self._path.with_suffix(".part")
        save_file(tensors, part, metadata={"key": self._key, "epochs": str(epochs)})
        part.replace(self._path)

    def _parameters(self) -> list[nn.Parameter]:
        return [p for group in self._optimiser.param_groups for p in group["params"]]

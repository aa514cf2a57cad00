"""What a run keeps on disk, so that a killed one goes on to the same weights; no pickle."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from features.errors import CheckpointError
from model.weight_files import under

Epoch = dict[str, float]


@dataclass(slots=True)
class TrainingState:
    """Network and optimiser after so many epochs, the weights of the best one, and the history.

    ``state.safetensors`` and ``best.safetensors`` in ``folder`` are each replaced at once; a state of
    another ``key`` is not gone on with. Nothing random is kept: chance is drawn anew for every update
    from its number. ``also`` are further tensors that learn, by name; they are changed in place.
    ``log.csv`` has one line per epoch.
    """

    folder: Path
    key: str
    network: nn.Module
    optimiser: torch.optim.Optimizer
    also: Mapping[str, Tensor] = field(default_factory=dict)
    best_epoch: int = 0
    history: list[Epoch] = field(default_factory=list)

    @property
    def epoch(self) -> int:
        """Epochs that are over."""
        return len(self.history)

    def resume(self) -> None:
        """Take up what was saved, if there is something of this run."""
        tensors, notes = self._read("state")
        if not tensors:
            return
        self._put(tensors)
        for index, parameter in enumerate(self._parameters()):
            kept = under(tensors, f"optimiser.{index}.")
            if kept:
                self.optimiser.state[parameter] = {
                    name: value if name == "step" else value.to(parameter.device)
                    for name, value in kept.items()
                }
        stored = json.loads(notes)
        self.best_epoch, self.history = stored["best_epoch"], stored["history"]

    def end_epoch(self, measured: Epoch, better: bool) -> None:
        """Save an epoch with its measures, and its weights if it is the best so far."""
        self.history.append(measured)
        weights = {f"network.{k}": v for k, v in self.network.state_dict().items()}
        weights |= {f"also.{name}": value for name, value in self.also.items()}
        if better:
            self.best_epoch = self.epoch
            self._write("best", weights)
        for index, parameter in enumerate(self._parameters()):
            for name, value in self.optimiser.state.get(parameter, {}).items():
                weights[f"optimiser.{index}.{name}"] = value
        self._write("state", weights)
        self._log()

    def restore_best(self) -> None:
        """Put the best epoch's weights into the network."""
        tensors, _ = self._read("best")
        if tensors:
            self._put(tensors)

    def _put(self, tensors: dict[str, Tensor]) -> None:
        self.network.load_state_dict(under(tensors, "network."))
        with torch.no_grad():
            for name, value in under(tensors, "also.").items():
                self.also[name].copy_(value)

    def _parameters(self) -> list[nn.Parameter]:
        return [p for group in self.optimiser.param_groups for p in group["params"]]

    def _write(self, name: str, tensors: dict[str, Tensor]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        notes = json.dumps({"best_epoch": self.best_epoch, "history": self.history})
        part = self.folder / f"{name}.part"
        sound = {k: v.detach().cpu().clone().contiguous() for k, v in tensors.items()}
        save_file(sound, part, metadata={"key": self.key, "notes": notes})
        part.replace(self.folder / f"{name}.safetensors")

    def _read(self, name: str) -> tuple[dict[str, Tensor], str]:
        path = self.folder / f"{name}.safetensors"
        if not path.is_file():
            return {}, ""
        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                if metadata.get("key") != self.key:
                    return {}, ""
                tensors = {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118
        except SafetensorError as error:
            raise CheckpointError(
                f"{path} is damaged ({error}); remove it to start the run anew"
            ) from error
        return tensors, metadata["notes"]

    def _log(self) -> None:
        names = list(dict.fromkeys(name for entry in self.history for name in entry))
        text = io.StringIO()
        writer = csv.DictWriter(text, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.history)
        part = self.folder / "log.part"
        part.write_text(text.getvalue(), encoding="utf-8")
        part.replace(self.folder / "log.csv")

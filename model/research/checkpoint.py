"""A research model as a folder: ``model.safetensors`` and ``checkpoint.json``, nothing executable."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Final

import msgspec
import torch
from safetensors.torch import save
from torch import Tensor

from features.errors import CheckpointError
from model.data.splits import Moments
from model.networks.family_parts import FamilyConfig
from model.networks.mitr import MITRConfig
from model.networks.text_mean import TextMeanConfig
from model.research.presets import NetworkConfig, ResearchNetwork, TrainingPlan, network_of
from model.weight_files import (
    MANIFEST,
    WEIGHTS,
    read_tensors,
    under,
    write_whole,
)

FORMAT: Final = 1


class ResearchManifest(msgspec.Struct, frozen=True, kw_only=True):
    """What ``checkpoint.json`` says.

    Attributes:
        plan: preset, variant and all settings of the training.
        epochs: how many were trained.
        family, mitr, words: the network's configuration; the others are null.
        text_encoder: the encoder whose states are the text; empty for the file's own features.
        text_sha256: of the encoder's weights before any tuning; empty where they are gte-small's.
        text_learned: how many of its parameters were tuned; the checkpoint holds these alone.
        low, high, classes: of the labels, as in :class:`model.data.splits.SequenceData`.
        metrics: of the selected epoch by split; ``test`` with complete data.
        data_sha256: over the content of each split.
    """

    format: int = FORMAT
    kind: str = "research"
    plan: TrainingPlan
    seed: int
    best_epoch: int
    epochs: int = 0
    family: FamilyConfig | None = None
    mitr: MITRConfig | None = None
    words: TextMeanConfig | None = None
    text_encoder: str = ""
    text_sha256: str = ""
    text_learned: int = 0
    data: str
    low: float
    high: float
    classes: int = 0
    modalities: tuple[str, ...] = ()
    metrics: dict[str, dict[str, float]] = {}
    data_sha256: dict[str, str] = {}
    weights_sha256: str = ""
    key: str = ""
    code_version: str = ""
    created: str = ""

    @property
    def config(self) -> NetworkConfig:
        """The network's configuration. Raises :class:`CheckpointError` where there is none."""
        found = self.family or self.mitr or self.words
        if found is None:
            raise CheckpointError("a checkpoint without the configuration of a network")
        return found


@dataclass(frozen=True, slots=True, eq=False)
class ResearchCheckpoint:
    """A trained network with what its training knew.

    ``moments`` are what features are scaled by, ``text`` the tensors of the text encoder that learned.
    """

    network: ResearchNetwork
    manifest: ResearchManifest
    moments: Mapping[str, Moments] = field(default_factory=dict)
    text: Mapping[str, Tensor] = field(default_factory=dict)

    def save(self, folder: Path) -> None:
        """Write both files, each at once; the manifest comes last."""
        folder.mkdir(parents=True, exist_ok=True)
        weights = save(self._tensors())
        manifest = msgspec.structs.replace(
            self.manifest,
            weights_sha256=hashlib.sha256(weights).hexdigest(),
            code_version=metadata.version("tonality"),
            created=self.manifest.created or datetime.now(UTC).isoformat(timespec="seconds"),
        )
        write_whole(folder / WEIGHTS, weights)
        write_whole(folder / MANIFEST, msgspec.json.format(msgspec.json.encode(manifest)) + b"\n")

    def _tensors(self) -> dict[str, Tensor]:
        own = self.network.state_dict()
        tensors = {f"network.{k}": v.detach().cpu().clone().contiguous() for k, v in own.items()}
        tensors |= {f"text.{name}": value for name, value in self.text.items()}
        for name, moments in self.moments.items():
            tensors[f"moments.{name}.mean"] = torch.from_numpy(moments.mean.copy())
            tensors[f"moments.{name}.deviation"] = torch.from_numpy(moments.deviation.copy())
        return tensors

    @classmethod
    def load(cls, folder: Path) -> ResearchCheckpoint:
        """Read a folder that :meth:`save` wrote; the network comes in evaluation mode.

        Raises :class:`CheckpointError` where a file is missing, damaged, of another format, or does
        not fit the network.
        """
        manifest = read_manifest(folder)
        tensors = read_tensors(folder / WEIGHTS, manifest.weights_sha256)
        network = network_of(manifest.config).eval()
        try:
            network.load_state_dict(under(tensors, "network."))
        except RuntimeError as error:
            reason = " ".join(str(error).split())
            raise CheckpointError(f"{folder} does not fit the network: {reason}") from error
        moments = _moments(folder, under(tensors, "moments."))
        return cls(network, manifest, moments, under(tensors, "text."))


def read_manifest(folder: Path) -> ResearchManifest:
    """The manifest alone; raises :class:`CheckpointError`."""
    path = folder / MANIFEST
    try:
        manifest = msgspec.json.decode(path.read_bytes(), type=ResearchManifest)
    except OSError as error:
        raise CheckpointError(f"no checkpoint in {folder}: {error.strerror}") from error
    except msgspec.MsgspecError as error:
        raise CheckpointError(
            f"{path} is not a research checkpoint, or damaged: {error}"
        ) from error
    if manifest.format != FORMAT or manifest.kind != "research":
        raise CheckpointError(
            f"{path} is a '{manifest.kind}' checkpoint of format {manifest.format}; "
            f"this reads 'research' of {FORMAT}"
        )
    return manifest


def _moments(folder: Path, tensors: Mapping[str, Tensor]) -> dict[str, Moments]:
    found = {}
    for name in {key.split(".")[0] for key in tensors}:
        mean, deviation = tensors.get(f"{name}.mean"), tensors.get(f"{name}.deviation")
        if mean is None or deviation is None:
            raise CheckpointError(f"{folder} has half of the moments of {name}")
        found[name] = Moments(mean.numpy(), deviation.numpy())
    return found

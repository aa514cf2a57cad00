"""A checkpoint: a folder with ``model.safetensors`` and ``checkpoint.json``, nothing executable.

The tensors are the network's (``network.``), the tuned text layers' (``text.``) and the priors'
(``prior.<stream>.mean`` and ``.variance``); the JSON holds all that is needed to use and judge them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor

from features.errors import CheckpointError
from features.spec import LIVE, Spec
from model.calibration import Calibration
from model.networks.inputs import Prior
from model.networks.rtil import RTIL, RTILConfig
from model.weight_files import (
    MANIFEST,
    WEIGHTS,
    code_version,
    read_tensors,
    under,
    write_whole,
)

FORMAT: Final = 1
TEXT_ENCODER: Final = "gte-small"


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What ``checkpoint.json`` says. ``priors`` are seconds of weight by stream."""

    format: int = FORMAT
    network: str = "rtil"
    config: RTILConfig
    spec_hash: str
    spec: Spec
    text_encoder: str = TEXT_ENCODER
    weights_sha256: str = ""
    priors: dict[str, float] = {}
    calibration: Calibration = Calibration()
    trained: bool = False
    metrics: dict[str, dict[str, float]] = {}
    data: dict[str, str] = {}
    settings: dict[str, str] = {}
    code_version: str = ""
    created: str = ""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A network with everything it was trained with; ``text`` are the encoder's tuned tensors."""

    network: RTIL
    priors: Mapping[str, Prior]
    spec: Spec = LIVE
    text: Mapping[str, Tensor] = field(default_factory=dict)
    calibration: Calibration = field(default_factory=Calibration)
    trained: bool = True
    metrics: Mapping[str, dict[str, float]] = field(default_factory=dict)
    data: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
    created: str = ""

    def save(self, folder: Path, dtype: torch.dtype = torch.float32) -> None:
        """Write both files; the network's tensors in ``dtype``. The manifest comes last."""
        folder.mkdir(parents=True, exist_ok=True)
        weights = save(self._tensors(dtype))
        manifest = Manifest(
            config=self.network.config,
            spec_hash=self.spec.hash,
            spec=self.spec,
            weights_sha256=hashlib.sha256(weights).hexdigest(),
            priors={name: prior.seconds for name, prior in self.priors.items()},
            calibration=self.calibration,
            trained=self.trained,
            metrics=dict(self.metrics),
            data=dict(self.data),
            settings=dict(self.settings),
            code_version=code_version(),
            created=self.created or datetime.now(UTC).isoformat(timespec="seconds"),
        )
        write_whole(folder / WEIGHTS, weights)
        write_whole(folder / MANIFEST, msgspec.json.format(msgspec.json.encode(manifest)) + b"\n")

    def _tensors(self, dtype: torch.dtype) -> dict[str, Tensor]:
        own = self.network.state_dict()
        tensors = {f"network.{k}": v.detach().to("cpu", dtype).contiguous() for k, v in own.items()}
        tensors |= {f"text.{k}": v.detach().cpu().contiguous() for k, v in self.text.items()}
        for name, prior in self.priors.items():
            tensors[f"prior.{name}.mean"] = torch.from_numpy(prior.mean.astype(np.float32))
            tensors[f"prior.{name}.variance"] = torch.from_numpy(prior.variance.astype(np.float32))
        return tensors

    @classmethod
    def load(cls, folder: Path) -> Checkpoint:
        """Read a folder that :meth:`save` wrote; the network comes in evaluation mode.

        Raises :class:`CheckpointError` where a file is missing, damaged, of another format, or does
        not fit the network.
        """
        manifest = read_manifest(folder)
        tensors = read_tensors(folder / WEIGHTS, manifest.weights_sha256)
        return cls(
            network=_network(folder, manifest.config, under(tensors, "network.")),
            priors=_priors(folder, manifest, under(tensors, "prior.")),
            spec=manifest.spec,
            text=under(tensors, "text."),
            calibration=manifest.calibration,
            trained=manifest.trained,
            metrics=manifest.metrics,
            data=manifest.data,
            settings=manifest.settings,
            created=manifest.created,
        )


def default_checkpoint() -> Path:
    """The live checkpoint that comes with the package."""
    return Path(__file__).parent / "checkpoints" / "live"


def untrained(spec: Spec = LIVE, config: RTILConfig | None = None, seed: int = 0) -> Checkpoint:
    """A checkpoint with random weights: a beginning for training, and for tests."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = RTIL(config or RTILConfig()).eval()
    priors = {
        s.name: Prior(np.zeros(s.width, np.float32), np.ones(s.width, np.float32), 10.0)
        for s in spec.streams
    }
    return Checkpoint(network, priors, spec, trained=False)


def read_manifest(folder: Path) -> Manifest:
    """The manifest alone, checked; raises :class:`CheckpointError`."""
    path = folder / MANIFEST
    try:
        manifest = msgspec.json.decode(path.read_bytes(), type=Manifest)
    except OSError as error:
        raise CheckpointError(f"no checkpoint in {folder}: {error.strerror}") from error
    except msgspec.MsgspecError as error:
        raise CheckpointError(f"{path} is damaged or of another version: {error}") from error
    if manifest.format != FORMAT or manifest.network != "rtil":
        raise CheckpointError(
            f"{path} holds '{manifest.network}' of format {manifest.format}; this reads 'rtil' of {FORMAT}"
        )
    if manifest.spec.hash != manifest.spec_hash:
        raise CheckpointError(f"{path}: the spec was changed after the checkpoint was written")
    return manifest


def _network(folder: Path, config: RTILConfig, state: Mapping[str, Tensor]) -> RTIL:
    network = RTIL(config)
    try:
        network.load_state_dict({name: tensor.float() for name, tensor in state.items()})
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(f"{folder} does not fit the network: {reason}") from error
    return network.eval()


def _priors(folder: Path, manifest: Manifest, tensors: Mapping[str, Tensor]) -> dict[str, Prior]:
    priors = {}
    for stream in manifest.spec.streams:
        found = [tensors.get(f"{stream.name}.{part}") for part in ("mean", "variance")]
        mean, variance = found
        if mean is None or variance is None or stream.name not in manifest.priors:
            raise CheckpointError(f"{folder} has no prior for stream '{stream.name}'")
        if mean.shape != (stream.width,) or variance.shape != (stream.width,):
            raise CheckpointError(f"{folder}: prior of '{stream.name}' is not {stream.width} wide")
        priors[stream.name] = Prior(mean.numpy(), variance.numpy(), manifest.priors[stream.name])
    return priors

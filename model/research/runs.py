"""Runs of research models from a data set to checkpoints on disk, one folder for each seed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
import torch

from features.errors import TonalityError
from model.data.splits import TEST, SequenceData
from model.metrics import Spread, over_seeds
from model.networks.family_parts import FamilyConfig
from model.networks.mitr import MITRConfig
from model.networks.text_mean import TextMeanConfig
from model.research.checkpoint import ResearchCheckpoint, ResearchManifest
from model.research.evaluation import evaluate
from model.research.inputs import (
    Inputs,
    fingerprint,
    scaled_for,
    wants_encoder,
)
from model.research.presets import TrainingPlan
from model.research.text_inputs import encoder_name, encoder_sha256
from model.research.training import Trained, Trainer
from model.text.states import TextStates


def device_named(name: str) -> str:
    """``auto``, ``cpu`` or ``cuda`` to a device that is there; raises :class:`TonalityError`."""
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name not in ("cpu", "cuda"):
        raise TonalityError(f"no device '{name}'; there are auto, cpu and cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise TonalityError("there is no CUDA device here; take --device cpu")
    return name


def text_encoder(folder: Path, device: str = "cpu") -> TextStates:
    """Frozen gte-small from the folder of its files."""
    from model.text.encoder import TextEncoder

    return TextEncoder.load(folder).to(device)


def prepared(
    data: SequenceData,
    plan: TrainingPlan,
    encoder: Callable[[], TextStates],
    cache: Path | None = None,
) -> Inputs:
    """Unscaled data as inputs of a plan; ``encoder`` is asked for only where text is encoded.

    ``cache`` is where the encoder's states are kept for later runs.
    """
    wanted = wants_encoder(data, plan.text)
    return Inputs(scaled_for(data, plan), encoder() if wanted else None, cache, plan.bf16)


def train_seed(
    data: SequenceData,
    inputs: Inputs,
    plan: TrainingPlan,
    seed: int,
    folder: Path,
    device: str = "cpu",
    advance: Callable[[int], None] = lambda epochs: None,
    start: ResearchCheckpoint | None = None,
) -> ResearchCheckpoint:
    """Train one seed, or go on with it, judge it on the test split and save its checkpoint.

    ``data`` is what :func:`prepared` made ``inputs`` of; ``start`` a checkpoint whose weights the
    training begins with. The test split is looked at once, when the epoch is selected.
    """
    if start is not None:
        plan = msgspec.structs.replace(plan, start=start.manifest.weights_sha256)
    trainer = Trainer(plan, seed, inputs, folder, device, start)
    trained = trainer.run(advance)
    checkpoint = _checkpoint(data, inputs, plan, seed, trained)
    if len(data.splits.get(TEST, ())):
        whole = evaluate(checkpoint, data, "complete", inputs.encoder, device, cache=inputs.cache)
        metrics = {**checkpoint.manifest.metrics, TEST: whole.summary}
        checkpoint = replace(checkpoint, manifest=_with(checkpoint.manifest, metrics))
    checkpoint.save(folder)
    return checkpoint


def _with(manifest: ResearchManifest, metrics: dict[str, dict[str, float]]) -> ResearchManifest:
    return msgspec.structs.replace(manifest, metrics=metrics)


def _checkpoint(
    data: SequenceData, inputs: Inputs, plan: TrainingPlan, seed: int, trained: Trained
) -> ResearchCheckpoint:
    config = trained.network.config
    best = trained.history[trained.best_epoch - 1]
    manifest = ResearchManifest(
        plan=plan,
        seed=seed,
        best_epoch=trained.best_epoch,
        epochs=len(trained.history),
        family=config if isinstance(config, FamilyConfig) else None,
        mitr=config if isinstance(config, MITRConfig) else None,
        words=config if isinstance(config, TextMeanConfig) else None,
        text_encoder=encoder_name(inputs.encoder),
        text_sha256=encoder_sha256(inputs.encoder),
        text_learned=len(trained.text),
        data=data.name,
        low=data.low,
        high=data.high,
        classes=data.classes,
        modalities=data.modalities,
        metrics={"valid": {k: v for k, v in best.items() if k.startswith("valid_")}},
        data_sha256={name: fingerprint(split) for name, split in data.splits.items()},
        key=trained.key,
    )
    return ResearchCheckpoint(trained.network, manifest, inputs.data.moments, trained.text)


def over_checkpoints(found: Sequence[ResearchCheckpoint], split: str = TEST) -> dict[str, Spread]:
    """Mean and deviation over seeds of the metrics on a split; empty where there are none."""
    own = [checkpoint.manifest.metrics.get(split, {}) for checkpoint in found]
    return over_seeds(own) if own and all(own) else {}

"""A checkpoint as the start of another training: what must fit, and which one a seed takes."""

from __future__ import annotations

from pathlib import Path

import msgspec

from features.errors import CheckpointError
from model.research.checkpoint import ResearchCheckpoint, ResearchManifest
from model.research.inputs import Inputs
from model.research.presets import NetworkConfig, TrainingPlan
from model.research.text_inputs import encoder_name, encoder_sha256
from model.weight_files import MANIFEST


def start_of(folder: Path, seed: int) -> ResearchCheckpoint:
    """The checkpoint in a folder, or that of the same seed in the folder of a training.

    Raises :class:`CheckpointError` where there is none.
    """
    if (folder / MANIFEST).is_file():
        return ResearchCheckpoint.load(folder)
    own = folder / f"seed-{seed}"
    if not (own / MANIFEST).is_file() and list(folder.glob(f"seed-*/{MANIFEST}")):
        raise CheckpointError(
            f"{folder} has no seed {seed} to start from; name one of its checkpoints to start "
            "every seed from that"
        )
    return ResearchCheckpoint.load(own if own.is_dir() else folder)


def check_start(
    start: ResearchCheckpoint, plan: TrainingPlan, config: NetworkConfig, inputs: Inputs
) -> None:
    """Raise :class:`CheckpointError` that says why a run cannot begin with a checkpoint."""
    then = start.manifest
    pairs = {
        "preset": (then.plan.preset, plan.preset),
        "variant": (then.plan.variant, plan.variant),
        "text encoder": (then.text_encoder, encoder_name(inputs.encoder)),
        "text encoder's weights": (_sha256(then, inputs), encoder_sha256(inputs.encoder)),
        **_sizes(then.config, config),
    }
    for what, (there, here) in pairs.items():
        if there != here:
            raise CheckpointError(
                f"this run cannot start from that checkpoint: its {what} is {there or 'none'}, "
                f"here it is {here or 'none'}"
            )
    if start.text and inputs.tuned is None:
        raise CheckpointError(
            f"this run cannot start from that checkpoint: its encoder was tuned "
            f"({then.plan.tune}), here it is frozen; take --tune {then.plan.tune}"
        )


def _sha256(then: ResearchManifest, inputs: Inputs) -> str:
    """Of the encoder there; frozen gte-small has none of its own and is taken for what is here."""
    return then.text_sha256 or encoder_sha256(inputs.encoder)


def _sizes(there: NetworkConfig, here: NetworkConfig) -> dict[str, tuple[str, str]]:
    """Fields of both configurations as text, those that only one has among them."""
    then, now = msgspec.to_builtins(there), msgspec.to_builtins(here)
    return {
        name: (str(then.get(name, "")), str(now.get(name, ""))) for name in sorted({*then, *now})
    }

"""The research models by name: network, losses, optimiser and scheme of training in one typed place.

``faithful`` takes the published numbers (arXiv 2409.00143 and 2501.05474, public code), ``intended``
ours, which suit a frozen text encoder. What the publications do and a preset here does not:

- The text encoder is frozen unless ``tune`` says otherwise, and then has a rate of its own. The
  published rate of the RTIL family (1.7e-5) was meant for tuning RoBERTa, and is slow for the rest of
  the network.
- MITR-DNet's published rate differs by part (1e-4 for vision on MOSI); here it is one.
- MITR-DNet's published selection takes the total loss on validation; here it is the student's own.
- A last incomplete group of accumulated batches is used, not dropped.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal, TypeAlias

import msgspec
import torch

from features.errors import TonalityError
from model.data.scaling import Scaling
from model.networks.distillation import DistillationWeights, distillation_weights
from model.networks.family_losses import FamilyWeights, family_weights
from model.networks.family_parts import FamilyConfig, family_config
from model.networks.mitr import MITR, MITRConfig, mitr_config
from model.networks.rtil_family import RTILFamily
from model.networks.text_mean import TextMean, TextMeanConfig
from model.networks.views import Widths

PRESETS: Final[Mapping[str, str]] = {
    "rtil": "RTIL: private and shared codes, gated fusion led by text, three-way discriminator",
    "sati": "RTIL's second form: discriminator with prototypes and a cosine margin",
    "svr": "RTIL's third form: sequential variation regularised in all modalities",
    "mitr": "MITR-DNet: dilated causal blocks both ways, teacher and student for missing data",
    "text": "words alone: a linear answer on the mean of the text encoder's states",
}
VARIANTS: Final = ("faithful", "intended")
ResearchNetwork: TypeAlias = RTILFamily | MITR | TextMean
NetworkConfig: TypeAlias = FamilyConfig | MITRConfig | TextMeanConfig


class TrainingPlan(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that shapes a run but data and seed; written into the checkpoint.

    Attributes:
        scaling: of the features, see :mod:`model.data.scaling`.
        text: ``encoder`` (its states of words or ids), ``features`` (the file's own), or ``auto``: the
            encoder where there are words or ids.
        encoder: of the text: ``gte-small``, ``minilm``, ``mpnet``, a name of the hub or a folder.
        tune: what of it learns, as :class:`model.text.tunable.Tuning` has it; at ``encoder_rate``.
        start: SHA-256 of the weights that the training starts from; empty: random ones.
        scheme: ``complete``: as the data are; ``masked``: with parts lost; ``distilled``: both, as
            teacher and student, for any preset.
        losing: what ``masked`` and ``distilled`` lose: each step at ``rate``; ``mixed``, at a rate of
            each sample's own for half of them; ``subsets``, whole modalities of a sample.
        draws: how many masks are drawn; the epochs take them in turn.
        task: of a regression; classes take cross-entropy.
        pool: texts are sorted by length among so many batches' worth, so that less is padding; 1: not.
        first: share of the epochs before which no epoch is selected.
        patience: epochs without a better one until the end.
        grace: patience begins only when the loss on validation is clearly below a constant's: these
            networks often rest on a plateau first.
        changes: fields of the network's configuration that differ, for ablations.
        bf16: forward pass and losses under autocast; weights and optimiser stay in single precision.
        compile: by torch.compile; the first epoch takes minutes, so it is for long runs on a GPU.
    """

    preset: str
    variant: str
    family: FamilyWeights | None = None
    distillation: DistillationWeights | None = None
    changes: dict[str, str | int | float] = {}
    scaling: Scaling = "train"
    text: Literal["auto", "encoder", "features"] = "auto"
    encoder: str = "gte-small"
    tune: str = "frozen"
    encoder_rate: float = 3e-5
    start: str = ""
    scheme: Literal["complete", "masked", "distilled"] = "complete"
    losing: Literal["rate", "mixed", "subsets"] = "mixed"
    rate: float = 0.5
    draws: int = 4
    task: Literal["l1", "smooth-l1", "l2"] = "l1"
    optimiser: Literal["adam", "adamw"] = "adamw"
    learning_rate: float = 5e-4
    decay: float = 0.01
    schedule: Literal["constant", "cosine"] = "cosine"
    batch: int = 32
    pool: int = 1
    accumulate: int = 1
    clip: float = 1.0
    clip_by: Literal["norm", "value"] = "norm"
    epochs: int = 40
    patience: int = 10
    grace: bool = False
    first: float = 0.0
    select: Literal["loss", "accuracy"] = "loss"
    bf16: bool = False
    compile: bool = False


def training_plan(preset: str, variant: str = "intended", **changes: Any) -> TrainingPlan:
    """A preset by name, with some fields of :class:`TrainingPlan` changed.

    Raises :class:`TonalityError` for names that do not exist and values of the wrong type.
    """
    if preset not in PRESETS:
        raise TonalityError(f"no preset '{preset}'; there are {', '.join(PRESETS)}")
    if variant not in VARIANTS:
        raise TonalityError(f"no variant '{variant}'; there are {' and '.join(VARIANTS)}")
    if preset == "text":
        plan = _text(variant, str(changes.get("tune", "frozen")))
    else:
        plan = _mitr(variant) if preset == "mitr" else _family(preset, variant)
    try:
        changed = msgspec.convert(msgspec.to_builtins(plan) | changes, TrainingPlan)
    except msgspec.ValidationError as error:
        raise TonalityError(f"this plan cannot be: {error}") from error
    if changed.scheme == "distilled" and changed.distillation is None:
        weights = distillation_weights(variant)
        changed = msgspec.structs.replace(changed, distillation=weights)
    return changed


def _family(preset: str, variant: str) -> TrainingPlan:
    weights = family_weights(preset, variant)
    if variant == "intended":
        return TrainingPlan(preset=preset, variant=variant, family=weights)
    return TrainingPlan(
        preset=preset, variant=variant, family=weights, scaling="utterance", task="l2",
        optimiser="adam", learning_rate=1.7e-5, decay=0.0, schedule="constant", batch=64,
        clip_by="value", epochs=50, patience=100, first=0.4, select="accuracy",
    )  # fmt: skip


def _mitr(variant: str) -> TrainingPlan:
    weights = distillation_weights(variant)
    if variant == "intended":
        return TrainingPlan(
            preset="mitr", variant=variant, distillation=weights, scheme="distilled"
        )
    return TrainingPlan(
        preset="mitr", variant=variant, distillation=weights, scheme="distilled", losing="rate",
        draws=1, optimiser="adam", learning_rate=1e-3, decay=1e-3, schedule="constant", clip=0.0,
        accumulate=4, epochs=100, patience=8,
    )  # fmt: skip


def _text(variant: str, tune: str) -> TrainingPlan:
    if variant != "intended":
        raise TonalityError("'text' has no published code to be faithful to; take 'intended'")
    if tune == "frozen":
        return TrainingPlan(preset="text", variant=variant, learning_rate=2e-3)
    return TrainingPlan(
        preset="text", variant=variant, batch=16, pool=8, epochs=4, learning_rate=5e-4
    )


def network_config(plan: TrainingPlan, widths: Widths, outputs: int = 1) -> NetworkConfig:
    """The network of a plan for features of these widths.

    Raises :class:`TonalityError` for changes that the network does not know.
    """
    config: NetworkConfig
    if plan.preset == "text":
        config = TextMeanConfig(widths, outputs)
    elif plan.preset == "mitr":
        config = mitr_config(plan.variant, widths, outputs)
    else:
        config = family_config(plan.preset, plan.variant, widths, outputs)
    odd = set(plan.changes) - set(config.__struct_fields__)
    if odd:
        raise TonalityError(f"{plan.preset} has no '{min(odd)}' to change")
    try:
        return msgspec.convert(msgspec.to_builtins(config) | plan.changes, type(config))
    except msgspec.ValidationError as error:
        raise TonalityError(f"{plan.preset} cannot be changed so: {error}") from error


def network_of(config: NetworkConfig) -> ResearchNetwork:
    """A network with random weights, as torch's chance has it."""
    if isinstance(config, TextMeanConfig):
        return TextMean(config)
    return MITR(config) if isinstance(config, MITRConfig) else RTILFamily(config)


def new_network(config: NetworkConfig, seed: int) -> ResearchNetwork:
    """The same network each time for the same seed; torch's own chance stays as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return network_of(config)

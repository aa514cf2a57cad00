"""Parts of the research models that a training can do without, by name.

An ablation changes a plan and nothing else, so that ``tonality train --without NAME`` and the results
page mean the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import msgspec

from features.errors import TonalityError
from model.networks.distillation import distillation_weights
from model.research.presets import TrainingPlan

FAMILY: Final = ("rtil", "sati", "svr")
EVERY: Final = (*FAMILY, "mitr")


@dataclass(frozen=True, slots=True)
class Ablation:
    """``line`` says what happens; ``presets`` are those that have the part."""

    line: str
    presets: tuple[str, ...]
    change: Callable[[TrainingPlan], TrainingPlan]


def _family(name: str) -> Callable[[TrainingPlan], TrainingPlan]:
    def change(plan: TrainingPlan) -> TrainingPlan:
        assert plan.family is not None
        return msgspec.structs.replace(
            plan, family=msgspec.structs.replace(plan.family, **{name: 0.0})
        )

    return change


def _network(name: str, value: str) -> Callable[[TrainingPlan], TrainingPlan]:
    return lambda plan: msgspec.structs.replace(plan, changes=plan.changes | {name: value})


def _scheme(name: str) -> Callable[[TrainingPlan], TrainingPlan]:
    def change(plan: TrainingPlan) -> TrainingPlan:
        weights = plan.distillation or distillation_weights(plan.variant)
        return msgspec.structs.replace(
            plan, distillation=msgspec.structs.replace(weights, **{name: 0.0})
        )

    return change


def _plain(plan: TrainingPlan) -> TrainingPlan:
    return msgspec.structs.replace(plan, scheme="masked")


ABLATIONS: Final[Mapping[str, Ablation]] = {
    "temporal": Ablation(
        "no temporal loss: temporal-invariant in rtil and sati, sequential variation in svr",
        FAMILY, _family("temporal"),
    ),
    "gate": Ablation(
        "the gate of the fusion is always open", FAMILY, _network("gate", "open")
    ),
    "fusion": Ablation(
        "the modalities side by side (concatenation) instead of the fusion",
        EVERY, _network("fusion", "concatenation"),
    ),
    "discriminator": Ablation(
        "no discriminator of modalities and no reversed gradient", FAMILY, _family("domain")
    ),
    "cmd": Ablation(
        "no central moment discrepancy between shared codes", FAMILY, _family("consistency")
    ),
    "reconstruction": Ablation(
        "no reconstruction: of features from codes, or in a distilled training of lost steps",
        EVERY, lambda plan: _scheme("reconstruction")(plan) if plan.preset == "mitr"
        else _family("reconstruction")(plan),
    ),
    "distillation": Ablation(
        "no teacher: the same parts are lost, one view is trained (the scheme 'masked')",
        EVERY, _plain,
    ),
    "simsiam": Ablation(
        "distilled without SimSiam's consistency of the two views", EVERY, _scheme("consistency")
    ),
    "backward": Ablation(
        "one direction in time: no backward stream", ("mitr",), _network("flip", "none")
    ),
    "time-flip": Ablation(
        "the backward stream turns channels round, not time", ("mitr",), _network("flip", "channels")
    ),
}  # fmt: skip


def without(plan: TrainingPlan, name: str) -> TrainingPlan:
    """The plan without a part by name.

    Raises :class:`TonalityError` for a name that does not exist or that the plan does not have.
    """
    if name not in ABLATIONS:
        raise TonalityError(f"no part '{name}' to leave out; there are {', '.join(ABLATIONS)}")
    ablation = ABLATIONS[name]
    if plan.preset not in ablation.presets:
        raise TonalityError(
            f"{plan.preset} has no '{name}' to leave out; {' and '.join(ablation.presets)} have"
        )
    if name in ("distillation", "simsiam") and plan.scheme != "distilled":
        raise TonalityError(f"'{name}' is a part of a distilled training; add --scheme distilled")
    return ablation.change(plan)

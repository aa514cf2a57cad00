"""Judges a research checkpoint under a protocol of missing data: metrics by condition, and a summary."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
import torch

from features.errors import FeatureError
from model.data.protocols import protocol
from model.data.splits import TEST, SequenceData
from model.metrics import Spread, over_seeds, suited
from model.research.checkpoint import ResearchCheckpoint, ResearchManifest
from model.research.inputs import (
    Inputs,
    LabelScale,
    scaled_for,
)
from model.research.prediction import predict
from model.research.text_inputs import encoder_name, encoder_sha256
from model.text.states import TextStates
from model.text.tunable import TunableText

EVERY_RATE = "one model at every rate; the publications train one for each"


class Evaluation(msgspec.Struct, frozen=True, kw_only=True):
    """Metrics of one checkpoint under one protocol.

    ``summary``: the area over the rates (AUILC) under A, the mean over the conditions otherwise.
    """

    protocol: str
    data: str
    split: str
    samples: int
    conditions: dict[str, dict[str, float]]
    summary_is: str
    summary: dict[str, float]
    notes: tuple[str, ...] = ()


def evaluate(
    checkpoint: ResearchCheckpoint,
    data: SequenceData,
    name: str,
    encoder: TextStates | None = None,
    device: torch.device | str = "cpu",
    split: str = TEST,
    advance: Callable[[int], None] = lambda conditions: None,
    cache: Path | None = None,
) -> Evaluation:
    """Run a protocol (one of :data:`model.data.protocols.PROTOCOLS`) on a split of unscaled data.

    ``encoder`` is needed where the checkpoint's text was encoded; what the checkpoint tuned is put
    into it. ``cache`` as in :class:`model.research.inputs.Inputs`. Raises :class:`FeatureError` for
    data that do not suit the checkpoint, :class:`model.data.protocols.ProtocolError` for unknown names.
    """
    data = _only(data, split)
    _check(checkpoint, data, encoder)
    if checkpoint.text and isinstance(encoder, TunableText):
        encoder.put(checkpoint.text)
    manifest = checkpoint.manifest
    widths, network = manifest.config.widths, checkpoint.network.to(device)
    scaled = scaled_for(data, manifest.plan, checkpoint.moments)
    inputs = Inputs(scaled, encoder, cache, manifest.plan.bf16)
    own, plan = inputs.data.splits[split], protocol(name, inputs.data)
    scale = LabelScale(data.low, data.high, data.classes)
    results = {}
    for condition in plan.conditions:
        seen = inputs.see(condition.apply(own), widths, cache if name == "complete" else None)
        predicted = predict(network, seen, manifest.plan.batch, device)
        found = scale.labels(predicted.numpy())
        results[condition.name] = suited(found, own.labels, data.low, data.high, data.classes)
        advance(1)
    return Evaluation(
        protocol=name,
        data=data.name,
        split=split,
        samples=len(own),
        conditions=results,
        summary_is="AUILC" if name == "A" else "mean",
        summary=plan.summary(list(results.values())),
        notes=(*data.notes, *((EVERY_RATE,) if plan.one_model_each else ())),
    )


def _only(data: SequenceData, split: str) -> SequenceData:
    if split not in data.splits or not len(data.splits[split]):
        raise FeatureError(f"{data.name} has no '{split}' split; it has {', '.join(data.splits)}")
    return replace(data, splits={split: data.splits[split]})


def _check(checkpoint: ResearchCheckpoint, data: SequenceData, encoder: TextStates | None) -> None:
    manifest = checkpoint.manifest
    labels = (data.low, data.high, data.classes)
    if labels != (manifest.low, manifest.high, manifest.classes):
        raise FeatureError(
            f"labels {labels} do not suit a network for "
            f"{(manifest.low, manifest.high, manifest.classes)} (lowest, highest, classes)"
        )
    if bool(manifest.text_encoder) != (encoder is not None):
        needed = manifest.text_encoder or "no text encoder"
        raise FeatureError(f"the checkpoint was trained with {needed}; evaluate it with the same")
    if encoder is not None:
        _check_encoder(manifest, encoder)
    for modality, width in data.widths.items():
        moments = checkpoint.moments.get(modality)
        if moments is not None and len(moments.mean) != width:
            raise FeatureError(
                f"{modality} of {data.name} has {width} features; "
                f"the network was trained with {len(moments.mean)}"
            )
    strange = set(data.modalities) - set(manifest.modalities)
    if strange:
        raise FeatureError(
            f"the network never learned {', '.join(sorted(strange))} of {data.name}; "
            "name the others with --modalities"
        )


def _check_encoder(manifest: ResearchManifest, encoder: TextStates) -> None:
    name, found = manifest.text_encoder, encoder_sha256(encoder)
    other = bool(manifest.text_sha256 and found) and manifest.text_sha256 != found
    if encoder_name(encoder) != name or other:
        told = f"another {name}" if encoder_name(encoder) == name else encoder_name(encoder)
        raise FeatureError(f"the checkpoint was trained with {name}, this is {told}")
    tuned = isinstance(encoder, TunableText) and len(encoder.learning())
    if manifest.text_learned and tuned != manifest.text_learned:
        raise FeatureError(
            f"the checkpoint tuned its encoder ({manifest.plan.tune}); load it tuned the same way"
        )


class SeedsEvaluation(msgspec.Struct, frozen=True, kw_only=True):
    """Mean and deviation of several seeds' metrics under one protocol."""

    protocol: str
    data: str
    split: str
    samples: int
    seeds: tuple[int, ...]
    conditions: dict[str, dict[str, Spread]]
    summary_is: str
    summary: dict[str, Spread]
    notes: tuple[str, ...] = ()


def over_evaluations(found: Sequence[Evaluation], seeds: Sequence[int]) -> SeedsEvaluation:
    """Evaluations of one protocol on the same data, one for each seed, put together."""
    first = found[0]
    return SeedsEvaluation(
        protocol=first.protocol,
        data=first.data,
        split=first.split,
        samples=first.samples,
        seeds=tuple(seeds),
        conditions={
            name: over_seeds([own.conditions[name] for own in found]) for name in first.conditions
        },
        summary_is=first.summary_is,
        summary=over_seeds([own.summary for own in found]),
        notes=first.notes,
    )

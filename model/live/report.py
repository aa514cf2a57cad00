"""The live checkpoint judged as a whole, and put into its place with what was measured and its card.

    tonality evaluate live --data CORPORA
    python -m model.live.report --data CORPORA [--runs .cache/live] [--out model/checkpoints/live]

The second takes seed 0 of a training, judges every seed, writes the measures, their means over the
seeds and those of the left-out actors into the checkpoint, and writes its card.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Final

import numpy as np
import torch
import typer

from features.errors import CheckpointError
from model.calibration import Calibration, half_width
from model.checkpoint import TEXT_ENCODER, Checkpoint, default_checkpoint
from model.corpora import building
from model.corpora.text import TEST, mosi, part
from model.corpora.voice import VoiceClip, ravdess
from model.live import folds as live_folds
from model.live.card import CARD, card
from model.live.crossed import LEFT_OUT
from model.live.evaluation import Parts, parts_of
from model.live.judged import apart_errors, rated_errors
from model.live.judging import alone
from model.live.plan import DEFAULT_CACHE, DEFAULT_OUT, SIZES, LivePlan
from model.live.targets import WORDS
from model.live.teaching import best_of, taught
from model.metrics import ERROR, over_seeds
from model.networks.inputs import Batch
from model.text.encoder import TextEncoder

logger = logging.getLogger(__name__)
Measures = dict[str, dict[str, float]]
SEEDED: Final = "seeds "
FOLDED: Final = "folds "
SIZED: Final = "size "
LARGE: Final = LivePlan().size
SIZES_SHOWN: Final = (
    ("text mosi test", "mae"), ("voice ravdess, known speaker, both streams", "auc"),
    ("face fer2013 public test", "balanced_3"), ("clips voice+face", "auc"),
)  # fmt: skip
TIMED: Final = 20


def encoder_of(checkpoint: Checkpoint) -> TextEncoder:
    """The text encoder with the checkpoint's layers, fetched where it is missing."""
    from features.assets import Assets

    return TextEncoder.load(Assets().folder(TEXT_ENCODER), checkpoint.text)


def measure(
    data: Path, cache: Path, folder: Path | None = None, folds: bool = False, build: bool = True
) -> Measures:
    """What the checkpoint reaches on the test parts, measured now; the left-out actors as they were
    recorded with it, those of the folds unless ``folds`` asks to train and judge them again. Missing features are built."""
    if build:
        building.build_missing(data, cache, parts=building.PARTS if folds else building.JUDGED)
    checkpoint = Checkpoint.load(folder or default_checkpoint())
    found = parts_of(data, cache, checkpoint, encoder_of(checkpoint)).measure(checkpoint)
    kept = {
        k: dict(v) for k, v in checkpoint.metrics.items() if k.startswith((FOLDED, LEFT_OUT, WORDS))
    }
    if folds:
        again = live_folds.run(data, cache, cache / "folds.json", seeds=live_folds.SEEDS)
        kept |= {f"{FOLDED}{k}": v for k, v in again.items()}
    return {**found, **kept}


def seconds_a_window(checkpoint: Checkpoint, parts: Parts) -> float:
    """Of the network alone, one window with voice and face at a time, its four subsets fused."""
    batch: Batch = parts.judged.banks.batch(alone(1, np.zeros(1, np.int64)))
    present = torch.tensor([[False, True, False]] * 4)
    with torch.inference_mode():
        started = time.perf_counter()
        for _ in range(TIMED):
            codes = checkpoint.network.encode(batch)
            checkpoint.network.fuse(codes.select(torch.zeros(4, dtype=torch.int64)), present)
    return (time.perf_counter() - started) / TIMED


def sizes(runs: Path, parts: Parts, large: Checkpoint, found: Measures) -> Measures:
    """Parameters, time and quality of the networks of other sizes trained beside the one that ships."""
    out: Measures = {}
    for name in SIZES:
        folder = runs / name / "seed-0"
        if not (folder / "checkpoint.json").is_file():
            continue
        own = large if name == LARGE else Checkpoint.load(folder)
        measured = found if name == LARGE else parts.measure(own)
        out[f"{SIZED}{name}"] = {
            "parameters": float(sum(p.numel() for p in own.network.parameters())),
            "ms": 1000 * seconds_a_window(own, parts),
            **{f"{entry}: {key}": measured[entry][key] for entry, key in SIZES_SHOWN},
        }
    return out


def means(each: list[Measures]) -> Measures:
    """Mean and deviation over the seeds of every measure, of standard errors none."""
    out: Measures = {}
    for entry in each[0]:
        measures = ({k: v for k, v in own[entry].items() if not k.endswith(ERROR)} for own in each)
        spread = over_seeds(list(measures))
        flat = {key: own.mean for key, own in spread.items()}
        flat |= {f"{key}_sd": own.deviation for key, own in spread.items()}
        out[f"{SEEDED}{entry}"] = {**flat, "seeds": float(len(each))}
    return out


def words_alone(data: Path, cache: Path, runs: Sequence[Path], own: np.ndarray) -> Measures:
    """Measures on MOSI's test part of the encoder that is best on validation, with standard errors, also of
    how far ``own`` scores of the same texts are from them."""
    best = best_of(runs)
    if best is None:
        return {}
    folder, measured = best
    test = part(mosi(data), TEST)
    score = taught([sample.text for sample in test], [folder], cache / "taught")
    label = np.array([sample.label for sample in test])
    errors = rated_errors(score, label) | apart_errors(own, score, label)
    return {WORDS: {**measured, **errors, "n": float(len(test))}}


def with_unknown_voices(table: Calibration, clips: Sequence[VoiceClip]) -> Calibration:
    """The intervals with that of a voice of which nothing is known: what clips that are not of the test are
    labelled, about 0."""
    labels = np.array([clip.label for clip in clips if clip.split != TEST])
    widths = {**table.half_widths, "": half_width(labels, table.coverage)}
    return Calibration(table.coverage, widths)


def ship(
    data: Path, cache: Path, runs: Path, out: Path, folds: Path, words: Sequence[Path] = ()
) -> Checkpoint:
    """Judge every seed, record everything in seed 0, save it with its card in ``out``; ``words`` are
    research checkpoints of words alone, of which the best on validation is told beside it."""
    folders = [
        f for f in sorted((runs / LARGE).glob("seed-*")) if (f / "checkpoint.json").is_file()
    ]
    if not folders:
        raise CheckpointError(
            f"{runs / LARGE}: no seed-N with a checkpoint; run model.live.training first"
        )
    first = Checkpoint.load(folders[0])
    first = replace(first, calibration=with_unknown_voices(first.calibration, ravdess(data)))
    parts = parts_of(data, cache, first, encoder_of(first))
    each = []
    for folder in folders:
        each.append(parts.measure(first if folder == folders[0] else Checkpoint.load(folder)))
        logger.info("%s: %s", folder.name, json.dumps(each[-1]["text mosi test"]))
    kept = live_folds.recorded(folds)
    metrics: Mapping[str, dict[str, float]] = {
        **{
            k: dict(v)
            for k, v in first.metrics.items()
            if k == "validation" or k.startswith(LEFT_OUT)
        },
        **each[0],
        **means(each),
        **{f"{FOLDED}{k}": v for k, v in kept.items()},
        **words_alone(data, cache, words, parts.judged.said("mosi test")[0]),
        **sizes(runs, parts, first, each[0]),
    }
    shipped = replace(first, metrics=metrics)
    shipped.save(out, torch.float16)
    (out / CARD).write_text(card(Checkpoint.load(out)), encoding="utf-8")
    return shipped


def main(
    data: Annotated[Path, typer.Option(help="Folder of the corpora.")],
    runs: Annotated[Path, typer.Option(help="Where the training left SIZE/seed-N.")] = DEFAULT_OUT,
    out: Annotated[Path | None, typer.Option(help="Where the checkpoint goes.")] = None,
    cache: Annotated[Path, typer.Option(help="Extracted features.")] = DEFAULT_CACHE,
    folds: Annotated[
        Path, typer.Option(help="What model.live.folds left.")
    ] = live_folds.DEFAULT_OUT,
    words: Annotated[
        list[Path] | None, typer.Option(help="Research checkpoint of words alone; several.")
    ] = None,
    threads: Annotated[int, typer.Option(help="Threads of the arithmetic.")] = 1,
) -> None:
    """Judge a training's seeds and put seed 0 with its measures and card into place."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(threads)
    ship(data, cache, runs, out or default_checkpoint(), folds, words or ())


if __name__ == "__main__":
    typer.run(main)

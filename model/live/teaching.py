"""What larger text encoders, tuned by research, say of texts: targets for the one that runs live.

Distillation (Hinton et al. 2015): a network of a third of the size learns from the mean of several
large ones what pieces of sentences say by themselves, of which nobody gave labels. The teachers are
checkpoints of words alone (``python -m model.results.encoders``); each one's scores are kept on disk.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, cast

import numpy as np
import torch

from features.errors import CheckpointError
from model.corpora.text import TEST, VALID
from model.networks.text_mean import TextMean
from model.research.checkpoint import ResearchCheckpoint
from model.text.choice import load_encoder
from model.text.encoder import masked_mean
from model.text.tunable import TunableText
from model.weight_files import WEIGHTS

BATCH: Final = 256
Advance = Callable[[int], None]


def taught(
    texts: Sequence[str],
    teachers: Sequence[Path],
    cache: Path,
    advance: Advance = lambda count: None,
) -> np.ndarray:
    """Mean of the teachers' scores ``(n,) float32`` on the scale of -3 to +3.

    ``teachers`` are folders of checkpoints; ``advance`` hears how many scores more are there. Raises
    :class:`CheckpointError` for one that is not of words alone.
    """
    cache.mkdir(parents=True, exist_ok=True)
    words = hashlib.sha256("\n".join(texts).encode()).hexdigest()
    found = []
    for folder in teachers:
        checkpoint = ResearchCheckpoint.load(folder)
        key = f"{checkpoint.manifest.weights_sha256}{words}"
        path = cache / f"taught-{hashlib.sha256(key.encode()).hexdigest()[:20]}.npy"
        if path.is_file():
            found.append(np.load(path, allow_pickle=False))
            advance(len(texts))
            continue
        found.append(_scores(checkpoint, folder, texts, advance))
        part = path.with_suffix(".part")
        with part.open("wb") as file:
            np.save(file, found[-1])
        part.replace(path)
    return np.asarray(np.stack(found).mean(axis=0), np.float32)


def best_of(runs: Sequence[Path]) -> tuple[Path, dict[str, float]] | None:
    """Of ``runs``, folders of checkpoints of words alone, the one that is best on validation (MAE), with
    its measures on the test part and ``valid_mae``; ``None`` of none."""
    found = {}
    for folder in runs:
        metrics = ResearchCheckpoint.load(folder).manifest.metrics
        valid_mae = metrics[VALID]["valid_mae"]
        found[valid_mae] = folder, {**metrics[TEST], "valid_mae": valid_mae}
    return found[min(found)] if found else None


def digest(teachers: Sequence[Path]) -> str:
    """SHA-256 over the teachers' weights, in order; empty for none."""
    whole = [hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest() for folder in teachers]
    return hashlib.sha256("\n".join(whole).encode()).hexdigest() if whole else ""


@torch.inference_mode()
def _scores(
    checkpoint: ResearchCheckpoint, folder: Path, texts: Sequence[str], advance: Advance
) -> np.ndarray:
    manifest, network = checkpoint.manifest, checkpoint.network
    if not isinstance(network, TextMean) or not manifest.text_encoder:
        raise CheckpointError(f"{folder}: a teacher of texts knows words alone, through an encoder")
    encoder = cast(TunableText, load_encoder(manifest.text_encoder, manifest.plan.tune))
    if checkpoint.text:
        encoder.put(checkpoint.text)
    encoder.eval()
    head = cast(torch.nn.Linear, network.head[-1])
    found = np.zeros(len(texts), np.float32)
    order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
    for start in range(0, len(order), BATCH):
        places = order[start : start + BATCH]
        tokens = encoder.tokenize([texts[place] for place in places])
        with torch.autocast("cpu", torch.bfloat16):
            states = encoder(tokens.ids, tokens.mask)
        pooled = masked_mean(states.float(), tokens.mask)
        found[places] = head(pooled).squeeze(-1).numpy()
        advance(len(places))
    return found

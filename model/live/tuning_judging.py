"""How well a tuned text encoder with its head reads text that it did not learn from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from model.corpora import text as corpora
from model.corpora.text import TEST, VALID, TextSample, as_written, part
from model.live.tuning import SentimentHead
from model.metrics import pearson, regression, weighted_f1
from model.text.encoder import TextEncoder


@torch.no_grad()
def score(
    encoder: TextEncoder, head: SentimentHead, samples: Sequence[TextSample]
) -> tuple[np.ndarray, np.ndarray]:
    """Scores ``(n,)`` and sides ``(n,)`` of -1, 0, 1 as a live run would: from the words."""
    encoder.eval()
    scores, sides = [], []
    for start in range(0, len(samples), 64):
        tokens = encoder.tokenize([sample.text for sample in samples[start : start + 64]])
        found, logits = head(encoder(tokens.ids, tokens.mask), tokens.mask)
        scores.append(found.numpy())
        sides.append(logits.argmax(1).numpy() - 1)
    return np.concatenate(scores), np.concatenate(sides)


def judge_all(encoder: TextEncoder, head: SentimentHead, data: Path) -> dict[str, dict[str, float]]:
    """Measures on every part that nothing was trained or (but for MOSI valid) chosen on."""
    measured = {}
    mosi, sst = corpora.mosi(data), corpora.sst(data)
    meld, vader = (part(own(data), VALID) for own in (corpora.meld, corpora.vader))
    for name, samples in {
        "mosi_valid": part(mosi, VALID),
        "mosi_test": part(mosi, TEST),
        "sst_dev": part(sst, VALID),
        "meld_dev": as_written(meld, 1.0, 0),
        "meld_dev_heard": meld,
        "vader_held_out": as_written(vader, 1.0, 0),
        "vader_held_out_heard": vader,
    }.items():
        predicted, sides = score(encoder, head, samples)
        label = np.array([sample.label for sample in samples])
        measured[name] = {"n": len(samples), **regression(predicted, label)}
        if name.startswith("meld_dev"):
            measured[name] = {
                "n": len(samples),
                "r": pearson(predicted, label),
                "weighted_f1_3": weighted_f1(sides, np.sign(label)),
            }
    return measured

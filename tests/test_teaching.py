"""Teachers of texts: what tuned encoders say of texts, kept on disk, and learned by a smaller one.

Run time: about 10 s, most of it loading transformers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import msgspec
import numpy as np
import pytest
import torch

from features.errors import CheckpointError
from model.corpora.text import TextSample
from model.live.teaching import best_of, digest, taught
from model.live.tuning_plan import Texts
from model.networks.text_mean import TextMean
from model.research.checkpoint import ResearchCheckpoint
from model.text.choice import load_encoder
from model.text.encoder import masked_mean
from model.text.tunable import TunableText
from tests.made_encoders import write_mpnet, write_teacher

TEXTS = ("the film was very good", "it was awful", "the plot", "a great actor and a poor story")


def said(checkpoint: ResearchCheckpoint, texts: Sequence[str]) -> np.ndarray:
    """Scores of texts, one at a time and in full precision."""
    manifest, network = checkpoint.manifest, cast(TextMean, checkpoint.network)
    states = cast(TunableText, load_encoder(manifest.text_encoder, manifest.plan.tune))
    states.put(checkpoint.text)
    states.eval()
    found = []
    for text in texts:
        tokens = states.tokenize([text])
        with torch.no_grad():
            pooled = masked_mean(states(tokens.ids, tokens.mask), tokens.mask)
            found.append(float(cast(torch.nn.Linear, network.head[-1])(pooled)))
    return np.array(found)


def test_the_mean_of_what_teachers_say_is_kept(tmp_path: Path) -> None:
    encoder = write_mpnet(tmp_path / "encoder")
    folders = [tmp_path / f"seed-{seed}" for seed in range(2)]
    teachers = [write_teacher(encoder, folder, seed) for seed, folder in enumerate(folders)]
    heard: list[int] = []
    scores = taught(TEXTS, folders, tmp_path / "cache", heard.append)
    assert sum(heard) == 2 * len(TEXTS)
    one, other = (said(teacher, TEXTS) for teacher in teachers)
    assert np.abs(one - other).max() > 0.05, "two teachers are not one"
    np.testing.assert_allclose(scores, (one + other) / 2, atol=0.03)  # bfloat16
    (encoder / "model.safetensors").unlink()  # nothing is read again
    np.testing.assert_array_equal(taught(TEXTS, folders, tmp_path / "cache"), scores)
    assert digest(folders) != digest(folders[:1]) != digest([]) == ""


def test_who_does_not_know_words_alone_is_no_teacher(tmp_path: Path) -> None:
    checkpoint = write_teacher(write_mpnet(tmp_path / "encoder"), tmp_path / "seed-0", 0)
    strange = replace(
        checkpoint, manifest=msgspec.structs.replace(checkpoint.manifest, text_encoder="")
    )
    strange.save(tmp_path / "seed-1")
    with pytest.raises(CheckpointError, match="knows words alone"):
        taught(TEXTS, [tmp_path / "seed-1"], tmp_path / "cache")


def test_the_best_of_words_alone_is_chosen_on_validation(tmp_path: Path) -> None:
    encoder = write_mpnet(tmp_path / "encoder")
    for seed, (valid, test) in enumerate(((0.6, 0.61), (0.58, 0.63))):
        own = write_teacher(encoder, tmp_path / f"seed-{seed}", seed)
        metrics = {"valid": {"valid_mae": valid}, "test": {"mae": test}}
        manifest = msgspec.structs.replace(own.manifest, metrics=metrics)
        replace(own, manifest=manifest).save(tmp_path / f"seed-{seed}")
    folders = [tmp_path / "seed-0", tmp_path / "seed-1"]
    assert best_of(folders) == (tmp_path / "seed-1", {"mae": 0.63, "valid_mae": 0.58})
    assert best_of([]) is None


def test_teachers_share_the_score_of_what_is_rated_and_have_all_of_a_side() -> None:
    samples = [
        TextSample("sst", "train", "fine", 1.2),
        TextSample("meld", "train", "no", -1.5),
        TextSample("meld", "train", "see you", 0.0),
    ]
    texts = Texts(samples, ["fine", "no", "see you"], [0, 1, 2], [], [])
    torch.testing.assert_close(texts.targets(0.5, 0.5), torch.tensor([1.2, -1.5, 0.0]))
    told = msgspec.structs.replace(texts, taught=np.array([2.2, -0.3, 0.8], np.float32))
    torch.testing.assert_close(told.targets(0.5, 0.5), torch.tensor([1.7, -0.3, 0.4]))
    torch.testing.assert_close(told.targets(0.0, 1.0), torch.tensor([1.2, -0.3, 0.8]))

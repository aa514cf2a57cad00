"""From files of the field to the networks: what is lost is hidden, whatever lies in its place.

Run time: about 12 s.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from features.errors import FeatureError
from model.data.datasets import read
from model.data.protocols import Condition, protocol
from model.data.splits import SequenceData, Split
from model.data.streams import Stream, Text
from model.networks.family_parts import family_config
from model.networks.mitr import MITR, mitr_config
from model.networks.rtil_family import RTILFamily
from model.networks.views import SequenceNetwork, Widths
from model.research.network_input import labels_of, network_input, text_tokens, tokenised
from model.text.encoder import TextEncoder
from tests.research_files import mmsa, write_misa, write_pickle

NETWORKS = ("rtil", "sati", "svr", "mitr")


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def unaligned(tmp_path_factory: pytest.TempPathFactory) -> SequenceData:
    path = tmp_path_factory.mktemp("mmsa") / "unaligned_50.pkl"
    return read(write_pickle(path, mmsa()), scaling="train")


def network(name: str, widths: Widths) -> SequenceNetwork:
    torch.manual_seed(0)
    if name == "mitr":
        return MITR(mitr_config("intended", widths)).eval()
    return RTILFamily(family_config(name, "intended", widths)).eval()


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_takes_every_condition_of_every_protocol(
    unaligned: SequenceData, name: str
) -> None:
    split = unaligned.splits["valid"]
    ask = network(name, (8, 5, 20))
    for kind in ("complete", "A", "B", "C", "noise"):
        for condition in protocol(kind, unaligned).conditions:
            batch, known = network_input(condition.apply(split))
            with torch.no_grad():
                found = ask(batch, known).prediction
            assert found.shape == (5,)
            assert torch.isfinite(found).all()


@pytest.mark.parametrize("name", NETWORKS)
def test_what_was_lost_says_nothing(unaligned: SequenceData, name: str) -> None:
    """The damaged samples and the whole ones seen through the same masks are one to a network."""
    split = unaligned.splits["test"]
    ask = network(name, (8, 5, 20))
    for condition in (Condition("some", 0.5), Condition("one", hidden=frozenset({"audio"}))):
        batch, known = network_input(condition.apply(split))
        whole, all_known = network_input(split)
        with torch.no_grad():
            hidden, seen = ask(batch, known).prediction, ask(whole, known).prediction
            complete = ask(whole, all_known).prediction
        assert torch.allclose(hidden, seen, atol=1e-5)
        assert not torch.allclose(hidden, complete, atol=1e-4)


@pytest.mark.parametrize("name", NETWORKS)
def test_single_samples_give_what_a_batch_gives(unaligned: SequenceData, name: str) -> None:
    damaged = Condition("some", 0.4).apply(unaligned.splits["test"])
    ask = network(name, (8, 5, 20))
    with torch.no_grad():
        together = ask(*network_input(damaged)).prediction
        single = torch.cat(
            [ask(*network_input(damaged.select([row]))).prediction for row in range(len(damaged))]
        )
    assert torch.allclose(together, single, atol=1e-5)


def test_words_become_states_through_an_encoder(tmp_path: Path, text_folder: Path) -> None:
    write_misa(tmp_path)
    encoder = TextEncoder.load(text_folder).eval()
    split = tokenised(read(tmp_path).splits["valid"], encoder)
    for condition, told in (
        (Condition(""), True),
        (Condition("", hidden=frozenset({"text"})), False),
    ):
        damaged = condition.apply(split)
        tokens = text_tokens(damaged)
        with torch.no_grad():
            states = encoder(tokens.ids, tokens.mask)
        batch, known = network_input(damaged, states=states)
        assert batch.widths == (384, 74, 47)
        assert torch.equal(batch.valid[0], tokens.mask)
        assert bool(known[0].any()) == told
        assert known[1].any() and known[2].any()
    half = Condition("", 0.5).apply(split)
    assert half.text is not None and half.text.tokens is not None
    own = half.text.tokens
    batch, known = network_input(half, states=torch.zeros(*own.ids.shape, 384))
    inner = torch.from_numpy(~own.fixed)
    gone = batch.valid[0] & ~known[0]
    assert torch.equal(gone & inner, torch.from_numpy(own.missing))
    assert gone.any() and not gone.all()
    lost = text_tokens(Condition("", 1.0).apply(split))
    told_words = [row[1 : n - 1] for row, n in zip(lost.ids, lost.mask.sum(1), strict=True)]
    assert all((own == 100).all() for own in told_words)
    assert {lost.ids[0, 0].item()} == {101}
    with pytest.raises(FeatureError, match="states"):
        network_input(split, states=torch.zeros(5, 2, 384))


def test_a_modality_that_a_data_set_lacks_is_missing_in_any_width() -> None:
    mask = np.ones((3, 4), bool)
    audio = Stream(np.ones((3, 4, 5), np.float32), mask, mask)
    split = Split(("a", "b", "c"), np.array([0.0, 1.0, 2.0], np.float32), audio=audio)
    batch, known = network_input(split, (384, 5, 20))
    assert batch.widths == (384, 5, 20)
    assert [bool(own.any()) for own in known] == [False, True, False]
    assert network_input(split)[0].widths == (1, 5, 1)
    assert labels_of(split).dtype == torch.float32
    assert labels_of(split, classes=3).tolist() == [0, 1, 2]
    words = replace(split, audio=None, text=Text(("a", "b", "c")))
    with pytest.raises(FeatureError, match="words only"):
        network_input(words)
    with pytest.raises(FeatureError, match="no tokens"):
        text_tokens(words)

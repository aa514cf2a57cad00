"""MMSA's format is written as it is read, and MMSA's own models train and are judged on our files.

Run time: about 12 s, most of it importing MMSA.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from features.errors import CorpusError, TonalityError
from model.data import datasets, mmsa_files
from model.data.datasets import parse, read
from model.data.splits import SequenceData, Split
from model.data.streams import Stream, Text
from model.metrics import suited
from model.research.inputs import Inputs
from model.results import mmsa_models, peer_data, peers
from model.results.baselines import constant
from model.results.records import read_records
from tests.research_files import mmsa, write_aligned, write_pickle


@pytest.fixture(autouse=True)
def _as_before(one_thread: None) -> Iterator[None]:
    deterministic = torch.backends.cudnn.deterministic
    yield
    torch.backends.cudnn.deterministic = deterministic  # which MMSA sets


def same(one: SequenceData, other: SequenceData) -> None:
    assert (one.low, one.high) == (other.low, other.high)
    for name, split in one.splits.items():
        again = other.splits[name]
        assert again.ids == split.ids
        assert np.array_equal(again.labels, split.labels)
        assert again.text is not None and split.text is not None
        assert again.text.raw == split.text.raw
        assert again.text.tokens is not None and split.text.tokens is not None
        assert np.array_equal(again.text.tokens.ids, split.text.tokens.ids)
        assert np.array_equal(again.text.tokens.valid, split.text.tokens.valid)
        assert again.streams.keys() == split.streams.keys()
        for modality, stream in split.streams.items():
            assert np.array_equal(again.streams[modality].values, stream.values)
            assert np.array_equal(again.streams[modality].valid, stream.valid)
        assert again.extra.keys() == split.extra.keys()
        for key, values in split.extra.items():
            assert np.array_equal(again.extra[key], values)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"unaligned": False, "audio": (50, 5)},
        {"text": 39, "audio": (40, 33), "vision": (55, 70), "sims": True},
    ],
)
def test_what_is_written_is_what_was_read(tmp_path: Path, options: dict[str, Any]) -> None:
    data = parse(write_pickle(tmp_path / "one.pkl", mmsa(**options)))
    mmsa_files.write(data, tmp_path / "out" / "other.pkl")
    same(data, parse(tmp_path / "out" / "other.pkl"))


def test_the_command_line_writes_for_mmsa(tmp_path: Path) -> None:
    write_aligned(tmp_path / "data")
    out = tmp_path / "mmmo.pkl"
    words = ["convert", str(tmp_path / "data"), str(out), "--name", "mmmo", "--to"]
    assert CliRunner().invoke(datasets.app, [*words, "mmsa"]).exit_code == 0
    refused = CliRunner().invoke(datasets.app, [*words, "parquet"])
    assert isinstance(refused.exception, CorpusError)
    made, whole = parse(out), parse(tmp_path / "data", "mmmo")
    train, own = made.splits["train"], whole.splits["train"]
    assert train.audio is not None and own.audio is not None
    assert np.array_equal(train.audio.valid, own.audio.valid)
    assert not train.present[:, 0].any()  # text, of which there is none
    assert np.allclose(train.labels, 1.5 * (own.labels - 3), atol=1e-6)


def test_what_the_format_cannot_say_is_refused(tmp_path: Path) -> None:
    write_aligned(tmp_path)
    youtube = parse(tmp_path, "youtube")
    tree = mmsa_files.tree(youtube)["test"]
    assert np.array_equal(tree["regression_labels"], youtube.splits["test"].labels)
    assert set(tree["annotations"]) <= {"Negative", "Neutral", "Positive"}
    words = {
        name: Split(split.ids, split.labels, Text(raw=("a",) * len(split)))
        for name, split in youtube.splits.items()
    }
    with pytest.raises(CorpusError, match="words only"):
        mmsa_files.tree(replace(youtube, splits=words))
    with pytest.raises(CorpusError, match="no 'valid' split"):
        mmsa_files.tree(replace(youtube, splits={"train": words["train"]}))


def test_padding_goes_in_front() -> None:
    values = np.arange(12, dtype=np.float32).reshape(2, 3, 2) + 1
    valid = np.array([[True, False, False], [True, True, True]])
    moved = peer_data.in_front(Stream(values * valid[..., None], valid, valid), 4)
    assert moved.valid.tolist() == [[False, False, False, True], [False, True, True, True]]
    assert moved.values[0, 3].tolist() == [1, 2]
    assert np.array_equal(moved.values[1, 1:], values[1])


@pytest.fixture(scope="module")
def mmmo(tmp_path_factory: pytest.TempPathFactory) -> SequenceData:
    folder = tmp_path_factory.mktemp("mfn")
    write_aligned(folder)
    return read(folder, "mmmo", "train")


@pytest.mark.parametrize("model", mmsa_models.PEERS)
def test_every_peer_is_trained_and_says_what_mmsa_would(
    mmmo: SequenceData, model: str, tmp_path: Path
) -> None:
    seen = []
    run = mmsa_models.train_peer(model, mmmo, 0, lambda: seen.append(1), early_stop=0, nlevels=1)
    assert run.best_epoch == len(seen) == 1
    assert run.parameters == sum(p.numel() for p in run.network.parameters() if p.requires_grad)
    test = mmmo.splits["test"]
    said = run.say(test, mmmo)
    assert said.shape == (7,)
    mmsa_files.write(mmmo, tmp_path / "data.pkl")
    package = mmsa_models.load_package()
    args = mmsa_models.arguments(package, model, mmmo, tmp_path / "data.pkl")
    theirs = package.data_loader.MMDataset(args, "test")
    batch = (torch.tensor(own) for own in (theirs.text, theirs.audio, theirs.vision))
    with torch.no_grad():
        expected = run.network(*batch)["M"].squeeze(1).numpy()
    assert said == pytest.approx(expected / 1.5 + 3, abs=1e-4)  # -3..3 is 1..5


def test_the_command_line_records_each_run_once(tmp_path: Path) -> None:
    write_aligned(tmp_path / "data")
    words = {"data": tmp_path / "data", "out": tmp_path / "out", "sets": "mmmo,youtube"}
    peers.main(**words, seeds=2, models="LMF")
    path = tmp_path / "out" / peers.RECORDS
    first = path.read_text()
    found = read_records(path.parent)
    assert len(found) == 2 * 2 * (1 + 10 + 3)
    whole = [own for own in found if own.protocol == "complete"]
    assert [(own.data, own.seed) for own in whole] == [
        ("mmmo", 0), ("mmmo", 1), ("youtube", 0), ("youtube", 1),
    ]  # fmt: skip
    assert {own.condition for own in found if own.protocol == "C"} == {"a", "v", "a+v"}
    labels = read(tmp_path / "data", "mmmo", "train").splits["valid"].labels
    always = suited(np.full(5, np.median(labels), np.float32), labels, 1, 5)
    assert whole[0].valid["constant_mae"] == pytest.approx(always["mae"])
    assert whole[0].modalities == "AV" and whole[0].metrics.keys() == always.keys()
    for own in whole:  # the bar is the one of our networks
        ours = constant(Inputs(read(tmp_path / "data", own.data, "train"), None)).valid
        bars = ("constant_mae", "constant_acc")
        assert [own.valid.get(bar) for bar in bars] == [ours.get(bar) for bar in bars]
    peers.main(**words, seeds=2, models="LMF")
    assert path.read_text() == first
    with pytest.raises(TonalityError, match="no peer 'BERT'"):
        peers.main(**words, seeds=1, models="BERT")
    with pytest.raises(TonalityError, match=r"no set 'mmmo\+bert'"):
        peer_data.peer_data("mmmo+bert", tmp_path, peers._encoder)

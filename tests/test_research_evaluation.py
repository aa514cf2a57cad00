"""Research checkpoints are judged under every protocol, from code and from the command line.

Run time: about 15 s.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from features.assets import Assets
from features.errors import FeatureError
from model.data.datasets import parse
from model.data.protocols import PROTOCOLS, ProtocolError
from model.data.splits import SequenceData
from model.metrics import auilc, suited
from model.research.checkpoint import ResearchCheckpoint
from model.research.evaluation import evaluate
from model.research.inputs import LabelScale
from model.research.prediction import predict
from model.research.presets import training_plan
from model.research.runs import prepared, text_encoder, train_seed
from tests.research_files import mmsa, write_aligned, write_misa, write_pickle

SMALL = {"width": 16, "heads": 2, "feedforward": 16, "gate_hidden": 8}


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def pickle_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    content = mmsa(unaligned=False, text=12, audio=(12, 6), vision=(12, 7))
    return write_pickle(tmp_path_factory.mktemp("mmsa") / "aligned_50.pkl", content)


@pytest.fixture(scope="module")
def mosi(pickle_file: Path) -> SequenceData:
    return parse(pickle_file)


@pytest.fixture(scope="module")
def checkpoint(
    mosi: SequenceData, assets: Assets, tmp_path_factory: pytest.TempPathFactory
) -> ResearchCheckpoint:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("run")
    plan = training_plan("svr", epochs=2, batch=6, changes=SMALL)
    inputs = prepared(mosi, plan, lambda: text_encoder(assets.folder("gte-small")))
    train_seed(mosi, inputs, plan, 0, folder)
    return ResearchCheckpoint.load(folder)


@pytest.mark.parametrize("name", PROTOCOLS)
def test_every_protocol_is_judged(
    checkpoint: ResearchCheckpoint, mosi: SequenceData, assets: Assets, name: str
) -> None:
    encoder = text_encoder(assets.folder("gte-small"))
    found = evaluate(checkpoint, mosi, name, encoder)
    counts = {"complete": 1, "A": 11, "B": 10, "C": 7, "noise": 5}
    assert len(found.conditions) == counts[name]
    assert found.samples == 7
    each = [metrics["mae"] for metrics in found.conditions.values()]
    if name == "A":
        assert found.summary_is == "AUILC"
        assert found.summary["mae"] == pytest.approx(auilc([i / 10 for i in range(11)], each))
        assert "one model at every rate" in found.notes[-1]
    else:
        assert found.summary["mae"] == pytest.approx(np.mean(each))
    if name in ("A", "B"):
        assert found.conditions["r=0"] == checkpoint.manifest.metrics["test"]
    if name != "complete":
        assert len(set(each)) > 2  # conditions do change what the network says


def test_the_test_metrics_are_those_of_the_saved_network(
    checkpoint: ResearchCheckpoint, mosi: SequenceData, assets: Assets
) -> None:
    inputs = prepared(
        mosi, checkpoint.manifest.plan, lambda: text_encoder(assets.folder("gte-small"))
    )
    said = predict(checkpoint.network, inputs.complete("test")).numpy()
    labels = mosi.splits["test"].labels
    own = suited(LabelScale(-3, 3).labels(said), labels, -3, 3)
    assert own == pytest.approx(checkpoint.manifest.metrics["test"], rel=1e-4)


def test_data_that_do_not_suit_are_refused(
    checkpoint: ResearchCheckpoint, mosi: SequenceData, assets: Assets, tmp_path: Path
) -> None:
    encoder = text_encoder(assets.folder("gte-small"))
    with pytest.raises(ProtocolError, match="no protocol 'D'"):
        evaluate(checkpoint, mosi, "D", encoder)
    with pytest.raises(FeatureError, match="trained with gte-small"):
        evaluate(checkpoint, mosi, "C")
    with pytest.raises(FeatureError, match="no 'other' split"):
        evaluate(checkpoint, mosi, "C", encoder, split="other")
    write_aligned(tmp_path)
    with pytest.raises(FeatureError, match="do not suit a network"):
        evaluate(checkpoint, parse(tmp_path, "youtube"), "C", encoder)
    other = replace(parse(tmp_path, "mmmo"), low=-3.0, high=3.0)
    with pytest.raises(FeatureError, match=r"audio of .* has 74 features"):
        evaluate(checkpoint, other, "C", encoder)


def test_the_command_line_trains_and_judges(pickle_file: Path, tmp_path: Path) -> None:
    from dashboard.cli import app

    run = CliRunner().invoke
    listed = run(app, ["train", "--list"])
    assert listed.exit_code == 0
    assert all(name in listed.output for name in ("rtil", "sati", "svr", "mitr"))
    out = tmp_path / "run"
    words = ["train", "mitr", "--data", str(pickle_file), "--epochs", "1", "--seeds", "2"]
    trained = run(app, [*words, "--text", "features", "--out", str(out)])
    assert trained.exit_code == 0, trained.output
    assert "±" in trained.output
    results = json.loads((out / "results.json").read_text())
    assert results["seeds"] == [0, 1]
    each = [seed["test"]["mae"] for seed in results["each"].values()]
    assert results["test"]["mae"]["mean"] == pytest.approx(np.mean(each))
    assert results["test"]["mae"]["deviation"] == pytest.approx(np.std(each, ddof=1))
    judge = ["evaluate", str(out / "seed-0"), "--data", str(pickle_file)]
    judged = run(app, [*judge, "--protocol", "C", "--json"])
    assert judged.exit_code == 0, judged.output
    assert len(json.loads(judged.stdout)["conditions"]) == 7
    table = run(app, [*judge, "--protocol", "B"])
    assert "r=0.9" in table.output
    assert "mean" in table.output


def test_a_misa_folder_trains_from_the_command_line(tmp_path: Path) -> None:
    from dashboard.cli import app

    write_misa(tmp_path / "misa")
    words = ["train", "rtil", "--data", str(tmp_path / "misa"), "--epochs", "1"]
    trained = CliRunner().invoke(app, [*words, "--out", str(tmp_path / "run")])
    assert trained.exit_code == 0, trained.output
    read = ResearchCheckpoint.load(tmp_path / "run" / "seed-0")
    assert read.manifest.text_encoder == "gte-small"
    assert read.manifest.config.widths == (384, 74, 47)


def test_the_published_form_refuses_unaligned_sequences_in_words(tmp_path: Path) -> None:
    from dashboard.cli import app

    path = write_pickle(tmp_path / "unaligned_50.pkl", mmsa())
    words = ["train", "rtil", "--data", str(path), "--text", "features", "--variant", "faithful"]
    result = CliRunner().invoke(app, [*words, "--out", str(tmp_path / "run")])
    assert isinstance(result.exception, FeatureError)
    assert "needs word-aligned sequences" in str(result.exception)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["train"], "rtil, sati, svr, mitr or text"),
        (["train", "bert", "--data", "x", "--out", "y"], "no preset 'bert'"),
        (["train", "rtil", "--data", "nowhere.pkl", "--out", "y"], "no such file"),
        (["evaluate", "nowhere", "--data", "x"], "no checkpoint in nowhere"),
    ],
)
def test_the_command_line_says_what_is_wrong(words: list[str], reason: str) -> None:
    from dashboard.cli import app

    result = CliRunner().invoke(app, words)
    assert result.exit_code != 0
    assert reason in " ".join((result.output + str(result.exception or "")).split())

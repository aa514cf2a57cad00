"""Research models are trained, stopped, resumed and saved, on tiny files of the field's formats.

Run time: about 20 s.
"""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from features.assets import Assets
from features.errors import CheckpointError, FeatureError, TonalityError
from model.data.datasets import parse
from model.data.splits import SequenceData, Split
from model.data.streams import Stream
from model.research.checkpoint import MANIFEST, WEIGHTS, ResearchCheckpoint
from model.research.inputs import Inputs, LabelScale, damage, scaled_for, wants_encoder
from model.research.prediction import predict
from model.research.presets import TrainingPlan, network_config, new_network, training_plan
from model.research.runs import prepared, text_encoder, train_seed
from model.research.training import Trainer
from tests.research_files import mmsa, write_aligned, write_pickle

SMALL_FAMILY = {"width": 16, "heads": 2, "feedforward": 16, "gate_hidden": 8}
SMALL_MITR = {"channels": 5, "fusion_heads": 2, "adapter": 6}


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def sequences(tmp_path_factory: pytest.TempPathFactory) -> SequenceData:
    """Voice and face of ICT-MMMO's format, no text."""
    folder = tmp_path_factory.mktemp("mfn")
    write_aligned(folder)
    return parse(folder, "mmmo")


@pytest.fixture(scope="module")
def mosi(tmp_path_factory: pytest.TempPathFactory) -> SequenceData:
    """A word-aligned file of MMSA's format, read as it comes: words, ids and features."""
    path = tmp_path_factory.mktemp("mmsa") / "aligned_50.pkl"
    content = mmsa(unaligned=False, text=20, audio=(20, 6), vision=(20, 7))
    for split in content.values():  # something to learn
        split["audio"][..., 0] = 40 + 9 * split["regression_labels"][:, None]
    return parse(write_pickle(path, content))


def small(preset: str, variant: str = "intended", **changes: object) -> TrainingPlan:
    sizes = SMALL_MITR if preset == "mitr" else SMALL_FAMILY
    own = {"changes": sizes, "text": "auto", "epochs": 3, "batch": 4} | changes
    return training_plan(preset, variant, **own)


def no_encoder() -> None:
    raise AssertionError("nothing here is to be encoded")


def made(data: SequenceData, plan: TrainingPlan) -> Inputs:
    return prepared(data, plan, no_encoder)  # type: ignore[arg-type]


def weights(network: torch.nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(value, other[name]) for name, value in one.items())


class KilledError(Exception):
    pass


def kill_after(epochs: int) -> object:
    seen = 0

    def advance(more: int) -> None:
        nonlocal seen
        seen += more
        if seen >= epochs:
            raise KilledError

    return advance


@pytest.mark.parametrize(
    ("preset", "variant", "epochs"),
    [
        ("rtil", "faithful", 18),
        ("sati", "intended", 18),
        ("svr", "faithful", 22),
        ("mitr", "faithful", 9),
        ("mitr", "intended", 9),
    ],
)
def test_every_preset_learns(
    mosi: SequenceData, preset: str, variant: str, epochs: int, tmp_path: Path
) -> None:
    rates = dict.fromkeys(("dropout", "head_dropout", "cross_dropout", "gate_dropout"), 0.0)
    sizes = SMALL_MITR if preset == "mitr" else SMALL_FAMILY | rates
    plan = small(
        preset, variant, text="features", epochs=epochs, changes=sizes, learning_rate=3e-3,
        schedule="constant", accumulate=1, scaling="train", first=0.0,
    )  # fmt: skip
    history = Trainer(plan, 0, made(mosi, plan), tmp_path).run().history
    task = "loss_student" if preset == "mitr" else "loss_task"
    assert history[-1][task] < 0.85 * history[0][task]
    assert all(np.isfinite(list(entry.values())).all() for entry in history)


def test_a_run_without_text_leaves_the_log_of_each_epoch(
    sequences: SequenceData, tmp_path: Path
) -> None:
    plan = small("svr")
    trained = Trainer(plan, 0, made(sequences, plan), tmp_path).run()
    rows = list(csv.DictReader((tmp_path / "log.csv").open(encoding="utf-8")))
    assert [float(row["epoch"]) for row in rows] == [1, 2, 3]
    assert [float(row["valid_mae"]) for row in rows] == [h["valid_mae"] for h in trained.history]
    assert {"loss_task", "loss_domain", "loss_temporal", "valid_loss", "lr"} <= set(rows[0])


@pytest.mark.parametrize(
    ("preset", "changes"),
    [
        ("mitr", {"batch": 6}),
        ("svr", {"scheme": "masked", "losing": "subsets"}),
        ("rtil", {"accumulate": 2}),
    ],
)
def test_a_killed_run_goes_on_to_the_same_weights(
    sequences: SequenceData, preset: str, changes: dict[str, object], tmp_path: Path
) -> None:
    plan = small(preset, epochs=4, **changes)
    whole = Trainer(plan, 1, made(sequences, plan), tmp_path / "whole").run()
    with pytest.raises(KilledError):
        Trainer(plan, 1, made(sequences, plan), tmp_path / "killed").run(kill_after(2))  # type: ignore[arg-type]
    told: list[int] = []
    again = Trainer(plan, 1, made(sequences, plan), tmp_path / "killed")
    resumed = again.run(told.append)
    assert told[0] == 2  # it did not begin anew
    assert same(weights(whole.network), weights(resumed.network))
    assert resumed.history == whole.history
    assert resumed.best_epoch == whole.best_epoch


def test_the_seed_decides_and_another_plan_is_not_gone_on_with(
    sequences: SequenceData, tmp_path: Path
) -> None:
    plan = small("sati", epochs=2)
    runs = [
        Trainer(plan, seed, made(sequences, plan), tmp_path / name).run()
        for name, seed in (("a", 3), ("b", 3), ("c", 4))
    ]
    one, twin, other = (weights(run.network) for run in runs)
    assert same(one, twin)
    assert not same(one, other)
    told: list[int] = []
    longer = small("sati", epochs=2, batch=5)
    Trainer(longer, 3, made(sequences, longer), tmp_path / "a").run(told.append)
    assert told[0] == 0


def test_a_damaged_state_is_named(sequences: SequenceData, tmp_path: Path) -> None:
    plan = small("rtil", epochs=1)
    Trainer(plan, 0, made(sequences, plan), tmp_path).run()
    (tmp_path / "state.safetensors").write_bytes(b"nothing of the kind")
    with pytest.raises(CheckpointError, match=r"state\.safetensors is damaged"):
        Trainer(plan, 0, made(sequences, plan), tmp_path).run()


def other_labels(data: SequenceData, name: str) -> SequenceData:
    split = data.splits[name]
    moved = replace(split, labels=(data.low + data.high - split.labels).astype(np.float32))
    return replace(data, splits={**data.splits, name: moved})


def test_nothing_of_the_test_split_decides(sequences: SequenceData, tmp_path: Path) -> None:
    plan = small("svr", epochs=5, learning_rate=5e-3)
    runs = {}
    for name in ("none", "test", "valid"):
        data = sequences if name == "none" else other_labels(sequences, name)
        runs[name] = Trainer(plan, 0, made(data, plan), tmp_path / name).run()
    assert runs["test"].history == runs["none"].history
    assert same(weights(runs["test"].network), weights(runs["none"].network))
    assert runs["valid"].history != runs["none"].history


def test_the_best_epoch_on_validation_is_kept_and_patience_ends(
    sequences: SequenceData, tmp_path: Path
) -> None:
    plan = small("svr", epochs=40, patience=3, learning_rate=2e-2, schedule="constant")
    inputs = made(sequences, plan)
    trainer = Trainer(plan, 0, inputs, tmp_path)
    trained = trainer.run()
    losses = [entry["valid_loss"] for entry in trained.history]
    assert trained.best_epoch == int(np.argmin(losses)) + 1
    assert len(losses) == trained.best_epoch + 3 < 40
    assert trainer.validate()["valid_loss"] == losses[trained.best_epoch - 1]


def test_epochs_before_the_first_are_not_selected(sequences: SequenceData, tmp_path: Path) -> None:
    plan = small("rtil", "faithful", epochs=5, first=0.6, learning_rate=2e-2)
    trained = Trainer(plan, 0, made(sequences, plan), tmp_path).run()
    accuracy = [entry["valid_acc2_has0"] for entry in trained.history]
    assert len(accuracy) == 5
    assert trained.best_epoch == 4 + int(np.argmax(accuracy[3:]))


def test_a_checkpoint_says_the_same_when_it_is_read(mosi: SequenceData, tmp_path: Path) -> None:
    plan = small("mitr", text="features", epochs=2)
    inputs = made(mosi, plan)
    saved = train_seed(mosi, inputs, plan, 0, tmp_path)
    read = ResearchCheckpoint.load(tmp_path)
    assert read.manifest.plan == plan
    assert read.manifest.metrics["test"] == saved.manifest.metrics["test"]
    assert set(read.manifest.data_sha256) == {"train", "valid", "test"}
    seen = inputs.complete("test")
    assert torch.equal(predict(read.network, seen), predict(saved.network, seen))
    for name, moments in inputs.data.moments.items():
        assert np.array_equal(read.moments[name].mean, moments.mean)


@pytest.mark.parametrize("file", [WEIGHTS, MANIFEST])
def test_a_damaged_checkpoint_is_named(sequences: SequenceData, tmp_path: Path, file: str) -> None:
    plan = small("rtil", epochs=1)
    train_seed(sequences, made(sequences, plan), plan, 0, tmp_path)
    content = (tmp_path / file).read_bytes()
    (tmp_path / file).write_bytes(content[:-9])
    with pytest.raises(CheckpointError, match=file):
        ResearchCheckpoint.load(tmp_path)
    (tmp_path / file).unlink()
    with pytest.raises(CheckpointError, match=r"cannot read|no checkpoint"):
        ResearchCheckpoint.load(tmp_path)


def test_words_are_encoded_and_lost_ones_stay_unknown(mosi: SequenceData, assets: Assets) -> None:
    plan = training_plan("mitr", text="encoder", losing="rate", rate=0.5)
    inputs = prepared(mosi, plan, lambda: text_encoder(assets.folder("gte-small")))
    whole, less = inputs.complete("valid"), inputs.lost("valid", plan, 0, 0)
    assert inputs.widths == (384, 6, 7)
    assert whole.batch.values[0].shape == (5, 20, 384)
    assert torch.equal(whole.batch.valid[0], less.batch.valid[0])
    lost = whole.batch.valid[0] & ~less.known[0]
    assert 0.2 < lost.sum() / whole.batch.valid[0].sum() < 0.8
    kept = less.known[0]  # the others' states changed too: they no longer know the lost words
    apart = (whole.batch.values[0] - less.batch.values[0]).norm(dim=-1)
    assert bool((apart[kept] > 1e-3).all())
    assert inputs.complete("valid") is whole


def test_distillation_wraps_the_other_presets_too(sequences: SequenceData, tmp_path: Path) -> None:
    plan = small("svr", scheme="distilled", epochs=1)
    trained = Trainer(plan, 0, made(sequences, plan), tmp_path).run()
    parts = {name for name in trained.history[0] if name.startswith("loss_")}
    assert {"loss_student", "loss_teacher", "loss_transfer", "loss_temporal"} <= parts


def test_what_is_lost_is_drawn_by_seed_and_draw(mosi: SequenceData) -> None:
    split = mosi.splits["train"]
    for losing in ("rate", "mixed", "subsets"):
        plan = training_plan("mitr", losing=losing)
        masks = [damage(split, plan, *which).known["audio"] for which in ((0, 0), (0, 0), (0, 1))]
        assert np.array_equal(masks[0], masks[1]), losing
        assert not np.array_equal(masks[0], masks[2]), losing
    subsets = damage(split, training_plan("mitr", losing="subsets"), 0, 0).apply(split)
    present = subsets.present
    assert present.any(1).all()
    assert not present.all()


def test_chinese_words_are_left_to_the_features(mosi: SequenceData) -> None:
    assert wants_encoder(mosi, "auto")
    splits = {name: _chinese(split) for name, split in mosi.splits.items()}
    assert not wants_encoder(replace(mosi, splits=splits), "auto")
    assert wants_encoder(replace(mosi, splits=splits), "encoder")


def _chinese(split: Split) -> Split:
    assert split.text is not None
    return replace(split, text=replace(split.text, raw=("我很高兴",) * len(split)))


def test_single_steps_are_not_scaled_to_nothing() -> None:
    chance = np.random.default_rng(0)
    values = chance.normal(5, 3, (20, 1, 4)).astype(np.float32)
    known = np.ones((20, 1), bool)
    split = Split(tuple(map(str, range(20))), np.zeros(20, np.float32))
    split = replace(split, audio=Stream(values, known, known))
    data = SequenceData("ones", {"train": split, "valid": split})
    done = scaled_for(data, training_plan("rtil", "faithful")).splits["train"].audio
    assert done is not None
    assert np.allclose(done.values.std(0), 1, atol=1e-4)


@pytest.mark.parametrize(("low", "high"), [(-3, 3), (-1, 1), (1, 5), (1, 7)])
def test_predictions_return_to_the_scale_of_the_labels(low: float, high: float) -> None:
    labels = np.linspace(low, high, 9, dtype=np.float32)
    scale = LabelScale(low, high)
    targets = scale.targets(Split(tuple("abcdefghi"), labels))
    assert float(targets.max()) == pytest.approx(1 if high == 1 else 3)
    assert np.allclose(scale.labels(targets.numpy()), labels, atol=1e-6)


def test_classes_are_trained_by_cross_entropy(tmp_path: Path) -> None:
    write_aligned(tmp_path)
    data = parse(tmp_path, "youtube")
    plan = small("mitr", epochs=2)
    trained = Trainer(plan, 0, made(data, plan), tmp_path / "run").run()
    assert data.classes == 3
    assert predict(trained.network, made(data, plan).complete("test")).shape == (7, 3)
    assert "valid_acc" in trained.history[0]


def test_what_cannot_be_is_refused(sequences: SequenceData, tmp_path: Path) -> None:
    with pytest.raises(TonalityError, match="no preset 'bert'"):
        training_plan("bert")
    with pytest.raises(TonalityError, match="no variant 'better'"):
        training_plan("rtil", "better")
    with pytest.raises(TonalityError, match="this plan cannot be"):
        training_plan("rtil", epochs="many")
    with pytest.raises(TonalityError, match="no 'flip' to change"):
        network_config(training_plan("rtil", changes={"flip": "time"}), (4, 4, 4))
    missing = replace(sequences, splits={"train": sequences.splits["train"]})
    with pytest.raises(FeatureError, match="no 'valid' split"):
        Trainer(small("rtil"), 0, Inputs(missing, None), tmp_path)
    wild = small("rtil", learning_rate=1e30, clip=0.0, schedule="constant")
    with pytest.raises(FeatureError, match="no longer a number"):
        Trainer(wild, 0, made(sequences, wild), tmp_path).run()


def test_bf16_trains_close_to_full_precision(sequences: SequenceData, tmp_path: Path) -> None:
    losses = []
    for bf16 in (False, True):
        plan = small("svr", epochs=2, bf16=bf16)
        history = Trainer(plan, 0, made(sequences, plan), tmp_path / str(bf16)).run().history
        losses.append(history[-1]["valid_loss"])
    assert losses[0] != losses[1]
    assert losses[1] == pytest.approx(losses[0], rel=0.1)


def test_networks_of_published_size_come_from_the_seed() -> None:
    config = network_config(training_plan("svr"), (384, 74, 35))
    before = torch.random.get_rng_state()
    one, twin, other = (new_network(config, seed) for seed in (0, 0, 1))
    assert torch.equal(before, torch.random.get_rng_state())
    assert same(weights(one), weights(twin))
    assert not same(weights(one), weights(other))

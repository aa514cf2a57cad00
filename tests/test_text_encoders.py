"""Any BERT, RoBERTa or MPNet as text encoder of research: frozen, tuned, saved, resumed, started from.

Run time: about 25 s, most of it loading transformers.
"""

from __future__ import annotations

import json
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from features.assets import Assets
from features.errors import AssetError, CheckpointError, FeatureError, TonalityError
from model.data import stored as datasets_stored
from model.data.splits import SequenceData
from model.data.streams import Stream, tokens_of
from model.research.checkpoint import WEIGHTS, ResearchCheckpoint
from model.research.evaluation import evaluate
from model.research.inputs import Inputs
from model.research.network_input import BERT_UNKNOWN
from model.research.prediction import predict
from model.research.presets import TrainingPlan, network_config, new_network, training_plan
from model.research.runs import prepared, train_seed
from model.research.start import start_of
from model.research.training import Trainer
from model.text.choice import load_encoder
from model.text.hub import ARCHIVE, archived
from model.text.tunable import TunableText, Tuning
from tests.made_encoders import texts, write_bert, write_mpnet, write_roberta
from tests.packages import serving

pytestmark = pytest.mark.usefixtures("one_thread")

SENTENCES = ["good film", "it was not a very good story and the plot was poor", "awful", ""]
FAMILY = {"width": 16, "heads": 2, "feedforward": 16, "gate_hidden": 8}


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bert(tmp_path_factory.mktemp("bert"))


@pytest.fixture(scope="module")
def roberta(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_roberta(tmp_path_factory.mktemp("roberta"))


@pytest.fixture(scope="module")
def mpnet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_mpnet(tmp_path_factory.mktemp("mpnet"))


@pytest.fixture(scope="module")
def data() -> SequenceData:
    return texts({"train": 48, "valid": 20, "test": 20})


def loaded(folder: Path, tune: str = "frozen") -> TunableText:
    found = load_encoder(str(folder), tune)
    assert isinstance(found, TunableText)
    return found


def plan_for(folder: Path, tune: str, preset: str = "text", **changes: object) -> TrainingPlan:
    own = {"epochs": 3, "batch": 8, "learning_rate": 1e-2, "encoder_rate": 1e-3} | changes
    if preset != "text":
        own["changes"] = FAMILY
    return training_plan(preset, text="encoder", encoder=str(folder), tune=tune, **own)


def inputs_for(data: SequenceData, plan: TrainingPlan, cache: Path | None = None) -> Inputs:
    return prepared(data, plan, lambda: load_encoder(plan.encoder, plan.tune), cache)


@pytest.mark.parametrize("kind", ["bert", "roberta", "mpnet"])
def test_states_are_those_of_transformers(kind: str, request: pytest.FixtureRequest) -> None:
    import transformers

    folder: Path = request.getfixturevalue(kind)
    own = loaded(folder)
    tokens = own.tokenize(SENTENCES)
    theirs = transformers.AutoModel.from_pretrained(folder).eval()
    with torch.no_grad():
        expected = theirs(input_ids=tokens.ids, attention_mask=tokens.mask.long())
        found = own(tokens.ids, tokens.mask)
    known = tokens.mask
    assert own.width == 16
    assert torch.allclose(found[known], expected.last_hidden_state[known], atol=1e-6)


@pytest.mark.parametrize("kind", ["bert", "roberta", "mpnet"])
@pytest.mark.parametrize("tune", ["frozen", "upper:2", "lora:4", "all"])
def test_padding_and_company_change_nothing(
    kind: str, tune: str, request: pytest.FixtureRequest
) -> None:
    own = loaded(request.getfixturevalue(kind), tune)
    tokens = own.tokenize(SENTENCES)
    with torch.no_grad():
        lower = own.lower(tokens.ids, tokens.mask)
        together = own.upper(lower, tokens.mask)
        assert torch.equal(together, own(tokens.ids, tokens.mask))
        for row, sentence in enumerate(SENTENCES):
            alone = own.tokenize([sentence])
            length = alone.ids.shape[1]
            assert torch.allclose(
                together[row, :length], own(alone.ids, alone.mask)[0], atol=1e-5
            ), sentence


def test_gte_small_says_the_same_as_the_live_encoder(assets: Assets) -> None:
    live = load_encoder("gte-small", assets=assets)
    own = load_encoder("gte-small", "upper:1", assets=assets)
    assert isinstance(own, TunableText)
    assert not isinstance(live, TunableText)
    tokens, same = own.tokenize(SENTENCES), live.tokenize(SENTENCES)
    assert torch.equal(tokens.ids, same.ids)
    assert torch.equal(tokens.mask, same.mask)
    assert own.knows_bert_ids
    assert own.unknown == BERT_UNKNOWN
    with torch.no_grad():
        ours, theirs = own(tokens.ids, tokens.mask), live(same.ids, same.mask)
    assert torch.allclose(ours[tokens.mask], theirs[tokens.mask], atol=1e-5)


def test_mpnet_is_read_out_of_its_archive(mpnet: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / ARCHIVE, "w") as packed:
        for path in mpnet.iterdir():
            packed.write(path, f"all-mpnet-base-v2/{path.name}")
    found = archived("mpnet", tmp_path)
    tokens = found.tokenize(SENTENCES)
    assert found.name == "mpnet"
    assert found.sha256 == loaded(mpnet).sha256
    assert torch.equal(found(tokens.ids, tokens.mask), loaded(mpnet)(tokens.ids, tokens.mask))
    found.tune(Tuning.parse("lora:2"))
    assert found.learning()
    (tmp_path / ARCHIVE).write_bytes(b"no archive")
    with pytest.raises(AssetError, match=r"not the files of mpnet"):
        archived("mpnet", tmp_path)


def test_minilm_knows_what_is_alike(assets: Assets, minilm_folder: Path) -> None:
    own = load_encoder("minilm", assets=assets)
    assert isinstance(own, TunableText)
    assert own.width == 384
    assert len(own.layers) == 6
    said = ("i love this movie", "this film is wonderful", "the train leaves at nine")
    tokens = own.tokenize(said)
    with torch.no_grad():
        states = own(tokens.ids, tokens.mask) * tokens.mask[..., None]
    love, wonder, train = torch.nn.functional.normalize(states.sum(1), dim=-1)
    assert float(love @ wonder) > float(love @ train) + 0.3


def test_a_model_of_the_hub_is_fetched_on_command_only(
    bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dashboard.models_cli import app

    monkeypatch.setenv("TONALITY_CACHE", str(tmp_path))
    with serving() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        for file in ("config.json", "tokenizer.json", "model.safetensors", "tokenizer_config.json"):
            content = (bert / file).read_bytes()
            server.pages[f"/some/bert-tiny/resolve/main/{file}"] = content
        with pytest.raises(AssetError, match="models hub some/bert-tiny"):
            load_encoder("some/bert-tiny")
        assert server.asked == []
        missing = CliRunner().invoke(app, ["hub", "some/other"])
        assert missing.exit_code == 2
        assert "config.json cannot be fetched from the hub" in missing.output
        fetched = CliRunner().invoke(app, ["hub", "some/bert-tiny"])
        assert fetched.exit_code == 0, fetched.output
        asked = len(server.asked)
        own = load_encoder("some/bert-tiny")
        assert len(server.asked) == asked
    assert isinstance(own, TunableText)
    assert own.name == "some/bert-tiny"
    assert own.sha256 == loaded(bert).sha256
    monkeypatch.setenv("TONALITY_OFFLINE", "1")
    refused = CliRunner().invoke(app, ["hub", "some/third"])
    assert "TONALITY_OFFLINE forbids fetching" in refused.output


def test_only_what_is_asked_for_learns(bert: Path) -> None:
    layer = sum(p.numel() for p in loaded(bert).layers[0].parameters())
    whole = sum(p.numel() for p in loaded(bert).model.parameters())
    counts = {}
    for tune in ("frozen", "upper:1", "upper:3", "all", "lora", "lora:2"):
        counts[tune] = sum(p.numel() for p in loaded(bert, tune).learning().values())
    assert counts == {
        "frozen": 0,
        "upper:1": layer,
        "upper:3": 3 * layer,
        "all": whole,
        "lora": 3 * 2 * 2 * 8 * 16,  # layers, query and value, two matrices, rank, width
        "lora:2": 3 * 2 * 2 * 2 * 16,
    }


@pytest.mark.parametrize("wrong", ["upper", "upper:0", "upper:x", "lora:0", "frozen:1", "half"])
def test_ways_of_tuning_that_do_not_exist(wrong: str) -> None:
    with pytest.raises(TonalityError, match=r"there are frozen, upper:N"):
        Tuning.parse(wrong)


def test_what_cannot_be_an_encoder_is_told(bert: Path, tmp_path: Path) -> None:
    with pytest.raises(TonalityError, match="has 3 layers, so 4 cannot be tuned"):
        loaded(bert, "upper:4")
    with pytest.raises(AssetError, match="tonality models hub nobody/nothing-base"):
        load_encoder("nobody/nothing-base")
    with pytest.raises(AssetError, match="not the folder of an encoder"):
        load_encoder(str(tmp_path))
    config = json.loads((bert / "config.json").read_text()) | {"model_type": "gpt2"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(AssetError, match="is a 'gpt2'; encoders of the layouts bert"):
        load_encoder(str(tmp_path))


@pytest.mark.parametrize("tune", ["upper:1", "all", "lora:4"])
def test_a_tuned_encoder_learns_and_travels_with_the_checkpoint(
    bert: Path, data: SequenceData, tune: str, tmp_path: Path
) -> None:
    plan = plan_for(bert, tune, epochs=12, encoder_rate=1e-2, schedule="constant")
    inputs = inputs_for(data, plan)
    encoder = inputs.tuned
    assert encoder is not None
    before = {name: value.clone() for name, value in encoder.model.state_dict().items()}
    saved = train_seed(data, inputs, plan, 0, tmp_path)
    log = [float(line.split(",")[2]) for line in (tmp_path / "log.csv").read_text().split()[1:]]
    assert log[-1] < 0.9 * log[0]
    changed = {n for n, v in encoder.model.state_dict().items() if not torch.equal(v, before[n])}
    assert changed
    assert changed <= set(encoder.learning())
    read = ResearchCheckpoint.load(tmp_path)
    assert set(read.text) == set(encoder.learning())
    assert read.manifest.text_sha256 == encoder.sha256
    assert (tmp_path / WEIGHTS).stat().st_size < 4.2 * (
        sum(v.numel() for v in encoder.learning().values())
        + sum(p.numel() for p in read.network.parameters())
    ) + 8000  # fmt: skip
    judged = evaluate(read, data, "complete", load_encoder(str(bert), tune))
    assert judged.summary == pytest.approx(saved.manifest.metrics["test"], abs=1e-4)
    untuned = evaluate(replace(read, text={}), data, "complete", load_encoder(str(bert), tune))
    assert untuned.summary["mae"] != pytest.approx(judged.summary["mae"], abs=1e-4)


class KilledError(Exception):
    pass


@pytest.mark.parametrize("tune", ["upper:2", "lora:4"])
def test_a_killed_run_goes_on_and_seeds_do_not_touch_each_other(
    roberta: Path, data: SequenceData, tune: str, tmp_path: Path
) -> None:
    plan = plan_for(roberta, tune, pool=2)
    whole = Trainer(plan, 1, inputs_for(data, plan), tmp_path / "whole").run()
    inputs = inputs_for(data, plan)
    Trainer(plan, 0, inputs, tmp_path / "other").run()

    def kill(epochs: int) -> None:
        if (tmp_path / "killed" / "state.safetensors").is_file():
            raise KilledError

    with pytest.raises(KilledError):
        Trainer(plan, 1, inputs, tmp_path / "killed").run(kill)
    again = Trainer(plan, 1, inputs_for(data, plan), tmp_path / "killed").run()
    assert again.history == whole.history
    for name, value in whole.text.items():
        assert torch.equal(value, again.text[name]), name


def test_lost_words_are_encoded_anew_below_the_tuned_part(bert: Path, data: SequenceData) -> None:
    plan = plan_for(bert, "upper:1", scheme="distilled", losing="rate", rate=0.5)
    inputs = inputs_for(data, plan)
    whole, less = inputs.complete("train"), inputs.lost("train", plan, 0, 0)
    lost = whole.batch.valid[0] & ~less.known[0]
    assert 0.2 < lost.sum() / whole.batch.valid[0].sum() < 0.7
    apart = (whole.batch.values[0] - less.batch.values[0]).float().norm(dim=-1)
    hit = lost.any(1, keepdim=True) & less.known[0]
    assert bool((apart[hit] > 0).all())
    assert bool((apart[~lost.any(1)] == 0).all())


@pytest.mark.parametrize("preset", ["rtil", "mitr", "text"])
def test_distillation_works_with_a_tuned_encoder(
    preset: str, bert: Path, data: SequenceData, tmp_path: Path
) -> None:
    plan = plan_for(bert, "upper:1", scheme="distilled", epochs=1)
    small = {"channels": 5, "fusion_heads": 2, "adapter": 6} if preset == "mitr" else FAMILY
    plan = training_plan(
        preset, text="encoder", encoder=str(bert), tune="upper:1", scheme="distilled", epochs=1,
        batch=8, changes={} if preset == "text" else small,
    )  # fmt: skip
    inputs = inputs_for(data, plan)
    assert inputs.tuned is not None
    first = inputs.tuned.tuned()
    trained = Trainer(plan, 0, inputs, tmp_path).run()
    assert any(not torch.equal(value, first[name]) for name, value in trained.text.items())


def test_one_training_starts_from_another(bert: Path, data: SequenceData, tmp_path: Path) -> None:
    plan = plan_for(bert, "upper:1")
    first = inputs_for(data, plan)
    for seed in (0, 1):
        train_seed(data, first, plan, seed, tmp_path / f"seed-{seed}")
    start = start_of(tmp_path, 1)
    assert start.manifest.seed == 1
    assert start_of(tmp_path / "seed-0", 1).manifest.seed == 0
    with pytest.raises(CheckpointError, match="no seed 4 to start from"):
        start_of(tmp_path, 4)
    wider = plan_for(bert, "upper:2", epochs=1, learning_rate=1e-9, encoder_rate=1e-9)
    after = train_seed(data, inputs_for(data, wider), wider, 0, tmp_path / "more", start=start)
    assert after.manifest.plan.start == start.manifest.weights_sha256
    assert after.manifest.metrics["test"] == pytest.approx(start.manifest.metrics["test"], abs=1e-3)
    for name, value in start.text.items():
        assert torch.allclose(after.text[name], value, atol=1e-6)


def test_a_start_that_does_not_fit_is_refused(
    bert: Path, roberta: Path, data: SequenceData, tmp_path: Path
) -> None:
    plan = plan_for(bert, "upper:2", epochs=1)
    train_seed(data, inputs_for(data, plan), plan, 0, tmp_path / "seed-0")
    start = start_of(tmp_path, 0)
    others = {
        r"preset is text, here it is rtil": plan_for(bert, "upper:2", preset="rtil"),
        r"text encoder is .*, here it is .*roberta": plan_for(roberta, "upper:2"),
        r"was tuned \(upper:2\), here it is frozen": plan_for(bert, "frozen"),
        r"was tuned there, but is not here": plan_for(bert, "upper:1"),
    }
    for reason, other in others.items():
        with pytest.raises(CheckpointError, match=reason):
            Trainer(other, 0, inputs_for(data, other), tmp_path / "new", start=start)
    dropped = training_plan("text", text="encoder", encoder=str(bert), changes={"dropout": 0.5})
    with pytest.raises(CheckpointError, match=r"dropout is 0\.1, here it is 0\.5"):
        Trainer(dropped, 0, inputs_for(data, dropped), tmp_path / "new", start=start)


def test_a_checkpoint_wants_its_own_encoder(
    bert: Path, roberta: Path, data: SequenceData, tmp_path: Path
) -> None:
    plan = plan_for(bert, "upper:1", epochs=1)
    saved = train_seed(data, inputs_for(data, plan), plan, 0, tmp_path)
    with pytest.raises(FeatureError, match=r"this is .*roberta"):
        evaluate(saved, data, "complete", load_encoder(str(roberta), "upper:1"))
    with pytest.raises(FeatureError, match="load it tuned the same way"):
        evaluate(replace(saved, text={}), data, "complete", load_encoder(str(bert)))
    other = load_encoder(str(bert), "upper:1")
    assert isinstance(other, TunableText)
    other.sha256 = "of other weights"
    with pytest.raises(FeatureError, match="this is another"):
        evaluate(saved, data, "complete", other)


def test_ids_of_bert_are_not_read_as_another_vocabulary(roberta: Path, data: SequenceData) -> None:
    splits = {}
    for name, split in data.splits.items():
        ids = np.full((len(split), 4), 2000)
        assert split.text is not None
        tokens = tokens_of(ids, np.ones(ids.shape, bool), BERT_UNKNOWN)
        splits[name] = split.with_tokens(tokens)
    both = replace(data, splits=splits)
    own = loaded(roberta)
    inputs = Inputs(both, own)
    text = inputs.data.splits["train"].text
    assert text is not None
    assert text.tokens is not None
    assert text.tokens.unknown == own.unknown  # made of the words, not of the ids
    assert text.tokens.ids.max() < 300
    bare = {
        name: replace(split, text=replace(split.text, raw=None)) for name, split in splits.items()
    }
    with pytest.raises(FeatureError, match="does not know these ids"):
        Inputs(replace(data, splits=bare), own)


def test_words_may_come_beside_features_of_one_step(bert: Path, data: SequenceData) -> None:
    splits = {}
    for name, split in data.splits.items():
        values = np.ones((len(split), 1, 5), np.float32)
        there = np.ones((len(split), 1), bool)
        assert split.text is not None
        text = replace(split.text, features=Stream(values, there, there))
        splits[name] = replace(split, text=text)
    both = replace(data, splits=splits)
    plan = plan_for(bert, "frozen", scheme="distilled")
    inputs = inputs_for(both, plan)
    lost = inputs.lost("train", plan, 0, 0)
    assert lost.known[0].shape == lost.batch.valid[0].shape
    assert bool((lost.batch.valid[0] & ~lost.known[0]).any())


def test_states_are_kept_for_the_next_run(bert: Path, data: SequenceData, tmp_path: Path) -> None:
    plan = plan_for(bert, "frozen")
    first = inputs_for(data, plan, tmp_path).complete("valid")
    (kept,) = tmp_path.glob("*.safetensors")
    written = kept.stat().st_mtime_ns
    again = inputs_for(data, plan, tmp_path).complete("valid")
    assert torch.equal(first.batch.values[0], again.batch.values[0])
    assert kept.stat().st_mtime_ns == written
    kept.write_bytes(kept.read_bytes()[:-40])
    mended = inputs_for(data, plan, tmp_path).complete("valid")
    assert torch.equal(first.batch.values[0], mended.batch.values[0])
    assert kept.stat().st_mtime_ns != written


def test_batches_of_like_length_hold_every_text_once(
    bert: Path, data: SequenceData, tmp_path: Path
) -> None:
    padding = []
    for pool in (1, 3):
        plan = plan_for(bert, "frozen", pool=pool)
        inputs = inputs_for(data, plan)
        rows = Trainer(plan, 0, inputs, tmp_path).rows(0)
        assert sorted(torch.cat(rows).tolist()) == list(range(48))
        lengths = inputs.complete("train").batch.valid[0].sum(1)
        padding.append(sum(int(lengths[own].max()) * len(own) for own in rows))
    assert padding[1] < 0.9 * padding[0]


def test_words_alone_are_a_mean_and_a_line(bert: Path, data: SequenceData) -> None:
    plan = plan_for(bert, "frozen")
    seen = inputs_for(data, plan).complete("test")
    network = new_network(network_config(plan, seen.batch.widths), 0).eval()
    said = predict(network, seen, 8).numpy()
    head = network.head[1]  # type: ignore[union-attr, index]
    weight, bias = (part.detach().numpy() for part in (head.weight, head.bias))
    words, valid = seen.batch.values[0].numpy(), seen.batch.valid[0].numpy()
    for row in range(len(said)):
        expected = words[row][valid[row]].mean(0) @ weight[0] + bias[0]
        assert said[row] == pytest.approx(expected, abs=1e-5)
    with pytest.raises(TonalityError, match="no published code"):
        training_plan("text", "faithful")


def test_the_command_line_tunes_starts_and_judges(
    bert: Path, data: SequenceData, tmp_path: Path
) -> None:
    from dashboard.cli import app

    datasets_stored.save(data, tmp_path / "data")
    common = ["--data", str(tmp_path / "data")]
    tuned = ["train", "text", *common, "--encoder", str(bert), "--tune", "upper:1"]
    run = CliRunner().invoke
    first = run(app, [*tuned, "--epochs", "1", "--seeds", "2", "--out", str(tmp_path / "one")])
    assert first.exit_code == 0, first.output
    more = ["--start", str(tmp_path / "one"), "--encoder-rate", "1e-3", "--epochs", "2"]
    second = run(app, [*tuned, *more, "--seeds", "2", "--out", str(tmp_path / "two")])
    assert second.exit_code == 0, second.output
    judged = run(app, ["evaluate", str(tmp_path / "two"), *common, "--json"])
    assert judged.exit_code == 0, judged.output
    results = json.loads((tmp_path / "two" / "results.json").read_text())
    found = json.loads(judged.stdout)["summary"]["mae"]["mean"]
    assert found == pytest.approx(results["test"]["mae"]["mean"], abs=1e-4)
    assert results["plan"]["tune"] == "upper:1"
    untuned = ["train", "text", *common, "--encoder", str(bert), *more[:2]]
    frozen = run(app, [*untuned, "--out", str(tmp_path / "three")])
    assert isinstance(frozen.exception, CheckpointError)
    assert "take --tune upper:1" in str(frozen.exception)

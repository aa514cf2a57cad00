"""Ablations by name, experiments that go on after a kill, and a page that says what was measured."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.linear_model import Ridge
from typer.testing import CliRunner

from features.errors import FeatureError, TonalityError
from model.data.datasets import parse
from model.data.splits import SequenceData
from model.networks.views import three
from model.research.ablations import ABLATIONS, without
from model.research.inputs import Inputs, scaled_for
from model.research.prediction import predict
from model.research.presets import TrainingPlan, training_plan
from model.research.training import Trainer
from model.results import experiments, words
from model.results import runs as results_runs
from model.results.ablated import ablations
from model.results.baselines import columns, ridge
from model.results.claims import claims
from model.results.condensed import Results, Row, Run, condensed
from model.results.experiments import GROUPS, Experiment, ordered
from model.results.page import write_page
from model.results.records import Record, read_records
from model.results.rows import constants, idle_seeds, learned_nothing
from model.results.runs import Runner
from model.results.standings import mosi as mosi_tables
from model.results.tables import Difference, difference, paired
from tests.research_files import mmsa, write_aligned, write_mosi, write_pickle

pytestmark = pytest.mark.usefixtures("one_thread")

SMALL = {"width": 16, "heads": 2, "feedforward": 16, "gate_hidden": 8}
SMALL_MITR = {"channels": 5, "fusion_heads": 2, "adapter": 6}
SHORT = {"epochs": 2, "patience": 2, "batch": 8}


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpora")
    write_aligned(folder)
    write_mosi(folder)
    return folder


@pytest.fixture(scope="module")
def mosi(corpora: Path) -> SequenceData:
    return parse(corpora, "mosi-utterances-in-context")


def small_plan(preset: str, **changes: object) -> TrainingPlan:
    sizes = SMALL_MITR if preset == "mitr" else SMALL
    own: dict[str, Any] = {**SHORT, "changes": sizes, "text": "features", **changes}
    return training_plan(preset, **own)


def trainer(plan: TrainingPlan, data: SequenceData, folder: Path) -> Trainer:
    return Trainer(plan, 0, Inputs(scaled_for(data, plan), None), folder)


@pytest.mark.parametrize(
    ("preset", "scheme", "part", "loss"),
    [
        ("svr", "complete", "temporal", "temporal"),
        ("rtil", "complete", "discriminator", "domain"),
        ("sati", "complete", "cmd", "consistency"),
        ("rtil", "complete", "reconstruction", "reconstruction"),
        ("mitr", "distilled", "reconstruction", "reconstruction"),
        ("mitr", "distilled", "simsiam", "consistency"),
        ("mitr", "distilled", "distillation", "teacher"),
    ],
)
def test_a_part_that_is_left_out_has_no_loss(
    mosi: SequenceData, tmp_path: Path, preset: str, scheme: str, part: str, loss: str
) -> None:
    plan = small_plan(preset, scheme=scheme, epochs=1)
    whole = trainer(plan, mosi, tmp_path / "whole").run().history[-1]
    less = trainer(without(plan, part), mosi, tmp_path / "less").run().history[-1]
    assert whole[f"loss_{loss}"] != 0
    assert f"loss_{loss}" not in less
    assert {"loss_task", "loss_student"} & set(less)


def test_a_part_of_the_network_is_really_gone(mosi: SequenceData, tmp_path: Path) -> None:
    def names(preset: str, part: str) -> set[str]:
        plan = without(small_plan(preset), part)
        network = trainer(plan, mosi, tmp_path / f"{preset}-{part}").network
        return {name.split(".")[0] for name, _ in network.named_parameters()}

    assert not {"ask_voice", "ask_face", "mix"} & names("rtil", "fusion")
    assert "side_by_side" in names("rtil", "fusion")
    plan = small_plan("mitr")
    kinds = {
        part: trainer(without(plan, part), mosi, tmp_path / part).network.config
        for part in ("backward", "time-flip", "fusion")
    }
    assert kinds["backward"].flip == "none"  # type: ignore[union-attr]
    assert kinds["time-flip"].flip == "channels"  # type: ignore[union-attr]
    assert kinds["fusion"].fusion == "concatenation"  # type: ignore[union-attr]
    gated = trainer(without(small_plan("svr"), "gate"), mosi, tmp_path / "gate")
    assert gated.network.config.gate == "open"  # type: ignore[union-attr]


def test_what_a_model_does_not_have_cannot_be_left_out() -> None:
    with pytest.raises(TonalityError, match="no part 'luck'"):
        without(small_plan("rtil"), "luck")
    with pytest.raises(TonalityError, match="mitr has no 'gate' to leave out; rtil and sati"):
        without(small_plan("mitr"), "gate")
    with pytest.raises(TonalityError, match="add --scheme distilled"):
        without(small_plan("rtil"), "simsiam")


def test_modalities_are_chosen_by_name(mosi: SequenceData) -> None:
    two = mosi.only(("vision", "text"))
    assert two.modalities == ("text", "vision")
    assert two.name == f"{mosi.name} (text+vision)"
    assert all(split.audio is None for split in two.splits.values())
    assert mosi.only(mosi.modalities) is mosi
    with pytest.raises(FeatureError, match="no 'smell'; choose among text, audio, vision"):
        mosi.only(("text", "smell"))
    with pytest.raises(FeatureError, match="choose among"):
        mosi.only(())


@pytest.mark.parametrize("preset", ["svr", "mitr"])
def test_common_padding_is_left_out_and_changes_nothing(
    corpora: Path, tmp_path: Path, preset: str
) -> None:
    data = parse(corpora, "mmmo")
    plan = small_plan(preset)
    inputs = Inputs(scaled_for(data, plan), None)
    network = Trainer(plan, 0, inputs, tmp_path).network.eval()
    seen = inputs.complete("test")
    short = seen.trimmed()
    assert [v.shape[1] for v in short.batch.values] == [1, 20, 20]
    with torch.no_grad():
        one = network(seen.batch, seen.known).prediction
        other = network(short.batch, short.known).prediction
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_concatenation_sees_every_modality_and_hides_what_is_lost(
    mosi: SequenceData, tmp_path: Path
) -> None:
    plan = without(small_plan("rtil"), "fusion")
    inputs = Inputs(scaled_for(mosi, plan), None)
    network = Trainer(plan, 0, inputs, tmp_path).network.eval()
    seen = inputs.complete("test")
    with torch.no_grad():
        whole = network(seen.batch, seen.known).prediction
        for gone in range(3):
            known = [
                torch.zeros_like(mask) if m == gone else mask for m, mask in enumerate(seen.known)
            ]
            less = network(seen.batch, tuple(known)).prediction
            values = [
                torch.full_like(v, 9.0) if m == gone else v for m, v in enumerate(seen.batch.values)
            ]
            other = network(replace(seen.batch, values=three(values)), tuple(known)).prediction
            assert not torch.allclose(whole, less)
            torch.testing.assert_close(less, other)


def test_patience_waits_until_something_was_learned(mosi: SequenceData, tmp_path: Path) -> None:
    idle = small_plan("svr", epochs=8, patience=1, learning_rate=1e-9, schedule="constant")
    assert len(trainer(idle, mosi, tmp_path / "hasty").run().history) < 8
    patient = msgspec.structs.replace(idle, grace=True)
    assert len(trainer(patient, mosi, tmp_path / "patient").run().history) == 8


def test_the_ridge_is_scikit_learns_on_the_means(mosi: SequenceData) -> None:
    plan = small_plan("rtil")
    inputs = Inputs(scaled_for(mosi, plan), None)
    seen = columns(inputs.complete("train"))
    audio = inputs.data.splits["train"].audio
    assert audio is not None
    own = (audio.values * audio.known[..., None]).sum(1) / audio.known.sum(1)[:, None]
    np.testing.assert_allclose(seen[:, 200:273], own, rtol=1e-4, atol=1e-5)
    labels = inputs.data.splits["train"].labels
    found = ridge(inputs)
    said = found.predict(inputs.complete("valid"))
    fits = [Ridge(alpha=a).fit(seen, labels) for a in (1.0, 10.0, 100.0, 1e3, 1e4)]
    each = [fit.predict(columns(inputs.complete("valid"))) for fit in fits]
    truth = inputs.data.splits["valid"].labels
    best = min(each, key=lambda own: float(np.abs(own - truth).mean()))
    np.testing.assert_allclose(said, best)


def small_groups() -> dict[str, tuple[Experiment, ...]]:
    """The real groups' shape, with networks that train in a moment."""

    def make(group: str, model: str, data: str, **more: object) -> Experiment:
        sizes = {} if model in ("ridge", "constant") else SMALL_MITR if model == "mitr" else SMALL
        own = {"scheme": "complete", "text": "features", "changes": sizes} | more
        return Experiment(group=group, model=model, data=data, **own)  # type: ignore[arg-type]

    seen, lost = ("audio", "vision"), ("complete", "B", "C")
    context = experiments.UTTERANCES
    return {
        "mosi": tuple(make("mosi", model, context) for model in ("constant", "ridge", "rtil")),
        "sequences": tuple(
            make("sequences", model, "mmmo", modalities=seen, protocols=lost)
            for model in ("constant", "ridge", "svr", "mitr")
        ),
        "temporal": tuple(
            make("temporal", "svr", "mmmo", modalities=seen, leave_out=part, protocols=("noise",))
            for part in ("", "temporal")
        ),
        "distillation": tuple(
            make("distillation", "rtil", "mmmo", modalities=seen, scheme=scheme, protocols=lost)
            for scheme in ("masked", "distilled")
        ),
        "ablations": tuple(
            make("ablations", "rtil", context, leave_out=part) for part in ("", "gate", "fusion")
        ),
    }


@pytest.fixture
def groups(monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[Experiment, ...]]:
    found = small_groups()
    for module in (experiments, results_runs):
        monkeypatch.setattr(module, "GROUPS", found)
    monkeypatch.setattr(experiments, "SHORT", SHORT)
    monkeypatch.setattr(experiments, "LONGER", {})
    monkeypatch.setattr(experiments, "BATCHES", {})
    return found


def no_encoder() -> object:
    raise AssertionError("nothing here is to be encoded")


class KilledError(Exception):
    pass


def test_runs_go_on_after_a_kill_and_the_page_says_what_they_gave(
    corpora: Path, tmp_path: Path, groups: dict[str, tuple[Experiment, ...]]
) -> None:
    out = tmp_path / "results"
    runner = Runner(corpora, out, no_encoder)  # type: ignore[arg-type]
    rtil = groups["mosi"][-1]

    def kill(name: str, epochs: int) -> None:
        if epochs:
            raise KilledError

    with pytest.raises(KilledError):
        runner.run(rtil, 0, kill)
    assert (runner.folder(rtil, 0) / "state.safetensors").is_file()
    assert runner.finished(rtil, 0) is None
    queue = ordered([own for group in groups.values() for own in group], 2)
    trained: list[str] = []
    for own, seed in queue:
        runner.run(own, seed, lambda name, epochs: trained.append(name))
        runner.write(own.group, range(2))
    assert not list(out.rglob("*.safetensors"))  # weights go when a run is judged
    again: list[str] = []
    for own, seed in queue:
        runner.run(own, seed, lambda name, epochs: again.append(name))
    assert trained
    assert not again  # nothing is done twice
    fresh = Runner(corpora, tmp_path / "fresh", no_encoder)  # type: ignore[arg-type]
    straight = fresh.run(rtil, 0, lambda name, epochs: None)
    assert straight.metrics == runner.run(rtil, 0, kill).metrics  # as if it was never killed

    records = read_records(out)
    shared = [r for r in records if r.model == "svr" and r.seed == 0 and not r.without]
    assert {r.group for r in shared} == {"sequences", "temporal"}  # one training, two groups
    assert {r.condition for r in shared if r.protocol == "B"} == {f"{i / 10:g}" for i in range(10)}
    assert {r.condition for r in shared if r.protocol == "C"} == {"a", "v", "a+v"}
    assert {r.condition for r in shared if r.protocol == "noise"} >= {"0", "0.5", "2"}

    results = condensed(records, out, host="a machine")
    results.save(tmp_path / "page")
    page = write_page(results, tmp_path / "page").read_text(encoding="utf-8")
    plain = [r.metrics["mae"] for r in records if (r.group, r.model) == ("mosi", "rtil")]
    assert f"{np.mean(plain):.3f} ± {np.std(plain, ddof=1):.3f}" in page or "nothing" in page
    for picture in re.findall(r"\]\((.*?\.svg)\)", page):
        assert (tmp_path / "page" / picture).stat().st_size < 300_000
    before = {path.name: path.read_bytes() for path in (tmp_path / "page").iterdir()}
    write_page(Results.load(tmp_path / "page"), tmp_path / "page")
    assert before == {path.name: path.read_bytes() for path in (tmp_path / "page").iterdir()}


def made(model: str, seeds: dict[int, float], **more: object) -> Row:
    runs = [
        Run(
            group="g", model=model, data="d", seed=seed,
            results={"complete": {"": {"mae": mae}}}, **more,  # type: ignore[arg-type]
        )
        for seed, mae in seeds.items()
    ]  # fmt: skip
    return Row(tuple(runs))


def test_differences_are_paired_by_seed_and_judged_by_students_t() -> None:
    new = made("rtil", {0: 0.70, 1: 0.72, 2: 0.71, 7: 9.0})
    old = made("rtil", {0: 0.80, 1: 0.81, 2: 0.83, 3: 0.1})
    apart = difference(new, old, "mae", "complete", "")
    pairs = np.array([-0.10, -0.09, -0.12])
    low, high = stats.t.interval(0.95, 2, pairs.mean(), stats.sem(pairs))
    assert apart.n == 3
    assert apart.mean == pytest.approx(pairs.mean())
    assert apart.half == pytest.approx((high - low) / 2, rel=1e-3)
    assert apart.verdict("mae") == "better"
    assert apart.verdict("r") == "worse"
    assert Difference(-0.1, 0.2, 5).verdict("mae") == "no difference shown"
    assert Difference(-0.1, 0.0, 1).verdict("mae") == "one seed only"
    assert Difference(0.0, 0.0, 0).verdict("mae") == "not measured"


def test_what_learned_nothing_is_not_quoted() -> None:
    idle = made("constant", {0: 1.3}, valid={"valid_mae": 1.9, "constant_mae": 1.4})
    poor = made("svr", {0: 1.2, 1: 1.2}, valid={"valid_mae": 1.41})
    good = made("svr", {0: 1.2, 1: 1.2}, valid={"valid_mae": 1.1})
    peer = made("TFN", {0: 1.2}, valid={"mae": 1.5, "constant_mae": 1.4})
    rows = [idle, poor, good, peer]
    assert [learned_nothing(row, rows) for row in rows] == [False, True, False, True]
    assert learned_nothing(peer, [])  # no constant's row: the bar of its own records
    assert not learned_nothing(good, [])
    assert idle_seeds(Row(()), rows) == 0


def test_one_bar_is_asked_of_ours_and_of_the_peers() -> None:
    idle = made("constant", {0: 1.3}, valid={"valid_mae": 1.9, "constant_mae": 1.4})
    poor = made("TFN", {0: 1.2}, valid={"mae": 1.5, "constant_mae": 1.9})  # beats its own bar only
    good = made("TFN", {0: 1.2}, valid={"mae": 1.3, "constant_mae": 1.2})  # beats ours only
    assert [learned_nothing(row, [idle]) for row in (poor, good)] == [True, False]
    least = made("constant", {0: 0.0}, valid={"valid_acc": 25.0, "constant_acc": 44.44})
    equal = made("TFN", {0: 0.0}, valid={"acc": 44.44, "constant_acc": 25.0})
    assert learned_nothing(equal, [least])


def test_a_table_without_a_constant_asks_the_bar_of_its_data() -> None:
    alone, given = experiments.ALONE, {"complete": {"": {"mae": 1.2}}}

    def one(model: str, modalities: str, valid: dict[str, float]) -> Run:
        group = "peers" if model == "TFN" else "mosi-single"
        return Run(
            group=group, model=model, data=alone, seed=0, modalities=modalities, valid=valid,
            results=given,
        )  # fmt: skip

    runs = [
        one("constant", "A", {"valid_mae": 1.9, "constant_mae": 1.4}),
        one("rtil", "TAV", {"valid_mae": 1.5}),
        one("TFN", "TAV", {"mae": 1.5, "constant_mae": 1.9}),
    ]
    shown = mosi_tables(Results(host="", runs=runs))
    assert re.findall(r"\| (.*?) \| .*learned nothing", shown) == ["RTIL", "TFN"]


def compared(group: str, seeds: dict[int, float], **more: object) -> list[Run]:
    """Runs whose MAE is ``seeds``, under all that a comparison asks; above 1 they learned nothing."""
    found = []
    for seed, mae in seeds.items():
        own = {"mae": mae, "r": 1 - mae / 2, "acc2_has0": 70.0}
        results = {"complete": {"": own}, "B": {"0": own}, "C": {"a": own}, "noise": {"1": own}}
        given = {"model": "rtil", "valid": {"valid_mae": mae, "constant_mae": 9.0}} | more
        found.append(Run(group=group, data="mmmo", seed=seed, results=results, **given))  # type: ignore[arg-type]
    return found


def comparisons() -> Results:
    """Each comparison has seeds of one side only, and some that learned nothing."""
    new, old = {0: 1.2, 1: 0.8, 2: 1.1}, {0: 1.2, 1: 0.7, 3: 0.1, 4: 1.3}
    runs = compared("sequences", {0: 1.2}, model="constant", valid={"constant_mae": 1.0})
    for group, part in (("temporal", "temporal"), ("fusion", "fusion"), ("ablations", "gate")):
        model = "svr" if group == "temporal" else "rtil"
        whole, less = (old, new) if group == "ablations" else (new, old)
        runs += compared(group, whole, model=model) + compared(
            group, less, model=model, without=part
        )
    for scheme, seeds in (("masked", old), ("distilled", new)):
        runs += compared("distillation", seeds, scheme=scheme)
    return Results(host="", runs=runs)


def test_comparisons_are_of_common_seeds_and_count_what_learned_nothing(tmp_path: Path) -> None:
    results = comparisons()
    page = claims(results, tmp_path) + ablations(results, tmp_path)
    rows = [line.strip("| ").split(" | ") for line in page.splitlines() if line.startswith("| ")]
    told = {" ".join(row[:3]): row[3:] for row in rows}
    pair = ["1.000 ± 0.283", "0.950 ± 0.354", "1, 1", "+0.050 ± 0.071", "2", "no difference shown"]
    assert next(row[2:] for row in rows if row[:2] == ["mmmo", "1"]) == pair
    assert told["RTIL mmmo mae"] == pair
    for protocol in ("complete", "B", "C"):
        assert told[f"RTIL mmmo {protocol}"] == pair
    assert told["RTIL mmmo without gate"] == [
        pair[0], "0.500 ± 0.141", "70.0 ± 0.0", *pair[1:4], pair[5], pair[4],
    ]  # fmt: skip
    assert told["RTIL mmmo whole"][3:] == ["–", "–, 2", "–", "–", "4"]
    heads = [row for row in rows if any("learned nothing (" in cell for cell in row)]
    assert len(heads) == 4
    assert "learned nothing (changed, whole)" in heads[-1]


def test_sides_without_a_common_seed_are_not_measured(tmp_path: Path) -> None:
    new, old = made("rtil", {0: 0.7, 1: 0.8}), made("rtil", {2: 0.9})
    assert [row.runs for row in paired(new, old, "mae", "complete", "")] == [(), ()]
    runs = compared("fusion", {0: 0.7}) + compared("fusion", {1: 0.8}, without="fusion")
    shown = claims(Results(host="", runs=runs), tmp_path)
    assert "| RTIL | mmmo | mae | – | – | 0, 0 | – | 0 | not measured |" in shown


def test_what_the_page_says_of_youtube_is_so() -> None:
    results = Results.load(Path(__file__).parents[1] / "docs" / "results")
    rows = results.rows(
        lambda run: run.data == "youtube" and run.model not in ("constant", "ridge")
    )
    assert len({row.one.variant for row in rows}) == 2  # ours and MMSA's
    assert all(learned_nothing(row, constants(results)) for row in rows)
    assert "On YouTube no network beats the best constant on validation" in words.SHORT


def test_records_of_others_are_read_and_broken_ones_named(tmp_path: Path) -> None:
    line = b'{"group":"peers","model":"TFN","data":"mmmo","seed":1,"metrics":{"mae":1},"new":2}\n'
    (tmp_path / "records-peers.jsonl").write_bytes(line)
    assert read_records(tmp_path) == [
        Record(group="peers", model="TFN", data="mmmo", seed=1, metrics={"mae": 1.0})
    ]
    (tmp_path / "records-peers.jsonl").write_bytes(line + b"{}\n")
    with pytest.raises(TonalityError, match=r"records-peers\.jsonl, line 2: not a record"):
        read_records(tmp_path)
    with pytest.raises(TonalityError, match=r"no records-\*\.jsonl; make them"):
        read_records(tmp_path / "nowhere")


def test_new_runs_join_those_of_an_earlier_machine(tmp_path: Path) -> None:
    old = Results(host="one", runs=list(made("TFN", {0: 1.0, 1: 2.0}).runs))
    new = Results(host="two", runs=list(made("TFN", {1: 3.0, 2: 4.0}).runs))
    both = old.joined(new).joined(new)
    assert both.host == "one; two"
    assert [run.results["complete"][""]["mae"] for run in both.runs] == [1.0, 3.0, 4.0]


def test_every_experiment_has_a_plan_and_the_parts_are_all_ablated() -> None:
    every = [own for group in GROUPS.values() for own in group]
    plans = [own.plan() for own in every if not own.baseline]
    assert len({own.key for own in every if not own.baseline}) <= len(plans)
    alone = {
        own.model: own.key for own in GROUPS["mosi-words"] if own.modalities == experiments.ALL
    }
    assert alone["svr"] == alone["sati"] != alone["rtil"]  # the same network on a single step
    left_out = {own.leave_out for own in GROUPS["ablations"]}
    assert left_out >= set(ABLATIONS)
    assert {own.model for own in GROUPS["sequences"]} >= {"rtil", "sati", "svr", "mitr"}
    queue = ordered(every, 5)
    networks = [(own.model, own.key, own.group, seed) for own, seed in queue if not own.baseline]
    assert len(set(networks)) == 5 * len(plans)


def test_the_command_line_trains_on_some_modalities_without_a_part(tmp_path: Path) -> None:
    from dashboard.cli import app

    content = mmsa(unaligned=False, text=20, audio=(20, 6), vision=(20, 7))
    path = write_pickle(tmp_path / "aligned_50.pkl", content)
    run = CliRunner().invoke
    listed = run(app, ["train", "--list"])
    assert all(name in listed.output for name in ABLATIONS)
    words = ["train", "rtil", "--data", str(path), "--epochs", "1", "--out", str(tmp_path / "run")]
    words += ["--modalities", "audio,vision", "--without", "gate", "--without", "cmd"]
    trained = run(app, [*words, "--set", "feedforward=32"])
    assert trained.exit_code == 0, trained.output
    results = msgspec.json.decode((tmp_path / "run" / "results.json").read_bytes())
    assert results["data"].endswith("(audio+vision)")
    assert results["plan"]["changes"] == {"feedforward": 32, "gate": "open"}
    assert results["plan"]["family"]["consistency"] == 0.0
    judge = ["evaluate", str(tmp_path / "run"), "--data", str(path), "--protocol", "C", "--json"]
    refused = run(app, judge)
    assert "--modalities" in str(refused.exception)
    judged = run(app, [*judge, "--modalities", "audio,vision"])
    assert judged.exit_code == 0, judged.output
    assert set(msgspec.json.decode(judged.stdout)["conditions"]) == {
        "audio", "vision", "audio+vision",
    }  # fmt: skip
    wrong = run(app, [*words, "--set", "feedforward"])
    assert wrong.exit_code != 0


def test_predictions_do_not_depend_on_the_batch_they_are_trimmed_with(
    corpora: Path, tmp_path: Path
) -> None:
    data = parse(corpora, "pom")
    plan = small_plan("mitr")
    inputs = Inputs(scaled_for(data, plan), None)
    network = Trainer(plan, 0, inputs, tmp_path).network
    seen = inputs.complete("test")
    torch.testing.assert_close(
        predict(network, seen, 64), predict(network, seen, 2), rtol=1e-4, atol=1e-5
    )

"""Tuning on a small corpus: it learns, goes on after a kill as if there had been none, and reports.

Run time: about 10 s.
"""

from __future__ import annotations

import csv
import gzip
import itertools
import json
import random
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch
from msgspec.structs import replace
from rich.progress import Progress
from safetensors.torch import load_file

from model.corpora import text as corpora_text
from model.live import teaching, text_mean, text_tuning, tuning
from model.live.tuning_plan import Protocol, batches, plan, read_texts, slope
from model.metrics import regression, three_classes, weighted_f1
from model.text.deltas import unpacked
from model.text.encoder import TextEncoder
from model.text.lower import LowerActivations
from tests.made_encoders import write_mpnet, write_teacher

pytestmark = pytest.mark.usefixtures("one_thread")

GOOD = ("great", "wonderful", "lovely", "brilliant", "excellent", "superb")
BAD = ("awful", "terrible", "boring", "dreadful", "horrible", "stupid")
THINGS = ("film", "story", "actor", "music", "ending", "scene", "day", "meal", "book", "trip")
SMALL = Protocol(
    layers=1,
    phrases=40,
    ratings=40,
    batch=8,
    epochs=1,
    mosi_epochs=2,
    rate=3e-4,
    comments=20,
    sentences=10,
    cuts=1,
)


def sentences() -> list[tuple[str, int]]:
    """Sixty plain sentences, +1 or -1 each."""
    return [
        (f"the {thing} was {word} i must say", sign)
        for thing in THINGS
        for sign, words in ((1, GOOD), (-1, BAD))
        for word in words[:3]
    ]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """All text corpora, a few rows each, in their own formats."""
    folder = tmp_path / "data"
    rows = sentences()
    cut = len(rows) // 3
    splits = ["train"] * cut + ["valid"] * cut + ["test"] * (len(rows) - 2 * cut)
    _write(
        folder / corpora_text.MOSI_FILE,
        ["text", "label", "split_std"],
        [
            [text.upper(), 2.0 * sign, split]
            for (text, sign), split in zip(rows, splits, strict=True)
        ],
    )
    dev = {"train": "train", "valid": "dev", "test": "test"}
    _write(
        folder / corpora_text.SST_FILE,
        ["split", "label5", "text"],
        [
            [dev[s], 2 + 2 * sign, f"honestly {text} ."]
            for (text, sign), s in zip(rows, splits, strict=True)
        ],
    )
    _write(
        folder / corpora_text.PHRASES_FILE,
        ["label5", "text"],
        [[2 + 2 * sign, text.split(" i ")[0]] for text, sign in rows],
    )
    _write(
        folder / corpora_text.VADER_FILE,
        ["source", "id", "mean_rating", "text"],
        [["tweets", i, 3.0 * sign, f"well {text}"] for i, (text, sign) in enumerate(rows)],
    )
    _write(
        folder / corpora_text.MELD_FILE,
        ["Utterance", "Sentiment", "split"],
        [
            [f"oh {text}", "positive" if sign > 0 else "negative", "dev" if i % 3 else "train"]
            for i, (text, sign) in enumerate(rows)
        ],
    )
    _write(
        folder / corpora_text.EMORY_FILE,
        ["Utterance", "Emotion", "split"],
        [[f"hey {text}", "Joyful" if sign > 0 else "Mad", "train"] for text, sign in rows[:20]],
    )
    _write(
        folder / corpora_text.REDDIT_FILE,
        ["text", "sentiment_group", "split"],
        [[f"so {text}", "positive" if sign > 0 else "negative", "train"] for text, sign in rows],
    )
    _write(
        folder / corpora_text.BANK_FILE,
        ["split", "V", "text"],
        [["train", 3 + sign, f"she wrote that {text}"] for text, sign in rows[:20]],
    )
    return folder


def _write(path: Path, header: Sequence[str], lines: Sequence[Sequence[object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "wt", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *lines])


class KilledError(Exception):
    """Stands for a kill at some step."""


@pytest.fixture(scope="module")
def encoder(text_folder: Path) -> TextEncoder:
    """As it was loaded; tests that tune take a copy."""
    return TextEncoder.load(text_folder)


def test_the_command_learns_and_reports(data: Path, tmp_path: Path, text_folder: Path) -> None:
    with Progress(disable=True) as progress:
        text_tuning.run(data, tmp_path, text_folder, SMALL, progress)
    report = json.loads((tmp_path / "text.json").read_text(encoding="utf-8"))
    assert report["metrics"]["mosi_test"]["acc2_non0"] > 90
    assert report["metrics"]["mosi_test"]["mae"] < 1.5
    assert set(report["metrics"]) == {
        "mosi_valid", "mosi_test", "sst_dev", "meld_dev", "meld_dev_heard", "vader_held_out",
        "vader_held_out_heard",
    }  # fmt: skip
    assert set(report["data_sha256"]) == set(corpora_text.TEXT_FILES)
    assert len(report["validation"]) == 1 + SMALL.mosi_runs * SMALL.mosi_epochs + 1
    assert report["metrics"]["meld_dev"]["weighted_f1_3"] > 60
    tuned = load_file(tmp_path / "text.safetensors")
    assert tuned["layers.11.widen.weight"].dtype == torch.int8
    assert {name.split(".")[1] for name in tuned} == {"11"}
    assert set(load_file(tmp_path / "text_head.safetensors")) == {
        "score.weight", "score.bias", "sides.weight", "sides.bias",
    }  # fmt: skip


def test_teachers_are_asked_once(data: Path, tmp_path: Path, text_folder: Path) -> None:
    teacher, out = tmp_path / "teacher", tmp_path / "out"
    write_teacher(write_mpnet(tmp_path / "encoder"), teacher, 0)
    brief = replace(SMALL, limit=8, mosi_epochs=1, mosi_runs=1)
    with Progress(disable=True) as progress:
        text_tuning.run(data, out, text_folder, brief, progress, teachers=[teacher])
        report = json.loads((out / "text.json").read_text(encoding="utf-8"))
        assert report["protocol"]["teachers"] == teaching.digest([teacher])
        (asked,) = (out / "taught").glob("*.npy")
        told, when = np.load(asked), asked.stat().st_mtime_ns
        assert len(told) == len(read_texts(data, brief).said)
        assert np.ptp(told) > 0
        other = replace(brief, taught=0.0)
        text_tuning.run(data, out, text_folder, other, progress, teachers=[teacher])
    assert asked.stat().st_mtime_ns == when


def test_a_finished_run_is_tuned_further(data: Path, tmp_path: Path, text_folder: Path) -> None:
    brief = Protocol(layers=1, limit=4, batch=8, mosi_epochs=1, mosi_runs=1, rate=3e-4)
    with Progress(disable=True) as progress:
        text_tuning.run(data, tmp_path / "first", text_folder, brief, progress)
        start = tmp_path / "first"
        last = replace(brief, epochs=0, rate=0.0)
        text_tuning.run(data, tmp_path / "second", text_folder, last, progress, start)
        before, after = (load_file(tmp_path / n / "text.safetensors") for n in ("first", "second"))
        for name in before:  # begins where it was
            torch.testing.assert_close(after[name], before[name], msg=name)
        with pytest.raises(corpora_text.CorpusError, match="name the folder of a finished run"):
            text_tuning.run(data, tmp_path / "third", text_folder, last, progress, tmp_path)


def test_the_result_is_the_mean_of_the_runs(
    data: Path, tmp_path: Path, encoder: TextEncoder
) -> None:
    texts, copy = read_texts(data, SMALL), deepcopy(encoder)
    copy.tunable(SMALL.layers)
    lower = LowerActivations.compute(copy, [s.text for s in texts.samples], tmp_path / "lower")
    tuning.tune(copy, texts, lower, SMALL, tmp_path, lambda _: None)
    first, one, other = (load_file(tmp_path / f"end-{run}.safetensors") for run in range(3))
    name = "layers.11.widen.weight"
    assert not torch.equal(one[name], other[name])
    assert not torch.equal(first[name], one[name])
    mean = (one[name] + other[name]) / 2
    torch.testing.assert_close(copy.state_dict()[name], mean)


def test_the_mean_of_two_tunings_is_a_tuning(data: Path, tmp_path: Path, text_folder: Path) -> None:
    brief = replace(SMALL, mosi_epochs=1, mosi_runs=1)
    folders = [tmp_path / "one", tmp_path / "other"]
    with Progress(disable=True) as progress:
        for seed, folder in enumerate(folders):
            own = replace(brief, seed=seed)
            text_tuning.run(data, folder, text_folder, own, progress)
    report = text_mean.run(data, tmp_path / "mean", folders, text_folder)
    found = json.loads(report.read_text(encoding="utf-8"))
    assert [own["seed"] for own in found["mean_of"]] == [0, 1]
    assert found["metrics"]["mosi_test"]["acc2_non0"] > 90
    base = TextEncoder.load(text_folder).state_dict()
    name = "layers.11.widen.weight"
    one, other, mean = (
        unpacked(load_file(f / "text.safetensors"), base)[name]
        for f in (*folders, tmp_path / "mean")
    )
    assert not torch.equal(one, other)
    changed = float((mean - base[name]).abs().max())
    torch.testing.assert_close(mean, (one + other) / 2, rtol=0, atol=0.02 * changed)
    with pytest.raises(corpora_text.CorpusError, match="two tunings or more"):
        text_mean.run(data, tmp_path / "mean", folders[:1], text_folder)
    with pytest.raises(corpora_text.CorpusError, match="unlike layers"):
        text_mean.mean_of([{"layers.10.x": mean}, {"layers.11.x": mean}])


def test_a_killed_run_goes_on_as_if_nothing_had_been(
    data: Path, tmp_path: Path, encoder: TextEncoder
) -> None:
    whole, broken, texts = tmp_path / "whole", tmp_path / "broken", read_texts(data, SMALL)
    encoder.tunable(SMALL.layers)
    words = [sample.text for sample in texts.samples]
    lower = LowerActivations.compute(encoder, words, tmp_path / "lower")

    def tuned(
        folder: Path, die_after: int | None = None
    ) -> tuple[dict[str, torch.Tensor], list[int]]:
        """Tensors, and the numbers of steps heard of: the first is what was found done."""
        folder.mkdir(exist_ok=True)
        copy, advanced = deepcopy(encoder), []

        def advance(count: int) -> None:
            advanced.append(count)
            if sum(advanced) == die_after:
                raise KilledError

        tuning.tune(copy, texts, lower, SMALL, folder, advance)
        return copy.tuned_state(), advanced

    expected, advanced = tuned(whole)
    total = sum(advanced)
    with pytest.raises(KilledError):
        tuned(broken, die_after=total - 2)
    found, resumed = tuned(broken)
    assert 0 < resumed[0] <= total - 2
    assert sum(resumed) == total
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_lower_activations_are_the_encoder_s_and_kept(tmp_path: Path, encoder: TextEncoder) -> None:
    encoder.tunable(2)
    texts = [text for text, _ in sentences()[:5]] + ["yes"]
    lower = LowerActivations.compute(encoder, texts, tmp_path)
    hidden, mask = lower.batch([5, 0])
    tokens = encoder.tokenize(["yes", texts[0]])
    with torch.no_grad():
        expected = encoder.lower(tokens.ids, tokens.mask)
    assert torch.equal(mask, tokens.mask)
    torch.testing.assert_close(hidden[mask], expected[mask], atol=5e-3, rtol=1e-3)
    (kept,) = tmp_path.glob("lower-*.npz")
    written = kept.stat().st_mtime_ns
    again = LowerActivations.compute(encoder, texts, tmp_path)
    assert torch.equal(again.batch([5, 0])[0], hidden)
    assert kept.stat().st_mtime_ns == written
    encoder.tunable(3)
    LowerActivations.compute(encoder, texts, tmp_path)
    assert len(list(tmp_path.glob("lower-*.npz"))) == 2, "other layers are other activations"


def test_plan_is_deterministic_covers_everything_and_never_learns_what_it_is_judged_by(
    data: Path,
) -> None:
    texts = read_texts(data, SMALL)
    steps = plan(texts, lambda index: index % 7, SMALL)
    assert steps == plan(read_texts(data, SMALL), lambda index: index % 7, SMALL)
    learned = [index for step in steps for index in step.indices]
    assert set(learned) == {*texts.general, *texts.mosi}
    assert not {texts.samples[i].text for i in texts.valid} & {
        texts.samples[i].text for i in learned
    }
    assert sum(step.judge for step in steps) == 1 + SMALL.mosi_runs * SMALL.mosi_epochs
    assert [step.ends for step in steps if step.ends is not None] == [0, 1, 2]
    assert steps[-1].judge
    other = plan(read_texts(data, SMALL), lambda index: index % 7, Protocol(seed=5, layers=1))
    assert other != steps


def test_batches_hold_each_text_once_and_like_lengths_together() -> None:
    made = batches(range(1000), lambda index: index % 40, 10, random.Random(0))
    assert sorted(index for batch in made for index in batch) == list(range(1000))
    spans = [max(i % 40 for i in batch) - min(i % 40 for i in batch) for batch in made]
    assert np.mean(spans) < 3


def test_the_rate_warms_up_and_falls() -> None:
    rates = [slope(step, 100) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == rates[9] == pytest.approx(1.0)
    assert all(a >= b for a, b in itertools.pairwise(rates[9:]))
    assert 0 < rates[-1] < 0.02


def test_measures_are_the_field_s() -> None:
    label = np.array([-2.0, 0.0, 1.0, 3.0])
    predicted = np.array([-1.0, -0.5, 0.4, 4.0])
    measured = regression(predicted, label)
    assert measured["mae"] == pytest.approx((1 + 0.5 + 0.6 + 1) / 4)
    assert measured["acc2_has0"] == 75.0
    assert measured["acc2_non0"] == 100.0
    assert measured["acc7"] == 50.0  # -0.5 rounds to 0, 4 is clipped to 3
    assert regression(np.ones(4), label)["r"] == 0.0
    from sklearn.metrics import f1_score

    chance = np.random.default_rng(0)
    truth, found = chance.integers(-1, 2, 200), three_classes(chance.normal(size=200), 0.4)
    assert weighted_f1(found, truth) == pytest.approx(
        100 * f1_score(truth, found, average="weighted")
    )
    assert set(three_classes(np.array([-0.41, -0.3, 0.0, 0.5]), 0.4)) == {-1.0, 0.0, 1.0}

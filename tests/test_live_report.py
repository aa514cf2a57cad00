"""The table of what was to be reached, the means over seeds, and the card. Run time: about 5 s, to load transformers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from model.calibration import Calibration
from model.checkpoint import untrained
from model.corpora.text import MOSI_FILE
from model.corpora.voice import VoiceClip
from model.live.card import card
from model.live.folds import over_folds
from model.live.judged import behind
from model.live.report import means, with_unknown_voices, words_alone
from model.live.targets import rows
from model.metrics import standard_errors
from model.networks.rtil import RTILConfig
from tests.made_encoders import write_mpnet, write_teacher

TEXT = {"n": 686.0, "mae": 0.61, "r": 0.84, "acc2_has0": 86.0, "acc2_non0": 88.7, "acc7": 47.0}
SIDES = {"n": 192.0, "auc": 0.9, "auc_happy": 0.8, "balanced": 0.7}
READ = {"auc_read": 0.95, "balanced_read": 0.86, "auc_happy_read": 0.9}
SMALL = RTILConfig(width=16, heads=2, feedforward=16, state_components=8, gate_hidden=8)
MEASURED: dict[str, dict[str, float]] = {
    "text mosi test": {**TEXT, "mae": 0.62, "acc2_non0": 86.9},
    "text meld dev as heard": {"n": 1109.0, "r": 0.39, "weighted_f1_3": 56.072},
    "words alone": {**TEXT, "valid_mae": 0.57},
    "voice emodb, known speaker, both streams": {**SIDES, **READ},
    "neutral face one": {"n": 6.0, "mean": -0.51, "sd": 0.1},
    "clips voice": {**SIDES, "mae": 1.0},
    "clips voice+face": {**SIDES, "auc": 0.88, "mae": 1.0, "behind": 0.05, "noise": 0.01},
    "interval voice": {"n": 240.0, "half_width": 1.5, "coverage": 0.77},
    "folds both streams": {**SIDES, **READ},
    "folds actors": {"n": 20.0, "least": 0.6, "greatest": 0.97, "sd": 0.08},
}


def test_each_line_says_what_was_reached_and_whether_that_was_asked_for() -> None:
    found = {row.what: row for row in rows(MEASURED)}
    met = {what: row.met for what, row in found.items()}
    assert met["MOSI test, the best encoder of words alone: MAE"] is True
    assert met["MOSI test, the best encoder of words alone: Acc-2 Has0, %"] is False
    non0 = "MOSI test, the best encoder of words alone: Acc-2 Non0, %"
    assert met[non0] is True, "the bound itself is reached"
    assert met["MOSI test, this checkpoint from words alone: MAE"] is True
    assert met["MOSI test, this checkpoint from words alone: Acc-2 Non0, %"] is False
    assert met["EMO-DB, happy against negative: AUC"] is False
    assert met["RAVDESS, actors left out: balanced accuracy"] is True
    assert met["speaks neutrally, one: mean of the face"] is False
    assert met["speaks neutrally, one: deviation"] is True
    assert met["same clips, voice+face"] is False, "behind by five deviations"
    assert met["80 % interval, voice"] is True
    assert found["MOSI test, this checkpoint from words alone: MAE"].n == 686
    heard = found["MELD dev without punctuation, as speech comes: weighted F1, %"]
    assert (heard.reached, heard.met) == ("56.1", None)
    assert not any(what.startswith("MELD dev as written") for what in found), (
        "what was not measured is not shown"
    )


def test_what_is_missed_by_less_than_its_standard_error_is_said_to_be_near() -> None:
    own = {name: dict(values) for name, values in MEASURED.items()}
    own["text mosi test"]["acc2_non0_se"] = 0.5
    own["words alone"]["acc2_non0_apart_se"] = 0.4
    own["voice emodb, known speaker, both streams"]["auc_happy_se"] = 0.02
    found = {row.what: row for row in rows(own)}
    close = found["MOSI test, this checkpoint from words alone: Acc-2 Non0, %"]
    assert (close.reached, close.met, close.near) == ("86.9 ± 0.5", False, True)
    far = found["EMO-DB, happy against negative: AUC"]
    assert (far.reached, far.met, far.near) == ("0.800 ± 0.020", False, False)
    assert not found["RAVDESS, actors left out: AUC"].near, "nothing is known of its error"
    text = card(replace(untrained(config=SMALL), metrics=own))
    assert "missed, 1 of them by less than one standard error" in text
    assert "| 86.9 ± 0.5 | 686 | **no** (within ±) |" in text


def test_a_share_over_people_is_told_of_all_who_were_left_out() -> None:
    own = {**MEASURED, "left out voice": {"n": 720.0, "coverage": 0.81}}
    own["interval voice"] = {"n": 240.0, "half_width": 1.5, "coverage": 0.73}
    found = {row.what: row for row in rows(own)}
    everyone = found["80 % interval, voice, every actor left out"]
    assert (everyone.reached, everyone.n, everyone.met) == ("79.0 %", 960, True)
    tested = found["80 % interval, voice, test actors alone"]
    assert (tested.reached, tested.n, tested.met) == ("73.0 %", 240, None)
    assert "80 % interval, voice" not in found
    text = card(replace(untrained(config=SMALL), metrics=own))
    assert "voice 81.0 % of 720 windows" in text


def test_the_best_encoder_of_words_is_told_with_the_chance_of_its_texts(tmp_path: Path) -> None:
    path = tmp_path / "data" / MOSI_FILE
    path.parent.mkdir(parents=True)
    texts = [
        f"the {word} was {how}" for word in ("film", "plot", "actor") for how in ("good", "bad")
    ]
    lines = [f"{text},{2.0 * (-1) ** i},test" for i, text in enumerate(texts)]
    path.write_text("\n".join(["text,label,split_std", *lines, "it was,1.0,train"]))
    folder = tmp_path / "seed-0"
    teacher = write_teacher(write_mpnet(tmp_path / "encoder"), folder, 0)
    metrics = {"valid": {"valid_mae": 0.6}, "test": {"mae": 0.61, "acc2_has0": 85.0}}
    manifest = msgspec.structs.replace(teacher.manifest, metrics=metrics)
    replace(teacher, manifest=manifest).save(folder)
    said = np.array([1.0, -1.0] * 3)
    own = words_alone(tmp_path / "data", tmp_path / "cache", [folder], said)["words alone"]
    assert (own["mae"], own["acc2_has0"], own["valid_mae"], own["n"]) == (0.61, 85.0, 0.6, 6)
    assert 0.05 < own["acc2_has0_se"] < 50 and 0 < own["mae_se"] < 2
    assert own["mae_apart_se"] > 0
    assert words_alone(tmp_path / "data", tmp_path / "cache", [], said) == {}


def test_a_voice_of_which_nothing_is_known_has_the_width_of_all_labels() -> None:
    clip = VoiceClip("ravdess", "train", "a", Path("a.wav"), "actor 01", "happy", 2.0)
    labels = [0.1 * i for i in range(-20, 21)]
    clips = [replace(clip, label=own) for own in labels]
    clips.append(replace(clip, label=3.0, split="test"))
    table = with_unknown_voices(Calibration(0.8, {"voice": 1.0}), clips)
    assert table.half_widths["voice"] == 1.0
    assert table.half_widths[""] == pytest.approx(1.7), "36 % lie beyond 1.6, 17 % beyond 1.7"
    assert table.half((False, True, False), 0.0) == table.half_widths[""]


def test_the_card_is_written_from_what_is_recorded() -> None:
    seeded = means([MEASURED, {**MEASURED, "text mosi test": {**TEXT, "mae": 0.66}}])
    recorded = {**MEASURED, **seeded}
    text = card(replace(untrained(config=SMALL), metrics=recorded))
    assert (
        "| MOSI test, the best encoder of words alone: MAE | <= 0.62 | 0.610 | 686 | yes |" in text
    )
    assert (
        "| MOSI test, this checkpoint from words alone: MAE | within 0.015 of 0.610 | 0.620 | 686 | yes |"
        in text
    )
    assert "**no**" in text and "Not for commercial use" in text
    assert "| text mosi test | mae | 0.640 | 0.028 |" in text, "the mean of both seeds"
    assert "balanced accuracies lie between 0.60 and 0.97" in " ".join(text.split())
    assert "| voice | 240 | 1.50 | 77.0 % |" in text


def test_folds_are_put_together_by_stream_gender_and_actor() -> None:
    own = {"n": 8.0, "auc": 0.9, "auc_happy": 0.9, "balanced": 0.7, **READ}
    worse = {**own, "balanced_read": 0.66}
    streams = dict.fromkeys(("both streams", "descriptors", "states"), own)
    found = over_folds(
        [{**streams, "actor 01": own, "actor 02": worse}, {**streams, "actor 03": own}]
    )
    assert found["both streams"]["n"] == 16
    spread = np.std([0.86, 0.66, 0.86], ddof=1) / np.sqrt(3)
    assert found["both streams"]["balanced_read_se"] == pytest.approx(spread)
    assert "balanced_read_se" not in found["states"]
    assert found["women"]["balanced_read"] == pytest.approx(0.66)
    assert found["men"]["n"] == 16
    assert found["actors"]["least"] == pytest.approx(0.66)
    assert found["actors"]["greatest"] == pytest.approx(0.86)


def test_standard_errors_are_those_of_a_mean_and_wider_over_people() -> None:
    value = np.random.default_rng(0).normal(size=400)

    def mean(rows: np.ndarray) -> dict[str, float]:
        return {"mean": float(value[rows].mean())}

    alone = standard_errors(mean, np.arange(400))
    assert alone["mean_se"] == pytest.approx(value.std() / 20, rel=0.15)
    assert standard_errors(mean, np.arange(400)) == alone
    value = np.repeat(value[:20], 20)  # twenty people who each say one thing twenty times
    over_people = standard_errors(mean, np.repeat(np.arange(20), 20))
    assert over_people["mean_se"] == pytest.approx(value.std() / np.sqrt(20), rel=0.2)
    assert over_people["mean_se"] > 3 * standard_errors(mean, np.arange(400))["mean_se"]


def test_behind_is_the_difference_and_what_it_varies_by() -> None:
    emotion = np.array(["happy", "angry"] * 60)
    rng = np.random.default_rng(0)
    truth = np.where(emotion == "happy", 1.0, -1.0)
    good, poor = truth + rng.normal(size=120), truth + 5.0 * rng.normal(size=120)
    found = behind(poor, good, emotion)
    assert found["behind"] > 0.1
    assert 0.005 < found["noise"] < 0.1
    assert behind(good, good, emotion) == {"behind": 0.0, "noise": 0.0}

"""Training the live model on small corpora in the real formats, and that its windows are the live ones.

Run time: about 45 s, a third of it runs of the whole training, a quarter whisper-base and gte-small.
"""

from __future__ import annotations

import csv
import gzip
import logging
from collections.abc import Callable, Sequence
from dataclasses import fields
from dataclasses import replace as altered
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from msgspec.structs import replace
from rich.progress import Progress
from safetensors.torch import load_file, save_file

from features.activity import SpeechActivity
from features.assets import Assets
from features.errors import CorpusError
from features.messages import StreamData, Window
from features.samples import ActivityChunk, VoiceChunk
from features.spec import BLENDSHAPES, EXPRESSIONS, FACE, LIVE, PITCH_COLUMN, STATES, VOICE
from features.speech import SpeechExtractor
from features.voice import VoiceExtractor
from features.windows import Windower, WindowerConfig
from model.calibration import Calibration, half_width
from model.checkpoint import Checkpoint
from model.corpora import face as corpora_face
from model.corpora import pictures as corpora_pictures
from model.corpora import text as corpora_text
from model.corpora import voice as corpora_voice
from model.corpora.features_cache import save_arrays
from model.corpora.text import TEST, TRAIN, VALID
from model.live import faces as live_faces
from model.live import folds as live_folds
from model.live import training as live_training
from model.live.banks import NEUTRAL_SPOKEN, NONE, Banks, Drawing, share_weights, side_weights
from model.live.crossed import crossed, pooled
from model.live.data import DataPlan, built_copies, held_voices, load_banks, load_encoder
from model.live.evaluation import evaluate, voices_of
from model.live.faces import HIDDEN, SPEAKING, STILL_SHARE, FaceMaker, face_columns, speech_motion
from model.live.judging import (
    alone,
    auc,
    calibration,
    no_bolder,
    read_rows,
    residuals,
    score_rows,
    sides_of,
    three_sides,
    two_sides,
    validate,
)
from model.live.learning import new_network, start_key, train
from model.live.objective import losses, random_subset, truth_of
from model.live.plan import LivePlan
from model.live.samples import ClipVoice, Heard, principal_basis, voice_sample
from model.live.state import digest
from model.live.warmup import WarmUp
from model.networks.blocks import masked_mean
from model.networks.emotions import (
    EMOTIONS,
    OTHER_NAMES,
    SIDES,
    positive_odds,
    side_logits,
    targets_of,
)
from model.networks.inputs import Prior, Sample, prepare
from model.networks.rtil import RTIL, SHAPE_WIDTH, RTILConfig
from model.predictor import Predictor

pytestmark = pytest.mark.usefixtures("one_thread")

SMALL = RTILConfig(
    width=32, heads=2, feedforward=32, state_components=8, dropout=0.0, cross_dropout=0.0,
    gate_dropout=0.0, head_dropout=0.0,
)  # fmt: skip
PLAN = LivePlan(
    data=DataPlan(variants=3, texts=20, chats=20),
    epochs=4,
    steps=12,
    batch=16,
    drop_stream=0.2,
    rate=4e-3,
    warm_up=WarmUp(text=10, voice=20, face=10, faces=40, batch=16),
)
SOURCES = "an encoder and texts"
ACTED = ("happy", "angry", "neutral", "sad")
LETTERS = {"happy": "03", "angry": "05", "neutral": "01", "sad": "04"}
SMILE = [BLENDSHAPES.index(name) for name in ("mouthSmileLeft", "mouthSmileRight")]


def _csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "wt", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])


def _write_texts(data: Path) -> None:
    said = [(f"the {t} was {w}", s) for t in ("film", "day", "meal", "book", "trip", "song")
            for w, s in (("great", 1), ("awful", -1), ("lovely", 1), ("boring", -1))]  # fmt: skip
    splits = ["train", "train", "valid", "test"] * 6
    dev = {"train": "train", "valid": "dev", "test": "test"}
    both = [(*pair, split) for pair, split in zip(said, splits, strict=True)]
    _csv(data / corpora_text.MOSI_FILE, ["text", "label", "split_std"],
         [[text.upper(), 2.0 * s, split] for text, s, split in both])  # fmt: skip
    _csv(data / corpora_text.SST_FILE, ["split", "label5", "text"],
         [[dev[split], 2 + 2 * s, f"truly {text} ."] for text, s, split in both])  # fmt: skip
    _csv(data / corpora_text.PHRASES_FILE, ["label5", "text"],
         [[2 + 2 * s, text] for text, s, _ in both])  # fmt: skip
    _csv(data / corpora_text.VADER_FILE, ["source", "id", "mean_rating", "text"],
         [["tweets", i, 3.0 * s, f"well {text}"] for i, (text, s, _) in enumerate(both)])  # fmt: skip
    _csv(data / corpora_text.MELD_FILE, ["Utterance", "Sentiment", "split"],
         [[f"oh {text}", "positive" if s > 0 else "negative", dev[split]] for text, s, split in both if split != "test"])  # fmt: skip
    _csv(data / corpora_text.EMORY_FILE, ["Utterance", "Emotion", "split"],
         [[f"hey {text}", "Joyful" if s > 0 else "Sad", "train"] for text, s, _ in both])  # fmt: skip
    _csv(data / corpora_text.REDDIT_FILE, ["text", "sentiment_group", "split"],
         [[f"so {text}", "positive" if s > 0 else "negative", "train"] for text, s, _ in both])  # fmt: skip
    _csv(data / corpora_text.BANK_FILE, ["split", "V", "text"],
         [[dev[split], 3 + s, f"they say {text}"] for text, s, split in both])  # fmt: skip


def _write_voices(data: Path, cache: Path, rng: np.random.Generator) -> None:
    """Two training actors, a validating and a testing one; loudness and states tell the emotion."""
    rows, units = [], []
    for actor in ("01", "02", "15", "17"):
        for emotion in ACTED:
            for repetition in ("01", "02"):
                name = f"01-{LETTERS[emotion]}-01-01-{repetition}-{actor}"
                rows.append([name, f"flac16k/{name}.flac", emotion, "normal", actor])
                units.append((name, 3.0 if emotion == "happy" else 0.0))
    header = ["id", "file", "emotion", "intensity", "actor"]
    _csv(data / corpora_voice.RAVDESS_FILE, header, rows)
    german = [["g1", "g1.wav", "03", "happiness"], ["g2", "g2.wav", "03", "anger"]]
    _csv(data / corpora_voice.EMODB_FILE, ["id", "file", "speaker", "emotion"], german)
    acted = corpora_voice.ravdess(data)
    for clip in [*acted, *corpora_voice.copies(acted), *corpora_voice.emodb(data)]:
        frames = 300
        values = rng.normal(size=(frames, LIVE.stream(VOICE).width)).astype(np.float32)
        values[:, 0] += clip.label
        values[:, PITCH_COLUMN] = np.abs(values[:, PITCH_COLUMN]) + 1
        states = rng.normal(size=(10, 512)) + 0.5 * clip.label * np.sign(np.arange(512) - 255.5)
        save_arrays(corpora_voice.feature_path(cache, clip), {
            "descriptors": values,
            "activity": np.r_[np.zeros(10), np.ones(70), np.zeros(13)].astype(np.float32),
            "cells": np.arange(1, 11, dtype=np.int32),
            "states": states.astype(np.float16),
        })  # fmt: skip
    names = np.array(list(corpora_face.UNIT_SHAPES))
    au35 = rng.random((len(units), len(names))).astype(np.float32)
    au35[:, names.tolist().index("AU12_r")] += [smile for _, smile in units]
    path = data / corpora_face.UNITS_FILE
    np.savez(path, id=np.array([name for name, _ in units]), au35=au35, au_names=names)


def _write_faces(data: Path, cache: Path, rng: np.random.Generator) -> None:
    names = ["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"]
    coded = [cv2.imencode(".jpg", rng.integers(0, 255, (48, 48), np.uint8))[1].ravel()
             for _ in range(140)]  # fmt: skip
    label = np.arange(140, dtype=np.int8) % 7
    path = data / corpora_pictures.FER_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, jpeg=np.concatenate(coded), offset=np.cumsum([0, *map(len, coded)]),
             label=label, usage=np.r_[np.zeros(119), np.ones(21)].astype(np.int8), emotions=np.array(names))  # fmt: skip
    faces = _faces(rng, 140)
    faces[:, SMILE] += 0.6 * (label == names.index("happy"))[:, None]
    seen = [EXPRESSIONS.index(OTHER_NAMES.get(names[one], names[one])) for one in label]
    faces[np.arange(140), SHAPE_WIDTH + np.array(seen)] += 2.0
    index = corpora_pictures.fer2013(data).order
    save_arrays(
        corpora_face.face_folder(cache) / "fer2013" / "0000.npz",
        {"index": index, "values": faces[index]},
    )
    for video in ("01-01-01-01-01-01-01", "01-01-01-01-01-01-09"):
        save_arrays(
            corpora_face.face_folder(cache) / "video" / f"{video}.npz",
            {"time_s": np.arange(45) / 15, "values": _faces(rng, 45)},
        )


def _faces(rng: np.random.Generator, count: int) -> np.ndarray:
    return np.c_[0.2 * rng.random((count, 52)), rng.normal(size=(count, 13))].astype(np.float32)


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Data and cache, a handful of each corpus."""
    folder = tmp_path_factory.mktemp("corpora")
    data, cache = folder / "data", folder / "cache"
    rng = np.random.default_rng(0)
    _write_texts(data)
    _write_voices(data, cache, rng)
    _write_faces(data, cache, rng)
    return data, cache


@pytest.fixture(scope="module")
def banks(
    corpora: tuple[Path, Path], text_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Banks:
    folder = tmp_path_factory.mktemp("text")
    encoder, tuned = load_encoder(text_folder, folder)
    assert not tuned
    return load_banks(*corpora, encoder, folder / "lower", PLAN.data)


def _judge(banks: Banks, corpora: tuple[Path, Path], network: RTIL) -> dict[str, float]:
    return validate(network, banks, corpora_face.load_videos(corpora[1]))


@pytest.fixture(scope="module")
def trained(
    banks: Banks, corpora: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory
) -> tuple[RTIL, list[dict[str, float]]]:
    network = new_network(banks, PLAN, SMALL)
    folder = tmp_path_factory.mktemp("state")
    state = train(network, banks, PLAN, folder, SOURCES, lambda n: _judge(banks, corpora, n))
    return network, state.history


def test_a_sample_of_training_is_the_window_that_live_gives(
    demo_clip: Path, whisper_base: Path
) -> None:
    sound = np.zeros(8 * 16_000, np.float32)  # ends in silence, in which the last words end, too
    spoken = corpora_voice.read_sound(demo_clip)[: 7 * 16_000]
    sound[: len(spoken)] = spoken
    maker = corpora_voice.VoiceMaker(whisper_base)
    clip = ClipVoice(maker.make(sound))
    maker.close()
    windows = _live_windows(sound, whisper_base)
    rng = np.random.default_rng(0)
    priors = {
        s.name: Prior(
            rng.normal(size=s.width).astype(np.float32), np.full(s.width, 2.0, np.float32), 5.0
        )
        for s in LIVE.streams
    }
    compared = 0
    for live in windows:
        if live.end_s > clip.ends_s()[-1] - 1.0:
            continue
        own = clip.window(live.end_s)
        assert own.voiced == live.present.voice
        made = voice_sample(clip, own, [], priors)
        said = prepare(live.streams, live.statistics, live.present, priors)
        for name in (f.name for f in fields(Sample)):
            np.testing.assert_allclose(
                getattr(made, name), getattr(said, name), rtol=1e-4, atol=2e-4, err_msg=name
            )
        compared += bool(said.voice_mask.any() and said.states_mask.any())
    assert compared >= 6


def _live_windows(sound: np.ndarray, whisper: Path) -> list[Window]:
    """The extractors in portions of a tenth of a second, through the windower."""
    windower = Windower(WindowerConfig("s", "me", "file", face=False, lossless=True))

    def described(chunk: VoiceChunk) -> None:
        windower.add(chunk)

    voice, activity = VoiceExtractor(described), SpeechActivity()
    speech = SpeechExtractor(whisper, threads=1, words=False)
    try:
        for start in range(0, len(sound), 1600):
            portion = sound[start : start + 1600]
            voice.feed(portion)
            heard = activity.feed(portion)
            update = speech.feed(portion, heard)
            for item in (heard, update):
                if item is not None:
                    windower.add(item)
        voice.finish()
        windower.add(speech.finish())
    finally:
        voice.close()
        speech.close()
    return windower.finish(len(sound) / 16_000)


def test_training_lowers_the_loss_and_learns(
    trained: tuple[RTIL, list[dict[str, float]]], banks: Banks
) -> None:
    network, history = trained
    assert history[-1]["loss_task"] < 0.8 * history[0]["loss_task"]
    voices = np.flatnonzero(banks.voice.split == VALID)
    scores = score_rows(network, banks, alone(1, voices))
    label = banks.voice.label[voices]
    assert auc(scores[label > 0.5], scores[label < -0.5]) > 0.8, "an actor never trained on"


def test_a_killed_run_goes_on_as_if_there_had_been_none(
    trained: tuple[RTIL, list[dict[str, float]]],
    banks: Banks,
    corpora: tuple[Path, Path],
    tmp_path: Path,
) -> None:
    class KillError(Exception):
        pass

    judged = 0

    def judge(network: RTIL) -> dict[str, float]:
        nonlocal judged
        judged += 1
        if judged == 3:
            raise KillError
        return _judge(banks, corpora, network)

    with pytest.raises(KillError):
        train(new_network(banks, PLAN, SMALL), banks, PLAN, tmp_path, SOURCES, judge)
    assert judged == 3, "the third epoch is lost"
    fresh = new_network(banks, PLAN, SMALL)
    done: list[int] = []
    state = train(
        fresh, banks, PLAN, tmp_path, SOURCES, lambda n: _judge(banks, corpora, n), done.append
    )
    assert done[0] == 2 * PLAN.steps
    network, history = trained
    assert state.history == history
    for name, value in network.state_dict().items():
        torch.testing.assert_close(fresh.state_dict()[name], value, rtol=0, atol=0, msg=name)


def _head(seed: int) -> dict[str, torch.Tensor]:
    """A head as the tuning of the text encoder leaves it."""
    rng = torch.Generator().manual_seed(seed)
    return {
        "score.weight": torch.randn(1, 384, generator=rng),
        "score.bias": torch.randn(1, generator=rng),
        "sides.weight": torch.randn(3, 384, generator=rng),
        "sides.bias": torch.randn(3, generator=rng),
    }


def test_a_state_of_another_text_head_is_not_gone_on_with(
    banks: Banks, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    plan = replace(PLAN, epochs=1, steps=2, warm_up=WarmUp(text=0, voice=5, face=5, faces=20))

    def begun(head: dict[str, torch.Tensor]) -> tuple[RTIL, int]:
        network, done = new_network(banks, plan, SMALL, head), list[int]()
        train(network, banks, plan, tmp_path, SOURCES, lambda n: {}, done.append)
        return network, done[0]

    first, _ = begun(_head(0))
    again, done = begun(_head(0))
    assert done == plan.steps and torch.equal(again.text_direct.weight, first.text_direct.weight)
    assert "begun anew" not in caplog.text
    other_head, done = begun(_head(1))
    assert done == 0, "nothing of the other run"
    expected = new_network(banks, plan, SMALL, _head(1)).text_direct
    torch.testing.assert_close(other_head.text_direct.state_dict(), expected.state_dict())
    assert caplog.text.count("begun anew") == 1
    assert begun(_head(1))[1] == plan.steps, "and is gone on with itself"


def _moved(values: np.ndarray) -> np.ndarray:
    """With the first of them another."""
    out = values.copy()
    out.flat[0] = not out.flat[0] if out.dtype == np.bool_ else out.flat[0] + 1
    return out


def _elsewhere(split: np.ndarray) -> np.ndarray:
    return np.where(np.arange(len(split)) == 0, "held", split)


OTHER_BANKS: dict[str, Callable[[Banks], Banks]] = {
    "a text less": lambda b: altered(
        b, text=altered(b.text, states=[b.text.states[0][:1], *b.text.states[1:]])
    ),
    "label of a text": lambda b: altered(b, text=altered(b.text, label=_moved(b.text.label))),
    "emotion of a text": lambda b: altered(b, text=altered(b.text, targets=_moved(b.text.targets))),
    "split of a text": lambda b: altered(b, text=altered(b.text, split=_elsewhere(b.text.split))),
    "voice": lambda b: altered(b, voice=altered(b.voice, voice=_moved(b.voice.voice))),
    "states of a voice": lambda b: altered(
        b, voice=altered(b.voice, states=_moved(b.voice.states))
    ),
    "split of a voice": lambda b: altered(
        b, voice=altered(b.voice, split=_elsewhere(b.voice.split))
    ),
    "face": lambda b: altered(b, face=altered(b.face, values=_moved(b.face.values))),
    "what is known of a face": lambda b: altered(
        b, face=altered(b.face, own=[None] * len(b.face.own))
    ),
    "speech of faces": lambda b: altered(b, maker=altered(b.maker, motion=_moved(b.maker.motion))),
    "priors": lambda b: altered(
        b, priors={**b.priors, VOICE: replace(b.priors[VOICE], seconds=9.0)}
    ),
}


@pytest.mark.parametrize("change", OTHER_BANKS.values(), ids=OTHER_BANKS.keys())
def test_other_banks_are_another_start(
    banks: Banks,
    trained: tuple[RTIL, list[dict[str, float]]],
    change: Callable[[Banks], Banks],
) -> None:
    network, key = trained[0], start_key(trained[0], banks, PLAN, SOURCES)
    assert start_key(network, change(banks), PLAN, SOURCES) != key
    assert start_key(network, altered(banks), PLAN, SOURCES) == key, "a copy is not another"


def test_the_start_is_told_by_what_it_is_made_of_not_by_how_it_was_computed(
    banks: Banks, trained: tuple[RTIL, list[dict[str, float]]]
) -> None:
    key = start_key(trained[0], banks, PLAN, SOURCES)
    assert start_key(new_network(banks, PLAN, SMALL), banks, PLAN, SOURCES) == key, (
        "not the weights"
    )
    rounded = [states + np.float16(1e-3) for states in banks.text.states]
    near = altered(banks, text=altered(banks.text, states=rounded))
    assert start_key(trained[0], near, PLAN, SOURCES) == key, "other threads round otherwise"
    assert start_key(trained[0], banks, PLAN, "another encoder") != key
    assert start_key(trained[0], banks, replace(PLAN, seed=1), SOURCES) != key


def test_a_digest_tells_everything_apart_and_refuses_what_it_cannot_tell() -> None:
    ones = np.ones((2, 3), np.float32)
    told: list[object] = [
        ones, ones.T, ones.ravel(), ones.astype(np.float64), ones.view(np.int32), 2 * ones,
        [ones], (ones,), [ones, ones], {"a": ones}, {"b": ones}, None, "", "None", 1, 1.0, True,
        ["ab", "c"], ["a", "bc"], [["a"], "b"], ["a", ["b"]], [], {}, np.array(["a", "b"]),
    ]  # fmt: skip
    assert len({digest(one) for one in told}) == len(told)
    assert digest({"a": 1, "b": ones}) == digest({"b": ones.copy(), "a": 1})
    assert digest(torch.from_numpy(ones)) == digest(ones) == digest(np.asfortranarray(ones))
    for unclear in (object(), [len], np.array(["a"], object)):
        with pytest.raises(TypeError):
            digest(unclear)


def test_a_new_text_encoder_reaches_the_checkpoint_and_the_folds(
    corpora: tuple[Path, Path], tmp_path: Path
) -> None:
    plan = LivePlan(
        data=DataPlan(variants=2, texts=20, chats=20), size="small", epochs=1, steps=2, batch=8,
        warm_up=WarmUp(text=0, voice=3, face=3, faces=10, batch=8),
    )  # fmt: skip
    text, out = tmp_path / "text", tmp_path / "out"
    text.mkdir()

    def fit(seed: int, threads: int = 1) -> torch.Tensor:
        save_file(_head(seed), text / "text_head.safetensors")
        torch.set_num_threads(threads)
        with Progress(disable=True) as progress:
            (found,) = live_training.run(*corpora, text, out, [plan], progress)
        torch.set_num_threads(1)
        return found.network.text_direct.weight[8]

    states = [out / "small/seed-0" / name for name in ("", "fold/0", "fold/1")]
    states = [folder / "state.safetensors" for folder in states]
    torch.testing.assert_close(fit(0), _head(0)["score.weight"][0])
    written = [path.stat().st_mtime_ns for path in states]
    fit(0, threads=2)
    assert [path.stat().st_mtime_ns for path in states] == written, "done runs are not done again"
    torch.testing.assert_close(fit(1), _head(1)["score.weight"][0])
    for path in states:
        read = load_file(path)["network.text_direct.weight"][8]
        torch.testing.assert_close(read, _head(1)["score.weight"][0])


def test_another_seed_gives_another_network(banks: Banks) -> None:
    first, again = new_network(banks, PLAN, SMALL), new_network(banks, PLAN, SMALL)
    other = new_network(banks, replace(PLAN, seed=1), SMALL)
    assert torch.equal(first.shared.weight, again.shared.weight)
    assert not torch.equal(first.shared.weight, other.shared.weight)


def test_the_checkpoint_scores_windows_live(
    trained: tuple[RTIL, list[dict[str, float]]], banks: Banks, tmp_path: Path, assets: Assets
) -> None:
    network, _ = trained
    table = calibration(residuals(network, banks, VALID, 0))
    Checkpoint(network, banks.priors, calibration=table).save(tmp_path, torch.float16)
    predictor = Predictor(tmp_path, "cpu", assets)
    row = int(np.flatnonzero(banks.voice.split == VALID)[0])
    windower = Windower(WindowerConfig("s", "me", "file", face=False, words=False, lossless=True))
    rng = np.random.default_rng(0)
    windower.add(VoiceChunk(0.0, 0, rng.random((400, 25), np.float32)))
    windower.add(ActivityChunk(0.0, 0, np.ones(125, np.float32)))
    found = predictor.predict(windower.finish(4.0), lambda: 0)
    assert found[-1].sentiment is not None and found[-1].present.voice
    assert found[-1].low is not None and found[-1].low < found[-1].sentiment
    whole = score_rows(network, banks, alone(1, np.array([row])))
    halved = score_rows(predictor.network, banks, alone(1, np.array([row])))
    np.testing.assert_allclose(whole, halved, atol=0.05)


def test_rows_come_from_training_parts_and_in_all_combinations(banks: Banks) -> None:
    rows = Drawing(banks, PLAN.shares).rows(400, np.random.default_rng(0))
    kinds = {tuple(kind) for kind in (rows != NONE).tolist()}
    assert len(kinds) == 7, "every subset but the empty one"
    for m, split in enumerate(banks.splits):
        chosen = rows[rows[:, m] >= 0, m]
        assert set(split[chosen].tolist()) - {NEUTRAL_SPOKEN} == {TRAIN}
    whole = (rows != NONE).all(1)
    said = (rows[:, 0] >= 0) & (banks.text.split[rows[:, 0]] == NEUTRAL_SPOKEN)
    assert (whole & said).any(), "real clips with their words"
    assert np.array_equal(banks.voice.clip[rows[said, 1]], banks.face.clip[rows[said, 2]])


def test_truth_of_a_subset_is_what_is_in_it_weighed() -> None:
    labels = torch.tensor([[2.0, -2.0, 0.0], [0.0, -1.5, 0.0], [1.0, 1.0, 1.0]])
    plan = LivePlan(reliance=(2.0, 1.0, 1.0), at_rest=0.5)
    everything, without_text = (
        torch.ones(3, 3, dtype=torch.bool),
        torch.ones(3, 3, dtype=torch.bool),
    )
    without_text[:, 0] = False
    weights = [(5.0, 2.5, 0.5), (1.0, 2.0, 0.5), (3.0, 1.5, 1.5)]
    expected = [
        sum(w * y for w, y in zip(own, row, strict=True)) / sum(own)
        for own, row in zip(weights, labels.tolist(), strict=True)
    ]
    torch.testing.assert_close(truth_of(labels, everything, plan), torch.tensor(expected))
    alone = truth_of(labels, without_text, plan)
    torch.testing.assert_close(alone, torch.tensor([-5.0 / 3.0, -3.0 / 2.5, 1.0]))


def test_losses_ask_subsets_and_each_modality_by_itself(banks: Banks) -> None:
    rows = Drawing(banks, (0, 0, 0, 0, 0, 1)).rows(64, np.random.default_rng(1))
    network = new_network(banks, PLAN, SMALL).eval()
    labels = torch.from_numpy(banks.labels_of(rows))
    assert bool((labels[torch.from_numpy(rows) == NONE] == 0).all())
    targets = torch.from_numpy(banks.targets_of(rows))
    assert bool(targets[torch.from_numpy(rows) == NONE].all()), "what is missing is not asked"
    batch = banks.batch(rows)
    found = losses(network, batch, labels, targets, PLAN)
    with torch.no_grad():
        torch.manual_seed(0)
        subsets = torch.cat([batch.present, random_subset(batch.present)])
        torch.manual_seed(0)
        again = losses(network, batch, labels, targets, PLAN)["task"]
        codes = network.encode(batch).select(torch.arange(64).repeat(2))
        score = network.fuse(codes, subsets).score
    truth = truth_of(labels.repeat(2, 1), subsets, PLAN)
    torch.testing.assert_close(again, torch.nn.functional.smooth_l1_loss(score, truth))
    assert set(found) >= {"task", "alone", "emotions", "domain", "temporal"}


def test_words_are_read_as_the_tuned_head_reads_them_and_stay_so(
    banks: Banks, corpora: tuple[Path, Path], tmp_path: Path
) -> None:
    head = _head(0)
    plan = replace(PLAN, epochs=1, warm_up=WarmUp(text=5, voice=5, face=5, faces=20))
    network = new_network(banks, plan, SMALL, head)
    before = network.ask_voice.state_dict()["attention.in_proj_weight"].clone()
    train(network, banks, plan, tmp_path, SOURCES, lambda n: _judge(banks, corpora, n))
    assert not torch.equal(before, network.ask_voice.state_dict()["attention.in_proj_weight"])
    rows = np.flatnonzero(banks.text.split == VALID)
    batch = banks.batch(alone(0, rows))
    with torch.inference_mode():
        reading = network.encode(batch).readings[0]
    said = masked_mean(batch.text, batch.text_mask)
    sides = said @ head["sides.weight"].T + head["sides.bias"]
    torch.testing.assert_close(side_logits(reading[:, :8]), sides, atol=1e-4, rtol=1e-4)
    score = said @ head["score.weight"][0] + head["score.bias"][0]
    torch.testing.assert_close(reading[:, 8], score, atol=1e-4, rtol=1e-4)


def test_a_random_subset_is_part_of_what_is_present_and_never_nothing() -> None:
    present = torch.tensor([[True, True, False]] * 50 + [[False, False, True]] * 50)
    torch.manual_seed(0)
    chosen = random_subset(present)
    assert bool((chosen <= present).all()) and bool(chosen.any(1).all())
    together = chosen[:50, :2].sum(1)
    assert {1, 2} == set(together.tolist()), "alone and together"


def test_gaze_and_pose_say_nothing(trained: tuple[RTIL, list[dict[str, float]]]) -> None:
    network, _ = trained
    columns = network.face_columns.numpy()
    np.testing.assert_array_equal(columns, face_columns())
    shapes = LIVE.stream(FACE).columns[:SHAPE_WIDTH]
    named = dict(zip(shapes, columns.tolist(), strict=True))
    assert named["mouthSmileLeft"] == 1 and named["eyeLookUpLeft"] == named["z_cm"] == 0
    assert len(HIDDEN) == int((columns == 0).sum())


def test_what_is_seen_is_read_as_it_was_said_and_stays_so(
    trained: tuple[RTIL, list[dict[str, float]]], banks: Banks
) -> None:
    network, _ = trained
    faces = banks.face.values[banks.face.clip == ""][:20]
    seen = np.stack([banks.maker.still(face, None)[0][0, SHAPE_WIDTH:] for face in faces])
    with torch.inference_mode():
        said = network.appearance.direct(torch.from_numpy(seen)).numpy()
    expressions = [EMOTIONS.index(name) for name in EXPRESSIONS]
    np.testing.assert_allclose(said[:, expressions], faces[:, SHAPE_WIDTH:], atol=1e-3)
    valence = dict(zip(EMOTIONS, network.appearance.valence.tolist(), strict=True))
    assert valence["happy"] == 2 and valence["neutral"] == valence["calm"] == 0 > valence["angry"]


def test_actors_whom_nobody_saw_are_read_by_their_shapes(banks: Banks) -> None:
    acted = banks.face.clip != ""
    assert np.isnan(banks.face.values[acted][:, SHAPE_WIDTH:]).all()
    assert np.isfinite(banks.face.values[~acted]).all()
    assert np.isfinite(banks.priors[FACE].mean).all() and (banks.priors[FACE].variance > 0).all()


def test_the_sides_of_faces_weigh_alike_however_often_they_are_drawn(banks: Banks) -> None:
    drawing = Drawing(banks, PLAN.shares)
    rows = drawing.rows(6000, np.random.default_rng(1))
    rows = rows[rows[:, 2] >= 0]
    acted = banks.face.clip[rows[:, 2]] != ""
    for kind in (rows[acted], rows[~acted]):
        weights, targets = drawing.weights_of(kind)[:, 2], banks.targets_of(kind)[:, 2]
        sides = [float(weights[targets[:, side].any(1)].sum()) for side in SIDES]
        assert max(sides) < 1.25 * min(sides), "within what 4096 draws can tell"
        assert weights.mean() == pytest.approx(1.0, abs=0.05)
        drawn = [int(targets[:, side].any(1).sum()) for side in SIDES]
        assert max(drawn) > 1.5 * min(drawn), "they are not drawn alike"


def test_weights_by_hand() -> None:
    targets = targets_of(np.array(["angry", "sad", "sad", "neutral", "happy", "surprise"]))
    weights = side_weights(targets)
    own = targets @ weights
    assert own[0] == own[1] == own[2] == pytest.approx(own[3] / 3)
    assert own[3] == own[4] == pytest.approx(own[5] / 0.3)
    assert own.mean() == pytest.approx(1.0)
    found = share_weights(np.array([-2.0, 0.0, 0.2, 2.0]), (1.0, 4.0, 1.0))
    np.testing.assert_allclose(found, [0.5, 2.0, 2.0, 0.5])


def _maker() -> FaceMaker:
    width = LIVE.stream(FACE).width
    prior = Prior(np.zeros(width, np.float32), np.ones(width, np.float32), 60.0)
    return FaceMaker(prior, np.zeros((1, width), np.float32), np.zeros((1, width), np.float32))


def test_a_face_trembles_where_it_can_and_pictures_hold_still(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(live_faces, "CAMERA_SHARE", 0.0)
    monkeypatch.setattr(live_faces, "PERSON_SHARE", 0.0)
    monkeypatch.setattr(live_faces, "GAP_SHARE", 0.0)
    face = np.zeros(LIVE.stream(FACE).width, np.float32)
    face[[3, 5]] = 0.5, 1.0
    before, chance, maker = face.copy(), np.random.default_rng(0), _maker()
    windows = [maker.window(face, None, chance)[0] for _ in range(400)]
    moved = np.array([np.ptp(values, axis=0) for values in windows])
    still = (moved == 0).all(1)
    assert still.mean() == pytest.approx(STILL_SHARE, abs=0.1)
    assert (moved[~still, 3] > 0.01).all() and (moved[~still, 3] < 0.3).all()
    assert not np.delete(moved, 3, axis=1).any(), (
        "what is not there, or wholly there, does not tremble"
    )
    assert np.array_equal(face, before), "the bank's face is left as it is"


def test_speech_moves_the_mouth_alone() -> None:
    frames = np.random.default_rng(0).random((30, 65), np.float32)
    motion = speech_motion(frames)
    moved = {LIVE.stream(FACE).columns[i] for i in np.flatnonzero(motion.any(0))}
    assert moved == set(SPEAKING)


def test_statistics_of_the_past_are_those_of_all_that_was_heard(corpora: tuple[Path, Path]) -> None:
    data, cache = corpora
    clips = corpora_voice.ravdess(data)[:3]
    voices = [ClipVoice(corpora_voice.load_voice(cache, clip)) for clip in clips]
    heard = Heard()
    for voice in voices:
        heard.add(voice.whole())
    state = heard.state()[STATES]
    cells: list[StreamData] = [voice.whole()[STATES] for voice in voices]
    together = np.concatenate([c.values[c.mask] for c in cells]).astype(np.float64)
    np.testing.assert_allclose(state.mean, together.mean(0), atol=1e-3)
    np.testing.assert_allclose(state.variance, together.var(0), rtol=1e-3, atol=1e-3)
    assert state.seconds == len(together) / LIVE.stream(STATES).rate_hz


def test_basis_follows_what_windows_differ_in() -> None:
    rng = np.random.default_rng(0)
    means = rng.normal(size=(500, 20)) * np.r_[np.full(4, 3.0), np.full(16, 0.1)]
    steps = (
        np.repeat(means, 4, axis=0)
        + rng.normal(size=(2000, 20)) * np.r_[np.ones(4), np.full(16, 9)]
    )
    basis = principal_basis(means, steps, 4)
    np.testing.assert_allclose((steps @ basis).std(0), 1.0, atol=0.01)
    assert np.abs(basis[:4]).sum() > 10 * np.abs(basis[4:]).sum(), "not where steps vary most"


def test_residuals_cover_every_subset(
    trained: tuple[RTIL, list[dict[str, float]]], banks: Banks
) -> None:
    found = residuals(trained[0], banks, VALID, 0)
    assert set(found) == {
        "text", "voice", "face", "text+voice", "text+face", "voice+face", "text+voice+face",
    }  # fmt: skip
    assert all(np.isfinite(values).all() and len(values) for values in found.values())


def test_evaluation_reads_test_parts_and_records_what_it_found(
    trained: tuple[RTIL, list[dict[str, float]]],
    banks: Banks,
    corpora: tuple[Path, Path],
    text_folder: Path,
    tmp_path: Path,
) -> None:
    network, _ = trained
    table = calibration(residuals(network, banks, VALID, 0))
    Checkpoint(network, banks.priors, calibration=table).save(tmp_path, torch.float16)
    loaded = Checkpoint.load(tmp_path)
    encoder, _ = load_encoder(text_folder, tmp_path)
    found = evaluate(*corpora, loaded, encoder)
    assert found["text mosi test"]["n"] == 6
    assert found["voice ravdess, known speaker, both streams"]["n"] == 6
    assert found["voice ravdess, known speaker, both streams"]["auc"] > 0.8
    assert found["clips voice+face"]["n"] == found["clips text+voice+face"]["n"] == 6
    assert found["voice ravdess, men"]["n"] == 6 and "voice ravdess, actor 17" in found
    assert found["text mosi test misheard"]["n"] == 6
    assert found["swing of a neutral voice"]["n"] == 2
    assert found["no evidence"]["n"] > 100 and found["no evidence"]["scored"] == 0
    assert found["face fer2013 public test"]["n"] == 18, "surprise has no side"
    assert found["face fer2013 public test moving"]["n"] == 18
    assert 0 <= found["face fer2013 public test moving"]["balanced_3"] <= 1
    assert 0 <= found["interval text+voice+face"]["coverage"] <= 1
    assert found["voice emodb, known speaker, states"]["n"] == 2
    assert found["neutral face 01-01-01-01-01-01-09"]["n"] >= 5
    voice = corpora_voice.ravdess(corpora[0])
    tested = voices_of([c for c in voice if c.split == TEST], corpora[1], loaded, 0.0)
    assert set(tested.speaker.tolist()) == {"17"}


def test_sides_by_hand() -> None:
    score = np.array([1.0, -1.0, 0.5, -2.0])
    emotion = np.array(["happy", "angry", "calm", "sad"])
    sides = two_sides(score, emotion)
    assert sides == {"n": 4, "auc": 1.0, "auc_happy": 1.0, "balanced": 1.0}
    faces = np.array(["happy", "neutral", "surprise", "fear", "fear"])
    seen = np.array([1, 0, -1, 0, -1])
    assert three_sides(seen, faces) == pytest.approx((1 + 1 + 0.5) / 3)
    logits = torch.full((3, 8), -5.0)
    logits[0, EMOTIONS.index("sad")] = logits[1, EMOTIONS.index("calm")] = 1.0
    logits[2, EMOTIONS.index("happy")] = 1.0
    assert sides_of(logits).tolist() == [-1, 0, 1]
    assert (positive_odds(logits) > 0).tolist() == [False, True, True], "calm is no bad sign"


def test_readings_are_of_one_modality_alone(
    trained: tuple[RTIL, list[dict[str, float]]], banks: Banks
) -> None:
    rows = np.flatnonzero(banks.voice.split == VALID)
    logits = read_rows(trained[0], banks, 1, rows)
    assert logits.shape == (len(rows), 8)
    odds = positive_odds(logits).numpy()
    label = banks.voice.label[rows]
    assert auc(odds[label > 0.5], odds[label < -0.5]) > 0.8


def test_each_fold_judges_actors_it_never_heard(corpora: tuple[Path, Path], tmp_path: Path) -> None:
    plan = LivePlan(
        shares=(0, 1, 0, 0, 0, 0),
        epochs=1,
        steps=6,
        batch=8,
        warm_up=WarmUp(text=0, voice=5, face=0),
        size="small",
        data=DataPlan(variants=2),
    )
    out = tmp_path / "folds.json"
    found = live_folds.run(*corpora, out, plan)
    assert live_folds.folds_of(["01", "02", "15", "17", "01"]) == [
        ["01"],
        ["02"],
        ["15"],
        ["17"],
        [],
    ]
    assert found["both streams"]["n"] == found["men"]["n"] + found["women"]["n"] == 24
    assert found["actors"]["n"] == 4
    written = out.stat().st_mtime_ns
    assert live_folds.run(*corpora, out, plan) == found
    assert out.stat().st_mtime_ns == written, "done folds are not done again"
    two = live_folds.run(*corpora, out, plan, seeds=2)
    assert two["both streams"]["seeds"] == 2 and "balanced_read_sd" in two["both streams"]
    assert live_folds.recorded(out, plan, seeds=5) == {}, "four of them have fewer folds here"


def test_copies_belong_to_other_people_and_must_be_built(
    corpora: tuple[Path, Path], banks: Banks, tmp_path: Path
) -> None:
    training = banks.voice.split == TRAIN
    assert set(banks.voice.speaker[training].tolist()) == {"01", "01~", "02", "02~"}
    assert set(banks.voice.speaker[~training].tolist()) == {"15"}
    clips = [c for c in corpora_voice.ravdess(corpora[0]) if c.split == TRAIN]
    assert len(built_copies(clips, corpora[1])) == len(clips)
    with pytest.raises(CorpusError, match="corpora build"):
        built_copies(clips, tmp_path)


def test_intervals_of_voices_rest_on_every_training_actor(
    corpora: tuple[Path, Path], banks: Banks, trained: tuple[RTIL, list[dict[str, float]]]
) -> None:
    held = held_voices(*corpora, banks.priors, PLAN.data)
    assert set(held.speaker.tolist()) == {"01", "02"}
    assert len(held.label) == len(set(held.clip.tolist())) == 16, "one window a clip"
    learned: list[set[str]] = []

    def fit(own: Banks, number: int) -> RTIL:
        assert number == len(learned)
        learned.append(set(own.voice.speaker[own.voice.split == TRAIN].tolist()))
        for bank in (own.voice, own.face):
            clips = bank.clip[bank.split == TRAIN].tolist()
            actors = {name.split("-")[-1].rstrip("~") for name in clips if name}
            assert actors == {name.rstrip("~") for name in learned[-1]}
        return trained[0]

    found = crossed(banks, held, 0, fit)
    assert learned == [{"02", "02~"}, {"01", "01~"}], "who is left out is so with all copies"
    assert [len(part) for part in found["voice"]] == [8, 8]
    assert [len(part) for part in found["voice+face"]] == [8, 8]
    assert set(found) == {"voice", "text+voice", "voice+face", "text+voice+face"}
    own = residuals(trained[0], banks, VALID, 0)
    both = calibration(own, pooled(found)).half_widths
    assert both["voice"] == half_width(np.concatenate([own["voice"], *found["voice"]]), 0.8)
    assert both["text"] == calibration(own).half_widths["text"]


def test_synthetic_windows_never_narrow_an_interval() -> None:
    table = no_bolder(
        Calibration(0.8, {"text": 1.0, "voice": 1.4, "voice+face": 0.9, "text+voice": 0.6})
    )
    assert table.half_widths == {"text": 1.0, "voice": 1.4, "voice+face": 0.9, "text+voice": 1.0}

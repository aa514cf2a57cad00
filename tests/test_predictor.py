"""The predictor with the real text encoder: subsets, missing modalities, lags, refusals."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch

from features.assets import Assets
from features.errors import CheckpointError, FeatureError, SpecError
from features.messages import MODALITIES, Prediction, Present, Statistics, StreamData
from features.spec import FACE, LIVE, VOICE
from model.calibration import Calibration
from model.checkpoint import Checkpoint, untrained
from model.networks.rtil import RTILConfig
from model.predictor import (
    BATCH,
    Predictor,
    TextStates,
    choose_device,
    needed_subsets,
    only,
    own_share,
    without,
)
from model.text.encoder import TextEncoder
from tests.made_windows import EVERYTHING, make_window

CONFIG = RTILConfig(width=32, heads=2, feedforward=32, state_components=16, gate_hidden=8)
CALIBRATION = Calibration(0.8, {"text+voice+face": 0.5, "face": 5.0})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("checkpoint")
    fresh = untrained(config=CONFIG, seed=3)
    Checkpoint(fresh.network, fresh.priors, calibration=CALIBRATION, trained=False).save(path)
    return path


@pytest.fixture(scope="module")
def predictor(folder: Path, assets: Assets) -> Iterator[Predictor]:
    threads = torch.get_num_threads()
    yield Predictor(folder, "cpu", assets)
    torch.set_num_threads(threads)


def stamps(*values: int) -> Iterator[int]:
    yield from values
    while True:
        yield values[-1]


def predict_one(predictor: Predictor, present: Present = EVERYTHING, **more: int) -> Prediction:
    clock = stamps(0)
    window = make_window(present=present, **more)  # type: ignore[arg-type]
    return predictor.predict([window], lambda: next(clock))[0]


def test_a_window_becomes_a_prediction(predictor: Predictor) -> None:
    window = make_window(seq=4, revision=2)
    out = predictor.predict([window], lambda: 7)[0]
    assert (out.session, out.participant, out.source) == ("s", "me", "test")
    assert (out.seq, out.revision, out.final) == (4, 2, True)
    assert (out.start_s, out.end_s, out.made_ns) == (window.start_s, window.end_s, 7)
    assert (out.text, out.words) == (window.text, window.words)
    assert out.present == EVERYTHING
    assert out.sentiment is not None and out.low is not None and out.high is not None
    assert -3 <= out.low <= out.sentiment <= out.high <= 3
    assert out.high - out.low == pytest.approx(1.0)
    assert out.coverage == 0.8


def test_contributions_and_scores_alone_are_those_of_the_hidden_windows(
    predictor: Predictor,
) -> None:
    full = predict_one(predictor)
    assert full.sentiment is not None
    for name in MODALITIES:
        hidden = Present(**{m: m != name for m in MODALITIES})
        alone = Present(**{m: m == name for m in MODALITIES})
        rest = predict_one(predictor, hidden).sentiment
        assert rest is not None
        assert full.contribution[name] == pytest.approx(full.sentiment - rest, abs=1e-5)
        assert full.alone[name] == pytest.approx(predict_one(predictor, alone).sentiment, abs=1e-5)


@pytest.mark.parametrize("flags", list(product([False, True], repeat=3)))
def test_every_subset_of_modalities(predictor: Predictor, flags: tuple[bool, ...]) -> None:
    out = predict_one(predictor, Present(*flags))
    assert out.present == Present(*flags)
    assert (out.sentiment is None) == (out.low is None) == (out.high is None) == (not any(flags))
    for m, name in enumerate(MODALITIES):
        assert (out.alone[name] is not None) == flags[m]
        if not flags[m]:
            assert out.contribution[name] == 0.0
    if sum(flags) == 1:
        name = MODALITIES[flags.index(True)]
        assert out.contribution[name] == out.alone[name] == out.sentiment


def test_a_voice_that_is_new_counts_in_the_share_that_is_known(predictor: Predictor) -> None:
    only_voice, window = Present(text=False, voice=True, face=False), make_window()
    prior_s = predictor.checkpoint.priors[VOICE].seconds

    def heard(seconds: float, present: Present = only_voice) -> Prediction:
        prior = predictor.checkpoint.priors[VOICE]
        own = Statistics(prior.mean, prior.variance, seconds)  # so that nothing else changes
        known = msgspec.structs.replace(
            window, statistics={**window.statistics, VOICE: own}, present=present
        )
        return predictor.predict([known], lambda: 0)[0]

    found = [heard(seconds).sentiment for seconds in (0.0, prior_s, 5 * prior_s, 1e9)]
    new, *known_better = [score for score in found if score is not None]
    moved = [abs(score - new) for score in known_better]
    assert len(moved) == 3 and 0 < moved[0] < moved[1] < moved[2]
    fused = [heard(seconds, EVERYTHING).sentiment for seconds in (0.0, 1e9)]
    assert fused[0] != fused[1]
    rest = np.zeros(LIVE.stream(VOICE).width, np.float32)
    assert own_share(None, 3.0) == own_share(Statistics(rest, rest, 0.0), 3.0) == 0.0
    assert own_share(Statistics(rest, rest, 3.0), 3.0) == 0.5
    assert own_share(Statistics(rest, rest, 0.0, rest), 3.0) == 1.0, "a rest is the person's own"


def test_nothing_present_is_no_score_even_among_others(predictor: Predictor) -> None:
    nothing = Present(text=False, voice=False, face=False)
    windows = [make_window(0), make_window(1, present=nothing), make_window(2)]
    scores = [p.sentiment for p in predictor.predict(windows, lambda: 0)]
    assert scores[1] is None and None not in (scores[0], scores[2])
    assert predictor.predict([windows[1]], lambda: 0)[0].sentiment is None
    assert predictor.predict([], lambda: 0) == []


def test_a_batch_gives_what_single_windows_give_in_order(predictor: Predictor) -> None:
    texts = ["i am glad", "this is the worst day of my whole life and i hate it", ""]
    flags = [
        EVERYTHING,
        Present(text=True, voice=False, face=True),
        Present(text=False, voice=True, face=True),
    ]
    windows = [
        make_window(k, text=t, present=p, participant=f"p{k}")
        for k, (t, p) in enumerate(zip(texts, flags, strict=True))
    ]
    together = predictor.predict(windows, lambda: 0)
    for window, one in zip(windows, together, strict=True):
        single = predictor.predict([window], lambda: 0)[0]
        assert one.participant == window.participant
        assert one.sentiment == pytest.approx(single.sentiment, abs=1e-5)
        assert one.contribution == pytest.approx(single.contribution, abs=1e-5)


def test_more_windows_than_one_batch_come_back_whole_and_in_order(predictor: Predictor) -> None:
    windows = [make_window(k % 3, seq=k) for k in range(BATCH + 2)]
    out = predictor.predict(windows, lambda: 0)
    assert [p.seq for p in out] == list(range(BATCH + 2))
    assert out[BATCH].sentiment == pytest.approx(out[BATCH % 3].sentiment, abs=1e-5)


def test_the_words_are_read(predictor: Predictor) -> None:
    glad, sad = (
        predictor.predict([make_window(text=t)], lambda: 0)[0].sentiment
        for t in ("i am glad to be here", "i am sad to be here")
    )
    assert glad != sad


def test_uncalibrated_subsets_get_the_whole_scale(predictor: Predictor) -> None:
    out = predict_one(predictor, Present(text=True, voice=False, face=False))
    assert (out.low, out.high) == (-3.0, 3.0)


def test_text_without_a_word_counts_as_missing(predictor: Predictor) -> None:
    out = predictor.predict([make_window(text="")], lambda: 0)[0]
    assert out.present == Present(text=False, voice=True, face=True)
    assert out.alone["text"] is None


def test_lag_names_each_stage(predictor: Predictor) -> None:
    ms = 1_000_000
    clock = stamps(1_180 * ms, 1_200 * ms)
    window = make_window(due_ns=1_000 * ms, made_ns=1_150 * ms)
    out = predictor.predict([window], lambda: next(clock))[0]
    assert out.lag_ms == {"capture": 150.0, "bus": 30.0, "model": 20.0, "total": 200.0}
    clock = stamps(5 * ms, 9 * ms)
    assert predictor.predict([make_window()], lambda: next(clock))[0].lag_ms == {"model": 4.0}


def test_windows_of_another_spec_are_refused_with_both_hashes(predictor: Predictor) -> None:
    other = msgspec.structs.replace(LIVE, hop_s=0.25)
    with pytest.raises(SpecError) as caught:
        predictor.predict([make_window(), make_window(spec=other)], lambda: 0)
    assert other.hash in str(caught.value) and LIVE.hash in str(caught.value)


def test_a_stream_of_the_wrong_shape_is_refused(predictor: Predictor) -> None:
    window = make_window()
    streams = {**window.streams, FACE: StreamData(np.zeros((3, 65), np.float32), np.ones(3, bool))}
    with pytest.raises(FeatureError, match="'face'"):
        predictor.check(msgspec.structs.replace(window, streams=streams))


def test_each_distinct_text_is_encoded_once_and_the_cache_is_bounded(text_folder: Path) -> None:
    states = TextStates(TextEncoder.load(text_folder), torch.device("cpu"), size=2)
    with torch.inference_mode():
        first, mask = states(["good day", "good day", ""])
        assert states.encoded == 1
        assert not bool(mask[2].any()) and bool(mask[0].all())
        again, _ = states(["good day"])
        assert states.encoded == 1
        torch.testing.assert_close(first[:1], again)
        states(["one", "two", "three"])
        states(["three"])
        assert states.encoded == 4
        states(["good day"])
        assert states.encoded == 5, "it was let go, since only two are kept"


def test_only_the_subsets_that_are_needed_are_asked_for() -> None:
    assert len(needed_subsets((True, True, True))) == 7
    assert needed_subsets((True, False, True)) == [
        (True, False, True), (False, False, True), (True, False, False),
    ]  # fmt: skip
    assert needed_subsets((False, True, False)) == [(False, True, False)]
    assert needed_subsets((False, False, False)) == []
    assert without((True, True, False), 0) == (False, True, False)
    assert only(2) == (False, False, True)


def test_a_device_that_is_not_there_is_named() -> None:
    assert choose_device("cpu").type == "cpu"
    with pytest.raises(CheckpointError, match="device 'abacus'"):
        choose_device("abacus")


def test_a_folder_without_a_checkpoint_is_refused(tmp_path: Path, assets: Assets) -> None:
    with pytest.raises(CheckpointError, match="no checkpoint"):
        Predictor(tmp_path, "cpu", assets)


def test_threads_that_another_library_took_are_given_back_before_a_batch(
    predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("model.predictor.os.cpu_count", lambda: 2)
    torch.set_num_threads(2)  # what loading a recogniser does
    predictor.predict([make_window()], time.monotonic_ns)
    assert torch.get_num_threads() == 1

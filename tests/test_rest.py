"""A resting stretch: what is taken, when, and what it does to windows and scores. About 6 s."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from capture.config import CaptureConfig
from capture.pipeline import Pipeline
from capture.sources import open_source
from capture.worker import _beat, _obey
from dashboard.lines import page_line, prediction_line
from dashboard.timeline import Timeline
from features import wire
from features.harness import Command, Harness, Setup
from features.messages import MODALITIES, Prediction, Statistics, Status, StreamData, Window
from features.rest import MIN_REST_S, REST_S, Resting
from features.samples import FaceQuality, FaceSample
from features.spec import FACE, LIVE, PITCH_COLUMN, STATES, VOICE
from features.windows import Windower, WindowerConfig
from model.checkpoint import Checkpoint, untrained
from model.networks.inputs import Prior, blend, normalise
from model.predictor import Predictor, without_rest
from model.resting import with_rest
from tests.made_windows import EVERYTHING, make_priors, make_window
from tests.test_predictor import CALIBRATION, CONFIG
from tests.test_windows import finals, media

STATIC = Path(__file__).parents[1] / "dashboard" / "static"
WIDTH = {s.name: s.width for s in LIVE.streams}


def hop(value: float, face: float = 1.0, speech: float = 1.0) -> dict[str, StreamData]:
    """Slices of one hop of which these shares are known."""
    out = {}
    for stream in LIVE.streams:
        steps = round(LIVE.hop_s * stream.rate_hz)
        share = face if stream.name == FACE else speech
        mask = np.arange(steps) < round(share * steps)
        values = np.where(mask[:, None], np.float32(value), np.float32(0)).repeat(stream.width, 1)
        out[stream.name] = StreamData(values, mask)
    return out


def test_exactly_the_stretch_is_taken() -> None:
    resting = Resting(LIVE)
    resting.begin(1.2, 2.0)
    for k in range(20):
        resting.add((k + 1) * LIVE.hop_s, hop(float(k)))
        assert (resting.left_s > 0) == (k < 6)
    # whole hops from 1.5 s on until 3.2 s are over: hops 3 to 6
    assert resting.means.keys() == {FACE, VOICE, STATES}
    np.testing.assert_allclose(resting.means[FACE], 4.5)
    assert resting.seconds[VOICE] == 2.0


def test_too_little_of_a_face_or_of_speech_leaves_what_was_known() -> None:
    before = {VOICE: np.full(WIDTH[VOICE], 7.0, np.float32)}
    resting = Resting(LIVE, before)
    resting.begin(0.0, 2.0)
    for k in range(4):
        resting.add((k + 1) * LIVE.hop_s, hop(1.0, face=1.0, speech=0.2))
    assert resting.seconds.keys() == {FACE}
    assert resting.means[VOICE][0] == 7.0 and resting.means[FACE][0] == 1.0
    assert resting.gauges() == {"rest face s": 2.0}


def test_speech_without_a_voiced_frame_is_no_resting_voice() -> None:
    resting = Resting(LIVE)
    resting.begin(0.0, MIN_REST_S)
    for k in range(2):
        slices = hop(1.0)
        slices[VOICE].values[:, PITCH_COLUMN] = 0.0
        resting.add((k + 1) * LIVE.hop_s, slices)
    assert resting.means.keys() == {FACE, STATES}


def windows_of(lossless: bool) -> dict[int, Window]:
    config = WindowerConfig("s", "me", "test", lossless=lossless)
    windower = Windower(config, origin_ns=0 if lossless else 1)
    windower.resting.begin(0.0, 3.0)
    out: list[Window] = []
    items: list[tuple[float, Any]] = sorted(media(9.0), key=lambda item: item[0])
    for time_s, sample in items:
        windower.add(sample)
        out += windower.advance(math.inf if lossless else time_s)
    return finals(out + windower.finish(9.0))


def test_live_and_file_take_the_same_rest_and_use_it_from_then_on() -> None:
    file, live = windows_of(True), windows_of(False)
    assert file.keys() == live.keys() and len(file) == 18
    for seq, window in file.items():
        for name in (FACE, VOICE):
            rest, other = (w.statistics[name].rest for w in (window, live[seq]))
            assert (rest is None) == (other is None) == (window.end_s < 3.0)
            if rest is not None and other is not None:
                np.testing.assert_array_equal(rest, other)
    _, back = wire.decode([bytes(f) for f in wire.encode(file[17], "test", 0)])
    assert isinstance(back, Window) and back.statistics[FACE].rest is not None


arrays = st.lists(st.floats(-3, 3), min_size=4, max_size=4).map(lambda x: np.array(x, np.float32))


@given(arrays, arrays, arrays, st.floats(0, 1000))
@settings(max_examples=60)
def test_at_rest_everybody_reads_as_most_people_do(
    offset: np.ndarray, drift: np.ndarray, away: np.ndarray, seconds: float
) -> None:
    """However somebody's rest differs, and whatever the session's mood was, and for other faces too."""
    most = np.array([0.1, -0.2, 0.3, 0.0], np.float32)
    prior = Prior(np.ones(4, np.float32), np.full(4, 4.0, np.float32), 60.0, rest=most)
    own = Statistics(drift, np.full(4, 4.0, np.float32), seconds, rest=most + offset)
    mask = np.ones(1, bool)
    as_most = normalise((most + away)[None], mask, blend(None, prior))
    np.testing.assert_allclose(
        normalise((most + offset + away)[None], mask, blend(own, prior)), as_most, atol=1e-5
    )
    plain = replace(own, rest=None)
    unknown = replace(prior, rest=None)
    for first, second in ((plain, prior), (own, unknown)):  # nothing to move by: as without
        np.testing.assert_array_equal(blend(first, second)[0], blend(plain, unknown)[0])


def test_how_most_people_rest_is_shipped_for_every_stream_of_this_version() -> None:
    for name, prior in with_rest(make_priors()).items():
        assert prior.rest is not None, f"{name}: run 'python -m model.live.resting build'"
        assert prior.rest.shape == (WIDTH[name],) and np.isfinite(prior.rest).all()


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    folder = tmp_path_factory.mktemp("checkpoint")
    fresh = untrained(config=CONFIG, seed=3)
    Checkpoint(fresh.network, fresh.priors, calibration=CALIBRATION, trained=False).save(folder)
    return Predictor(folder, "cpu")


def rested(seed: int) -> Window:
    window = make_window(seed)
    rng = np.random.default_rng(seed)
    statistics = {
        name: replace(own, rest=rng.normal(size=len(own.mean)).astype(np.float32))
        for name, own in window.statistics.items()
    }
    return replace(window, statistics=statistics)


def test_a_prediction_says_what_the_rest_changed(predictor: Predictor) -> None:
    windows = [rested(1), make_window(2), rested(3)]
    out = predictor.predict(windows, lambda: 0)
    bare = predictor.predict([without_rest(window) for window in windows], lambda: 0)
    assert out[1].rest is None and bare[0].rest is None
    for one, other in ((out[0], bare[0]), (out[2], bare[2])):
        assert one.sentiment is not None and other.sentiment is not None and one.rest is not None
        assert abs(one.rest) > 1e-4
        assert one.rest == pytest.approx(one.sentiment - other.sentiment, abs=1e-5)
    nothing = replace(rested(1), present=replace(EVERYTHING, text=False, voice=False, face=False))
    assert predictor.predict([nothing], lambda: 0)[0].rest is None


@given(
    st.one_of(st.none(), st.floats(-3, 3)),
    st.lists(st.floats(-3, 3), min_size=3, max_size=3),
    st.one_of(st.none(), st.floats(-3, 3)),
)
def test_a_line_adds_up_as_printed(
    sentiment: float | None, parts: list[float], rest: float | None
) -> None:
    window = make_window()
    shares = dict(zip(MODALITIES, parts if sentiment is not None else [0.0] * 3, strict=True))
    prediction = Prediction(
        session="s", participant="me", start_s=0, end_s=4, made_ns=0, source="x", seq=0, revision=0,
        final=True, sentiment=sentiment, low=sentiment, high=sentiment, coverage=0.8,
        present=window.present, contribution=shares, alone={}, text="", words=(), lag_ms={},
        rest=rest,
    )  # fmt: skip
    for line in (prediction_line(prediction), page_line(prediction)):
        total = sum(line["contribution"].values()) + line["shared"]
        assert round(total, 4) == (line["sentiment"] or 0.0)
        assert line["shared"] == pytest.approx(prediction.shared, abs=3e-4)


def shown_by_the_page(lines: list[dict[str, Any]], folder: Path) -> list[str]:
    """What the page writes of predictions, through the script engine that drives the browser tests."""
    from playwright._impl._driver import compute_driver_executable

    for script in STATIC.glob("*.js"):
        shutil.copy(script, folder)
    (folder / "package.json").write_text('{"type": "module"}')
    program = """
import { partsOf } from "./panel.js";
console.log(JSON.stringify(JSON.parse(process.argv[2]).map(partsOf)));
"""
    (folder / "program.js").write_text(program)
    command = [compute_driver_executable()[0], "program.js", json.dumps(lines)]
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=60, check=True
    )
    told: list[str] = json.loads(done.stdout)
    return told


def test_the_numbers_of_the_predictor_reach_the_page_and_add_up(
    predictor: Predictor, tmp_path: Path
) -> None:
    """From the network through the hub's memory to the words on the page."""
    windows = [rested(seed) for seed in range(4)]
    windows[3] = replace(windows[3], present=replace(EVERYTHING, text=False))
    predictions = predictor.predict(
        [replace(window, seq=seq) for seq, window in enumerate(windows)], lambda: 0
    )
    timeline = Timeline()
    for prediction in predictions:
        timeline.add(prediction)
    (strip,) = timeline.snapshot()["strips"]
    shown = shown_by_the_page(strip["predictions"], tmp_path)
    for prediction, line, text in zip(predictions, strip["predictions"], shown, strict=True):
        assert prediction.sentiment is not None and prediction.rest is not None
        for name in MODALITIES:
            assert line["contribution"][name] == round(prediction.contribution[name], 4)
        parts, whole = text.replace("\u2212", "-").split(" = ")
        figures = [float(part.split()[-1]) for part in parts.split(", ")]
        score, _, rest = whole.partition(" (rest ")
        assert round(sum(figures), 2) == float(score)
        there = [name for name in MODALITIES if getattr(prediction.present, name)]
        expected = [prediction.contribution[name] for name in there]
        assert figures == pytest.approx([*expected, prediction.shared], abs=0.021)
        assert figures[:-1] == pytest.approx(expected, abs=0.0051)
        assert float(score) == pytest.approx(prediction.sentiment, abs=0.0051)
        assert float(rest.rstrip(")")) == pytest.approx(prediction.rest, abs=0.0051)


def test_one_modality_shares_nothing(predictor: Predictor) -> None:
    window = replace(make_window(1), present=replace(EVERYTHING, text=False, face=False))
    assert predictor.predict([window], lambda: 0)[0].shared == pytest.approx(0.0, abs=1e-6)


class _Taken:
    """What a worker asked of its pipeline."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def rest(self, seconds: float) -> None:
        self.seconds.append(seconds)


def test_a_worker_takes_a_rest_on_command_and_no_nonsense() -> None:
    harness = Harness(Setup(name="w", role="capture"))
    try:
        for asked in ("4.5", "nan", "-1", "soon", "1e9"):
            harness.commands.put(Command("rest", {"seconds": asked}))
        harness.commands.put(Command("rest"))
        taken = _Taken()
        assert _obey(harness, taken, "running") == "running"  # type: ignore[arg-type]
        assert taken.seconds == [4.5, *[REST_S] * 5]
    finally:
        harness.close()


@pytest.mark.parametrize("by_command", [False, True])
def test_a_file_with_its_first_seconds_or_a_command_as_rest(
    demo_clip: Path, by_command: bool
) -> None:
    """Through the real extractors: the face of the demo clip, without sound."""
    config = CaptureConfig(
        source=str(demo_clip), sound=False, paced=False, rest_s=0.0 if by_command else 2.0
    )
    pipeline = Pipeline(config, open_source(config))
    asked: list[float] = []

    def on_tick() -> None:
        if by_command and not asked and pipeline.position_s > 1.0:
            pipeline.rest(2.0)
            asked.append(pipeline.position_s)

    windows = [m for m in pipeline.messages(on_tick=on_tick) if isinstance(m, Window)]
    first = next(w for w in windows if w.statistics[FACE].rest is not None)
    begun_s = asked[0] if by_command else 0.0
    assert first.end_s == pytest.approx(math.ceil(begun_s * 2) / 2 + 2.0)
    assert pipeline.gauges()["rest face s"] == pytest.approx(2.0, abs=0.2)
    means: Callable[[], Any] = pipeline.resting
    np.testing.assert_array_equal(means()[0][FACE], windows[-1].statistics[FACE].rest)


def test_a_rest_outlives_its_worker_and_is_not_taken_again(demo_clip: Path) -> None:
    config = CaptureConfig(source=str(demo_clip), sound=False, paced=False, rest_s=2.0)
    taken = {FACE: np.full(WIDTH[FACE], 0.5, np.float32)}
    pipeline = Pipeline(config, open_source(config), rest=taken)
    with closing(pipeline.messages()) as messages:
        first = next(m for m in messages if isinstance(m, Window))
    np.testing.assert_array_equal(first.statistics[FACE].rest, taken[FACE])
    assert "rest s left" not in pipeline.gauges()
    published: list[Status] = []
    harness = Harness(Setup(name="w", role="capture", carried={FACE: taken[FACE].tolist()}))
    harness.publish = published.append  # type: ignore[assignment, method-assign, return-value]
    try:
        _beat(harness, pipeline, "running")
        _, back = wire.decode([bytes(f) for f in wire.encode(published[0], "test", 0)])
        assert isinstance(back, Status)
        np.testing.assert_array_equal(back.carry[FACE], harness.carried[FACE])
    finally:
        harness.close()


def test_a_face_that_frowns_at_rest_reads_as_any_other_at_rest() -> None:
    """The windower's statistics and the priors together, for a face with an offset of its own."""
    priors = with_rest({s.name: Prior(np.zeros(s.width, np.float32), np.ones(s.width, np.float32), 60.0) for s in LIVE.streams})  # fmt: skip
    usual = priors[FACE].rest
    assert usual is not None
    read = []
    for offset in (0.0, 0.4):
        windower = Windower(WindowerConfig("s", "me", "x", voice=False, words=False, lossless=True))
        windower.resting.begin(0.0, 2.0)
        for k in range(90):
            values = (usual + np.float32(offset)).astype(np.float32)
            windower.add(FaceSample(k / 15, FaceQuality.OK, 1, values))
        window = windower.finish(6.0)[-1]
        stream = window.streams[FACE]
        mean, _ = blend(window.statistics[FACE], priors[FACE])
        read.append(stream.values[stream.mask] - mean)
    np.testing.assert_allclose(read[0], read[1], atol=1e-5)

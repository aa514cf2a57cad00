"""Appearance: crops that landmarks align, what is seen in them, and the network's training."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.progress import Progress

from features import appearance
from features.appearance import (
    ANCHORS,
    MIDDLE,
    PLACES,
    SIZE,
    Appearance,
    crop,
    similarity,
    standard,
)
from features.errors import FeatureError
from features.face import StillFaceExtractor
from features.spec import APPEARANCE, EXPRESSIONS, FACE, LIVE
from model.appearance.augmenting import augmented
from model.appearance.export import write_onnx
from model.appearance.learning import Plan, judge, slope, train
from model.appearance.network import AppearanceNetwork
from model.appearance.showing import Table, common
from model.corpora.pictures import MARGIN

pytestmark = pytest.mark.usefixtures("one_thread")


def smooth(seed: int, height: int = 240, width: int = 320) -> np.ndarray:
    """A picture of soft blobs, which shrinking changes little."""
    noise = np.random.default_rng(seed).integers(0, 255, (12, 16, 3), np.uint8)
    return cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)


def landmarks_at(onto: np.ndarray, height: int = 240, width: int = 320) -> np.ndarray:
    """Landmarks ``(478, 2)`` whose anchors lie where ``onto (2, 3)`` puts the crop's places."""
    points = np.zeros((478, 2))
    points[list(ANCHORS)] = PLACES @ onto[:, :2].T + onto[:, 2]
    return (points + 0.5) / (width, height)


def placed(angle: float, scale: float, x: float, y: float) -> np.ndarray:
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    turn = np.array([[cos, -sin], [sin, cos]])
    return np.column_stack([turn, np.array([x, y]) - turn @ np.full(2, MIDDLE)])


@given(angle=st.floats(-3, 3), scale=st.floats(0.2, 30), x=st.floats(-50, 50), y=st.floats(-50, 50))
def test_a_similarity_is_found_exactly(angle: float, scale: float, x: float, y: float) -> None:
    onto = placed(angle, scale, x, y)
    points = PLACES @ onto[:, :2].T + onto[:, 2]
    back = similarity(points, PLACES)
    np.testing.assert_allclose(points @ back[:, :2].T + back[:, 2], PLACES, atol=1e-6)


@given(
    seed=st.integers(0, 99),
    angle=st.floats(-0.8, 0.8),
    scale=st.floats(0.8, 3.0),
    x=st.floats(120, 200),
    y=st.floats(100, 140),
)
@settings(max_examples=40, deadline=None)
def test_the_crop_shows_what_lies_under_the_landmarks(
    seed: int, angle: float, scale: float, x: float, y: float
) -> None:
    image, onto = smooth(seed), placed(angle, scale, x, y)
    found = crop(image, landmarks_at(onto))
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    back = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    truth = cv2.warpAffine(grey, onto, (SIZE, SIZE), flags=back, borderMode=cv2.BORDER_REPLICATE)
    inner = (slice(4, -4),) * 2
    difference = np.abs(found[inner].astype(float) - truth[inner].astype(float))
    assert difference.mean() < 4


@given(seed=st.integers(0, 99), scale=st.floats(0.5, 6.0))
@settings(max_examples=30, deadline=None)
def test_the_margin_only_adds_what_lies_around(seed: int, scale: float) -> None:
    landmarks = landmarks_at(placed(0.2, scale, 150, 110))
    wide = crop(smooth(seed), landmarks, MARGIN)
    assert wide.shape == (SIZE + 2 * MARGIN,) * 2
    inner = wide[MARGIN:-MARGIN, MARGIN:-MARGIN].astype(float)
    assert np.abs(inner - crop(smooth(seed), landmarks).astype(float)).mean() < 2


@pytest.mark.parametrize(("x", "y"), [(-400, 50), (150, 900), (0, 0), (319, 239)])
def test_a_face_at_or_beyond_the_border_repeats_it(x: float, y: float) -> None:
    found = crop(smooth(1), landmarks_at(placed(0.0, 5.0, x, y)))
    assert found.shape == (SIZE, SIZE) and found.dtype == np.uint8


def test_light_and_contrast_say_nothing() -> None:
    pixels = np.random.default_rng(0).integers(60, 120, (3, SIZE, SIZE)).astype(np.uint8)
    np.testing.assert_allclose(standard(pixels * 2 + 5), standard(pixels), atol=1e-5)
    assert np.abs(standard(np.full((1, SIZE, SIZE), 77, np.uint8))).max() == 0


def test_the_spec_names_the_weights_and_the_columns() -> None:
    stream = LIVE.stream(FACE)
    assert f"appearance {appearance.version()}" in stream.extractor
    assert stream.columns[-len(APPEARANCE) :] == APPEARANCE
    assert len(APPEARANCE) == len(EXPRESSIONS)


def test_a_face_is_seen_alike_in_large_and_small_pictures(
    demo_clip: Path, face_folder: Path
) -> None:
    with av.open(str(demo_clip)) as clip:
        image = next(iter(clip.decode(video=0))).to_ndarray(format="rgb24")
    still = StillFaceExtractor(face_folder)
    landmarks = still.sample(image).landmarks
    still.close()
    assert landmarks is not None
    sees = Appearance()
    whole = sees.see(image, landmarks)
    large = cv2.resize(image, None, fx=3, fy=3, interpolation=cv2.INTER_CUBIC)
    assert whole.shape == (len(APPEARANCE),) and np.isfinite(whole).all()
    np.testing.assert_allclose(sees.see(large, landmarks), whole, atol=0.5)
    assert EXPRESSIONS[int(whole.argmax())] == "neutral", "he speaks neutrally"


def test_many_crops_give_what_each_gives() -> None:
    crops = np.random.default_rng(1).integers(0, 255, (5, SIZE, SIZE), np.uint8)
    sees = Appearance()
    np.testing.assert_allclose(
        sees.read(crops), np.concatenate([sees.read(c[None]) for c in crops]), atol=1e-4
    )


def test_missing_weights_are_said(tmp_path: Path) -> None:
    with pytest.raises(FeatureError, match=r"none\.onnx is missing"):
        Appearance(tmp_path / "none.onnx")


def test_the_exported_network_gives_what_the_trained_one_gives(tmp_path: Path) -> None:
    torch.manual_seed(3)
    network = AppearanceNetwork()
    with torch.no_grad():
        for _ in range(3):  # so that the norms have statistics of their own
            network(torch.randn(8, 1, SIZE, SIZE))
        network.common.normal_()
    write_onnx(network, tmp_path / "one.onnx")
    crops = np.random.default_rng(2).integers(0, 255, (4, SIZE, SIZE), np.uint8)
    with torch.inference_mode():
        own = network.eval()(torch.from_numpy(standard(crops))[:, None]).numpy()
    np.testing.assert_allclose(Appearance(tmp_path / "one.onnx").read(crops), own, atol=0.02)
    assert sum(p.numel() for p in network.parameters()) < 700_000


@given(seed=st.integers(0, 500))
@settings(max_examples=50, deadline=None)
def test_an_augmented_crop_is_a_crop(seed: int) -> None:
    aligned = smooth(seed, SIZE + 2 * MARGIN, SIZE + 2 * MARGIN)[..., 0]
    out = augmented(aligned, np.random.default_rng(seed))
    assert out.shape == (SIZE, SIZE) and out.dtype == np.float32
    assert np.isfinite(out).all() and np.abs(out.mean()) < 1.5
    np.testing.assert_array_equal(out, augmented(aligned, np.random.default_rng(seed)))


def test_common_is_the_share_of_the_side() -> None:
    expression = np.repeat(np.arange(7), [1, 1, 1, 1, 2, 3, 1])
    np.testing.assert_allclose(common(expression).exp(), [0.4] * 4 + [0.2, 0.3, 0.1], atol=0.01)


def test_the_rate_rises_and_falls() -> None:
    shares = [slope(done) for done in np.linspace(0, 1, 101)]
    peak = int(np.argmax(shares))
    assert shares[peak] == pytest.approx(1.0, abs=0.01) and 10 < peak < 20
    assert np.all(np.diff(shares[:peak]) > 0) and np.all(np.diff(shares[peak:]) < 0)


def faces(count: int, seed: int) -> Table:
    """Crops whose brightness is above for one expression and below for another."""
    chance = np.random.default_rng(seed)
    expression = np.where(np.arange(count) % 2, EXPRESSIONS.index("happy"), 0)
    side = SIZE + 2 * MARGIN
    crops = chance.integers(90, 110, (count, side, side)).astype(np.uint8)
    crops[expression == 0, : side // 2] += 60
    crops[expression > 0, side // 2 :] += 60
    return Table(crops, expression, np.where(expression > 0, 2, -2).astype(np.float32))


def test_it_learns_and_goes_on_after_a_kill_to_the_same_weights(tmp_path: Path) -> None:
    table, valid = faces(64, 0), faces(28, 1)
    plan = Plan(epochs=3, batch=16)
    with Progress(disable=True) as progress:
        straight = train(table, valid, plan, tmp_path / "one", progress)
        with pytest.raises(KeyboardInterrupt):
            train(table, valid, plan, tmp_path / "two", _Killing(5))
        resumed = train(table, valid, plan, tmp_path / "two", progress)
    for name, value in straight.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], value)
    found = judge(straight, valid)
    assert set(found) == {"accuracy_7", "balanced_3"}


def test_a_state_of_other_pictures_is_not_gone_on_with(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    valid, plan = faces(28, 1), Plan(epochs=1, batch=16)

    def trained(table: Table, folder: str) -> dict[str, torch.Tensor]:
        with Progress(disable=True) as progress:
            return train(table, valid, plan, tmp_path / folder, progress).state_dict()

    first, second = faces(32, 0), faces(32, 2)
    trained(first, "one")
    for table in (second, replace(second, valence=-second.valence)):
        anew, straight = trained(table, "one"), trained(table, f"by itself {table.valence[0]}")
        for name, value in straight.items():
            torch.testing.assert_close(anew[name], value, msg=name)
    assert caplog.text.count("begun anew") == 2


class _Killing(Progress):
    """Interrupts after some steps."""

    def __init__(self, steps: int) -> None:
        super().__init__(disable=True)
        self._steps = steps

    def advance(self, task_id: object, advance: float = 1) -> None:  # type: ignore[override]
        self._steps -= 1
        if not self._steps:
            raise KeyboardInterrupt

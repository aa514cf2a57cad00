"""Face: real pictures of the demo clip through the real model."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import features.face
from features.errors import FeatureError
from features.face import KEEP_S, FaceExtractor, FaceFollower, StillFaceExtractor, pose
from features.native_log import without_chatter
from features.samples import FaceQuality, FaceSample
from features.spec import BLENDSHAPES

STEP_S = 1 / 15


@pytest.fixture(scope="module")
def pictures(demo_clip: Path) -> list[np.ndarray]:
    """Every second picture of the demo clip's first four seconds, 640 x 480."""
    with av.open(str(demo_clip)) as clip:
        decoded = [frame.to_ndarray(format="rgb24") for frame in clip.decode(video=0)]
    return decoded[:120:2]


@pytest.fixture
def face(face_folder: Path) -> Iterator[FaceExtractor]:
    extractor = FaceExtractor(face_folder)
    yield extractor
    extractor.close()


@pytest.fixture(scope="module")
def still(face_folder: Path) -> Iterator[StillFaceExtractor]:
    extractor = StillFaceExtractor(face_folder)
    yield extractor
    extractor.close()


def push_all(
    face: FaceExtractor, images: list[np.ndarray], start_s: float = 0.0
) -> list[FaceSample]:
    return [face.push(image, start_s + i * STEP_S) for i, image in enumerate(images)]


def half(image: np.ndarray, scale: float) -> np.ndarray:
    """The person, 360 x 480, scaled by at most 1 in the middle of grey; 0 is an empty half."""
    person = image[:, 90:450]
    canvas = np.full_like(person, 127)
    if scale:
        small = cv2.resize(person, (round(360 * scale), round(480 * scale)))
        top, left = (480 - small.shape[0]) // 2, (360 - small.shape[1]) // 2
        canvas[top : top + small.shape[0], left : left + small.shape[1]] = small
    return canvas


def pair(image: np.ndarray, left: float, right: float) -> np.ndarray:
    """Two persons side by side, 720 x 480, at two scales."""
    return np.hstack([half(image, left), half(image, right)])


def side(sample: FaceSample) -> str:
    if sample.landmarks is None:
        return "-"
    return "L" if sample.landmarks[:, 0].mean() < 0.5 else "R"


def test_a_speaking_person(face: FaceExtractor, pictures: list[np.ndarray]) -> None:
    samples = push_all(face, pictures, start_s=7.0)
    assert [sample.quality for sample in samples] == [FaceQuality.OK] * len(pictures)
    assert samples[3].time_s == 7.0 + 3 * STEP_S
    values = np.stack([sample.values for sample in samples if sample.values is not None])
    assert values.shape == (len(pictures), 65)
    assert values.dtype == np.float32
    shapes, angles, place = values[:, :52], values[:, 52:55], values[:, 55:58]
    assert shapes.min() >= 0 and shapes.max() <= 1
    assert np.ptp(shapes[:, BLENDSHAPES.index("jawOpen")]) > 0.1  # he speaks
    assert np.abs(angles).max() < 0.7
    assert (place[:, 2] < -15).all() and (place[:, 2] > -150).all()
    landmarks = samples[0].landmarks
    assert landmarks is not None
    assert landmarks.shape == (478, 2) and landmarks.dtype == np.float32
    assert landmarks.min() > 0 and landmarks.max() < 1


def test_same_pictures_give_the_same_numbers(face_folder: Path, pictures: list[np.ndarray]) -> None:
    runs = []
    for start_s in (0.0, 3600.0):
        face = FaceExtractor(face_folder)
        runs.append(np.stack([s.values for s in push_all(face, pictures[:20], start_s)]))  # type: ignore[misc]
        face.close()
    np.testing.assert_array_equal(runs[0], runs[1])


def test_mirrored_picture_mirrors_the_pose(
    still: StillFaceExtractor, pictures: list[np.ndarray]
) -> None:
    straight = still.sample(pictures[0]).values
    mirrored = still.sample(np.ascontiguousarray(pictures[0][:, ::-1])).values
    assert straight is not None and mirrored is not None
    pitch, yaw, roll, x, y, z = straight[52:58]
    np.testing.assert_allclose(mirrored[52:55], [pitch, -yaw, -roll], atol=0.06)
    np.testing.assert_allclose(mirrored[55:58], [-x, y, z], atol=0.05 * abs(z))
    assert abs(roll) > 0.06 and abs(x) > 2  # so that the signs are truly seen


def test_tilted_picture_turns_the_roll(
    still: StillFaceExtractor, pictures: list[np.ndarray]
) -> None:
    height, width = pictures[0].shape[:2]
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), 20, 1.0)  # 20 degrees to the left
    straight = still.sample(pictures[0]).values
    tilted = still.sample(cv2.warpAffine(pictures[0], turn, (width, height))).values
    assert straight is not None and tilted is not None
    assert tilted[54] - straight[54] == pytest.approx(np.radians(20), abs=0.1)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_pose_of_a_known_rotation(axis: int) -> None:
    angle = 0.4
    c, s = np.cos(angle), np.sin(angle)
    rotations = (
        [[1, 0, 0], [0, c, -s], [0, s, c]],
        [[c, 0, s], [0, 1, 0], [-s, 0, c]],
        [[c, -s, 0], [s, c, 0], [0, 0, 1]],
    )
    matrix = np.eye(4)
    matrix[:3, :3] = rotations[axis]
    matrix[:3, 3] = [1, 2, -50]
    expected = np.array([0, 0, 0, 1, 2, -50], np.float32)
    expected[axis] = angle
    np.testing.assert_allclose(pose(matrix), expected, atol=1e-6)


def test_larger_of_two_is_followed_until_it_is_clearly_the_smaller(
    face: FaceExtractor, pictures: list[np.ndarray]
) -> None:
    # The left one shrinks slowly from 1.4 times the right one's size to half of it; areas: squares.
    left = np.linspace(1.0, 0.5, len(pictures))
    right = np.linspace(0.7, 1.0, len(pictures))
    samples = push_all(face, list(map(pair, pictures, left, right)))
    assert max(sample.faces for sample in samples) == 2
    sides = "".join(map(side, samples)).replace("-", "")
    assert len(sides) > 0.8 * len(pictures)
    change = sides.index("R")
    assert sides == "L" * change + "R" * (len(sides) - change)
    ratio = (left / right)[next(number for number, s in enumerate(samples) if side(s) == "R")]
    assert 0.65 < ratio < 0.85  # the square root of 0.6 is 0.77


def test_a_missing_face_is_waited_for_then_replaced(
    face: FaceExtractor, pictures: list[np.ndarray]
) -> None:
    both = [pair(image, 1.0, 0.9) for image in pictures[:6]]
    alone = [pair(image, 0, 0.9) for image in pictures[6:18]]
    sides = "".join(map(side, push_all(face, both + alone)))
    waited = int(KEEP_S / STEP_S)
    assert sides[:6] == "LLLLLL"
    assert sides[6:].lstrip("-") == "R" * sides[6:].count("R")
    assert abs(sides.count("-") - waited) <= 1


@given(
    jitter=st.lists(
        st.tuples(st.floats(-0.02, 0.02), st.floats(0.8, 1.25)), min_size=2, max_size=40
    )
)
def test_follower_does_not_flip_between_faces_of_like_size(
    jitter: list[tuple[float, float]],
) -> None:
    follower = FaceFollower()
    chosen = []
    for number, (shift, size) in enumerate(jitter):
        edge = 0.2 * np.sqrt(size if number else 1.5)
        boxes = [
            np.array([0.1 + shift, 0.3, 0.1 + shift + edge, 0.3 + edge]),
            np.array([0.6, 0.3, 0.8, 0.5]),
        ]
        chosen.append(follower.choose(boxes, number * STEP_S))
    assert chosen == [0] * len(jitter)


def test_nobody_there(face: FaceExtractor) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (480, 640, 3)).astype(np.uint8)
    sample = face.push(noise, 0.0)
    assert (sample.quality, sample.faces) == (FaceQuality.NO_FACE, 0)
    assert sample.values is None and sample.landmarks is None


@pytest.mark.parametrize("gain", [0.0, 0.02, 0.05])
def test_a_dark_picture_is_called_dark(
    face: FaceExtractor, pictures: list[np.ndarray], gain: float
) -> None:
    dark = [(image * gain).astype(np.uint8) for image in pictures[:4]]
    samples = push_all(face, dark)
    assert {sample.quality for sample in samples} == {FaceQuality.TOO_DARK}
    assert all(sample.values is None for sample in samples)


def test_a_lit_face_in_a_dark_room_is_not_too_dark(
    face: FaceExtractor, pictures: list[np.ndarray]
) -> None:
    room = np.zeros((720, 960, 3), np.uint8)
    room[100:580, 200:840] = pictures[0] // 8
    assert room.mean() < features.face.DARK_LUMINANCE
    assert face.push(room, 0.0).quality is FaceQuality.OK


@pytest.mark.parametrize("size", [(3840, 2880), (1280, 720), (160, 120), (641, 363)])
def test_pictures_of_any_size(
    face: FaceExtractor, pictures: list[np.ndarray], size: tuple[int, int]
) -> None:
    assert face.push(cv2.resize(pictures[0], size), 0.0).quality is FaceQuality.OK
    # A size that changes under way, to an upright one.
    assert face.push(half(pictures[1], 1.0), 1.0).quality is FaceQuality.OK


def test_tiny_and_strided_pictures_do_not_crash(
    face: FaceExtractor, pictures: list[np.ndarray]
) -> None:
    assert face.push(pictures[0][:1, :1], 0.0).faces == 0
    view = pictures[0][:, ::-1]
    view.flags.writeable = False
    assert face.push(view, 1.0).quality is FaceQuality.OK


def test_still_pictures_are_independent(
    still: StillFaceExtractor, pictures: list[np.ndarray]
) -> None:
    first = still.sample(pictures[0]).values
    assert still.sample(np.zeros_like(pictures[0])).quality is FaceQuality.TOO_DARK
    again = still.sample(pictures[0]).values
    assert first is not None and again is not None
    np.testing.assert_array_equal(first, again)
    assert side(still.sample(pair(pictures[0], 0.7, 1.0))) == "R"
    assert side(still.sample(pair(pictures[0], 1.0, 0.7))) == "L"


@pytest.mark.parametrize("time_s", [1.0, 0.9, float("nan")])
def test_times_must_rise(face: FaceExtractor, pictures: list[np.ndarray], time_s: float) -> None:
    face.push(pictures[0], 1.0)
    with pytest.raises(FeatureError, match="times must rise"):
        face.push(pictures[1], time_s)


def test_pictures_less_than_a_millisecond_apart(
    face: FaceExtractor, pictures: list[np.ndarray]
) -> None:
    for number in range(5):
        assert face.push(pictures[number], number * 1e-4).quality is FaceQuality.OK


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((480, 640), np.uint8),
        np.zeros((480, 640, 4), np.uint8),
        np.zeros((480, 640, 3), np.float32),
        np.zeros((0, 640, 3), np.uint8),
    ],
)
def test_what_is_no_picture_is_refused(face: FaceExtractor, image: np.ndarray) -> None:
    with pytest.raises(FeatureError, match="must be"):
        face.push(image, 0.0)


def test_nothing_after_close(face_folder: Path, pictures: list[np.ndarray]) -> None:
    face = FaceExtractor(face_folder)
    face.close()
    face.close()
    with pytest.raises(FeatureError, match="after the end"):
        face.push(pictures[0], 0.0)


def test_missing_and_broken_weights_are_named(tmp_path: Path) -> None:
    with pytest.raises(FeatureError, match=r"face_landmarker\.task is missing.*models fetch"):
        FaceExtractor(tmp_path)
    (tmp_path / "face_landmarker.task").write_bytes(b"not a model" * 100)
    with pytest.raises(FeatureError, match="cannot be loaded") as caught:
        FaceExtractor(tmp_path)
    assert "\n" not in str(caught.value)


def test_other_blendshapes_are_refused(
    face: FaceExtractor, pictures: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(features.face, "BLENDSHAPES", (*BLENDSHAPES[:-1], "earWiggle"))
    with pytest.raises(FeatureError, match=r"earWiggle.*noseSneerRight"):
        face.push(pictures[0], 0.0)


def test_quiet_on_the_terminal_but_errors_pass(
    face_folder: Path, pictures: list[np.ndarray], capfd: pytest.CaptureFixture[str]
) -> None:
    face = FaceExtractor(face_folder)
    push_all(face, pictures[:3])
    face.close()
    assert capfd.readouterr().err == ""
    with without_chatter():
        os.write(2, b"W0000 00:00:1.5 chatter\nE0000 00:00:1.5 a true error\nINFO: ours\n")
    os.write(2, b"later\n")
    assert capfd.readouterr().err == "E0000 00:00:1.5 a true error\nINFO: ours\nlater\n"

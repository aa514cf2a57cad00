"""Pictures and lines of text: read as they are, through the live windower and network. About 8 s."""

from __future__ import annotations

import io
import json
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from capture.singles import StillReader, Whose, text_window
from capture.stills import read_still, still_kind
from dashboard import singles
from dashboard.cli import app
from dashboard.singles import read_lines, score_lines
from features.errors import SourceError
from features.face import StillFaceExtractor
from features.messages import Present
from features.samples import FaceQuality
from features.spec import FACE, LIVE, STATES, VOICE
from model.checkpoint import Checkpoint, untrained
from model.predictor import Predictor
from tests.test_predictor import CALIBRATION, CONFIG

WHOSE = Whose("s", "me", "x")


@pytest.fixture(scope="module")
def picture(demo_clip: Path) -> np.ndarray:
    """A frame of the demo clip, RGB."""
    with av.open(str(demo_clip)) as clip:
        image: np.ndarray = next(clip.decode(video=0)).to_ndarray(format="rgb24")
    return image


def write(path: Path, image: np.ndarray) -> Path:
    cv2.imwrite(str(path), image[..., ::-1])
    return path


@pytest.mark.parametrize(
    ("suffix", "kind", "off"),
    [
        (".jpg", "JPEG", 20), (".png", "PNG", 0), (".webp", "WebP", 20), (".bmp", "BMP", 0),
        (".tif", "TIFF", 0), (".avif", "AVIF", 30), (".jp2", "JPEG 2000", 30),
    ],
)  # fmt: skip
def test_pictures_are_known_by_what_is_in_them(
    suffix: str, kind: str, off: int, picture: np.ndarray, tmp_path: Path
) -> None:
    path = write(tmp_path / f"ein Bild ü{suffix}", picture)
    other = path.rename(tmp_path / "no suffix")
    assert still_kind(other) == kind
    image = read_still(other)
    assert image.shape == picture.shape and image.dtype == np.uint8
    assert np.abs(image.astype(int) - picture).mean() <= off / 4
    assert other.exists()


def test_what_is_no_picture(demo_clip: Path, tmp_path: Path) -> None:
    text = tmp_path / "text.jpg"
    text.write_text("words")
    (tmp_path / "empty.jpg").touch()
    moving = tmp_path / "many.mjpeg"
    moving.write_bytes(b"\xff\xd8\xff")
    for path in (demo_clip, text, tmp_path / "empty.jpg", moving, tmp_path, tmp_path / "nowhere"):
        assert still_kind(path) == ""


def test_a_picture_is_turned_as_its_camera_says(picture: np.ndarray, tmp_path: Path) -> None:
    path = write(tmp_path / "a.jpg", picture)
    coded = path.read_bytes()
    entry = b"\x12\x01\x03\x00\x01\x00\x00\x00\x06\x00\x00\x00"  # orientation 6: a quarter turn
    exif = b"Exif\x00\x00II*\x00\x08\x00\x00\x00\x01\x00" + entry + b"\x00\x00\x00\x00"
    mark = b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif
    path.write_bytes(coded[:2] + mark + coded[2:])
    turned = read_still(path)
    assert turned.shape == (picture.shape[1], picture.shape[0], 3)
    assert np.abs(np.rot90(turned).astype(int) - picture).mean() < 5


def test_grey_deep_transparent_and_large_pictures_are_read(tmp_path: Path) -> None:
    made = {
        "grey.png": np.full((40, 50), 9, np.uint8),
        "deep.png": np.full((40, 50, 3), 40_000, np.uint16),
        "clear.png": np.full((40, 50, 4), 9, np.uint8),
        "large.png": np.zeros((500, 2000, 3), np.uint8),
    }
    for name, image in made.items():
        cv2.imwrite(str(tmp_path / name), image)
    assert read_still(tmp_path / "grey.png").shape == (40, 50, 3)
    assert read_still(tmp_path / "deep.png").max() == 156
    assert read_still(tmp_path / "clear.png").shape == (40, 50, 3)
    assert read_still(tmp_path / "large.png").shape == (320, 1280, 3)


def test_what_cannot_be_decoded_is_one_line_and_no_chatter(
    picture: np.ndarray, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for suffix in (".jpg", ".png", ".webp", ".tif"):
        path = write(tmp_path / f"cut{suffix}", picture)
        path.write_bytes(path.read_bytes()[:200])
        with pytest.raises(SourceError, match=rf"cut{suffix}: this \w+ cannot be decoded; save it"):
            read_still(path)
    for path, reason in ((tmp_path, "folder"), (tmp_path / "no.jpg", "no such file")):
        with pytest.raises(SourceError, match=reason):
            read_still(path)
    assert capfd.readouterr().err == ""


def test_a_picture_is_a_face_that_holds_still(face_folder: Path, picture: np.ndarray) -> None:
    reader, extractor = StillReader(face_folder), StillFaceExtractor(face_folder)
    try:
        window, quality, moments = reader.window(picture, WHOSE)
        values = extractor.sample(picture).values
        nothing, why, empty = reader.window(np.full_like(picture, 127), WHOSE)
        dark = reader.window(np.zeros_like(picture), WHOSE)
    finally:
        reader.close()
        extractor.close()
    assert values is not None and quality is FaceQuality.OK
    assert window.present == Present(text=False, voice=False, face=True)
    assert (window.seq, window.start_s, window.end_s, window.final) == (0, 0.0, 4.0, True)
    assert window.spec == LIVE.hash and window.streams[FACE].mask.all()
    np.testing.assert_array_equal(window.streams[FACE].values, np.repeat(values[None], 40, 0))
    assert not window.streams[VOICE].mask.any() and not window.streams[STATES].mask.any()
    assert moments.steps == 40 and not moments.variance.any()
    assert (why, dark[1]) == (FaceQuality.NO_FACE, FaceQuality.TOO_DARK)
    assert not nothing.present.any() and not dark[0].present.any() and empty.steps == 0


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    folder = tmp_path_factory.mktemp("checkpoint")
    fresh = untrained(config=CONFIG, seed=3)
    Checkpoint(fresh.network, fresh.priors, calibration=CALIBRATION, trained=False).save(folder)
    return Predictor(folder, "cpu")


def test_a_line_is_words_alone() -> None:
    window = text_window("  Well -- I'm  GLAD! ", WHOSE, 7)
    assert (window.text, window.seq) == ("well -- i'm glad!", 7)
    assert [word.text for word in window.words] == ["Well", "--", "I'm", "GLAD!"]
    assert window.present == Present(text=True, voice=False, face=False)
    for blank in ("", "   ", "\t"):
        assert not text_window(blank, WHOSE).present.any()


def test_lines_come_back_in_their_order_whatever_their_length(
    predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(singles, "LINES", 6)
    lines = [f"{'really ' * (k * 7 % 11)}good {k}" for k in range(15)]
    lines[3] = ""
    lines[4] = "word " * 100
    out = list(score_lines(lines, 10, WHOSE, predictor))
    assert [line.prediction.seq for line in out] == list(range(10, len(lines) + 10))
    assert [k for k, line in enumerate(out) if line.cut] == [4]
    assert out[3].prediction.sentiment is None
    for k in (0, 1, 7):
        single = next(score_lines([lines[k]], 0, WHOSE, predictor)).prediction
        assert out[k].prediction.sentiment == pytest.approx(single.sentiment, abs=1e-5)
        assert out[k].prediction.words == single.words


class Dripping(io.RawIOBase):
    """A pipe that gives a few bytes at a time."""

    def __init__(self, data: bytes, sizes: list[int]) -> None:
        self._data = data
        self._sizes = iter(sizes)

    def read1(self, size: int) -> bytes:
        count = next(self._sizes, size)
        piece, self._data = self._data[:count], self._data[count:]
        return piece


@settings(max_examples=50)
@given(
    st.lists(
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n\x00\r\ufeff"))
    ),
    st.lists(st.integers(1, 7)),
    st.booleans(),
)
def test_lines_are_those_of_the_text_however_they_come(
    lines: list[str], sizes: list[int], ends: bool
) -> None:
    data = "\n".join(lines).encode() + b"\n" * ends
    expected = lines if ends or (lines and lines[-1]) else lines[:-1]
    got = [line for part in read_lines(Dripping(data, sizes), "x") for line in part]  # type: ignore[arg-type]
    assert got == (expected or ([""] if ends else []))


def test_marks_and_ends_of_other_systems_are_left_out_and_what_is_no_text_is_refused() -> None:
    assert list(read_lines(io.BytesIO("\ufeffa\r\nb\r\n".encode()), "x")) == [["a", "b"]]
    for data, reason in (
        (b"a\nb\xff\n", "x: line 2 is not UTF-8"),
        (b"a\x00b", "x: line 1 is not text"),
        (b"a\n" + b"b" * (1 << 21), "x: line 2 is longer than 1 MiB"),
    ):
        with pytest.raises(SourceError, match=reason):
            list(read_lines(io.BytesIO(data), "x"))


def test_a_mixed_list_by_the_command_line(picture: np.ndarray, tmp_path: Path) -> None:
    """Pictures good and bad, a text and standard input, in one call with the shipped checkpoint."""
    face = write(tmp_path / "face.jpg", picture)
    wall = write(tmp_path / "wall.png", np.full_like(picture, 127))
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(face.read_bytes()[:100])
    chat = tmp_path / "chat.txt"
    chat.write_text("I love this\n\nI hate this\n")
    asked = [
        "score",
        face,
        wall,
        broken,
        face,
        chat,
        "--text",
        chat,
        "--text",
        "-",
        "--device",
        "cpu",
    ]
    done = CliRunner().invoke(app, [str(one) for one in asked], input="what a lovely day")
    assert done.exit_code == 2
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(line["session"], line["seq"]) for line in lines] == [
        ("face.jpg", 0), ("wall.png", 0), ("face-2.jpg", 0),
        ("chat-2.txt", 0), ("chat-2.txt", 1), ("chat-2.txt", 2), ("stdin", 0),
    ]  # fmt: skip
    by_face, wall_line, again, love, blank, hate, lovely = lines
    assert by_face["present"] == {"text": False, "voice": False, "face": True}
    assert by_face["sentiment"] == again["sentiment"] == by_face["contribution"]["face"]
    assert wall_line["sentiment"] is None and blank["sentiment"] is None
    assert love["sentiment"] > 1 > -1 > hate["sentiment"] and lovely["sentiment"] > 1
    assert done.stderr.splitlines() == [
        f"tonality: {wall}: no face is found in it, so it has no score",
        f"tonality: {broken}: this JPEG cannot be decoded; save it as JPEG or PNG",
        f"tonality: {chat}: looks like text; score its lines with --text {chat}",
    ]


def test_what_makes_no_sense_is_refused_before_anything_is_loaded(tmp_path: Path) -> None:
    face = write(tmp_path / "face.jpg", np.zeros((9, 9, 3), np.uint8))
    run = CliRunner()
    for asked, reason in (
        (["score"], "at least one"),
        (["score", "--text", "-", "--text", "-"], "read once"),
        (["score", str(face), "--rest-seconds", "3"], "first seconds"),
        (["score", str(face), "--format", "xml"], "neither jsonl nor csv"),
    ):
        done = run.invoke(app, asked)
        assert done.exit_code == 2 and reason in " ".join(done.output.split())

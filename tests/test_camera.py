"""The virtual camera: what belongs to a picture, how it is drawn, and how it is sent."""

from __future__ import annotations

import functools
import sys
import threading
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import pyvirtualcam
from msgspec.structs import replace
from PIL import Image
from typer.testing import CliRunner

import dashboard.runtime
from capture.config import CaptureConfig
from capture.frames import Frame, FrameReader, FrameWriter
from dashboard.burning import CORNERS, Burner, colour, signed
from dashboard.camera import GREY, MENDS, Format, Mixer, Overlay, fitted, open_virtual_camera
from dashboard.cli import app
from dashboard.runtime import Runtime
from dashboard.shown import MAX_KEPT, STALE_S, Scores, Shown
from features.broker import Broker
from features.bus import Publisher
from features.errors import TonalityError
from features.threads import OwnedThread
from tests.browser import eventually
from tests.workers.scripted import SPEECH, WORD_S, Script, score_at

SMALL = Format(320, 180, 30.0)


@pytest.fixture
def script() -> Script:
    return Script(CaptureConfig(session="s", participant="me"))


def told(script: Script, until: int = 60) -> Scores:
    scores = Scores()
    for seq in range(until):
        for revision in (0, 1):
            scores.add(script.prediction(seq, revision))
    scores.add(script.transcript((until + 8) * 0.5))
    return scores


def frame(time_s: float, number: int = 1, writer: int = 1, value: int = 128) -> Frame:
    return Frame(number, time_s, writer, np.full((180, 320, 3), value, np.uint8))


# What belongs to a moment.


@pytest.mark.parametrize("time_s", [8.0, 8.01, 8.49, 12.5, 19.75])
def test_a_picture_gets_the_newest_window_that_ends_no_later(script: Script, time_s: float) -> None:
    shown = told(script).at(time_s)
    assert shown is not None
    assert shown.end_s == np.floor(time_s * 2) / 2
    assert shown.score == pytest.approx(score_at(shown.end_s))
    assert max(point.end_s for point in shown.points) == shown.end_s
    said = int((time_s - 0.36) / WORD_S)  # the last word that had been said whole
    assert shown.words[-1][0] == SPEECH[said % len(SPEECH)]
    assert shown.change is None or shown.change == pytest.approx(
        score_at(shown.end_s) - score_at(shown.end_s - 4.0)
    )


def test_what_is_old_or_not_yet_known_belongs_to_no_picture(script: Script) -> None:
    scores = told(script, 20)
    last_s = (19 + 8) * 0.5
    assert scores.at(3.9) is None
    assert scores.at(last_s + STALE_S) is not None
    assert scores.at(last_s + STALE_S + 0.01) is None
    assert Scores().at(5.0) is None


def test_later_revisions_replace_earlier_ones_and_memory_is_bounded(script: Script) -> None:
    scores = Scores()
    first = script.prediction(4, 0)
    scores.add(replace(first, revision=1, sentiment=-2.0))
    scores.add(replace(first, sentiment=2.0))
    shown = scores.at(first.end_s)
    assert shown is not None and shown.score == -2.0
    for seq in range(3 * MAX_KEPT):
        scores.add(replace(first, seq=seq))
    assert len(scores._predictions) == MAX_KEPT


def test_a_new_clock_begins_anew(script: Script) -> None:
    scores = told(script)
    scores.begin(7)
    assert scores.at(20.0) is not None
    scores.begin(8)
    assert scores.at(20.0) is None


# How it is drawn.


def shown_at(script: Script, time_s: float) -> Shown:
    shown = told(script).at(time_s)
    assert shown is not None
    return shown


@pytest.mark.parametrize("corner", CORNERS)
def test_only_the_corner_of_the_picture_is_changed(script: Script, corner: str) -> None:
    image = np.full((480, 640, 3), 200, np.uint8)
    Burner(corner=corner).burn(image, shown_at(script, 10.0))
    changed = (image != 200).any(axis=-1)
    rows, columns = np.nonzero(changed)
    assert bool(rows.mean() > 240) is corner.startswith("bottom")
    assert bool(columns.mean() > 320) is corner.endswith("right")
    assert 0.05 < changed.mean() < 0.2
    spread = image.max(axis=-1).astype(int) - image.min(axis=-1)
    assert (spread > 60).sum() > 300  # in the colours of the scale


def test_colours_and_signs_are_those_of_the_page() -> None:
    assert colour(3.0) == (108, 180, 255) and colour(-3.0) == (255, 160, 84)
    assert colour(0.0) == colour(None) == (160, 166, 176)
    assert [signed(x) for x in (1.24, -1.26, 0.01, -0.04, None)] == [
        "+1.2",
        "-1.3",
        "0.0",
        "0.0",
        "-",
    ]


def test_parts_are_left_out_and_strength_fades(script: Script) -> None:
    shown = shown_at(script, 10.0)

    def difference(burner: Burner, strength: float = 1.0) -> float:
        image = np.full((480, 640, 3), 200, np.uint8)
        burner.burn(image, shown, strength)
        return float(np.abs(image.astype(int) - 200).sum())

    whole = difference(Burner())
    assert 0 < difference(Burner(("score",))) < 0.6 * whole
    assert difference(Burner(())) == difference(Burner(), 0.0) == 0
    assert difference(Burner(), 0.5) == pytest.approx(whole / 2, rel=0.05)
    assert difference(Burner(scale=2.0)) > 2 * whole


def test_letters_are_set_only_when_something_has_changed(script: Script) -> None:
    burner, scores = Burner(), told(script)
    for n in range(30):
        shown = scores.at(10.2 + n / 300)
        assert shown is not None
        burner.burn(np.zeros((180, 320, 3), np.uint8), shown)
    assert burner.drawn == 1


def test_a_picture_smaller_than_the_panel_is_no_trouble(script: Script) -> None:
    image = np.full((20, 24, 3), 200, np.uint8)
    Burner(scale=4.0).burn(image, shown_at(script, 10.0))
    assert (image != 200).any()


def test_pictures_are_fitted_whole_with_bars() -> None:
    wide = fitted(np.full((100, 400, 3), 90, np.uint8), SMALL)
    assert wide.shape == (180, 320, 3)
    assert (wide[50:130] == 90).all() and (wide[:49] == 0).all() and (wide[131:] == 0).all()
    assert (fitted(np.full((480, 640, 3), 90, np.uint8), SMALL)[:, 41:279] == 90).all()


# Pictures and scores together.


def test_without_new_scores_the_overlay_fades_and_is_gone(script: Script) -> None:
    mixer = Mixer(SMALL, Burner(), told(script, 20))

    def covered(time_s: float) -> float:
        mixer.take(frame(time_s))
        image = mixer.give()
        assert image is not None
        return float(np.abs(image.astype(int) - 128).sum())

    full = covered(13.5 + STALE_S)
    assert full > 0
    assert 0 < covered(13.5 + STALE_S + 0.4) < full
    assert covered(13.5 + STALE_S + 0.9) == 0
    assert covered(13.5) > 0
    assert (mixer.nothing() == GREY).all()
    assert covered(13.5 + STALE_S + 0.1) == 0  # after a break nothing old comes back


def test_with_a_delay_a_picture_waits_for_its_own_score(script: Script) -> None:
    """Scores come 0.3 s after the window's end; held back by 0.4 s, each picture meets its own."""
    scores = Scores()
    burnt: list[tuple[float, float]] = []

    class Seen(Burner):
        def burn(self, image: np.ndarray, shown: Shown, strength: float = 1.0) -> None:
            burnt.append((float(image[0, 0, 0]), shown.end_s))

    mixer = Mixer(SMALL, Seen(), scores, delay_s=0.4)
    known = 0
    for tick in range(300):
        now_s = 4.0 + tick / 30
        while (known + 8) * 0.5 + 0.3 <= now_s:
            scores.add(script.prediction(known, 0))
            known += 1
        mixer.take(frame(now_s, value=tick % 250))
        mixer.give()
    late = [(4.0 + tick / 30, end_s) for tick, end_s in burnt[:200]]
    assert len(late) == 200
    assert all(0 <= time_s - end_s < 0.5 + 1e-6 for time_s, end_s in late)
    assert mixer.dropped == 0
    mixer.take(frame(15.0))  # after a stall it does not lag behind for ever
    mixer.give()
    assert mixer.dropped > 5 and len(mixer._held) <= 4


def test_delays_are_bounded() -> None:
    with pytest.raises(TonalityError, match="a delay of 3 s is not possible"):
        Mixer(SMALL, Burner(), Scores(), delay_s=3.0)
    with pytest.raises(TonalityError, match="1920x1080; 0 to"):
        Mixer(Format(1920, 1080, 60.0), Burner(), Scores(), delay_s=2.0)
    mixer = Mixer(Format(1920, 1080, 60.0), Burner(), Scores(), delay_s=0.5)
    for n in range(200):
        mixer.take(frame(n / 1000))
    assert mixer.dropped > 0


# How it is sent.


class Backend:
    """A virtual camera by pyvirtualcam's own interface for backends; keeps what it is sent."""

    opened: ClassVar[list[Backend]] = []

    def __init__(
        self, *, width: int, height: int, fps: float, fourcc: int, device: str | None, **_: Any
    ) -> None:
        if device not in (None, "kept"):
            raise RuntimeError(f"there is no {device}")
        self.shape = (height, width, 3)
        self.sent: list[np.ndarray] = []
        self.closed = False
        Backend.opened.append(self)

    def close(self) -> None:
        self.closed = True

    def send(self, frame: np.ndarray) -> None:
        assert frame.dtype == np.uint8 and frame.flags.c_contiguous
        self.sent.append(frame.reshape(self.shape).copy())

    def device(self) -> str:
        return "kept"

    def native_fourcc(self) -> int | None:
        return None


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Backend]]:
    monkeypatch.setattr(pyvirtualcam.camera, "BACKENDS", {"kept": Backend})
    Backend.opened.clear()
    yield Backend.opened
    Backend.opened.clear()


def test_pictures_with_their_scores_reach_the_virtual_camera(
    backend: list[Backend], script: Script
) -> None:
    """A real bus, real shared memory, pyvirtualcam itself."""
    broker, frames, scores = Broker(), FrameReader((320, 180)), Scores()
    stop = threading.Event()
    try:
        address = broker.start()
        publisher, writer = Publisher(address, "test"), FrameWriter(frames.path)
        sink = open_virtual_camera(SMALL)
        overlay = Overlay(
            address, "s", "me", frames, Mixer(SMALL, Burner(), scores), scores, sink, SMALL.fps
        )
        thread = OwnedThread("overlay", lambda _: overlay.run(stop)).start()
        writer.write(4.2, frame(0).image)
        eventually(lambda: overlay.taken == 1)
        publisher.send(replace(script.prediction(0, 0), participant="you"))
        publisher.send(script.prediction(0, 0))
        eventually(lambda: bool(scores._predictions))
        writer.write(4.3, frame(0).image)
        eventually(lambda: overlay.taken == 2)
        eventually(lambda: (backend[0].sent[-1] == GREY).all())  # no picture comes any more
        stop.set()
        thread.close()
        publisher.close()
    finally:
        broker.close()
        frames.close()
    sink.close()
    (camera,) = backend
    assert camera.closed and camera.sent[0].shape == (180, 320, 3)
    bare, burnt = camera.sent[:2]
    assert (bare == 128).all()
    assert 0.05 < (burnt != 128).any(axis=-1).mean() < 0.3
    assert overlay.sent >= 3


def test_a_missing_driver_is_one_line_for_each_system(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pyvirtualcam.camera, "BACKENDS", {"kept": Backend})
    for system, mend in MENDS.items():
        monkeypatch.setattr("platform.system", lambda system=system: system)
        with pytest.raises(TonalityError) as missing:
            open_virtual_camera(SMALL, "another")
        assert str(missing.value).startswith(f"no virtual camera: {mend} ('kept' backend: there is")
        assert "\n" not in str(missing.value)
    assert {"v4l2loopback", "OBS"} <= set(" ".join(MENDS.values()).replace(",", "").split())
    monkeypatch.setitem(sys.modules, "pyvirtualcam", None)
    with pytest.raises(TonalityError, match=r"\.venv/bin/pip install -e '\.\[camera\]'$"):
        open_virtual_camera(SMALL)


# The command.


def test_the_command_without_a_camera_teaches() -> None:
    told = CliRunner().invoke(app, ["overlay"])
    assert told.exit_code == 0
    for words in ("http://127.0.0.1:8501/overlay", "OBS", "Zoom", "participant=", "--camera"):
        assert words in told.output


@pytest.mark.parametrize(
    ("words", "said"), [(["--show", "nose"], "nose"), (["--corner", "middle"], "middle")]
)
def test_what_cannot_be_meant_is_refused(words: list[str], said: str) -> None:
    refused = CliRunner().invoke(app, ["overlay", "--camera", *words])
    assert refused.exit_code == 2 and said in refused.output


def test_the_command_from_workers_to_a_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted = functools.partial(
        Runtime, capture_module="tests.workers.scripted", inference_module="tests.workers.obedient"
    )
    monkeypatch.setattr(dashboard.runtime, "Runtime", scripted)
    path = tmp_path / "picture.png"
    words = ["overlay", "--save", str(path), "--source", "demo", "--duration", "1.5"]
    done = CliRunner().invoke(app, [*words, "--width", "320", "--height", "180"])
    assert done.exit_code == 0, done.output
    image = np.asarray(Image.open(path))
    assert image.shape == (180, 320, 3)
    assert 0.05 < (image != 128).any(axis=-1).mean() < 0.3
    assert f"tonality: the last picture is written to {path} at the end; only" in done.stderr
    assert "in the call" not in done.stderr


def test_a_source_that_fails_says_why(
    tmp_path: Path, demo_clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted = functools.partial(
        Runtime, capture_module="tests.workers.scripted", inference_module="tests.workers.obedient"
    )
    monkeypatch.setattr(dashboard.runtime, "Runtime", scripted)
    broken = tmp_path / "broken.mp4"
    broken.symlink_to(demo_clip)
    done = CliRunner().invoke(
        app, ["overlay", "--save", str(tmp_path / "p.png"), "--source", str(broken)]
    )
    assert isinstance(done.exception, TonalityError)
    assert "no such camera" in str(done.exception)
    assert not (tmp_path / "p.png").exists()


def test_a_source_without_a_picture_is_refused_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dashboard.runtime, "Runtime", None)
    sound = write_wav(tmp_path / "talk.wav")
    for source, why in (
        ("nowhere.mp4", "no such file"),
        ("microphone", "has no picture"),
        ("microphone:USB", "has no picture"),
        ("speakers:room", "has no picture"),
        (str(sound), "has no picture"),
    ):
        for where in (["--camera"], ["--save", str(tmp_path / "p.png")]):
            done = CliRunner().invoke(app, ["overlay", *where, "--source", source])
            assert isinstance(done.exception, TonalityError)
            assert str(done.exception).startswith(f"{source}: {why}")


def test_a_source_that_would_not_be_filmed_is_refused() -> None:
    done = CliRunner().invoke(app, ["overlay", "--source", "demo"])
    assert done.exit_code == 2 and "only with --camera or --save" in " ".join(done.output.split())


def write_wav(path: Path) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(bytes(32_000))
    return path

"""The pipeline over real footage and over scripted sources: what goes in, what comes out."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from capture.config import CaptureConfig
from capture.pipeline import Pipeline
from capture.source import SAMPLE_RATE_HZ, End, Item, Picture, Sound, Source
from capture.sources import open_source
from features.errors import SourceError
from features.messages import Preview, Transcript, Window
from features.samples import Lost, Returned
from features.spec import LIVE


class Scripted(Source):
    """Plays a list of items through the source contract, as fast as they are read."""

    name = "scripted"

    def __init__(self, items: list[Item], error: SourceError | None = None) -> None:
        self._items = iter(items)
        self._error = error
        self.has_picture = any(isinstance(i, Picture) for i in items)
        self.has_sound = any(isinstance(i, Sound) for i in items)
        self.closed = False

    def open(self) -> None:
        """Nothing to acquire."""

    def read(self, timeout_s: float) -> Item | None:
        """The next item."""
        item = next(self._items, None)
        if item is None and self._error is not None:
            raise self._error
        return item or End(0.0)

    def close(self) -> None:
        """Remember that it was released."""
        self.closed = True

    @property
    def origin_ns(self) -> int:
        """Not live."""
        return 0


class SlowClock:
    """A wall clock that runs at ``rate`` of the true one, so that media time has time enough."""

    def __init__(self, rate: float) -> None:
        self._rate = rate

    def now_ns(self) -> int:
        return round(time.monotonic_ns() * self._rate)

    def sleep(self, seconds: float) -> None:
        threading.Event().wait(max(0.0, seconds / self._rate))


def items_of(clip: Path) -> list[Item]:
    """All items of a file, read at full speed."""
    config = CaptureConfig(source=str(clip), paced=False)
    out: list[Item] = []
    with open_source(config) as source:
        while not isinstance(item := source.read(1.0), End):
            if item is not None:
                out.append(item)
        out.append(item)
    return out


def config(**changes: object) -> CaptureConfig:
    values = {"source": "scripted", "paced": False, "recogniser": "tiny.en"} | changes
    return CaptureConfig(**values)  # type: ignore[arg-type]


def windows(messages: Iterator[object]) -> list[Window]:
    return [m for m in messages if isinstance(m, Window)]


def final(messages: list[Window]) -> dict[int, Window]:
    return {w.seq: w for w in messages if w.final}


def assert_same(a: dict[int, Window], b: dict[int, Window]) -> None:
    assert a.keys() == b.keys()
    for seq, window in a.items():
        other = b[seq]
        assert (window.text, window.present) == (other.text, other.present)
        for name, stream in window.streams.items():
            np.testing.assert_array_equal(stream.mask, other.streams[name].mask)
            np.testing.assert_array_equal(stream.values, other.streams[name].values)


@pytest.fixture(scope="module")
def lossless(demo_clip: Path) -> list[Window]:
    settings = config(source=str(demo_clip), recogniser="base")
    return windows(Pipeline(settings, open_source(settings)).messages())


def test_a_clip_gives_every_window_once_with_all_modalities(lossless: list[Window]) -> None:
    assert [w.seq for w in lossless] == list(range(12))
    assert all(w.final and w.revision == 0 and w.spec == LIVE.hash for w in lossless)
    last = lossless[-1]
    assert last.present.text and last.present.voice and last.present.face
    assert "university" in last.text and "lecturer" in last.text
    assert last.streams["states"].mask.sum() > 4


def test_live_ends_with_the_same_windows_as_the_file(
    demo_clip: Path, lossless: list[Window]
) -> None:
    settings = config(source=str(demo_clip), paced=True, recogniser="base")
    slow = SlowClock(0.5)  # so that a busy machine drops nothing
    pipeline = Pipeline(settings, open_source(settings, clock=slow), clock=slow)
    live = windows(pipeline.messages())
    assert pipeline.losses() == {}
    assert_same(final(live), final(lossless))
    assert any(w.revision > 0 for w in live)
    assert all(w.made_ns >= w.due_ns > 0 for w in live if w.end_s <= 5.0)


def test_sound_alone_and_picture_alone(demo_clip: Path) -> None:
    for changes, present in (
        ({"picture": False}, ("text", "voice")),
        ({"sound": False}, ("face",)),
        ({"picture": False, "words": False}, ("voice",)),
        ({"picture": False, "voice": False}, ("text",)),
    ):
        settings = config(source=str(demo_clip), **changes)
        last = windows(Pipeline(settings, open_source(settings)).messages())[-1]
        there = {name for name in ("text", "voice", "face") if getattr(last.present, name)}
        assert there == set(present)


def test_a_camera_that_is_pulled_and_returned_shows_in_mask_and_lamp(demo_clip: Path) -> None:
    pulled_s, back_s = 1.0, 4.5
    items = items_of(demo_clip)
    script: list[Item] = []
    for item in items:
        if isinstance(item, Picture) and pulled_s <= item.time_s < back_s:
            continue
        script.append(item)
    cut = next(n for n, i in enumerate(script) if isinstance(i, Picture) and i.time_s >= back_s)
    script.insert(cut, Returned("picture", back_s))
    gone = next(n for n, i in enumerate(script) if isinstance(i, Sound) and i.end_s > pulled_s)
    script.insert(gone, Lost("picture", pulled_s, "the camera was pulled out"))
    pipeline = Pipeline(config(words=False), Scripted(script))
    got = final(windows(pipeline.messages()))
    assert got[1].present.face
    middle = got[8].streams["face"].mask  # 0.5 to 4.5 s: a face only in the first half second
    assert middle[:4].any() and not middle[8:].any()
    assert got[11].streams["face"].mask[-10:].any()
    assert pipeline.lamps.state()["face"].state == "present"


def test_a_file_whose_picture_ends_first_goes_on_without_it(demo_clip: Path) -> None:
    items = items_of(demo_clip)
    script: list[Item] = [i for i in items if not (isinstance(i, Picture) and i.time_s > 2.0)]
    after = next(n for n, i in enumerate(script) if isinstance(i, Sound) and i.end_s > 2.5)
    script.insert(after, Lost("picture", 2.0, "the picture has ended, the sound goes on"))
    runs = [
        final(windows(Pipeline(config(words=False), Scripted(list(script))).messages()))
        for _ in range(2)
    ]
    assert_same(runs[0], runs[1])
    assert runs[0][3].streams["face"].mask[-19:].all()  # nothing that was seen is left out
    assert not runs[0][11].streams["face"].mask.any()


def test_silence_gives_windows_without_evidence_or_words() -> None:
    chunk = np.zeros(1600, np.float32)
    script: list[Item] = [Sound(k / 10, chunk) for k in range(300)]
    got = windows(Pipeline(config(), Scripted([*script, End(30.0)])).messages())
    assert len(got) == 60
    assert not any(w.present.any() or w.words for w in got)


def test_a_failing_source_raises_its_own_error_and_releases_everything() -> None:
    sound = Sound(0.0, np.zeros(1600, np.float32))
    source = Scripted([sound], error=SourceError("cable: pulled for good"))
    before = threading.active_count()
    with pytest.raises(SourceError, match="cable: pulled for good"):
        list(Pipeline(config(words=False), source).messages())
    assert source.closed
    assert threading.active_count() <= before


def test_stopping_in_the_middle_leaves_no_thread(demo_clip: Path) -> None:
    settings = config(source=str(demo_clip), paced=True, words=False)
    stop = threading.Event()
    before = threading.active_count()
    for message in Pipeline(settings, open_source(settings)).messages(stop):
        if isinstance(message, Window):
            stop.set()
    assert threading.active_count() <= before


def test_transcripts_only_grow_and_previews_show_the_face(demo_clip: Path) -> None:
    settings = config(source=str(demo_clip), preview=True)
    messages = list(Pipeline(settings, open_source(settings)).messages())
    transcripts = [m for m in messages if isinstance(m, Transcript)]
    for earlier, later in pairwise(transcripts):
        assert later.stable[: len(earlier.stable)] == earlier.stable
    previews = [m for m in messages if isinstance(m, Preview)]
    assert previews and previews[-1].jpeg.startswith(b"\xff\xd8")
    assert previews[-1].landmarks.shape == (478, 2) and previews[-1].expressions


def test_sound_that_begins_late_or_early_lies_on_the_clock(demo_clip: Path) -> None:
    """The same sound, declared to start 0.4 s later, gives the same voice 0.4 s later."""
    sound = [i for i in items_of(demo_clip) if isinstance(i, Sound)]
    shift_s = 0.4

    def voice(script: list[Item]) -> np.ndarray:
        got = windows(Pipeline(config(words=False, picture=False), Scripted(script)).messages())
        return got[9].streams["voice"].values

    later: list[Item] = [replace(s, start_s=s.start_s + shift_s) for s in sound]
    samples = np.concatenate([np.zeros(int(shift_s * SAMPLE_RATE_HZ), np.float32)])
    padded: list[Item] = [Sound(0.0, samples), *later]
    np.testing.assert_array_equal(voice([*later, End(6.2)]), voice([*padded, End(6.2)]))


def test_pause_is_silence_and_no_face_until_resumed(demo_clip: Path) -> None:
    settings = config(source=str(demo_clip), paced=True, words=False)
    slow = SlowClock(0.5)
    pipeline = Pipeline(settings, open_source(settings, clock=slow), clock=slow)

    def on_tick() -> None:
        if 2.0 < pipeline.position_s < 3.5 and not paused:
            paused.append(pipeline.position_s)
            pipeline.pause()
            assert pipeline.lamps.state()["face"].why == "paused"
        if pipeline.position_s > 4.0 and len(paused) == 1:
            paused.append(pipeline.position_s)
            pipeline.resume()

    paused: list[float] = []
    got = final(windows(pipeline.messages(on_tick=on_tick)))
    face, voice = got[11].streams["face"].mask, got[11].streams["voice"].mask  # 2 to 6 s
    assert not face[8:18].any() and not voice[80:180].any()
    assert face[25:35].all() and voice[250:].any()
    assert pipeline.lamps.state()["face"].state == "present"

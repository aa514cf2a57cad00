"""What is kept of participants: it adds up, counts once, is private, and goes when it must. About 3 s."""

from __future__ import annotations

import json
import math
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from typer.testing import CliRunner

from dashboard.cli import app
from dashboard.keeping import keeping
from features.errors import ParticipantError, SpecError
from features.messages import StreamData
from features.participants import MAX_RECORDINGS, Participant, Participants, file_mark
from features.spec import FACE, LIVE, VOICE
from features.statistics import Moments, RunningStatistics
from features.windows import Windower, WindowerConfig
from tests.test_windows import finals, media

WIDTH = {s.name: s.width for s in LIVE.streams}


def moments(seed: int, name: str = FACE, steps: int = 50) -> Moments:
    running = RunningStatistics(WIDTH[name], 10, voiced=name == VOICE)
    values = np.random.default_rng(seed).normal(seed, 1.0, (steps, WIDTH[name]))
    running.add(StreamData(values.astype(np.float32), np.ones(steps, bool)))
    return running.moments()


@given(st.lists(st.integers(0, 40), min_size=1, max_size=5), st.booleans(), st.integers(0, 99))
@settings(max_examples=40)
def test_parts_joined_are_the_whole(lengths: list[int], voiced: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    width = WIDTH[VOICE]
    parts = [rng.normal(100.0, 3.0, (n, width)).astype(np.float32) for n in lengths]
    for part in parts:  # some frames without a pitch
        part[rng.random(len(part)) < 0.4, 10] = 0.0
    whole = RunningStatistics(width, 100, voiced)
    before: Moments | None = None
    for part in parts:
        stream = StreamData(part, np.ones(len(part), bool))
        whole.add(stream)
        running = RunningStatistics(width, 100, voiced, before)
        running.add(stream)
        state, expected = running.state(), whole.state()
        assert state.seconds == expected.seconds
        np.testing.assert_allclose(state.mean, expected.mean, atol=1e-3)
        np.testing.assert_allclose(state.variance, expected.variance, atol=1e-2)
        own = running.moments()
        before = own if before is None else before.joined(own)


def test_a_second_recording_goes_on_where_the_first_ended() -> None:
    def windows(seed: int, before: dict[str, Moments] | None) -> Windower:
        config = WindowerConfig("s", "me", "x", lossless=True)
        windower = Windower(config, before=before)
        for _, sample in media(6.0, seed):
            windower.add(sample)
            windower.advance(math.inf)
        windower.finish(6.0)
        return windower

    first = windows(1, None)
    alone, after = windows(2, None), windows(2, first.moments())
    for name in WIDTH:
        joined = first.moments()[name].joined(alone.moments()[name]).statistics(1)
        state = after._state(name)
        np.testing.assert_allclose(state.mean, joined.mean, rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(after.moments()[name].mean, alone.moments()[name].mean)
    assert len(finals([])) == 0


def kept(folder: Path) -> Participants:
    return Participants(folder)


def test_what_is_kept_comes_back_to_the_last_bit(tmp_path: Path) -> None:
    store = kept(tmp_path)
    empty = store.load("Änne / ../x")
    assert empty.recordings == () and empty.before() == {}
    made = empty.with_recording("a.mp4", "m1", {FACE: moments(1), VOICE: moments(2, VOICE)})
    made = made.with_recording("b.mp4", "m2", {FACE: moments(3)})
    made = made.with_rest("a.mp4", {FACE: np.full(WIDTH[FACE], 0.1, np.float32)})
    path = store.save(made)
    assert path.parent == tmp_path / "participants"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    back = Participants(tmp_path).load("Änne / ../x")
    assert store.names() == ["Änne / ../x"]
    for name, known in made.before().items():
        np.testing.assert_array_equal(back.before()[name].mean, known.mean)
    np.testing.assert_array_equal(back.resting()[FACE], np.full(WIDTH[FACE], 0.1, np.float32))
    assert set(path.parent.iterdir()) == {path}


def test_a_recording_counts_once_and_is_not_its_own_past() -> None:
    anna = Participant(name="anna", spec=LIVE.hash)
    anna = anna.with_recording("a.mp4", "m1", {FACE: moments(1)})
    again = anna.with_recording("copy.mp4", "m1", {FACE: moments(1)})
    assert len(again.recordings) == 1 and again.seconds() == anna.seconds() == {FACE: 5.0}
    assert again.without("m1").before() == {}
    assert again.with_recording("dark.mp4", "m1", {FACE: moments(1, steps=0)}).recordings == ()
    many = anna
    for k in range(MAX_RECORDINGS + 3):
        many = many.with_recording(f"{k}.mp4", f"k{k}", {FACE: moments(k, steps=2)})
    assert len(many.recordings) == MAX_RECORDINGS and many.recordings[-1].mark == f"k{k}"


def test_features_of_another_version_are_refused_and_can_be_forgotten(tmp_path: Path) -> None:
    store = kept(tmp_path)
    store.save(Participant(name="anna", spec="0123456789abcdef"))
    with pytest.raises(
        SpecError, match=f"kept with features 0123456789abcdef.*{LIVE.hash}.*forget"
    ):
        store.load("anna")
    assert store.peek("anna").spec == "0123456789abcdef"
    store.forget("anna")
    assert store.names() == []
    with pytest.raises(ParticipantError, match="nothing is kept of 'anna'"):
        store.forget("anna")


@pytest.mark.parametrize(
    "damage",
    [
        lambda kept: b"not json",
        lambda kept: json.dumps(kept | {"format": 9}).encode(),
        lambda kept: json.dumps(kept | {"rest": {"face": [1.0, 2.0]}}).encode(),
        lambda kept: json.dumps(kept | {"rest": {"face": ["x"]}}).encode(),
        lambda kept: json.dumps(kept | {"rest": {"smell": [1.0]}}).encode(),
    ],
)
def test_damage_is_one_line_that_says_how_to_mend_it(tmp_path: Path, damage: Any) -> None:
    store = kept(tmp_path)
    path = store.save(Participant(name="anna", spec=LIVE.hash))
    path.write_bytes(damage(json.loads(path.read_bytes())))
    with pytest.raises(ParticipantError, match=r"anna\.json cannot be used .*forget") as told:
        store.load("anna")
    assert "\n" not in str(told.value)
    store.forget("anna")


@pytest.mark.parametrize("name", ["", " ", "a" * 65, "a\nb"])
def test_what_cannot_be_a_name(name: str, tmp_path: Path) -> None:
    with pytest.raises(ParticipantError, match="cannot be a name"):
        kept(tmp_path).load(name)


def test_a_file_is_known_again_by_what_is_in_it(tmp_path: Path) -> None:
    first, same, other = (tmp_path / name for name in "abc")
    first.write_bytes(bytes(3_000_000))
    same.write_bytes(bytes(3_000_000))
    other.write_bytes(bytes(2_999_999) + b"x")
    assert file_mark(first) == file_mark(same) != file_mark(other)


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TONALITY_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


def test_files_of_one_person_follow_each_other(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [tmp_path / "a.mp4", tmp_path / "b.mp4"]
    for path in paths:
        path.write_bytes(path.name.encode())
    with keeping("anna", write=True) as keeper:
        assert keeper.known(paths[0]).before() == {}  # type: ignore[union-attr]
        keeper.learn(paths[0], {FACE: moments(1)})
        with pytest.raises(ParticipantError, match="another command scores 'anna'"):
            _refused_at_once()
    with keeping("anna", write=False) as keeper:
        known = keeper.known(paths[1])
        assert known is not None and known.seconds() == {FACE: 5.0}
        keeper.learn(paths[1], {FACE: moments(2)})
        keeper.learn_rest(paths[1], {FACE: np.zeros(WIDTH[FACE], np.float32)})
        assert keeper.participant is not None and keeper.participant.seconds() == {FACE: 10.0}
    assert Participants().load("anna").seconds() == {FACE: 5.0}
    told = capsys.readouterr().err.splitlines()
    assert told[0] == "tonality: participant anna: known before: nothing yet from 0 recordings"
    assert told[1].endswith(f"now known: face 5 s from 1 recording; kept in {data}/participants")
    assert told[3].endswith("face 10 s from 2 recordings, rest from b.mp4; not kept")
    with keeping(None, write=True) as nobody:
        nobody.learn(paths[0], {FACE: moments(1)})
        assert nobody.known(paths[0]) is None
    assert Participants().names() == ["anna"]


def _refused_at_once() -> None:
    import dashboard.keeping as module
    import features.participants as store

    before, store.LOCK_S = store.LOCK_S, 0.05
    try:
        with module.keeping("anna", write=True):
            raise AssertionError("let in")
    finally:
        store.LOCK_S = before


def test_list_and_forget(data: Path) -> None:
    run = CliRunner()
    assert "Nothing is kept of anybody" in run.invoke(app, ["participants", "list"]).output
    store = Participants()
    anna = Participant(name="anna", spec=LIVE.hash)
    store.save(anna.with_recording("a.mp4", "m", {FACE: moments(1)}))
    store.save(replace(anna, name="old", spec="0" * 16))
    broken = store.save(replace(anna, name="broken"))
    broken.write_bytes(b"{")
    listed = " ".join(run.invoke(app, ["participants", "list"]).output.split())
    assert "face 5 s from 1 recording" in listed and "another version" in listed
    assert run.invoke(app, ["participants", "forget"]).exit_code == 2
    unknown = run.invoke(app, ["participants", "forget", "anna", "eve"])
    assert isinstance(unknown.exception, ParticipantError) and store.names() == [
        "anna",
        "broken",
        "old",
    ]
    assert run.invoke(app, ["participants", "forget", "anna", "broken"]).exit_code == 0
    assert store.names() == ["old"]
    assert run.invoke(app, ["participants", "forget", "--all"]).exit_code == 0
    assert store.names() == [] and list(store.folder.iterdir()) == []

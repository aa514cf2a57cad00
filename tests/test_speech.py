"""Words and encoder states out of sound: real models, real speech, and sound without any."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from features.activity import SpeechActivity
from features.errors import FeatureError
from features.recogniser import HeardWord, Recogniser
from features.samples import ActivityChunk, Counters, SpeechUpdate, Word
from features.speech import SpeechExtractor
from features.transcription import Transcription, loop_start
from features.utterance import FRAME, FRAME_S, Pass, PassPolicy, Segmenter, SpeechTrack

RATE_HZ = 16_000
SAID = {"lecturer", "at", "the", "university", "of", "creator"}


@pytest.fixture(scope="module")
def speech(demo_clip: Path) -> np.ndarray:
    """The demo clip's sound, 16 kHz mono: 5.8 s, one man speaking."""
    resampler = av.AudioResampler("flt", "mono", RATE_HZ)
    with av.open(str(demo_clip)) as clip:
        frames = [out for f in clip.decode(audio=0) for out in resampler.resample(f)]
    return np.concatenate([f.to_ndarray()[0] for f in frames + resampler.resample(None)])


def stream(
    extractor: SpeechExtractor,
    sound: np.ndarray,
    chunk: int | list[int] = 1600,
    origin_s: float = 0.0,
) -> list[SpeechUpdate]:
    """All updates of one run; a list of chunk sizes is used in turns."""
    activity = SpeechActivity(origin_s)
    sizes = chunk if isinstance(chunk, list) else [chunk]
    updates, at, turn = [], 0, 0
    while at < len(sound):
        piece = sound[at : at + sizes[turn % len(sizes)]]
        update = extractor.feed(piece, activity.feed(piece))
        if update is not None:
            updates.append(update)
        at, turn = at + len(piece), turn + 1
    updates.append(extractor.finish())
    return updates


def stable(updates: list[SpeechUpdate]) -> list[Word]:
    return [word for update in updates for word in update.stable]


def bare(words: list[Word]) -> list[str]:
    return ["".join(c for c in word.text.lower() if c.isalnum()) for word in words]


def states(updates: list[SpeechUpdate]) -> dict[int, np.ndarray]:
    """The last value of each cell; none that begins before what was settled comes again."""
    found: dict[int, np.ndarray] = {}
    settled_s = 0.0
    for update in updates:
        if update.states is not None:
            for cell, value in zip(update.states.cells, update.states.values, strict=True):
                assert cell / 4 >= settled_s, "a settled cell never changes"
                found[cell] = value
        assert update.states_until_s >= settled_s
        settled_s = update.states_until_s
    return found


def run(
    folder: Path, sound: np.ndarray, chunk: int | list[int] = 1600, **options: object
) -> tuple[list[SpeechUpdate], SpeechExtractor]:
    extractor = SpeechExtractor(folder, device="cpu", **options)  # type: ignore[arg-type]
    updates = stream(extractor, sound, chunk, float(options.get("origin_s", 0.0)))  # type: ignore[arg-type]
    extractor.close()
    return updates, extractor


@pytest.fixture(scope="module")
def heard(whisper_tiny: Path, speech: np.ndarray) -> list[SpeechUpdate]:
    """The clip with two seconds of silence around it, in chunks of 0.1 s."""
    quiet = np.zeros(2 * RATE_HZ, np.float32)
    return run(whisper_tiny, np.concatenate([quiet, speech, quiet]))[0]


def test_the_words_that_are_spoken_come(heard: list[SpeechUpdate]) -> None:
    assert set(bare(stable(heard))) >= SAID
    assert heard[-1].tentative == ()


def test_words_are_seen_before_the_end_and_stable_before_the_last_pass(
    heard: list[SpeechUpdate],
) -> None:
    assert any(update.tentative for update in heard)
    assert sum(bool(update.stable) for update in heard) >= 2


def test_times_are_monotone_and_lie_within_the_speech(heard: list[SpeechUpdate]) -> None:
    words = stable(heard)
    assert all(2.0 <= word.start_s <= word.end_s <= 8.0 for word in words)
    assert all(one.end_s <= two.start_s for one, two in pairwise(words))
    assert all(0 <= word.probability <= 1 for word in words)


def test_no_stable_word_starts_before_what_was_declared_stable(heard: list[SpeechUpdate]) -> None:
    until_s = 0.0
    for update in heard:
        assert all(word.start_s >= until_s for word in update.stable)
        assert update.stable_until_s >= until_s
        assert update.heard_until_s >= update.stable_until_s - 1e-9
        assert all(word.start_s >= update.stable_until_s for word in update.tentative)
        until_s = update.stable_until_s
    assert until_s == pytest.approx(heard[-1].heard_until_s)


@pytest.mark.parametrize("chunk", [[7, 4000, 160, 1], 10**9])
def test_any_cut_of_the_sound_gives_the_same_words(
    whisper_tiny: Path, speech: np.ndarray, chunk: int | list[int]
) -> None:
    regular = stable(run(whisper_tiny, speech)[0])
    assert stable(run(whisper_tiny, speech, chunk)[0]) == regular


def test_media_time_starts_at_the_origin(whisper_tiny: Path, speech: np.ndarray) -> None:
    plain = stable(run(whisper_tiny, speech)[0])
    later = run(whisper_tiny, speech, origin_s=100.0)[0]
    assert bare(stable(later)) == bare(plain)
    for word, shifted in zip(plain, stable(later), strict=True):
        assert shifted.start_s == pytest.approx(word.start_s + 100, abs=1e-6)
    assert all(update.stable_until_s >= 100 - 1e-9 for update in later)


def noise(seconds: float, level: float) -> np.ndarray:
    made = np.random.default_rng(7).normal(0, level, int(seconds * RATE_HZ))
    return made.astype(np.float32)


def tone(seconds: float) -> np.ndarray:
    time_s = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    return (0.3 * np.sin(2 * np.pi * 440 * time_s)).astype(np.float32)


@pytest.mark.parametrize(
    "sound",
    [np.zeros(20 * RATE_HZ, np.float32), noise(20, 0.003), noise(20, 0.1), tone(10)],
    ids=["silence", "faint noise", "loud noise", "tone"],
)
def test_nothing_is_invented_where_nobody_speaks(whisper_tiny: Path, sound: np.ndarray) -> None:
    updates, extractor = run(whisper_tiny, sound)
    assert stable(updates) == []
    assert all(update.tentative == () for update in updates)
    assert len(updates) > 50
    assert updates[-2].stable_until_s > len(sound) / RATE_HZ - 1.0
    assert extractor.counters.counts.get("passes", 0) == 0


def test_states_are_the_same_bits_with_and_without_words(
    whisper_base: Path, speech: np.ndarray
) -> None:
    with_words, _ = run(whisper_base, speech)
    without, extractor = run(whisper_base, speech, words=False)
    assert stable(without) == []
    assert extractor.counters.counts["passes"] >= 4
    first, second = states(with_words), states(without)
    assert list(first) == list(second)
    assert 12 <= len(first) <= 23  # quarter seconds with speech in 5.8 s
    for cell, value in first.items():
        assert value.shape == (512,) and value.dtype == np.float16
        np.testing.assert_array_equal(value, second[cell])


def test_a_model_of_another_width_gives_no_states(heard: list[SpeechUpdate]) -> None:
    assert states(heard) == {}


def test_a_reader_far_behind_skips_passes_but_loses_no_sound(
    whisper_tiny: Path, speech: np.ndarray
) -> None:
    extractor = SpeechExtractor(whisper_tiny, device="cpu")
    extractor.behind(5.0)
    updates = stream(extractor, speech)
    assert extractor.counters.counts["passes_skipped"] >= 2
    assert set(bare(stable(updates))) >= SAID
    assert not any(update.tentative for update in updates)


def test_a_reader_hopelessly_behind_lets_words_go_until_it_is_back(
    whisper_tiny: Path, speech: np.ndarray
) -> None:
    """Words that come after their windows were closed help nobody, and delay those that follow."""
    extractor, activity = SpeechExtractor(whisper_tiny, device="cpu"), SpeechActivity()
    said = np.concatenate([speech, np.zeros(RATE_HZ, np.float32)])

    def hear(behind_s: float) -> list[SpeechUpdate]:
        extractor.behind(behind_s)
        pieces = np.array_split(said, len(said) // 1600)
        updates = [extractor.feed(piece, activity.feed(piece)) for piece in pieces]
        return [update for update in updates if update is not None]

    assert stable(hear(20.0)) == []
    assert stable(hear(3.0)) == []  # not back yet; by itself 3 s would let what commits run
    assert extractor.counters.counts["stretches_unread"] >= 2
    assert "passes" not in extractor.counters.counts
    updates = hear(1.0)
    assert set(bare(stable(updates))) >= {"lecturer", "university"}
    assert stable(updates)[0].start_s >= 2 * len(said) / RATE_HZ
    assert updates[-1].stable_until_s > 3 * len(said) / RATE_HZ - 0.5
    extractor.close()


def test_a_long_monologue_keeps_windows_short_and_words_in_place(
    whisper_tiny: Path, speech: np.ndarray
) -> None:
    spoken = speech[int(0.2 * RATE_HZ) : int(5.3 * RATE_HZ)]
    sound = np.concatenate([spoken] * 4)  # no pause that ends an utterance where they meet
    policy = PassPolicy(settle=10**6)
    updates, _ = run(whisper_tiny, sound, policy=policy)
    words = stable(updates)
    assert bare(words).count("university") >= 3
    assert all(one.end_s <= two.start_s for one, two in pairwise(words))
    starts = [word.start_s for word in words if bare([word]) == ["university"]]
    assert np.allclose(np.diff(starts) / 5.1, np.round(np.diff(starts) / 5.1), atol=0.15)


def test_a_decoder_that_ends_too_early_is_made_to_hear_the_rest(
    whisper_tiny: Path, speech: np.ndarray
) -> None:
    recogniser, counters, track = Recogniser(whisper_tiny, "cpu"), Counters(), SpeechTrack(0.0)
    activity = SpeechActivity().feed(speech)
    assert activity is not None
    for probability in activity.probability.tolist():
        track.add(probability)
    words = Transcription(recogniser, "en", track, counters)
    half = speech[: int(2.6 * RATE_HZ)]
    words.look(half, recogniser.encode(half), 1, 0.0, commit=True)
    told = words.take_stable()
    # The encoding of the first half stands for a decoder that has no more to say.
    words.look(
        speech, replace(recogniser.encode(half), seconds=len(speech) / RATE_HZ), 1, 0.0, True
    )
    rest = words.take_stable()
    assert counters.counts["tails"] >= 1
    assert "creator" in bare(list(rest))
    assert told[-1].end_s <= rest[0].start_s
    recogniser.close()


def test_a_folder_without_a_model_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(FeatureError, match="tonality models fetch") as caught:
        SpeechExtractor(tmp_path)
    assert "\n" not in str(caught.value)


def test_activity_must_be_contiguous_and_not_ahead(whisper_tiny: Path) -> None:
    extractor = SpeechExtractor(whisper_tiny, device="cpu")
    probability = np.zeros(3, np.float32)
    with pytest.raises(FeatureError, match="ahead"):
        extractor.feed(np.zeros(FRAME, np.float32), ActivityChunk(0.0, 0, probability))
    with pytest.raises(FeatureError, match="jumped"):
        extractor.feed(np.zeros(FRAME * 9, np.float32), ActivityChunk(0.0, 4, probability))
    extractor.close()


def test_the_encoder_hears_the_same_sound_the_same_way(
    whisper_tiny: Path, speech: np.ndarray
) -> None:
    recogniser = Recogniser(whisper_tiny, device="cpu")
    one, two = recogniser.encode(speech), recogniser.encode(speech)
    np.testing.assert_array_equal(one.states, two.states)
    assert one.states.shape == (500, 384)
    whole = recogniser.decode(one, "en")
    prefix = [token for word in whole.words[:4] for token in word.tokens]
    rest = recogniser.decode(two, "en", prefix)
    assert [w.text for w in rest.words] == [w.text for w in whole.words[4:]]
    recogniser.close()


def test_a_loop_is_cut_back_to_its_first_round() -> None:
    def words(text: str) -> list[HeardWord]:
        return [HeardWord(word, 0, 0, 1, ()) for word in text.split()]

    assert loop_start(words("do not " + "to ask " * 5)) == 4
    assert loop_start(words("no no no")) == 3
    assert loop_start(words("I am a lecturer at a university")) == 7
    assert loop_start([]) == 0


# The segmenter alone: probabilities in, passes out.


def passes(probabilities: list[float], policy: PassPolicy | None = None) -> list[Pass]:
    segmenter = Segmenter(policy)
    found = [segmenter.step(p, p) for p in probabilities]
    return [step for step in [*found, segmenter.finish()] if step is not None]


def test_silence_makes_no_pass_and_a_click_neither() -> None:
    assert passes([0.1] * 500) == []
    assert passes([0.1] * 50 + [0.9] * 3 + [0.1] * 100) == []


def test_an_utterance_is_looked_at_regularly_and_committed_in_the_pause() -> None:
    policy = PassPolicy()
    found = passes([0.1] * 50 + [0.9] * 60 + [0.1] * 50)
    assert [step.commit for step in found] == [False, False, True]
    assert {step.start for step in found} == {50 - policy.pre_roll}
    assert [step.end for step in found] == [75, 100, 110 + policy.settle]


def test_a_short_dip_does_not_end_an_utterance() -> None:
    found = passes([0.9] * 20 + [0.1] * 5 + [0.9] * 20 + [0.1] * 50)
    assert sum(step.commit for step in found) == 1


def test_a_window_too_long_is_cut_at_its_quietest_place() -> None:
    levels = [0.9] * 600
    levels[150] = levels[151] = levels[152] = 0.6
    found = passes(levels)
    cut = next(step for step in found if step.cut is not None)
    assert cut.cut == 151
    assert found[found.index(cut) + 1].start == 151


@given(st.lists(st.tuples(st.sampled_from([0.0, 0.4, 0.9]), st.integers(1, 400)), max_size=8))
@example([(0.9, 1), (0.0, 1), (0.4, 271), (0.9, 15)])
def test_passes_cover_all_speech_and_windows_stay_short(spans: list[tuple[float, int]]) -> None:
    probabilities = [p for p, count in spans for _ in range(count)]
    policy = PassPolicy()
    found = passes(probabilities, policy)
    assert [step.end for step in found] == sorted(step.end for step in found)
    longest = policy.longest + policy.every + policy.settle
    assert all(0 < step.end - step.start <= longest for step in found)
    assert longest * FRAME_S <= 10  # what the encoder is padded to
    covered = np.zeros(len(probabilities) + 1, bool)
    for step in found:
        covered[step.start : step.end] = True
    speech_frames = [i for i, p in enumerate(probabilities) if p >= 0.5]
    missed = sum(not covered[i] for i in speech_frames)
    assert missed < policy.least * len(spans) + 1
    by_utterance = {step.utterance: step.commit for step in found}
    assert all(by_utterance.values()), "the last pass of every utterance commits"

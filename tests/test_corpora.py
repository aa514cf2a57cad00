"""Corpora in small files of exactly their formats, features through the real extractors.

Run time: about 15 s, most of it loading the recogniser.
"""

from __future__ import annotations

import csv
import gzip
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from features.activity import SpeechActivity
from features.errors import CorpusError, TonalityError
from features.face import StillFaceExtractor
from features.samples import VoiceChunk
from features.spec import BLENDSHAPES
from features.speech import SpeechExtractor
from features.voice import VoiceExtractor
from model.corpora import face as corpora_face
from model.corpora import pictures as corpora_pictures
from model.corpora import text as corpora_text
from model.corpora import voice as corpora_voice
from model.corpora.building import app
from model.corpora.text import TEST, TRAIN, VALID, TextSample


def write_csv(path: Path, header: Sequence[str], lines: Sequence[Sequence[object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "wt", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *lines])


def write_sst(data: Path) -> None:
    write_csv(
        data / corpora_text.SST_FILE,
        ["split", "label5", "text"],
        [
            ["train", 4, "It 's a `` great '' film , is n't it ?"],
            ["dev", 0, "A dull , lifeless mess ."],
            ["test", 2, "The film runs for two hours ."],
        ],
    )


def write_flac(path: Path, sound: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("flac", rate=16_000, layout="mono")
        pcm = np.round(sound * 32_767).astype(np.int16)[None]
        for start in range(0, pcm.shape[1], 4096):
            frame = av.AudioFrame.from_ndarray(pcm[:, start : start + 4096], "s16", "mono")
            frame.sample_rate = 16_000
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


@pytest.fixture(scope="module")
def demo_sound(demo_clip: Path) -> np.ndarray:
    return corpora_voice.read_sound(demo_clip)


def test_mosi_is_lower_cased_and_keeps_its_split_and_labels(tmp_path: Path) -> None:
    write_csv(
        tmp_path / corpora_text.MOSI_FILE,
        ["id", "video_id", "clip", "text", "text_zh", "label", "label_bin_ge0", "split_std"],
        [
            ["v_1", "v", 1, "IT WAS REALLY GOOD", "", 2.4, 1, "train"],
            ["v_2", "v", 2, "DIDNT LIKE IT", "", -1.6, 0, "test"],
        ],
    )
    assert corpora_text.mosi(tmp_path) == [
        TextSample("mosi", TRAIN, "it was really good", 2.4),
        TextSample("mosi", TEST, "didnt like it", -1.6),
    ]


def test_treebank_reads_as_it_is_spoken(tmp_path: Path) -> None:
    write_sst(tmp_path)
    first, second, third = corpora_text.sst(tmp_path)
    assert first == TextSample("sst", TRAIN, "it's a great film isn't it", 2.4)
    assert (second.split, second.label) == (VALID, -2.4)
    assert (third.split, third.label) == (TEST, 0.0)


def test_phrases_of_one_word_and_repetitions_are_left_out(tmp_path: Path) -> None:
    write_csv(
        tmp_path / corpora_text.PHRASES_FILE,
        ["label5", "text"],
        [[2, "Rock"], [3, "a good one"], [3, "A good one !"], [1, "too long"]],
    )
    assert [(s.text, s.label) for s in corpora_text.sst_phrases(tmp_path)] == [
        ("a good one", 1.2),
        ("too long", -1.2),
    ]


def test_ratings_never_leak_what_the_treebank_holds_out(tmp_path: Path) -> None:
    write_sst(tmp_path)
    own = [["tweets", f"{i}", 2.0, f"text number {i} by @someone http://x.y"] for i in range(200)]
    write_csv(
        tmp_path / corpora_text.VADER_FILE,
        ["source", "id", "mean_rating", "text"],
        [
            ["movieReviewSnippets", "1_1", -3.2, "A dull, lifeless mess."],
            ["movieReviewSnippets", "1_2", 0, "The film runs for two hours."],
            ["tweets", "x", 1.0, "http://only.an/address"],
            *own,
        ],
    )
    samples = corpora_text.vader(tmp_path)
    by_text = {sample.text: sample for sample in samples}
    assert by_text["a dull lifeless mess"].split == VALID
    assert by_text["a dull lifeless mess"].label == pytest.approx(-2.4)
    assert by_text["the film runs for two hours"].split == TEST
    assert by_text["text number 7 by"].label == pytest.approx(1.5)
    assert by_text["a dull lifeless mess"].written == "a dull, lifeless mess."
    assert len(samples) == len(own) + 2
    held_out = sum(sample.split == VALID for sample in samples)
    assert 5 <= held_out <= 40
    assert corpora_text.vader(tmp_path) == samples
    write_csv(tmp_path / corpora_text.PHRASES_FILE, ["label5", "text"], [[3, "runs well"]])
    rated = corpora_text.ratings(tmp_path)
    assert {sample.corpus for sample in rated} == {"sst", "sst_phrases", "vader"}
    assert all(sample in rated for sample in (*samples, *corpora_text.sst(tmp_path)))


def test_snippets_of_several_sentences_never_leak_either(tmp_path: Path) -> None:
    learned = "It maintains a brisk pace throughout its ninety minutes"
    asked = "However it lacks the grandeur of what it wants to be"
    write_csv(
        tmp_path / corpora_text.SST_FILE,
        ["split", "label5", "text"],
        [
            ["train", 3, f"{learned} ."],
            ["test", 1, f"{asked} ."],
            ["test", 4, "Simple , warm & touching from its beginning to its end ."],
            ["train", 2, "A short one ."],
        ],
    )
    snippets = [
        f"{learned}. {asked}.",
        f"So far so good: {learned}, they say.",
        "Simple, warm &amp; touching from its beginning to its end.",
        f"{asked}! And {asked.lower()}?",
        "A short one. Nobody knows it.",
    ]
    write_csv(
        tmp_path / corpora_text.VADER_FILE,
        ["source", "id", "mean_rating", "text"],
        [["movieReviewSnippets", f"{i}_1", 0, text] for i, text in enumerate(snippets)],
    )
    found = corpora_text.vader(tmp_path)
    assert [sample.split for sample in found[:4]] == [TEST, TRAIN, TEST, TEST]
    assert found[4].split in (TRAIN, VALID), "short sentences are nobody's own"
    assert "amp" not in found[2].text.split()


def test_meld_maps_three_classes(tmp_path: Path) -> None:
    write_csv(
        tmp_path / corpora_text.MELD_FILE,
        ["Sr No.", "Utterance", "Sentiment", "split"],
        [
            [1, "You must’ve had your hands full.", "neutral", "train"],
            [2, "Oh God!", "negative", "dev"],
            [3, "!!!", "positive", "dev"],
        ],
    )
    assert corpora_text.meld(tmp_path) == [
        TextSample(
            "meld",
            TRAIN,
            "you must've had your hands full",
            0.0,
            "you must've had your hands full.",
        ),
        TextSample("meld", VALID, "oh god", -1.5, "oh god!"),
    ]


def test_valence_of_one_to_five_lies_around_zero(tmp_path: Path) -> None:
    write_csv(
        tmp_path / corpora_text.BANK_FILE,
        ["id", "split", "V", "A", "D", "text"],
        [
            ["a", "train", 3.0, 3.0, 3.2, "Remember what she said?"],
            ["b", "dev", 4.2, 3.0, 3.0, "Such a joy."],
            ["c", "test", 1.0, 3.0, 3.0, ".."],
        ],
    )
    first, second = corpora_text.emobank(tmp_path)
    assert first.text == "remember what she said" and first.label == 0.0
    assert first.written == "remember what she said?"
    assert (second.split, second.label) == (VALID, pytest.approx(1.8))
    assert corpora_text.side(second) == -1


def test_a_missing_file_or_column_is_named(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"sst_sentences\.csv\.gz: no such file"):
        corpora_text.sst(tmp_path)
    write_csv(tmp_path / corpora_text.SST_FILE, ["split", "text"], [["train", "x"]])
    with pytest.raises(CorpusError, match="column label5 is missing"):
        corpora_text.sst(tmp_path)


def test_window_cuts_are_pieces_of_long_texts_and_the_same_for_a_seed() -> None:
    words = [f"w{i}" for i in range(30)]
    samples = [
        TextSample("x", TRAIN, " ".join(words), 1.0),
        TextSample("x", TRAIN, "too short", -1.0),
    ]
    cuts = corpora_text.window_cuts(samples * 20, (6, 14), seed=3)
    assert len(cuts) == 20
    assert len({cut.text for cut in cuts}) > 10
    assert all(cut.text in samples[0].text and cut.label == 1.0 for cut in cuts)
    assert {len(cut.text.split()) for cut in cuts} <= set(range(6, 15))
    assert cuts == corpora_text.window_cuts(samples * 20, (6, 14), seed=3)
    running = corpora_text.window_cuts(samples * 20, (6, 14), seed=3, running=True)
    for cut, whole in zip(cuts, running, strict=True):
        assert whole.text.endswith(cut.text) and whole.text.split()[0] == samples[0].text.split()[0]


def test_some_texts_are_as_they_were_written() -> None:
    known = TextSample("x", TRAIN, "oh great", 1.0, "oh, great :)")
    spoken = TextSample("mosi", TRAIN, "oh great", 1.0)
    texts = [s.text for s in corpora_text.as_written([known] * 200, 0.5, seed=0)]
    assert set(texts) == {"oh great", "oh, great :)"}
    assert 70 <= texts.count("oh great") <= 130
    assert corpora_text.as_written([spoken], 1.0, seed=0) == [spoken]
    assert corpora_text.as_written([known], 0.0, seed=0) == [known]


def test_some_apostrophes_are_dropped() -> None:
    samples = [TextSample("x", TRAIN, "it's fine", 1.0)] * 200
    texts = [s.text for s in corpora_text.without_apostrophes(samples, 0.3, seed=0)]
    assert set(texts) == {"it's fine", "its fine"}
    assert 30 <= texts.count("its fine") <= 90


def write_ravdess(data: Path, sound: np.ndarray) -> None:
    lines = [
        ["01-01-05-02-01-01", "flac16k/a.flac", "angry", "strong", 1],
        ["01-01-03-01-01-17", "flac16k/b.flac", "happy", "normal", 17],
        ["01-01-01-01-01-15", "flac16k/c.flac", "neutral", "normal", 15],
    ]
    write_csv(
        data / corpora_voice.RAVDESS_FILE, ["id", "file", "emotion", "intensity", "actor"], lines
    )
    for line, part in zip(lines, (sound, sound[16_000:], sound[:9_000]), strict=True):
        write_flac(data / "ravdess" / str(line[1]), part)


def test_ravdess_maps_emotion_and_intensity_and_keeps_speakers_apart(tmp_path: Path) -> None:
    write_ravdess(tmp_path, np.zeros(9_000, np.float32))
    clips = corpora_voice.ravdess(tmp_path)
    assert [clip.label for clip in clips] == pytest.approx([-2.88, 1.6, 0.0])
    assert [clip.split for clip in clips] == [TRAIN, TEST, VALID]
    assert len(corpora_voice.read_sound(clips[0].path)) == 9_000


def test_copies_are_other_voices_that_say_the_same(tmp_path: Path) -> None:
    tone = 0.3 * np.sin(2 * np.pi * 200.0 * np.arange(32_000) / 16_000).astype(np.float32)
    write_ravdess(tmp_path, tone)
    clips = corpora_voice.ravdess(tmp_path)
    faster = corpora_voice.copies(clips)[0]
    assert (faster.id, faster.speaker) == (clips[0].id + "~", clips[0].speaker + "~")
    assert corpora_voice.actor_of(faster.speaker) == clips[0].speaker
    assert (faster.emotion, faster.label, faster.split) == ("angry", clips[0].label, TRAIN)
    woman = replace(clips[0], speaker="2")
    assert (faster.speed, corpora_voice.copies([woman])[0].speed) == (1.1, 0.9)
    sound = corpora_voice.read_sound(faster.path, faster.speed)
    assert len(sound) == pytest.approx(32_000 / 1.1, abs=20)
    spectrum = np.abs(np.fft.rfft(sound[:16_000] * np.hanning(16_000)))
    assert spectrum.argmax() == pytest.approx(220, abs=1)
    assert np.abs(sound).max() == pytest.approx(0.3, abs=0.01)


def test_emodb_only_tests(tmp_path: Path) -> None:
    write_csv(
        tmp_path / corpora_voice.EMODB_FILE,
        ["id", "file", "speaker", "emotion"],
        [["03a01Fa", "flac16k/03a01Fa.flac", "03", "happiness"]],
    )
    (clip,) = corpora_voice.emodb(tmp_path)
    assert (clip.split, clip.label, clip.speaker) == (TEST, 2.0, "03")


def test_cached_voice_is_what_the_live_extractors_give(
    tmp_path: Path, demo_sound: np.ndarray, whisper_base: Path
) -> None:
    write_ravdess(tmp_path, demo_sound)
    clips = corpora_voice.ravdess(tmp_path)
    cache = tmp_path / "cache"
    with pytest.raises(CorpusError, match="not built"):
        corpora_voice.load_voice(cache, clips[0])
    done: list[int] = []
    corpora_voice.build_voice(clips, whisper_base, cache, done.append)
    assert sum(done) == len(clips)
    assert _live_voice(whisper_base, corpora_voice.read_sound(clips[0].path)) <= _keys(
        cache, clips[0]
    )
    for clip in clips:
        kept = corpora_voice.load_voice(cache, clip)
        sound = corpora_voice.read_sound(clip.path)
        chunks: list[VoiceChunk] = []
        voice = VoiceExtractor(chunks.append)
        voice.feed(sound)
        voice.finish()
        alone = SpeechActivity().feed(sound)
        assert alone is not None
        np.testing.assert_array_equal(kept.descriptors, np.concatenate([c.values for c in chunks]))
        np.testing.assert_array_equal(kept.activity, alone.probability)
        assert kept.states.shape == (len(kept.cells), 512)
        assert all((kept.cells + 1) / 4 <= len(sound) / 16_000)
    # All is there, so nothing is loaded: a folder without weights does no harm.
    corpora_voice.build_voice(clips, tmp_path / "no weights", cache)


def _live_voice(whisper: Path, sound: np.ndarray) -> set[tuple[int, bytes]]:
    """Cells of a run over one clip alone, as a set of (cell, bytes of its state)."""
    activity, speech = SpeechActivity(), SpeechExtractor(whisper, words=False)
    updates = [speech.feed(sound, activity.feed(sound)), speech.finish()]
    speech.close()
    chunks = [update.states for update in updates if update is not None and update.states]
    found = {
        c: v.tobytes() for chunk in chunks for c, v in zip(chunk.cells, chunk.values, strict=True)
    }
    assert len(found) >= 5
    return set(found.items())


def _keys(cache: Path, clip: corpora_voice.VoiceClip) -> set[tuple[int, bytes]]:
    kept = corpora_voice.load_voice(cache, clip)
    return {(int(c), v.tobytes()) for c, v in zip(kept.cells, kept.states, strict=True)}


def write_fer(data: Path, demo_clip: Path) -> None:
    with av.open(str(demo_clip)) as container:
        frame = next(iter(container.decode(video=0))).to_ndarray(format="gray")
    size = min(frame.shape)
    left = (frame.shape[1] - size) // 2
    face = cv2.resize(frame[:size, left : left + size], (48, 48), interpolation=cv2.INTER_AREA)
    faces = [cv2.convertScaleAbs(face, alpha=1.0, beta=float(shade)) for shade in range(0, 30, 2)]
    blank = np.full((48, 48), 128, np.uint8)
    pictures = [faces[0], *faces, blank, faces[3]]
    coded = [cv2.imencode(".jpg", picture)[1].ravel() for picture in pictures]
    path = data / corpora_pictures.FER_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    usage = np.zeros(len(coded), np.int8)
    usage[-1] = 1
    np.savez(
        path,
        jpeg=np.concatenate(coded),
        offset=np.cumsum([0, *map(len, coded)]),
        label=np.arange(len(coded), dtype=np.int8) % 7,
        usage=usage,
        id=np.array([f"p{i}" for i in range(len(coded))]),
        emotions=np.array(["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"]),
    )


def test_pictures_become_labelled_faces_without_duplicates(
    tmp_path: Path, demo_clip: Path, face_folder: Path
) -> None:
    write_fer(tmp_path, demo_clip)
    pictures = corpora_pictures.fer2013(tmp_path)
    assert len(pictures.order) == 16, "two of 18 pictures are copies of others"
    assert 17 in pictures.order, "the copy in the test part stays, the one in training goes"
    assert 4 not in pictures.order
    assert pictures.image(0).shape == (256, 256, 3)
    cache = tmp_path / "cache"
    corpora_face.build_fer(pictures, face_folder, cache)
    table = corpora_face.load_fer(tmp_path, cache)
    assert 12 <= len(table.values) <= 15, "the blank picture has no face"
    assert table.values.shape == (len(table.label), 65)
    assert np.isfinite(table.values).all()
    assert [corpora_face.FER_VALENCE[e] for e in table.emotion] == pytest.approx(table.label)
    assert (table.split == TEST).sum() == 1
    assert (table.split == VALID).sum() >= 1
    corpora_face.build_fer(pictures, face_folder, cache)
    again = corpora_face.load_fer(tmp_path, cache)
    np.testing.assert_array_equal(again.values, table.values)
    still = StillFaceExtractor(face_folder, corpora_pictures.MIN_CONFIDENCE)
    first = corpora_pictures.load_pictures(cache).index[0]
    live = still.sample(pictures.image(int(first))).values
    still.close()
    assert live is not None
    np.testing.assert_allclose(table.values[0], live, atol=0.05, rtol=0.05)


def test_action_units_become_faces_by_their_ranks(tmp_path: Path) -> None:
    chance = np.random.default_rng(1)
    write_ravdess(tmp_path, np.zeros(2_000, np.float32))
    clips = corpora_voice.ravdess(tmp_path)
    names = [*corpora_face.UNIT_SHAPES, "AU12_c"]
    units = np.zeros((3, len(names)), np.float32)
    units[:, names.index("AU12_r")] = [0.1, 3.0, 0.7]
    units[:, names.index("AU04_r")] = [2.0, 0.0, 1.0]
    np.savez(
        tmp_path / corpora_face.UNITS_FILE,
        id=np.array([clip.id for clip in clips]), au35=units, au_names=np.array(names),
    )  # fmt: skip
    emotion = np.array(["neutral", "happy", "angry"])[chance.integers(3, size=300)]
    reference = corpora_face.FaceTable(
        chance.random((300, 65), np.float32), np.zeros(300, np.float32),
        np.full(300, TRAIN), emotion, np.full(300, ""),
    )  # fmt: skip
    faces = corpora_face.speaking_faces(tmp_path, clips, reference)
    smile = faces.values[:, BLENDSHAPES.index("mouthSmileLeft")]
    frown = faces.values[:, BLENDSHAPES.index("browDownRight")]
    assert smile.argsort().tolist() == [0, 2, 1]
    assert frown.argsort().tolist() == [1, 2, 0]
    assert smile.max() <= reference.values.max()
    gaze = BLENDSHAPES.index("eyeLookInLeft")
    assert set(faces.values[:, gaze]) <= set(reference.values[emotion == "neutral", gaze])
    assert np.isnan(faces.values[:, 58:]).all(), "nobody knows how the actors look"
    assert np.isfinite(faces.values[:, :58]).all()
    assert faces.label.tolist() == pytest.approx([-2.88, 1.6, 0.0])
    assert faces.speaker.tolist() == ["1", "17", "15"]


def test_a_video_gives_the_followed_face_at_fifteen_hertz(
    tmp_path: Path, demo_clip: Path, face_folder: Path
) -> None:
    corpora_face.build_video(demo_clip, face_folder, tmp_path)
    times, values = corpora_face.load_videos(tmp_path)["jwpIntro"]
    assert 80 <= len(times) <= 88
    assert np.all(np.diff(times) > 0.03)
    assert values.shape == (len(times), 65)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--part", "ravdess"], "ravdess_speech.csv: no such file"),
        (["--part", "fer2013"], "fer2013_jpeg.npz: no such file"),
        (["--part", "nonsense"], "part 'nonsense' is not one of"),
    ],
)
def test_the_command_says_what_is_missing(tmp_path: Path, arguments: list[str], said: str) -> None:
    result = CliRunner().invoke(app, ["build", "--data", str(tmp_path), *arguments])
    assert isinstance(result.exception, TonalityError)
    assert said in str(result.exception)

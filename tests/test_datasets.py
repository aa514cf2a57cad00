"""Readers of research data: what the file says comes back, and a wrong file says what is wrong.

Run time: about 4 s.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from features.errors import CorpusError
from model import commands
from model.data import datasets
from model.data import misa as datasets_misa
from model.data import plain as datasets_plain
from model.data import stored as datasets_stored
from model.data.datasets import parse, read
from model.data.pickles import RefusedError
from model.data.splits import SequenceData, Split
from model.data.streams import Stream, Tokens, lengths_of, observed, tokens_of
from tests.research_files import (
    CLS,
    SEP,
    SIZES,
    mmsa,
    write_aligned,
    write_misa,
    write_mosi,
    write_pickle,
    write_table,
)


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_unaligned_mmsa_file(tmp_path: Path, protocol: int) -> None:
    made = mmsa()
    data = read(write_pickle(tmp_path / "unaligned_50.pkl", made, protocol))
    assert (data.name, data.low, data.high) == ("unaligned_50", -3.0, 3.0)
    assert data.modalities == ("text", "audio", "vision")
    assert data.widths == {"text": 8, "audio": 5, "vision": 20}
    for name, size in SIZES.items():
        split, own = data.splits[name], made[name]
        assert len(split) == size
        assert np.array_equal(split.labels, own["regression_labels"].astype(np.float32))
        assert np.array_equal(split.extra["class"], own["classification_labels"])
        assert list(split.ids) == own["id"]
        for modality in ("audio", "vision"):
            stream = split.streams[modality]
            assert stream.lengths.tolist() == own[f"{modality}_lengths"]
            assert np.array_equal(stream.values, own[modality].astype(np.float32))
            assert np.array_equal(stream.known, stream.valid)
        assert split.text is not None
        assert split.text.raw == tuple(own["raw_text"].tolist())
        tokens = split.text.tokens
        assert tokens is not None
        assert np.array_equal(tokens.ids, own["text_bert"][:, 0])
        assert np.array_equal(tokens.valid, own["text_bert"][:, 1] == 1)
        assert set(tokens.ids[tokens.fixed].tolist()) == {CLS, SEP}
        assert tokens.fixed.sum(1).tolist() == [2] * size
        assert tokens.unknown == 100
        assert split.present.all()


def test_aligned_mmsa_file_has_no_lengths_and_needs_none(tmp_path: Path) -> None:
    made = mmsa(audio=(50, 5), unaligned=False)
    split = read(write_pickle(tmp_path / "aligned_50.pkl", made)).splits["train"]
    assert split.text is not None and split.text.tokens is not None
    assert split.audio is not None and split.vision is not None
    words = made["train"]["text_bert"][:, 1].sum(1)
    for sequence in (split.text.tokens, split.audio, split.vision):
        assert np.array_equal(sequence.lengths, words)


def test_ch_sims_file_has_its_scale_and_labels_of_each_modality(tmp_path: Path) -> None:
    made = mmsa(text=39, audio=(400, 33), vision=(55, 709), sims=True)
    data = read(write_pickle(tmp_path / "unaligned_39.pkl", made))
    assert (data.low, data.high) == (-1.0, 1.0)
    assert data.widths == {"text": 8, "audio": 33, "vision": 709}
    extra = data.splits["test"].extra
    for modality, letter in (("text", "T"), ("audio", "A"), ("vision", "V")):
        assert np.array_equal(extra[modality], made["test"][f"regression_labels_{letter}"])


def test_files_as_others_write_them(tmp_path: Path) -> None:
    """Lists instead of arrays, columns instead of rows, strings as objects, no features of text."""
    made = mmsa()
    for own in made.values():
        own["regression_labels"] = own["regression_labels"].reshape(-1, 1).tolist()
        own["raw_text"] = np.array(own["raw_text"].tolist(), object)
        own["id"] = np.array(own["id"], object)
        own["audio_lengths"] = np.array(own["audio_lengths"])
        for key in ("text", "annotations", "classification_labels", "id"):
            own.pop(key)
    split = read(write_pickle(tmp_path / "own.pkl", made)).splits["valid"]
    assert split.labels.shape == (5,)
    assert split.ids[2] == "valid/2"
    assert split.text is not None and split.text.features is None


def test_blank_frames_are_not_known_and_are_counted(tmp_path: Path) -> None:
    made = mmsa()
    own = made["train"]
    row = int(np.argmax(own["vision_lengths"]))
    own["vision"][row, 1] = 0
    own["audio"][0, -1] = 1
    own["audio_lengths"][0] = 3
    data = read(write_pickle(tmp_path / "blank.pkl", made))
    vision, audio = data.splits["train"].vision, data.splits["train"].audio
    assert vision is not None and audio is not None
    assert not vision.valid[row, 1] and vision.valid[row, 2]
    assert vision.lengths[row] == own["vision_lengths"][row]
    assert data.counts["train.vision.blank_steps"] == 1
    assert not audio.values[0, 3:].any()
    assert data.counts["train.audio.beyond_length"] >= 1


def _without(key: str) -> Callable[[dict[str, Any]], None]:
    return lambda made: made["test"].pop(key)


def _with(key: str, change: Callable[[Any], Any]) -> Callable[[dict[str, Any]], None]:
    def put(made: dict[str, Any]) -> None:
        made["test"][key] = change(made["test"][key])

    return put


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda made: made.pop("valid"), ("'valid'", "found 'train', 'test'")),
        (lambda made: made.update(test=[1]), ("test", "dictionary", "list")),
        (_without("audio"), ("test", "'audio'", "found 'raw_text'")),
        (_without("regression_labels"), ("'regression_labels'", "found")),
        (_with("audio", lambda a: a[:, :, 0]), ("'audio'", "(7, 37)", "(7, T, D)")),
        (_with("audio", lambda a: a[:3]), ("'audio'", "(3, 37, 5)", "(7, T, D)")),
        (_with("audio", lambda a: a.astype(str)), ("'audio'", "array of numbers")),
        (_with("audio", lambda a: a.tolist()), ("'audio'", "list", "array of numbers")),
        (_with("audio", lambda a: a[:, :, :4]), ("'audio'", "width 4", "expected 5")),
        (_with("text_bert", lambda b: b[:, :2]), ("'text_bert'", "(7, 2, 50)", "(7, 3, T)")),
        (_with("text_bert", lambda b: b - 5), ("'text_bert'", "ids from -5")),
        (_with("vision_lengths", lambda n: [51, *n[1:]]), ("51", "sample 0", "0 to 50")),
        (_with("vision_lengths", lambda n: n[1:]), ("'vision_lengths'", "(6,)", "(7,)")),
        (_with("raw_text", lambda t: t[1:]), ("'raw_text'", "6", "expected 7")),
        (_with("regression_labels", lambda y: y + 9), ("'regression_labels'", "-3..3")),
        (_with("regression_labels", lambda y: y * np.nan), ("no numbers",)),
        (_with("regression_labels", lambda y: ["x"] * 7), ("does not hold numbers",)),
    ],
)
def test_a_wrong_mmsa_file_says_what_was_expected(
    tmp_path: Path, spoil: Callable[[dict[str, Any]], Any], told: tuple[str, ...]
) -> None:
    made = mmsa()
    spoil(made)
    path = write_pickle(tmp_path / "wrong.pkl", made)
    with pytest.raises(CorpusError) as error:
        read(path)
    for part in (str(path), *told):
        assert part in str(error.value)
    assert "\n" not in str(error.value)


def test_text_must_have_one_form(tmp_path: Path) -> None:
    made = mmsa()
    for key in ("text", "text_bert", "raw_text"):
        made["train"].pop(key)
    with pytest.raises(CorpusError, match="'text_bert', 'text', 'raw_text'"):
        read(write_pickle(tmp_path / "wrong.pkl", made))


class Attack:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.marker}",)


def test_hostile_files_of_either_format_do_nothing(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    made: dict[str, Any] = mmsa()
    made["test"]["annotations"] = Attack(marker)
    write_misa(tmp_path / "misa")
    write_pickle(tmp_path / "misa" / "dev.pkl", [Attack(marker)])
    for path in (write_pickle(tmp_path / "hostile.pkl", made), tmp_path / "misa"):
        with pytest.raises(RefusedError, match="system"):
            read(path)
    assert not marker.exists()


@pytest.mark.parametrize("labels", [1, 7])
def test_misa_folder(tmp_path: Path, labels: int) -> None:
    made = write_misa(tmp_path / "mosi", labels)
    data = read(tmp_path / "mosi")
    assert data.widths == {"audio": 74, "vision": 47}
    for name, samples in made.items():
        split = data.splits[name]
        assert split.text is not None and split.text.raw is not None
        assert split.audio is not None and split.vision is not None
        for row, ((_, visual, acoustic, words), label, segment) in enumerate(samples):
            assert split.text.raw[row].split() == words
            assert split.audio.lengths[row] == len(words)
            assert np.allclose(split.vision.values[row, : len(words)], visual)
            assert np.allclose(split.audio.values[row, : len(words)], acoustic)
            assert not split.audio.values[row, len(words) :].any()
            assert split.labels[row] == label[0, 0]
            assert split.ids[row] == segment
            if labels == 7:
                assert split.extra["sad"][row] == label[0, 2]


def test_steps_that_misa_scaled_to_zero_are_data() -> None:
    stream = datasets_misa.padded([np.zeros((1, 3)), np.ones((4, 3))])
    assert stream.lengths.tolist() == [1, 4]


def test_ur_funny_has_classes(tmp_path: Path) -> None:
    made = write_misa(tmp_path / "humour")
    for file, name in (("train", "train"), ("dev", "valid"), ("test", "test")):
        samples = [
            (features, np.array([[row % 2]]), row)
            for row, (features, _, _) in enumerate(made[name])
        ]
        write_pickle(tmp_path / "humour" / f"{file}.pkl", samples)
    data = read(tmp_path / "humour")
    assert data.classes == 2
    assert data.splits["train"].labels.tolist()[:3] == [0.0, 1.0, 0.0]


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda s: s.update(train={"a": 1}), ("train.pkl", "list", "dict")),
        (lambda s: s["train"].clear(), ("train.pkl", "list of ((word_ids")),
        (lambda s: s["dev"].append((1, 2)), ("dev.pkl", "sample 1", "expected ((word_ids")),
        (
            lambda s: s["dev"].append(((0, np.zeros(3), np.zeros((1, 74)), ["a"]), [[0.0]], "x")),
            ("visual is an array (3,)", "(T, D)"),
        ),
        (
            lambda s: s["dev"].append(
                ((0, np.zeros((2, 47)), np.zeros((1, 74)), ["a", "b"]), [[0.0]], "x")
            ),
            ("2 words, 2 visual and 1 acoustic", "as many of each"),
        ),
        (
            lambda s: s["dev"].append(
                ((0, np.zeros((1, 35)), np.zeros((1, 74)), ["a"]), [[0.0]], "x")
            ),
            ("dev.pkl", "sample 1", "(35, 74)", "(47, 74)"),
        ),
        (
            lambda s: s["dev"].append(
                ((0, np.zeros((1, 47)), np.zeros((1, 74)), ["a"]), [[0.0, 1.0]], "x")
            ),
            ("a label of 2 numbers",),
        ),
        (
            lambda s: s["dev"].append(
                ((0, np.zeros((1, 47)), np.zeros((1, 74)), ["a"]), np.zeros((1, 7)), "x")
            ),
            ("a label of 7 numbers", "expected 1, as in sample 0"),
        ),
        (
            lambda s: s["dev"].append(
                ((0, np.zeros((1, 47)), np.zeros((1, 74)), ["a"]), [[5.0]], "x")
            ),
            ("-3..3",),
        ),
    ],
)
def test_a_wrong_misa_folder_says_what_was_expected(
    tmp_path: Path, spoil: Callable[[dict[str, Any]], Any], told: tuple[str, ...]
) -> None:
    good = ((0, np.ones((1, 47)), np.ones((1, 74)), ["a"]), [[0.5]], "x")
    samples: dict[str, Any] = {name: [good] for name in ("train", "dev", "test")}
    samples = {name: list(own) for name, own in samples.items()}
    spoil(samples)
    for name, own in samples.items():
        write_pickle(tmp_path / f"{name}.pkl", own)
    with pytest.raises(CorpusError) as error:
        read(tmp_path)
    for part in told:
        assert part in str(error.value)
    assert "\n" not in str(error.value)


def test_paths_that_are_no_data_set(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"train\.pkl, dev\.pkl"):
        read(tmp_path)
    with pytest.raises(CorpusError, match="no such file"):
        read(tmp_path / "nothing")
    with pytest.raises(CorpusError, match="there are mosi-text"):
        read(tmp_path, "imagenet")


def _same(one: SequenceData, other: SequenceData) -> None:
    assert (one.name, one.low, one.high, one.classes, one.source, dict(one.counts)) == (
        other.name, other.low, other.high, other.classes, other.source, dict(other.counts),
    )  # fmt: skip
    assert list(one.splits) == list(other.splits)
    for name, split in one.splits.items():
        own = other.splits[name]
        assert split.ids == own.ids
        assert np.array_equal(split.labels, own.labels)
        assert set(split.extra) == set(own.extra)
        assert all(np.array_equal(split.extra[key], own.extra[key]) for key in split.extra)
        for modality, stream in split.streams.items():
            _same_arrays(stream, own.streams[modality], ("values", "valid", "known"))
        if split.text is not None:
            assert own.text is not None
            assert split.text.raw == own.text.raw
            assert (split.text.tokens is None) == (own.text.tokens is None)
            if split.text.tokens is not None:
                parts = ("ids", "valid", "known", "fixed", "unknown")
                _same_arrays(split.text.tokens, own.text.tokens, parts)


def _same_arrays(one: object, other: object, parts: tuple[str, ...]) -> None:
    for part in parts:
        mine, theirs = getattr(one, part), getattr(other, part)
        assert np.array_equal(mine, theirs, equal_nan=part == "values")


def test_conversion_keeps_everything_and_scales_the_same(tmp_path: Path) -> None:
    made = mmsa()
    made["train"]["audio"][0, 0, 2] = -np.inf
    made["train"]["audio"][1, 0, 1] = np.nan
    path = write_pickle(tmp_path / "unaligned_50.pkl", made)
    write_misa(tmp_path / "misa")
    for source in (path, tmp_path / "misa"):
        out = tmp_path / f"{source.name}-converted"
        datasets_stored.save(parse(source), out)
        _same(parse(source), parse(out))
        for scaling in ("none", "train", "utterance"):
            _same(read(source, scaling=scaling), read(out, scaling=scaling))
        assert len(parse(out).source) == 64


def test_conversion_by_command_and_the_pickle_can_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_pickle(tmp_path / "unaligned_50.pkl", mmsa())
    expected = read(path)
    out = tmp_path / "converted"
    assert _command(monkeypatch, "convert", str(path), str(out)) == 0
    path.unlink()
    _same(expected, read(out))
    assert sorted(file.name for file in out.iterdir()) == ["data.json", "data.safetensors"]
    capsys.readouterr()
    assert _command(monkeypatch, "describe", str(out), "--scaling", "train") == 0
    told = capsys.readouterr().out
    assert "unaligned_50" in told and "train" in told and "-3" in told
    assert _command(monkeypatch, "describe", str(path)) == 2
    error = capsys.readouterr().err
    assert str(path) in error.replace("\n", "") and "Traceback" not in error


def _command(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["datasets", *arguments])
    try:
        commands.run(datasets.app)
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


@pytest.mark.parametrize("file", ["data.safetensors", "data.json"])
def test_a_damaged_conversion_is_told(tmp_path: Path, file: str) -> None:
    out = tmp_path / "converted"
    datasets_stored.save(parse(write_pickle(tmp_path / "a.pkl", mmsa())), out)
    content = (out / file).read_bytes()
    (out / file).write_bytes(content[: len(content) // 2])
    with pytest.raises(CorpusError, match=r"converted|SHA-256"):
        read(out)


def test_a_changed_number_in_a_conversion_is_told(tmp_path: Path) -> None:
    out = tmp_path / "converted"
    datasets_stored.save(parse(write_pickle(tmp_path / "a.pkl", mmsa())), out)
    content = bytearray((out / "data.safetensors").read_bytes())
    content[-1] ^= 1
    (out / "data.safetensors").write_bytes(content)
    with pytest.raises(CorpusError, match="SHA-256"):
        read(out)


def test_mosi_utterances_stay_within_their_video_and_split(tmp_path: Path) -> None:
    table = write_mosi(tmp_path)
    data = datasets_plain.mosi_utterances(tmp_path, context=2)
    assert [len(split) for split in data.splits.values()] == [24, 6, 12]
    videos = {
        name: {utterance.split("_")[0] for utterance in split.ids}
        for name, split in data.splits.items()
    }
    assert not videos["train"] & videos["valid"]
    assert not videos["test"] & (videos["train"] | videos["valid"])
    arrays = np.load(tmp_path / datasets_plain.UTTERANCES_FILE)
    rows = {row["id"]: i for i, row in enumerate(table)}
    split = data.splits["test"]
    assert split.audio is not None and split.text is not None and split.text.raw is not None
    for row, utterance in enumerate(split.ids):
        video, clip = utterance.split("_")
        order = ["1", "2", "10"]
        place = order.index(clip)
        for step in range(5):
            other = place + step - 2
            there = 0 <= other < 3
            assert split.audio.valid[row, step] == there
            if there:
                source = arrays["audio"][rows[f"{video}_{order[other]}"]]
                assert np.array_equal(split.audio.values[row, step], source)
        assert split.text.raw[row] == f"it's clip {clip}"
        assert split.labels[row] == np.float32(table[rows[utterance]]["label"])


def test_leaking_columns_are_refused_on_the_standard_split(tmp_path: Path) -> None:
    write_mosi(tmp_path)
    with pytest.raises(CorpusError, match="columns of text and vision come from"):
        datasets_plain.mosi_utterances(tmp_path, "standard")
    with pytest.raises(CorpusError, match="columns of vision come from"):
        datasets_plain.mosi_utterances(tmp_path, "standard", streams=("audio", "vision"))
    honest = datasets_plain.mosi_utterances(tmp_path, "standard", streams=("audio",))
    assert honest.modalities == ("audio",) and not honest.notes
    leaky = datasets_plain.mosi_utterances(tmp_path, "standard", allow_leak=True)
    assert "honest" in leaky.notes[0]
    assert "validation" in datasets_plain.mosi_utterances(tmp_path).notes[0]


def test_aligned_sequences(tmp_path: Path) -> None:
    write_aligned(tmp_path)
    mmmo = read(tmp_path, "mmmo")
    assert mmmo.modalities == ("audio", "vision")
    assert (mmmo.low, mmmo.high, mmmo.widths) == (1.0, 5.0, {"audio": 74, "vision": 36})
    audio = mmmo.splits["train"].audio
    assert audio is not None
    assert audio.valid[0].tolist() == [False] * 15 + [True] * 5
    moved = mmmo.on_scale()
    assert np.allclose(moved.splits["test"].labels, 1.5 * (mmmo.splits["test"].labels - 3))
    pom = datasets_plain.aligned(tmp_path, "pom", trait=4)
    assert np.array_equal(pom.splits["valid"].labels, pom.splits["valid"].extra["trait4"])
    youtube = read(tmp_path, "youtube")
    assert youtube.classes == 3
    assert youtube.on_scale() is youtube
    arrays = np.load(tmp_path / "mfn_wordaligned_seq" / "youtube.npz")
    assert np.array_equal(youtube.splits["test"].labels, arrays["y_test"].argmax(1))
    with pytest.raises(CorpusError, match="trait 17; expected 0 to 16"):
        datasets_plain.aligned(tmp_path, "pom", trait=17)


def test_wrong_arrays_say_what_was_expected(tmp_path: Path) -> None:
    write_aligned(tmp_path)
    path = tmp_path / "mfn_wordaligned_seq" / "mmmo.npz"
    arrays = dict(np.load(path))
    wrong: Mapping[str, tuple[dict[str, np.ndarray], str]] = {
        "key": ({k: v for k, v in arrays.items() if k != "video_test"}, "'video_test'; found"),
        "shape": (arrays | {"audio_test": arrays["audio_test"][:2]}, r"\(7, T, 74\)"),
        "labels": (arrays | {"y_test": np.zeros((7, 2))}, r"\(7, 1\)"),
    }
    for spoiled, told in wrong.values():
        np.savez(path, **spoiled)
        with pytest.raises(CorpusError, match=told):
            read(tmp_path, "mmmo")
    path.write_bytes(b"no archive")
    with pytest.raises(CorpusError, match="npz"):
        read(tmp_path, "mmmo")
    path.unlink()
    with pytest.raises(CorpusError, match="no such file"):
        read(tmp_path, "mmmo")


def test_texts(tmp_path: Path) -> None:
    splits = ("train", "valid", "test")
    write_table(
        tmp_path / "ch_sims" / "sims.csv.gz",
        [
            {"id": f"v_{i}", "text_zh": "我不想", "text_en": "I don't.", "label": -0.4, "split": s}
            for i, s in enumerate(splits)
        ],
    )
    write_table(
        tmp_path / "emobank" / "emobank.csv.gz",
        [
            {"id": f"e_{i}", "split": s, "V": 3.4, "A": 2.0, "D": 4.0, "text": "Well, yes."}
            for i, s in enumerate(("train", "dev", "test"))
        ],
    )
    write_mosi(tmp_path)
    zh, en = read(tmp_path, "sims-text"), read(tmp_path, "sims-text-en")
    assert (zh.low, zh.high) == (-1.0, 1.0)
    assert zh.splits["valid"].text is not None and en.splits["valid"].text is not None
    assert zh.splits["valid"].text.raw == ("我不想",)
    assert en.splits["valid"].text.raw == ("I don't.",)
    bank = read(tmp_path, "emobank").splits["valid"]
    assert bank.labels.tolist() == [np.float32(3.4)]
    assert bank.extra["dominance"].tolist() == [4.0]
    write_table(
        tmp_path / "sst" / "sst_sentences.csv.gz",
        [{"split": s, "label5": 4, "text": "Fine , is n't it ?"} for s in ("train", "dev", "test")],
    )
    sst = read(tmp_path, "sst").splits["valid"]
    assert sst.text is not None and sst.text.raw == ("fine isn't it",)
    assert sst.labels.tolist() == [np.float32(2.4)]
    mosi = read(tmp_path, "mosi-text")
    assert [len(split) for split in mosi.splits.values()] == [15, 15, 12]
    assert mosi.splits["train"].present.tolist()[0] == [True, False, False]


def test_masks_and_shapes_are_checked() -> None:
    values, mask = np.zeros((2, 3, 4), np.float32), np.ones((2, 3), bool)
    for wrong in (mask[:, :2], mask.astype(int)):
        with pytest.raises(ValueError, match="bool"):
            Stream(values, wrong, mask)
    with pytest.raises(ValueError, match="not valid"):
        Stream(values, ~mask, mask)
    with pytest.raises(ValueError, match="float32"):
        Stream(values.astype(np.float64), mask, mask)
    with pytest.raises(ValueError, match="audio has 2 samples, not 1"):
        Split(("a",), np.zeros(1, np.float32), audio=Stream(values, mask, mask))


def test_lengths_tokens_and_rows() -> None:
    valid = np.array([[0, 0, 1, 0], [1, 1, 1, 1], [0, 0, 0, 0]], bool)
    assert lengths_of(valid).tolist() == [3, 4, 0]
    tokens = tokens_of(np.arange(12).reshape(3, 4), valid, 100)
    assert tokens.fixed.tolist() == [
        [False, False, True, False],
        [True, False, False, True],
        [False] * 4,
    ]
    stream = observed(np.array([[[0, 0], [1, 0], [np.nan, 0]]]), np.array([3]))
    assert stream.valid.tolist() == [[False, True, True]]
    split = Split(("a", "b", "c"), np.arange(3, dtype=np.float32)).with_tokens(tokens)
    chosen = split.select(np.array([True, False, True]))
    assert chosen.ids == ("a", "c") and chosen.labels.tolist() == [0, 2]
    again = split.select([2, 2, 0])
    assert again.ids == ("c", "c", "a")
    assert again.text is not None and isinstance(again.text.sequence, Tokens)
    assert again.text.sequence.ids[0].tolist() == [8, 9, 10, 11]


def test_what_is_no_pickle_is_not_taken_for_one(tmp_path: Path) -> None:
    np.savez(tmp_path / "mmmo.npz", y_train=np.zeros(3))
    with pytest.raises(CorpusError, match=r"mmmo\.npz: no pickle .*give that folder and a name"):
        read(tmp_path / "mmmo.npz")
    with pytest.raises(CorpusError, match=r"a folder without train\.pkl.*give that folder"):
        read(tmp_path)
    with pytest.raises(CorpusError, match=r"no such file$"):
        read(tmp_path / "none.pkl")

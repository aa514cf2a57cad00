"""Small files in the formats of the field, written as its own tools write them."""

from __future__ import annotations

import csv
import gzip
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

SIZES = {"train": 12, "valid": 5, "test": 7}
ANNOTATIONS = ("Negative", "Neutral", "Positive")
CLS, SEP, UNK = 101, 102, 100


def mmsa_split(
    size: int,
    chance: np.random.Generator,
    *,
    text: int = 50,
    audio: tuple[int, int] = (37, 5),
    vision: tuple[int, int] = (50, 20),
    unaligned: bool = True,
    sims: bool = False,
) -> dict[str, Any]:
    """One split as MMSA's pickles hold it: the same keys, types and paddings."""
    top = 1.0 if sims else 3.0
    labels = np.round(chance.uniform(-top, top, size), 1)
    words = chance.integers(3, text - 2, size)
    bert = np.zeros((size, 3, text))
    for row, count in enumerate(words):
        bert[row, 0, : count + 2] = [CLS, *chance.integers(1000, 21_000, count), SEP]
        bert[row, 1, : count + 2] = 1
    lengths = {
        "audio": chance.integers(1, audio[0] + 1, size),
        "vision": chance.integers(1, vision[0] + 1, size),
    }
    if not unaligned:
        lengths = {"audio": words + 2, "vision": words + 2}
    split = {
        "raw_text": np.array([f"utterance {row} of some words" for row in range(size)]),
        "audio": _padded(lengths["audio"], audio, chance),
        "vision": _padded(lengths["vision"], vision, chance),
        "id": [f"video{row // 3}$_${row}" for row in range(size)],
        "text": _padded(words + 2, (text, 8), chance).astype(np.float32),
        "text_bert": bert,
        "annotations": [ANNOTATIONS[int(np.sign(label)) + 1] for label in labels],
        "classification_labels": np.sign(labels) + 1,
        "regression_labels": labels,
    }
    if unaligned:
        split["audio_lengths"] = lengths["audio"].tolist()
        split["vision_lengths"] = lengths["vision"].tolist()
    if sims:
        for letter in "TAV":
            own = np.round(chance.uniform(-1, 1, size), 1).astype(np.float32)
            split[f"regression_labels_{letter}"] = own
            split[f"classification_labels_{letter}"] = np.sign(own) + 1
    return split


def mmsa(**options: Any) -> dict[str, dict[str, Any]]:
    """A whole file of that format."""
    chance = np.random.default_rng(7)
    return {name: mmsa_split(size, chance, **options) for name, size in SIZES.items()}


def _padded(lengths: np.ndarray, shape: tuple[int, int], chance: np.random.Generator) -> np.ndarray:
    values = np.zeros((len(lengths), *shape))
    for row, length in enumerate(lengths):
        values[row, :length] = 40 + 9 * chance.standard_normal((length, shape[1]))
    return values


def write_pickle(path: Path, item: Any, protocol: int = 4) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(item, protocol))
    return path


def misa_samples(size: int, chance: np.random.Generator, labels: int = 1) -> list[Any]:
    """Samples as MISA's ``create_dataset`` writes them: ragged, ids beside words, label ``(1, 1)``."""
    samples = []
    for row in range(size):
        steps = int(chance.integers(1, 9))
        words = [f"word{i}" for i in range(steps)]
        features = (
            np.arange(steps),
            chance.standard_normal((steps, 47)),
            chance.standard_normal((steps, 74)),
            words,
        )
        label = np.round(chance.uniform(-3, 3, (1, labels)), 1).astype(np.float32)
        samples.append((features, label, f"video{row // 2}[{row % 2}]"))
    return samples


def write_misa(folder: Path, labels: int = 1) -> dict[str, list[Any]]:
    """A folder of ``train.pkl``, ``dev.pkl`` and ``test.pkl``."""
    chance = np.random.default_rng(3)
    made = {}
    for name, file in (("train", "train.pkl"), ("valid", "dev.pkl"), ("test", "test.pkl")):
        made[name] = misa_samples(SIZES[name], chance, labels)
        write_pickle(folder / file, made[name])
    return made


def write_table(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "wt", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def write_mosi(data: Path) -> list[dict[str, Any]]:
    """The utterance table and features of CMU-MOSI: 14 videos of 3 utterances."""
    chance = np.random.default_rng(5)
    table = []
    for video in range(14):
        for clip in (2, 10, 1):  # not in order, and ten comes after two
            table.append(
                {
                    "id": f"v{video:02}_{clip}",
                    "video_id": f"v{video:02}",
                    "clip": clip,
                    "text": f"IT'S, CLIP {clip}!",
                    "text_zh": "-",
                    "label": round(float(chance.uniform(-3, 3)), 1),
                    "label_bin_ge0": 1,
                    "split_std": ("train", "valid", "test")[video % 3],
                    "split_bclstm": "train" if video < 10 else "test",
                }
            )
    write_table(data / "mosi" / "mosi_utterances.csv", table)
    np.savez(
        data / "mosi" / "mosi_utterance_features.npz",
        id=np.array([row["id"] for row in table]),
        label=np.array([row["label"] for row in table], np.float32),
        text=chance.standard_normal((len(table), 100)).astype(np.float32),
        audio=chance.standard_normal((len(table), 73)).astype(np.float32),
        video=chance.standard_normal((len(table), 100)).astype(np.float32),
    )
    return table


def write_aligned(data: Path) -> None:
    """The three sets of word-aligned sequences, padded in front as ICT-MMMO and POM are."""
    chance = np.random.default_rng(9)
    folder = data / "mfn_wordaligned_seq"
    folder.mkdir(parents=True)
    widths = {"mmmo": (74, 36), "pom": (43, 41), "youtube": (74, 36)}
    for name, (audio, video) in widths.items():
        arrays = {}
        for split, size in SIZES.items():
            for kind, width in (("audio", audio), ("video", video)):
                values = chance.standard_normal((size, 20, width)).astype(np.float32)
                values[0, :15] = 0
                arrays[f"{kind}_{split}"] = values
            arrays[f"y_{split}"] = {
                "mmmo": chance.uniform(1, 5, size),
                "pom": chance.uniform(1, 7, (size, 17)),
                "youtube": np.eye(3)[chance.integers(0, 3, size)],
            }[name].astype(np.float32)
        np.savez(folder / f"{name}.npz", **arrays)

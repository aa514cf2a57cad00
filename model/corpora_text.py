"""Readers of the text corpora: every sample a spoken text and a label from -3 to +3.

Text is given as it comes live (:func:`features.text.plain`): lower-cased, no punctuation but
apostrophes. The mappings to the common scale are stated with each reader.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import random
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from features.errors import TonalityError
from features.text import plain

TRAIN: Final = "train"
VALID: Final = "valid"
TEST: Final = "test"

MOSI_FILE: Final = "mosi/mosi_utterances.csv"
SST_FILE: Final = "sst/sst_sentences.csv.gz"
PHRASES_FILE: Final = "sst/sst_train_phrases.csv.gz"
VADER_FILE: Final = "vader_ratings/vader_icwsm2014_ratings.csv.gz"
MELD_FILE: Final = "meld/meld_text.csv.gz"
TEXT_FILES: Final = (MOSI_FILE, SST_FILE, PHRASES_FILE, VADER_FILE, MELD_FILE)

SST_STEP: Final = 1.2
VADER_SCALE: Final = 0.75
MELD_LABELS: Final = {"negative": -1.5, "neutral": 0.0, "positive": 1.5}
HELD_OUT_IN: Final = 10  # every tenth group of VADER texts is never trained on

_SST_CLITIC = re.compile(r"\s+(n't|'(?:s|re|ve|ll|d|m))\b", re.IGNORECASE)
_ADDRESS = re.compile(r"https?://\S+|@\w+")


class CorpusError(TonalityError):
    """A corpus file is missing or does not look as its reader expects."""


@dataclass(frozen=True, slots=True)
class TextSample:
    """One text with its label in -3..3; ``split`` is ``train``, ``valid`` or ``test``."""

    corpus: str
    split: str
    text: str
    label: float


def mosi(data: Path) -> list[TextSample]:
    """CMU-MOSI, 2,199 spoken utterances, the field's standard split; labels as they are (-3..3).

    Zadeh et al. 2016. The transcripts are upper case without apostrophes.
    """
    return [
        TextSample("mosi", row["split_std"], plain(row["text"]), float(row["label"]))
        for row in rows(data / MOSI_FILE, ("text", "label", "split_std"))
    ]


def sst(data: Path) -> list[TextSample]:
    """Stanford Sentiment Treebank sentences; class 0..4 becomes -2.4, -1.2, 0, 1.2, 2.4; dev is valid.

    Socher et al. 2013.
    """
    names = {"train": TRAIN, "dev": VALID, "test": TEST}
    return [
        TextSample("sst", names[row["split"]], _sst_text(row["text"]), _sst_label(row))
        for row in rows(data / SST_FILE, ("split", "label5", "text"))
    ]


def sst_phrases(data: Path) -> list[TextSample]:
    """Phrases of the training sentences with two words or more, labelled as in :func:`sst`.

    They teach what a cut-off piece of a sentence says by itself, as windows cut speech.
    """
    seen: dict[str, TextSample] = {}
    for row in rows(data / PHRASES_FILE, ("label5", "text")):
        text = _sst_text(row["text"])
        if " " in text:
            seen.setdefault(text, TextSample("sst_phrases", TRAIN, text, _sst_label(row)))
    return list(seen.values())


def vader(data: Path) -> list[TextSample]:
    """Mean of twenty human ratings (-4..4) x 3/4, for tweets, film and product reviews, editorials.

    Hutto and Gilbert 2014. Addresses and names of tweets are removed. There is no official split:
    one in ten is held out as valid, whole reviews at a time. The film snippets are also those of the
    Treebank: those found there take the Treebank's split, so that nothing leaks between the two.
    """
    elsewhere = {_letters(sample.text): sample.split for sample in sst(data)}
    samples = []
    for row in rows(data / VADER_FILE, ("source", "id", "mean_rating", "text")):
        text = plain(_ADDRESS.sub(" ", row["text"]))
        group = f"{row['source']}/{row['id'].split('_')[0]}"
        split = elsewhere.get(_letters(text)) or (VALID if _held_out(group) else TRAIN)
        samples.append(TextSample("vader", split, text, VADER_SCALE * float(row["mean_rating"])))
    return [sample for sample in samples if sample.text]


def meld(data: Path) -> list[TextSample]:
    """MELD, 11,098 utterances of a television series; negative -1.5, neutral 0, positive +1.5.

    Poria et al. 2019. The classes were given with picture and sound at hand; dev is valid.
    """
    names = {"train": TRAIN, "dev": VALID}
    samples = (
        TextSample(
            "meld", names[row["split"]], plain(row["Utterance"]), MELD_LABELS[row["Sentiment"]]
        )
        for row in rows(data / MELD_FILE, ("Utterance", "Sentiment", "split"))
    )
    return [sample for sample in samples if sample.text]


def part(samples: Iterable[TextSample], split: str) -> list[TextSample]:
    """Those of one split, in order."""
    return [sample for sample in samples if sample.split == split]


def without_apostrophes(samples: Sequence[TextSample], share: float, seed: int) -> list[TextSample]:
    """Drop apostrophes from a random ``share`` of the texts: some transcripts have none."""
    chance = random.Random(seed)
    return [
        replace(sample, text=sample.text.replace("'", "")) if chance.random() < share else sample
        for sample in samples
    ]


def window_cuts(
    samples: Sequence[TextSample], words: tuple[int, int], seed: int
) -> list[TextSample]:
    """A cut at random edges of every text that is longer than a window, label kept.

    ``words`` is the least and the greatest length of a cut; 4 s of speech are about 6 to 14 words.
    """
    chance = random.Random(seed)
    cuts = []
    for sample in samples:
        heard = sample.text.split()
        length = chance.randint(*words)
        if len(heard) > length:
            first = chance.randint(0, len(heard) - length)
            cuts.append(replace(sample, text=" ".join(heard[first : first + length])))
    return cuts


def rows(path: Path, columns: Sequence[str]) -> Iterator[dict[str, str]]:
    """Rows of a CSV file (``.gz`` too) that has at least ``columns``; :class:`CorpusError` if not."""
    if not path.is_file():
        raise CorpusError(f"{path}: no such file; --data names the folder of the corpora")
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        missing = set(columns) - set(reader.fieldnames or ())
        if missing:
            raise CorpusError(f"{path}: column {sorted(missing)[0]} is missing")
        yield from reader


def _sst_text(text: str) -> str:
    bare = text.replace("\\/", " ").replace("``", " ").replace("''", " ")
    return plain(_SST_CLITIC.sub(r"\1", bare))


def _sst_label(row: dict[str, str]) -> float:
    return SST_STEP * (int(row["label5"]) - 2)


def _letters(text: str) -> str:
    return "".join(letter for letter in text if letter.isalnum())


def _held_out(group: str) -> bool:
    return int(hashlib.sha256(group.encode()).hexdigest(), 16) % HELD_OUT_IN == 0

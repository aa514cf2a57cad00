"""Readers of the text corpora: every sample a spoken text and a label from -3 to +3.

Text is given as it comes live (:func:`features.text.plain`): lower-cased, no punctuation but
apostrophes; of what people wrote also as they wrote it (:func:`features.text.written`), as chats come.
The mappings to the common scale are stated with each reader.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import html
import random
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from features.errors import CorpusError
from features.text import plain, written

TRAIN: Final = "train"
VALID: Final = "valid"
TEST: Final = "test"

MOSI_FILE: Final = "mosi/mosi_utterances.csv"
SST_FILE: Final = "sst/sst_sentences.csv.gz"
PHRASES_FILE: Final = "sst/sst_train_phrases.csv.gz"
VADER_FILE: Final = "vader_ratings/vader_icwsm2014_ratings.csv.gz"
MELD_FILE: Final = "meld/meld_text.csv.gz"
EMORY_FILE: Final = "emorynlp/emorynlp_text.csv.gz"
REDDIT_FILE: Final = "goemotions/goemotions.csv.gz"
BANK_FILE: Final = "emobank/emobank.csv.gz"
TEXT_FILES: Final = (
    MOSI_FILE, SST_FILE, PHRASES_FILE, VADER_FILE, MELD_FILE, EMORY_FILE, REDDIT_FILE, BANK_FILE,
)  # fmt: skip

SST_STEP: Final = 1.2
VADER_SCALE: Final = 0.75
BANK_SCALE: Final = 1.5
BANK_NEUTRAL: Final = 3.0
MELD_LABELS: Final = {"negative": -1.5, "neutral": 0.0, "positive": 1.5}
EMORY_LABELS: Final = {
    "Joyful": 1.8, "Peaceful": 0.9, "Powerful": 0.9, "Neutral": 0.0,
    "Scared": -1.5, "Sad": -1.5, "Mad": -1.8,
}  # fmt: skip
CHATS: Final = ("meld", "emorynlp", "goemotions")  # labelled by class, not on a scale
RATED_PHRASES: Final = 12_000
TELLING: Final = 30  # letters of a sentence that no other text has by chance
HELD_OUT_IN: Final = 10  # every tenth group of VADER texts is never trained on

_SST_CLITIC = re.compile(r"\s+(n't|'(?:s|re|ve|ll|d|m))\b", re.IGNORECASE)
_ADDRESS = re.compile(r"https?://\S+|@\w+")


@dataclass(frozen=True, slots=True)
class TextSample:
    """One text with its label in -3..3; ``split`` is ``train``, ``valid`` or ``test``; ``written`` is
    empty where the corpus knows no punctuation."""

    corpus: str
    split: str
    text: str
    label: float
    written: str = ""


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
    Treebank, one or several sentences each: they take the Treebank's split, and where that is not one, none
    learns from them, so that nothing leaks between the two.
    """
    treebank = _Treebank(sst(data))
    samples = []
    for row in rows(data / VADER_FILE, ("source", "id", "mean_rating", "text")):
        text, own = _forms(_ADDRESS.sub(" ", html.unescape(row["text"])))
        group = f"{row['source']}/{row['id'].split('_')[0]}"
        found = treebank.splits_in(text)
        split = VALID if _held_out(group) else TRAIN
        if found:
            split = found.pop() if len(found) == 1 else TEST
        rating = VADER_SCALE * float(row["mean_rating"])
        samples.append(TextSample("vader", split, text, rating, own))
    return [sample for sample in samples if sample.text]


class _Treebank:
    """Finds the Treebank's sentences within texts, by their letters."""

    def __init__(self, samples: Iterable[TextSample]) -> None:
        self._whole: dict[str, str] = {}
        self._begin: dict[str, list[tuple[str, str]]] = {}
        for sample in samples:
            letters = _letters(sample.text)
            self._whole[letters] = sample.split
            if len(letters) >= TELLING:
                self._begin.setdefault(letters[:TELLING], []).append((letters, sample.split))

    def splits_in(self, text: str) -> set[str]:
        """The splits of the sentence that ``text`` is, or of those that it holds."""
        letters = _letters(text)
        if letters in self._whole:
            return {self._whole[letters]}
        return {
            split
            for at in range(len(letters) - TELLING + 1)
            for sentence, split in self._begin.get(letters[at : at + TELLING], ())
            if letters.startswith(sentence, at)
        }


def ratings(data: Path) -> list[TextSample]:
    """All that people rated on a scale: Treebank sentences, some of its phrases, VADER's texts."""
    phrases = random.Random(0).sample(every := sst_phrases(data), min(RATED_PHRASES, len(every)))
    return [*sst(data), *phrases, *vader(data)]


def meld(data: Path) -> list[TextSample]:
    """MELD, 11,098 utterances of a television series; negative -1.5, neutral 0, positive +1.5.

    Poria et al. 2019. The classes were given with picture and sound at hand; dev is valid.
    """
    names = {"train": TRAIN, "dev": VALID}
    samples = (
        _formed("meld", names[row["split"]], row["Utterance"], MELD_LABELS[row["Sentiment"]])
        for row in rows(data / MELD_FILE, ("Utterance", "Sentiment", "split"))
    )
    return [sample for sample in samples if sample.text]


def emorynlp(data: Path) -> list[TextSample]:
    """EmoryNLP, utterances of the series that MELD is of; joyful 1.8, peaceful and powerful .9,
    neutral 0, scared and sad -1.5, mad -1.8.

    Zahiri and Choi 2018. Utterances that MELD's dev part holds too are left out.
    """
    judged = {_letters(sample.text) for sample in part(meld(data), VALID)}
    names = {"train": TRAIN, "dev": VALID, "test": TEST}
    samples = (
        _formed("emorynlp", names[row["split"]], row["Utterance"], EMORY_LABELS[row["Emotion"]])
        for row in rows(data / EMORY_FILE, ("Utterance", "Emotion", "split"))
    )
    return [s for s in samples if s.text and _letters(s.text) not in judged]


def goemotions(data: Path) -> list[TextSample]:
    """GoEmotions, comments of a forum; negative -1.5, neutral 0, positive +1.5, ambiguous left out.

    Demszky et al. 2020.
    """
    names = {"train": TRAIN, "dev": VALID, "test": TEST}
    samples = (
        _formed("goemotions", names[row["split"]], row["text"], MELD_LABELS[row["sentiment_group"]])
        for row in rows(data / REDDIT_FILE, ("text", "sentiment_group", "split"))
        if row["sentiment_group"] in MELD_LABELS
    )
    return [sample for sample in samples if sample.text]


def emobank(data: Path) -> list[TextSample]:
    """EmoBank, written sentences; valence of 1 to 5, less 3, times 1.5. Most are nearly neutral.

    Buechel and Hahn 2017; the weighted mean of what readers and writers would feel.
    """
    names = {"train": TRAIN, "dev": VALID, "test": TEST}
    samples = (
        _formed(
            "emobank",
            names[row["split"]],
            row["text"],
            BANK_SCALE * (float(row["V"]) - BANK_NEUTRAL),
        )
        for row in rows(data / BANK_FILE, ("split", "V", "text"))
    )
    return [sample for sample in samples if sample.text]


def side(sample: TextSample) -> int:
    """0, 1, 2 for negative, neutral, positive where people gave a class; -1 where they gave a number."""
    return 1 + int(sample.label > 0) - int(sample.label < 0) if sample.corpus in CHATS else -1


def part(samples: Iterable[TextSample], split: str) -> list[TextSample]:
    """Those of one split, in order."""
    return [sample for sample in samples if sample.split == split]


def as_written(samples: Sequence[TextSample], share: float, seed: int) -> list[TextSample]:
    """A random ``share`` of the texts as people wrote them, where that is known."""
    chance = random.Random(seed)
    return [
        replace(sample, text=sample.written)
        if chance.random() < share and sample.written
        else sample
        for sample in samples
    ]


def without_apostrophes(samples: Sequence[TextSample], share: float, seed: int) -> list[TextSample]:
    """Drop apostrophes from a random ``share`` of the texts: some transcripts have none."""
    chance = random.Random(seed)
    return [
        replace(sample, text=sample.text.replace("'", "")) if chance.random() < share else sample
        for sample in samples
    ]


def window_cuts(
    samples: Sequence[TextSample], words: tuple[int, int], seed: int, running: bool = False
) -> list[TextSample]:
    """A cut at random edges of every text that is longer than a window, label kept.

    ``words`` is the least and the greatest length of a cut; 4 s of speech are about 6 to 14 words.
    With ``running`` what was said before it stays.
    """
    chance = random.Random(seed)
    cuts = []
    for sample in samples:
        heard = sample.text.split()
        length = chance.randint(*words)
        if len(heard) > length:
            first = chance.randint(0, len(heard) - length)
            begin = 0 if running else first
            cuts.append(replace(sample, text=" ".join(heard[begin : first + length])))
    return cuts


def misheard(samples: Sequence[TextSample], rate: float, seed: int) -> list[TextSample]:
    """Texts with words heard wrongly at ``rate``, as a recogniser would: of the errors about six in
    ten a word that is spelled alike, a quarter a word lost, the rest a word said twice.

    Words that sound alike are taken from the samples' own words with the same first letter and length.
    """
    chance = random.Random(seed)
    alike: dict[tuple[str, int], list[str]] = {}
    for word in sorted({word for sample in samples for word in sample.text.split()}):
        alike.setdefault((word[0], len(word)), []).append(word)

    def heard(word: str) -> str:
        if chance.random() >= rate:
            return word
        error = chance.random()
        if error < 0.6:
            return chance.choice(alike[word[0], len(word)])
        return "" if error < 0.85 else f"{word} {word}"

    texts = (" ".join(filter(None, map(heard, sample.text.split()))) for sample in samples)
    return [replace(s, text=text or s.text) for s, text in zip(samples, texts, strict=True)]


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


def _forms(text: str) -> tuple[str, str]:
    return plain(text), written(text)


def _formed(corpus: str, split: str, text: str, label: float) -> TextSample:
    heard, own = _forms(text)
    return TextSample(corpus, split, heard, label, own)


def _sst_text(text: str) -> str:
    bare = text.replace("\\/", " ").replace("``", " ").replace("''", " ")
    return plain(_SST_CLITIC.sub(r"\1", bare))


def _sst_label(row: dict[str, str]) -> float:
    return SST_STEP * (int(row["label5"]) - 2)


def _letters(text: str) -> str:
    return "".join(letter for letter in text if letter.isalnum())


def _held_out(group: str) -> bool:
    return int(hashlib.sha256(group.encode()).hexdigest(), 16) % HELD_OUT_IN == 0

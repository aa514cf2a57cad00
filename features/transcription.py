"""Hypotheses of one recogniser after the other, guarded and turned into stable words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from features.agreement import StablePrefix, bare
from features.recogniser import SAMPLE_RATE_HZ, Encoding, HeardWord, Hypothesis, Recogniser
from features.samples import Counters, Word
from features.utterance import SpeechTrack

NO_SPEECH = 0.6  # Whisper's own thresholds for "nobody spoke" and "runs in circles"
LOG_PROBABILITY = -1.0
COMPRESSION = 2.4
LOOP_WORDS = 6  # a loop is at least this many words long and goes round at least three times
UNTOLD_S = 0.8  # speech after the last word that must give words
SURE_S = 3.0  # shorter sound leaves the language open: it is detected anew in the next pass
MARGIN_S = 0.1  # the recogniser's word times are no more exact than this


class Transcription:
    """Decodes windows and keeps what is stable; all times are media seconds.

    ``language`` empty: detected in each utterance.
    """

    def __init__(
        self, recogniser: Recogniser, language: str, speech: SpeechTrack, counters: Counters
    ) -> None:
        self._recogniser = recogniser
        self._language = language
        self._speech = speech
        self._counters = counters
        self._agreement: StablePrefix[HeardWord] = StablePrefix()
        self._context: list[HeardWord] = []  # stable words inside the present window
        self._utterance = 0
        self._spoken = language
        self._stable: list[Word] = []
        self.last_end_s = 0.0  # end of the last stable word

    def look(
        self,
        samples: np.ndarray,
        encoding: Encoding,
        utterance: int,
        start_s: float,
        commit: bool,
    ) -> None:
        """Decode a window of ``samples (n,)`` from ``start_s`` on; ``commit`` leaves none tentative."""
        if utterance != self._utterance:
            self._utterance = utterance
            self._context = []
            self._spoken = self._language
        if not self._spoken or (not self._language and encoding.seconds < SURE_S):
            self._spoken = self._recogniser.detect_language(encoding)
        words = self._decode(samples, encoding, start_s)
        self._settle(self._agreement.commit(words) if commit else self._agreement.update(words))

    def cut(self, cut_s: float) -> None:
        """The next window begins at ``cut_s``: words before it become stable and leave the prefix."""
        before = sum(_middle(word) < cut_s for word in self._agreement.tentative)
        self._settle(self._agreement.commit_first(before))
        self._context = [word for word in self._context if _middle(word) >= cut_s]

    def take_stable(self) -> tuple[Word, ...]:
        """Words that became stable since the last call."""
        taken, self._stable = tuple(self._stable), []
        return taken

    def tentative(self, floor_s: float) -> tuple[Word, ...]:
        """Words that may still change, none before ``floor_s``."""
        found: list[Word] = []
        for word in self._agreement.tentative:
            floor_s = max(floor_s, word.start_s)
            found.append(_word(word, floor_s))
        return tuple(found)

    def settle_floor(self, floor_s: float) -> None:
        """No later stable word may start before ``floor_s``."""
        self.last_end_s = max(self.last_end_s, floor_s)

    def _decode(self, samples: np.ndarray, encoding: Encoding, start_s: float) -> list[HeardWord]:
        """New words in the window, after the stable ones."""
        prefix = [token for word in self._context for token in word.tokens]
        words = self._believe(self._recogniser.decode(encoding, self._spoken, prefix), start_s)
        told_s = words[-1].end_s if words else self.last_end_s
        end_s = start_s + encoding.seconds
        told = told_s <= start_s or self._speech.speech_s(told_s, end_s) < UNTOLD_S
        return words if told else words + self._tail(samples, start_s, told_s)

    def _tail(self, samples: np.ndarray, start_s: float, from_s: float) -> list[HeardWord]:
        """Words after ``from_s``, where the decoder ended although more was plainly said.

        It does so after a sentence with a pause or a change of voice behind it.
        """
        self._counters.add("tails")
        rest = samples[int((from_s - start_s) * SAMPLE_RATE_HZ) :]
        heard = self._recogniser.decode(self._recogniser.encode(rest), self._spoken)
        return self._believe(heard, from_s)

    def _settle(self, words: Sequence[HeardWord]) -> None:
        for heard in words:
            word = _word(heard, self.last_end_s)
            self._stable.append(word)
            self._context.append(heard)
            self.last_end_s = word.end_s

    def _believe(self, heard: Hypothesis, start_s: float) -> list[HeardWord]:
        """The words that pass the guards, on media time."""
        silent = heard.no_speech > NO_SPEECH and heard.log_probability < LOG_PROBABILITY
        if silent or heard.compression > COMPRESSION:
            self._counters.add("hypotheses_rejected")
            return []
        end_s = start_s + heard.seconds
        placed = [
            self._placed(word, start_s, end_s) for word in heard.words[: loop_start(heard.words)]
        ]
        kept = [word for word in placed if word is not None]
        self._counters.add("words_refused", len(heard.words) - len(kept))
        return kept

    def _placed(self, word: HeardWord, start_s: float, end_s: float) -> HeardWord | None:
        """A word on media time, within the speech it lies in; ``None`` where nobody spoke."""
        first_s, last_s = start_s + word.start_s, start_s + word.end_s
        around = max(start_s, first_s - MARGIN_S), min(end_s, last_s + MARGIN_S)
        voiced = self._speech.voiced(*around)
        if voiced is None:
            return None
        first_s, last_s = max(first_s, voiced[0] - MARGIN_S), min(last_s, voiced[1] + MARGIN_S)
        return replace(word, start_s=first_s, end_s=max(first_s, last_s))


def loop_start(words: Sequence[HeardWord]) -> int:
    """How many words remain once a loop at the end is cut back to its first round."""
    texts = [bare(word.text) for word in words]
    for size in range(1, len(texts) // 3 + 1):
        rounds = 1
        while texts[-size:] == texts[-size * (rounds + 1) : -size * rounds]:
            rounds += 1
        if rounds >= 3 and rounds * size >= LOOP_WORDS:
            return len(texts) - size * (rounds - 1)
    return len(texts)


def _middle(word: HeardWord) -> float:
    return (word.start_s + word.end_s) / 2


def _word(heard: HeardWord, floor_s: float) -> Word:
    start_s = max(heard.start_s, floor_s)
    return Word(heard.text, start_s, max(heard.end_s, start_s), min(1.0, heard.probability))

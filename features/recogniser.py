"""Whisper through CTranslate2: one encoder run for words and states, short windows, greedy.

The encoder is not padded to the usual 30 s but to a few: its cost falls more than fivefold, and the
words stay as good. Words that are stable already are forced as the decoder's prefix, so that a pass
only writes new ones and can never contradict the old.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ctranslate2
import numpy as np
from faster_whisper import WhisperModel
from faster_whisper.tokenizer import Tokenizer
from faster_whisper.transcribe import get_suppressed_tokens, merge_punctuations

from features.errors import FeatureError

MEL_HZ = 100
SAMPLE_RATE_HZ = 16_000
PADDED_S = 10.0  # every window is padded to this, longer ones to the next whole second
LONGEST_S = 30.0
TOKENS_PER_S = 8  # more than the fastest speech; ends a decoder that runs in circles
UNSPACED = ("zh", "ja", "th", "lo", "my", "yue")  # written without spaces between words
MARKS = " .,!?:;…-。，！？：、"
PREPENDED = "\"'“¿([{-"
APPENDED = "\"'.。,，!！?？:：”)]}、"


@dataclass(frozen=True, slots=True)
class HeardWord:
    """One word of a hypothesis, with the tokens that wrote it; times are seconds."""

    text: str
    start_s: float
    end_s: float
    probability: float
    tokens: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Encoding:
    """What the encoder made of one window: ``states (T, D) float32`` at 50 Hz, padding included."""

    view: Any
    states: np.ndarray
    seconds: float


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """Words after the forced prefix in a window of ``seconds``, and how sure the decoder was."""

    words: tuple[HeardWord, ...]
    seconds: float
    log_probability: float
    no_speech: float
    compression: float


class Recogniser:
    """A Whisper model in a folder (``model.bin``, ``config.json``, ``tokenizer.json``, vocabulary).

    Nothing is fetched. ``device``: ``cpu``, ``cuda`` or ``auto``. Same sound, same words and states,
    bit for bit, on one device.
    """

    def __init__(self, folder: Path, device: str = "auto", threads: int = 2) -> None:
        if device == "auto":
            device = "cuda" if ctranslate2.get_cuda_device_count() > 0 else "cpu"
        self.device = device
        try:
            self._whisper = WhisperModel(
                str(folder),
                device=device,
                compute_type="int8" if device == "cpu" else "int8_float16",
                cpu_threads=threads,
                local_files_only=True,
            )
        except (RuntimeError, ValueError, OSError) as error:
            raise FeatureError(
                f"speech model in {folder} cannot be loaded: {error}; "
                "fetch it with `tonality models fetch`"
            ) from error
        self.multilingual = bool(self._whisper.model.is_multilingual)
        self._tokenizers: dict[str, Tokenizer] = {}

    def encode(self, samples: np.ndarray) -> Encoding:
        """Run the encoder over ``(n,) float32`` at 16 kHz, at most 30 s."""
        seconds = len(samples) / SAMPLE_RATE_HZ
        mel = self._whisper.feature_extractor(samples)
        frames = MEL_HZ * math.ceil(max(PADDED_S, min(LONGEST_S, seconds)))
        padded = np.zeros((mel.shape[0], frames), np.float32)
        width = min(frames, mel.shape[1] - 1)
        padded[:, :width] = mel[:, :width]
        view = self._whisper.encode(padded)
        plain = view if self.device == "cpu" else view.to_device(ctranslate2.Device.cpu)
        return Encoding(view, np.asarray(plain, dtype=np.float32)[0], seconds)

    def detect_language(self, encoding: Encoding) -> str:
        """The likeliest language's code; English where the model knows no other."""
        if not self.multilingual:
            return "en"
        token: str = self._whisper.model.detect_language(encoding.view)[0][0][0]
        return token[2:-2]

    def decode(self, encoding: Encoding, language: str, prefix: Sequence[int] = ()) -> Hypothesis:
        """Words that follow the forced ``prefix`` tokens; times count from the window's start."""
        tokenizer = self._tokenizer(language)
        prefix = _open(prefix, tokenizer)
        prompt = [*tokenizer.sot_sequence, tokenizer.no_timestamps, *prefix]
        room = int(TOKENS_PER_S * encoding.seconds) + 12
        result = self._whisper.model.generate(
            encoding.view,
            [prompt],
            beam_size=1,
            max_length=min(self._whisper.max_length, len(prompt) + room),
            return_scores=True,
            return_no_speech_prob=True,
            suppress_blank=not prefix,
            suppress_tokens=list(get_suppressed_tokens(tokenizer, [-1])),
        )[0]
        written = [token for token in result.sequences_ids[0] if token < tokenizer.eot]
        tokens = written[len(prefix) :]  # the decoder gives the forced prefix back
        text = tokenizer.decode(tokens).encode()
        return Hypothesis(
            self._words(encoding, tokenizer, prefix, tokens),
            encoding.seconds,
            result.scores[0] * len(result.sequences_ids[0]) / (len(written) + 1),
            result.no_speech_prob,
            len(text) / len(zlib.compress(text)) if text else 0.0,
        )

    def _words(
        self, encoding: Encoding, tokenizer: Tokenizer, prefix: list[int], tokens: list[int]
    ) -> tuple[HeardWord, ...]:
        if not tokens:
            return ()
        frames = round(encoding.seconds * MEL_HZ)
        timed = self._whisper.find_alignment(tokenizer, [prefix + tokens], encoding.view, frames)[0]
        new = _after(timed, len(prefix))
        if tokenizer.language_code not in UNSPACED:
            new = _spaced(new)
        merge_punctuations(new, PREPENDED, APPENDED)
        return tuple(
            HeardWord(
                word["word"].strip(),
                float(word["start"]),
                float(word["end"]),
                float(word["probability"]),
                tuple(word["tokens"]),
            )
            for word in new
            if any(sign.isalnum() for sign in word["word"])
        )

    def _tokenizer(self, language: str) -> Tokenizer:
        if language not in self._tokenizers:
            self._tokenizers[language] = Tokenizer(
                self._whisper.hf_tokenizer, self.multilingual, task="transcribe", language=language
            )
        return self._tokenizers[language]

    def close(self) -> None:
        """Free the model's memory; nothing can be recognised after that."""
        self._whisper.model.unload_model()


def _open(prefix: Sequence[int], tokenizer: Tokenizer) -> list[int]:
    """A prefix without its last marks: after a full stop the decoder likes to end too early."""
    count = len(prefix)
    while count and tokenizer.decode([prefix[count - 1]]).strip(MARKS) == "":
        count -= 1
    return list(prefix[:count])


def _spaced(timed: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Parts that follow without a space ("P.S.", "sci-fi") joined to the word they belong to."""
    words: list[dict[str, Any]] = []
    for part in timed:
        if not words or part["word"].startswith(" "):
            words.append(dict(part))
        else:
            last = words[-1]
            last["word"] += part["word"]
            last["tokens"] = [*last["tokens"], *part["tokens"]]
            last["end"] = part["end"]
            last["probability"] = min(last["probability"], part["probability"])
    return words


def _after(timed: list[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    """Words that lie wholly after the first ``count`` tokens."""
    position = 0
    new = []
    for word in timed:
        if position >= count:
            new.append(word)
        position += len(word["tokens"])
    return new

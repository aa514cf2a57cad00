"""Voice corpora: clips with labels, and their features through the live extractors.

A clip's valence is the emotion that its actor was asked for, on the scale of -3 to +3. Speakers are
never in two splits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import av
import numpy as np

from features.errors import CorpusError, FeatureError
from features.samples import ActivityChunk, StateChunk, VoiceChunk
from features.spec import DESCRIPTORS, LIVE, STATE_WIDTH, STATES, VOICE
from model.corpora.features_cache import load_arrays, save_arrays
from model.corpora.text import TEST, TRAIN, VALID, rows

SAMPLE_RATE_HZ: Final = 16_000
RAVDESS_FILE: Final = "ravdess/ravdess_speech.csv"
EMODB_FILE: Final = "emodb/emodb.csv"

RAVDESS_VALENCE: Final = {
    "happy": 2.0, "calm": 0.6, "surprised": 0.3, "neutral": 0.0,
    "sad": -1.6, "fearful": -2.0, "disgust": -2.0, "angry": -2.4,
}  # fmt: skip
INTENSITY: Final = {"normal": 0.8, "strong": 1.2}
EMODB_VALENCE: Final = {
    "happiness": 2.0, "neutral": 0.0, "boredom": -0.8,
    "sadness": -1.6, "fear": -2.0, "disgust": -2.0, "anger": -2.4,
}  # fmt: skip
RAVDESS_VALID: Final = frozenset({"15", "16"})
RAVDESS_TEST: Final = frozenset({"17", "18", "19", "20"})

SLOT_S: Final = (
    4.0  # the shortest stretch of whole state cells (0.25 s) and activity frames (32 ms)
)
SLOT_SAMPLES: Final = round(SLOT_S * SAMPLE_RATE_HZ)
SLOT_FRAMES: Final = 125
SLOT_CELLS: Final = 16
CELLS_PER_S: Final = 4
COPY: Final = "~"  # ends the names of a copy and of its speaker
FASTER: Final = 1.1  # copies of men's clips
SLOWER: Final = 0.9  # and of women's
PAUSE_S: Final = 0.5  # silence after a clip, in which its last utterance ends


@dataclass(frozen=True, slots=True)
class VoiceClip:
    """One clip: where it lies, who speaks, which emotion, its valence in -3..3, and how fast it is
    played."""

    corpus: str
    split: str
    id: str
    path: Path
    speaker: str
    emotion: str
    label: float
    speed: float = 1.0


@dataclass(frozen=True, slots=True)
class VoiceFeatures:
    """What the live extractors make of a clip that starts at media time 0.

    ``descriptors (n, 25) float32`` at 100 Hz, ``activity (m,) float32`` per 32 ms, ``states
    (k, 512) float16`` for the cells ``cells (k,) int32`` of 0.25 s (only those with speech).
    """

    descriptors: np.ndarray
    activity: np.ndarray
    cells: np.ndarray
    states: np.ndarray


def ravdess(data: Path) -> list[VoiceClip]:
    """RAVDESS speech, 1,200 clips of actors 1 to 20 (Livingstone and Russo 2018).

    Happy 2, calm .6, surprised .3, neutral 0, sad -1.6, fearful -2, disgust -2, angry -2.4, times .8
    for normal and 1.2 for strong intensity. Actors 15 and 16 are valid, 17 to 20 test. The two
    sentences are without feeling, so that words say nothing here.
    """
    clips = []
    for row in rows(data / RAVDESS_FILE, ("id", "file", "emotion", "intensity", "actor")):
        actor = row["actor"]
        split = TEST if actor in RAVDESS_TEST else VALID if actor in RAVDESS_VALID else TRAIN
        label = RAVDESS_VALENCE[row["emotion"]] * INTENSITY[row["intensity"]]
        path = data / "ravdess" / row["file"]
        clips.append(VoiceClip("ravdess", split, row["id"], path, actor, row["emotion"], label))
    return clips


def copies(clips: Sequence[VoiceClip]) -> list[VoiceClip]:
    """Clips of RAVDESS as if other people had said them: men's a tenth faster, women's slower.

    Pitch, formants and pace move with the speed (Ko et al. 2015), within what voices are.
    """
    return [
        replace(
            clip, id=clip.id + COPY, speaker=clip.speaker + COPY,
            speed=SLOWER if is_woman(clip.speaker) else FASTER,
        )
        for clip in clips
    ]  # fmt: skip


def is_woman(actor: str) -> bool:
    """RAVDESS' actors of even number are women."""
    return int(actor) % 2 == 0


def actor_of(speaker: str) -> str:
    """Who spoke what a speaker's clips were made of."""
    return speaker.removesuffix(COPY)


def emodb(data: Path) -> list[VoiceClip]:
    """EMO-DB, five German speakers (Burkhardt et al. 2005): another corpus, only for testing.

    Happiness 2, neutral 0, boredom -.8, sadness -1.6, fear -2, disgust -2, anger -2.4.
    """
    return [
        VoiceClip(
            "emodb", TEST, row["id"], data / "emodb" / row["file"], row["speaker"],
            row["emotion"], EMODB_VALENCE[row["emotion"]],
        )
        for row in rows(data / EMODB_FILE, ("id", "file", "speaker", "emotion"))
    ]  # fmt: skip


def read_sound(path: Path, speed: float = 1.0) -> np.ndarray:
    """A sound file as ``(n,) float32`` at 16 kHz mono in -1..1, played at a speed."""
    resampler = av.AudioResampler(format="flt", layout="mono", rate=SAMPLE_RATE_HZ)
    try:
        with av.open(str(path)) as container:
            decoded = [*container.decode(audio=0), None]
            frames = []
            for frame in decoded:
                if frame is not None and speed != 1.0:
                    frame.sample_rate = round(speed * frame.sample_rate)
                    frame.pts = None  # of the other rate
                frames += resampler.resample(frame)
    except (av.FFmpegError, IndexError, OSError) as error:
        raise CorpusError(f"{path}: cannot be read as sound: {error}") from error
    return np.concatenate([frame.to_ndarray()[0] for frame in frames])


def feature_path(cache: Path, clip: VoiceClip) -> Path:
    """``CACHE/voice-KEY/CORPUS/ID.npz``."""
    return cache / f"voice-{LIVE.key(VOICE, STATES)}" / clip.corpus / f"{clip.id}.npz"


def load_voice(cache: Path, clip: VoiceClip) -> VoiceFeatures:
    """Cached features of a clip; :class:`CorpusError` where the build has not made them yet."""
    path = feature_path(cache, clip)
    if not path.is_file():
        raise CorpusError(f"{path}: not built; run 'python -m model.corpora build'")
    return VoiceFeatures(**load_arrays(path))


def build_voice(
    clips: Sequence[VoiceClip],
    recogniser: Path,
    cache: Path,
    advance: Callable[[int], None] = lambda count: None,
    threads: int = 1,
) -> None:
    """Extract what is not in the cache yet; ``recogniser`` is the folder of whisper-base."""
    missing = [clip for clip in clips if not feature_path(cache, clip).is_file()]
    advance(len(clips) - len(missing))
    if not missing:
        return
    maker = VoiceMaker(recogniser, threads)
    try:
        for clip in missing:
            path = feature_path(cache, clip)
            if not path.is_file():  # another build may work on the same cache
                made = maker.make(read_sound(clip.path, clip.speed))
                save_arrays(path, {name: getattr(made, name) for name in VoiceFeatures.__slots__})
            advance(1)
    finally:
        maker.close()


class VoiceMaker:
    """Clips one after another through the live extractors; the recogniser is loaded once.

    The clips lie in one stream of sound for the recogniser, each from a multiple of 4 s on, silence
    between them; so cells and activity frames fall on each clip's own clock.
    """

    def __init__(self, recogniser: Path, threads: int = 1) -> None:
        from features.speech import SpeechExtractor

        self._speech = SpeechExtractor(recogniser, threads=threads, words=False)
        self._slots = 0

    def make(self, sound: np.ndarray) -> VoiceFeatures:
        """Features of ``(n,) float32`` at 16 kHz."""
        activity, heard = self._activity(sound)
        chunks = self._states(sound, heard)
        first = self._slots * SLOT_CELLS
        self._slots += _slots(len(sound))
        cells = np.array([cell - first for chunk in chunks for cell in chunk.cells], np.int32)
        empty = np.zeros((0, STATE_WIDTH), np.float16)
        states = np.concatenate([empty, *(chunk.values for chunk in chunks)])
        whole = (cells >= 0) & (cells < CELLS_PER_S * len(sound) // SAMPLE_RATE_HZ)
        return VoiceFeatures(_descriptors(sound), activity, cells[whole], states[whole])

    def close(self) -> None:
        """Free the recogniser."""
        self._speech.close()

    def _activity(self, sound: np.ndarray) -> tuple[np.ndarray, ActivityChunk]:
        """The clip's own activity, and the same with the silence up to the next clip."""
        from features.activity import SpeechActivity

        padded = np.zeros(_slots(len(sound)) * SLOT_SAMPLES, np.float32)
        padded[: len(sound)] = sound
        chunk = SpeechActivity().feed(padded)
        if chunk is None:
            raise FeatureError("activity: gave nothing for a whole slot of sound")
        own = chunk.probability[: len(sound) * SLOT_FRAMES // SLOT_SAMPLES]
        return own, ActivityChunk(0.0, self._slots * SLOT_FRAMES, chunk.probability)

    def _states(self, sound: np.ndarray, heard: ActivityChunk) -> list[StateChunk]:
        silence = np.zeros(_slots(len(sound)) * SLOT_SAMPLES - len(sound), np.float32)
        update = self._speech.feed(np.concatenate([sound, silence]), heard)
        if update is None or update.states is None:
            return []
        return [update.states]


def _descriptors(sound: np.ndarray) -> np.ndarray:
    from features.voice import VoiceExtractor

    chunks: list[VoiceChunk] = []
    extractor = VoiceExtractor(chunks.append)
    try:
        extractor.feed(sound)
        extractor.finish()
    finally:
        extractor.close()
    return np.concatenate(
        [np.zeros((0, len(DESCRIPTORS)), np.float32), *(c.values for c in chunks)]
    )


def _slots(samples: int) -> int:
    return math.ceil((samples / SAMPLE_RATE_HZ + PAUSE_S) / SLOT_S)

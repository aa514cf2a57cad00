"""Judge a live checkpoint on the corpora's test parts, which training never reads.

Test parts are CMU-MOSI and SST test, MELD dev, held-out VADER texts, RAVDESS' actors 17 to 20, all of
EMO-DB (another language, never trained on) and FER2013's public test part. ``tonality evaluate live``
prints the same with what was to be reached.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from rich.table import Table

from features.spec import FACE
from model.checkpoint import Checkpoint
from model.corpora.face import FaceTable, load_fer, load_videos, speaking_faces
from model.corpora.text import (
    TEST,
    TRAIN,
    VALID,
    TextSample,
    as_written,
    meld,
    misheard,
    mosi,
    part,
    sst,
    vader,
    window_cuts,
)
from model.corpora.voice import VoiceClip, emodb, feature_path, load_voice, ravdess
from model.live.banks import NEUTRAL_SPOKEN, Banks, FaceBank, TextBank, VoiceBank
from model.live.data import (
    MAX_SPEECH_S,
    MISHEARD,
    SENTENCES,
    actor_statistics,
    face_maker,
    upper_states,
    windows_of,
)
from model.live.faces import FaceMaker
from model.live.judged import Judged, Measures
from model.live.samples import ClipVoice
from model.live.tuning_plan import Protocol
from model.networks.emotions import EMOTIONS
from model.text.encoder import TextEncoder
from model.text.lower import LowerActivations


def text_parts(data: Path) -> dict[str, list[TextSample]]:
    """The texts that are judged, by name."""
    chats, ratings = (part(own(data), VALID) for own in (meld, vader))
    return {
        "mosi test": part(mosi(data), TEST),
        "sst test": part(sst(data), TEST),
        "meld dev": as_written(chats, 1.0, 0),
        "meld dev as heard": chats,
        "vader held out": as_written(ratings, 1.0, 0),
        "vader held out as heard": ratings,
        "mosi test misheard": misheard(part(mosi(data), TEST), MISHEARD, 0),
        "mosi test cut": window_cuts(part(mosi(data), TEST), Protocol().cut_words, 0),
        "mosi test running": window_cuts(part(mosi(data), TEST), Protocol().cut_words, 0, True),
    }


def encoded(encoder: TextEncoder, samples: Sequence[TextSample], folder: Path) -> list[np.ndarray]:
    """Token states ``(tokens, 384) float16``; what the frozen layers give is kept in ``folder``."""
    lower = LowerActivations.compute(encoder, [sample.text for sample in samples], folder)
    return upper_states(encoder, lower, range(len(samples)))


def voices_of(
    clips: Sequence[VoiceClip],
    cache: Path,
    checkpoint: Checkpoint,
    past_s: float,
    all_ends: bool = False,
) -> VoiceBank:
    """The fullest window of each clip (or all of them), after ``past_s`` seconds of the same speaker's
    other clips."""
    clips = [clip for clip in clips if feature_path(cache, clip).is_file()]
    voices = [ClipVoice(load_voice(cache, clip)) for clip in clips]
    whole = [voice.whole() for voice in voices]
    chance = np.random.default_rng(0)
    priors = {name: prior for name, prior in checkpoint.priors.items() if name != FACE}
    return windows_of(clips, voices, whole, priors, 1, chance, lambda _: past_s, all_ends)


def faces_of(data: Path, cache: Path, checkpoint: Checkpoint) -> tuple[FaceBank, FaceMaker]:
    """Test and validation pictures, and the faces of the actors who test."""
    fer = load_fer(data, cache)
    actors = speaking_faces(data, ravdess(data), fer.rows(fer.split == TRAIN))
    own = actor_statistics(actors, np.random.default_rng(0))
    used = np.flatnonzero(actors.split == TEST)
    ids = [clip.id for clip in ravdess(data)]
    pictures: FaceTable = fer.rows(fer.split != TRAIN)
    tables = [pictures, actors.rows(used)]
    count = len(pictures.label)
    bank = FaceBank(
        values=np.concatenate([t.values for t in tables]),
        label=np.concatenate([t.label for t in tables]),
        split=np.concatenate([t.split for t in tables]),
        clip=np.array([*[""] * count, *(ids[i] for i in used)]),
        emotion=np.concatenate([t.emotion for t in tables]),
        own=[*[None] * count, *(own[i] for i in used)],
    )
    return bank, face_maker(fer, load_videos(cache), checkpoint.priors[FACE])


@dataclass(frozen=True, slots=True)
class Parts:
    """Everything that a network is judged on, made once for several networks of the same priors."""

    judged: Judged
    fresh: VoiceBank
    german: VoiceBank | None
    neutral: VoiceBank | None
    videos: dict[str, tuple[np.ndarray, np.ndarray]]

    def measure(self, checkpoint: Checkpoint) -> Measures:
        """Every measure by name."""
        one = replace(self.judged, network=checkpoint.network, calibration=checkpoint.calibration)
        out = {**one.texts(), **one.voices("ravdess, known speaker"), **one.faces()}
        out |= one.hearing(self.fresh).voices("ravdess, first words")
        out |= one.hearing(self.fresh).first_words()
        if self.german is not None:
            out |= one.hearing(self.german).voices("emodb, known speaker")
        if self.neutral is not None:
            out |= one.hearing(self.neutral).swing()
        out |= {**one.speakers("ravdess"), **one.subsets(), **one.intervals()}
        return {**out, **one.neutral(self.videos), **one.silence()}


def parts_of(data: Path, cache: Path, checkpoint: Checkpoint, encoder: TextEncoder) -> Parts:
    """The corpora's test parts, normalised by the checkpoint's priors."""
    text, corpus = texts_of(data, cache, encoder)
    actors = [clip for clip in ravdess(data) if clip.split == TEST]
    german = [clip for clip in emodb(data) if feature_path(cache, clip).is_file()]
    neutral = [clip for clip in actors if clip.emotion == "neutral"]
    face, maker = faces_of(data, cache, checkpoint)
    voice = voices_of(actors, cache, checkpoint, MAX_SPEECH_S)
    banks = Banks(text, voice, face, maker, dict(checkpoint.priors))
    return Parts(
        Judged(checkpoint.network, checkpoint.calibration, banks, corpus),
        fresh=voices_of(actors, cache, checkpoint, 0.0),
        german=voices_of(german, cache, checkpoint, MAX_SPEECH_S) if german else None,
        neutral=voices_of(neutral, cache, checkpoint, MAX_SPEECH_S, True) if neutral else None,
        videos=load_videos(cache),
    )


def evaluate(data: Path, cache: Path, checkpoint: Checkpoint, encoder: TextEncoder) -> Measures:
    """Every measure by name."""
    return parts_of(data, cache, checkpoint, encoder).measure(checkpoint)


def texts_of(data: Path, cache: Path, encoder: TextEncoder) -> tuple[TextBank, np.ndarray]:
    """The texts that are judged, what actors say, and the corpus of each."""
    parts = text_parts(data)
    samples = [sample for texts in parts.values() for sample in texts]
    said = [TextSample("ravdess", NEUTRAL_SPOKEN, sentence, 0.0) for sentence in SENTENCES]
    label = np.array([sample.label for sample in [*samples, *said]], np.float32)
    corpus = np.array([name for name, texts in parts.items() for _ in texts])
    split = np.where(corpus == "mosi test", TEST, "other")  # intervals are judged on MOSI
    states = encoded(encoder, [*samples, *said], cache / "text")
    split = np.concatenate([split, [NEUTRAL_SPOKEN] * len(said)])
    return TextBank(states, label, split, np.ones((len(label), len(EMOTIONS)), bool)), corpus


def table(measured: Measures) -> Table:
    """The measures for people."""
    shown = Table("what", "measures", title="live checkpoint on test parts")
    for name, values in measured.items():
        parts = [f"{k} {v:.0f}" if k == "n" else f"{k} {v:.3f}" for k, v in values.items()]
        shown.add_row(name, "  ".join(parts))
    return shown

"""What the live model learns from: the corpora's cached features as banks of prepared samples.

Splits are those of the corpora's readers: actors 15 and 16 of RAVDESS, CMU-MOSI's validation part and
a twelfth of FER2013's training pictures validate; nothing here reads a test part.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from features.errors import CorpusError, TonalityError
from features.messages import Statistics
from features.spec import FACE, LIVE, STATES, VOICE
from model.corpora.face import FaceTable, load_fer, load_videos, speaking_faces
from model.corpora.pictures import FER_FILE
from model.corpora.text import TEXT_FILES, TRAIN, VALID, misheard
from model.corpora.voice import (
    RAVDESS_FILE,
    VoiceClip,
    copies,
    feature_path,
    load_voice,
    ravdess,
)
from model.live.banks import NEUTRAL_SPOKEN, VALID_HEARD, Banks, FaceBank, TextBank, VoiceBank
from model.live.faces import FaceMaker, speaker_statistics, speech_motion
from model.live.samples import (
    ClipVoice,
    Streams,
    Windowed,
    heard_before,
    voice_priors,
    voice_sample,
)
from model.live.tuning_plan import Protocol, read_texts
from model.networks.emotions import targets_of_sides
from model.networks.inputs import Prior
from model.text.encoder import TextEncoder
from model.text.lower import LowerActivations

logger = logging.getLogger(__name__)

SENTENCES: Final = ("kids are talking by the door", "dogs are sitting by the door")  # RAVDESS
FACE_WIDTH: Final = LIVE.stream(FACE).width
NEUTRAL_SIDE: Final = 1
MISHEARD: Final = 0.1  # share of words that are heard wrongly in a part of the texts
CLIP_S: Final = 3.7  # mean length of a clip whose action units are known as a mean only
TRAIN_VIDEO: Final = "01-01-01-01-01-01-01"  # the neutral speaker who is trained on; others judge
VIDEO_REPEATS: Final = 15  # its few frames against thousands of pictures
MAX_SPEECH_S: Final = 90.0  # of a speaker's other clips


class DataPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What of the corpora is used and how.

    Attributes:
        seed: of all that is random.
        variants: windows made of each training clip, each with another past of its speaker.
        copies: whether clips played at another speed are learned from too, as of other people.
        texts: how many texts beside CMU-MOSI that are labelled on a scale.
        chats: how many that are labelled negative, neutral or positive.
        prior_s: seconds of a participant's own that each stream's prior is worth. Few for the voice:
            microphones and rooms differ more than people.
    """

    seed: int = 0
    variants: int = 6
    copies: bool = True
    texts: int = 2500
    chats: int = 4500
    prior_s: dict[str, float] = msgspec.field(
        default_factory=lambda: {FACE: 60.0, VOICE: 3.0, STATES: 3.0}
    )


def load_banks(data: Path, cache: Path, encoder: TextEncoder, lower: Path, plan: DataPlan) -> Banks:
    """All banks of training and validation. Raises ``CorpusError`` where there is nothing cached."""
    clips = [clip for clip in ravdess(data) if feature_path(cache, clip).is_file()]
    if not clips:
        raise CorpusError(f"{cache}: no voices yet; run 'python -m model.corpora build'")
    chance = np.random.default_rng([plan.seed, 17])
    fer = load_fer(data, cache)
    videos = load_videos(cache)
    face, maker = face_bank(data, fer, videos, plan, chance)
    own = [clip for clip in clips if clip.split in (TRAIN, VALID)]
    if plan.copies:
        own += built_copies([clip for clip in own if clip.split == TRAIN], cache)
    voice, priors = voice_bank(own, cache, plan, chance)
    text = text_bank(data, encoder, lower, plan)
    logger.info(
        "%d texts, %d voice windows of %d clips, %d faces",
        len(text.label), len(voice.label), len(own), len(face.label),
    )  # fmt: skip
    return Banks(text, voice, face, maker, {**priors, FACE: maker.prior})


def built_copies(clips: Sequence[VoiceClip], cache: Path) -> list[VoiceClip]:
    """Copies of clips at another speed, of which the cache has features. Raises ``CorpusError`` for none."""
    found = [clip for clip in copies(clips) if feature_path(cache, clip).is_file()]
    if clips and not found:
        raise CorpusError(f"{cache}: no copies of voices yet; run 'tonality corpora build'")
    return found


def voice_bank(
    clips: Sequence[VoiceClip], cache: Path, plan: DataPlan, chance: np.random.Generator
) -> tuple[VoiceBank, dict[str, Prior]]:
    """Windows of training clips with random pasts, of the others with a long one; and the priors, of
    people as they are."""
    voices = [ClipVoice(load_voice(cache, clip)) for clip in clips]
    whole = [voice.whole() for voice in voices]
    known = [
        streams
        for clip, streams in zip(clips, whole, strict=True)
        if clip.split == TRAIN and clip.speed == 1.0
    ]
    priors = voice_priors(known, plan.prior_s)
    return windows_of(clips, voices, whole, priors, plan.variants, chance), priors


def held_voices(data: Path, cache: Path, priors: dict[str, Prior], plan: DataPlan) -> VoiceBank:
    """The training actors' clips as validating ones are heard: one window each, after a long past."""
    clips = [c for c in ravdess(data) if c.split == TRAIN and feature_path(cache, c).is_file()]
    held = [replace(clip, split=VALID) for clip in clips]
    voices = [ClipVoice(load_voice(cache, clip)) for clip in held]
    whole = [voice.whole() for voice in voices]
    chance = np.random.default_rng([plan.seed, 29])
    return windows_of(held, voices, whole, priors, plan.variants, chance)


def windows_of(
    clips: Sequence[VoiceClip],
    voices: Sequence[ClipVoice],
    whole: Sequence[Streams],
    priors: dict[str, Prior],
    variants: int,
    chance: np.random.Generator,
    past_s: Callable[[np.random.Generator], float] | None = None,
    all_ends: bool = False,
) -> VoiceBank:
    """Prepared windows: ``variants`` random ones of training clips, the fullest of each other, or all
    that hold enough speech."""
    # prepare asks for all three; the face has no say here
    every = {**priors, FACE: _unit_prior(FACE_WIDTH)}
    made = []
    for index, clip in enumerate(clips):
        others = [
            whole[i]
            for i, c in enumerate(clips)
            if c.speaker == clip.speaker and c.corpus == clip.corpus and i != index
        ]
        if all_ends:
            windows = [w for w in map(voices[index].window, voices[index].ends_s()) if w.voiced]
        else:
            windows = _chosen(voices[index], clip.split == TRAIN, variants, chance)
        for window in windows:
            if past_s is not None:
                seconds = past_s(chance)
            else:
                seconds = random_past_s(chance) if clip.split == TRAIN else MAX_SPEECH_S
            before = heard_before(others, seconds, chance)
            sample = voice_sample(voices[index], window, before, every)
            made.append((clip, sample))
    return VoiceBank(
        voice=np.stack([s.voice for _, s in made]),
        voice_mask=np.stack([s.voice_mask for _, s in made]),
        states=np.stack([s.states for _, s in made]).astype(np.float16),
        states_mask=np.stack([s.states_mask for _, s in made]),
        label=np.array([c.label for c, _ in made], np.float32),
        split=np.array([c.split for c, _ in made]),
        clip=np.array([c.id for c, _ in made]),
        speaker=np.array([c.speaker for c, _ in made]),
        emotion=np.array([c.emotion for c, _ in made]),
    )


def random_past_s(chance: np.random.Generator) -> float:
    """Seconds of a speaker's speech before a window: none, a little, or a long session."""
    if chance.random() < 0.15:
        return 0.0
    return float(np.exp(chance.uniform(np.log(2.0), np.log(MAX_SPEECH_S))))


def _chosen(
    voice: ClipVoice, training: bool, variants: int, chance: np.random.Generator
) -> list[Windowed]:
    if not training:
        return [voice.fullest()]
    windows = [w for w in map(voice.window, voice.ends_s()) if w.voiced]
    if not windows:
        return []
    return [windows[i] for i in chance.integers(len(windows), size=variants)]


def face_bank(
    data: Path,
    fer: FaceTable,
    videos: dict[str, tuple[np.ndarray, np.ndarray]],
    plan: DataPlan,
    chance: np.random.Generator,
) -> tuple[FaceBank, FaceMaker]:
    """Web faces, actors' action units as faces, and one neutral speaker's frames."""
    fer = fer.rows(np.isin(fer.split, [TRAIN, VALID]))
    clips = ravdess(data)
    actors = speaking_faces(data, clips, fer.rows(fer.split == TRAIN), plan.seed)
    own = actor_statistics(actors, chance)
    used = np.flatnonzero(np.isin(actors.split, [TRAIN, VALID]))
    frames = (
        videos[TRAIN_VIDEO][1] if TRAIN_VIDEO in videos else np.zeros((0, FACE_WIDTH), np.float32)
    )
    tables = [fer, actors.rows(used)]
    training = np.concatenate([t.values[t.split == TRAIN] for t in tables])
    # of actors nobody knows how they look
    prior = Prior(np.nanmean(training, 0), np.nanvar(training, 0), plan.prior_s[FACE])
    frames_again = np.tile(frames, (VIDEO_REPEATS, 1))
    values = np.concatenate([*(t.values for t in tables), frames_again])
    count = len(frames_again)
    bank = FaceBank(
        values=values,
        label=np.concatenate([*(t.label for t in tables), np.zeros(count, np.float32)]),
        split=np.concatenate([*(t.split for t in tables), np.full(count, TRAIN)]),
        clip=np.array([*[""] * len(fer.label), *(clips[i].id for i in used), *[""] * count]),
        emotion=np.concatenate([*(t.emotion for t in tables), np.full(count, "neutral")]),
        own=[*[None] * len(fer.label), *(own[i] for i in used), *[None] * count],
    )
    return bank, face_maker(fer, videos, prior)


def face_maker(
    fer: FaceTable, videos: dict[str, tuple[np.ndarray, np.ndarray]], prior: Prior
) -> FaceMaker:
    """Makes faces live out of training faces at rest and of the speech of the neutral speaker."""
    neutral = fer.values[(fer.split == TRAIN) & (fer.emotion == "neutral")]
    frames = (
        videos[TRAIN_VIDEO][1] if TRAIN_VIDEO in videos else np.zeros((0, FACE_WIDTH), np.float32)
    )
    motion = speech_motion(frames) if len(frames) else np.zeros((1, FACE_WIDTH), np.float32)
    return FaceMaker(prior, neutral, motion)


def actor_statistics(actors: FaceTable, chance: np.random.Generator) -> list[Statistics]:
    """For each clip what a random number of other clips of the actor would leave behind."""
    out = []
    for index, speaker in enumerate(actors.speaker.tolist()):
        others = np.flatnonzero(actors.speaker == speaker)
        others = others[others != index]
        count = min(len(others), int(chance.integers(1, 61)))
        out.append(speaker_statistics(actors.values[chance.permutation(others)[:count]], CLIP_S))
    return out


@torch.no_grad()
def text_bank(data: Path, encoder: TextEncoder, lower: Path, plan: DataPlan) -> TextBank:
    """Token states of CMU-MOSI (whole and cut), of some of the other corpora, and of what actors say."""
    texts = read_texts(data, Protocol(comments=plan.chats // 3))
    chance = np.random.default_rng([plan.seed, 5])
    sides = texts.sides.numpy()
    order = chance.permutation(np.array(texts.general))
    classed = order[sides[order] >= 0][: plan.chats]
    scaled = order[sides[order] < 0][: plan.texts]
    training = [*scaled.tolist(), *classed.tolist(), *texts.mosi]
    chosen = [*training, *texts.valid]
    wrongly = misheard([texts.samples[i] for i in texts.valid], MISHEARD, plan.seed)
    samples = [*(texts.samples[i] for i in chosen), *wrongly]
    activations = LowerActivations.compute(
        encoder, [sample.text for sample in samples], lower, Protocol().dtype
    )
    states = upper_states(encoder, activations, range(len(samples)))
    spoken = [encoder.tokenize([sentence]) for sentence in SENTENCES]
    states += [encoder(t.ids, t.mask)[0].half().numpy() for t in spoken]
    split = [TRAIN] * len(training) + [VALID] * len(texts.valid) + [VALID_HEARD] * len(wrongly)
    told = np.concatenate([sides[chosen], sides[texts.valid]])
    targets = np.concatenate([told, np.full(len(spoken), NEUTRAL_SIDE)])
    label = [sample.label for sample in samples] + [0.0] * len(spoken)
    return TextBank(
        states,
        np.array(label, np.float32),
        np.array(split + [NEUTRAL_SPOKEN] * len(spoken)),
        targets_of_sides(targets),
    )


@torch.no_grad()
def upper_states(
    encoder: TextEncoder, lower: LowerActivations, indices: Sequence[int]
) -> list[np.ndarray]:
    """Token states ``(tokens, 384) float16`` of some texts out of their lower activations."""
    out: list[np.ndarray] = [np.empty(0)] * len(indices)
    order = sorted(range(len(indices)), key=lambda place: lower.length(indices[place]))
    for start in range(0, len(order), 64):
        places = order[start : start + 64]
        hidden, mask = lower.batch([indices[place] for place in places])
        states = encoder.upper(hidden, mask).half().numpy()
        for row, place in enumerate(places):
            out[place] = states[row][mask[row].numpy()].copy()
    return out


def load_head(tuned: Path) -> dict[str, Tensor]:
    """The tuned encoder's linear heads, ``score.`` and ``sides.``; nothing where it is not tuned."""
    path = tuned / "text_head.safetensors"
    return load_file(path) if path.is_file() else {}


def load_encoder(folder: Path, tuned: Path) -> tuple[TextEncoder, dict[str, Tensor]]:
    """The text encoder with the tuned layers, where ``tuned/text.safetensors`` is there; and them."""
    path = tuned / "text.safetensors"
    layers: dict[str, Tensor] = {}
    if path.is_file():
        layers = load_file(path)
    encoder = TextEncoder.load(folder, layers or None)
    if not layers:
        encoder.tunable(Protocol().layers)
    return encoder.requires_grad_(False).eval(), layers


def data_hashes(data: Path, cache: Path) -> dict[str, str]:
    """SHA-256 of the corpora's files; of extracted features, over their names."""
    found = {}
    for name in (*TEXT_FILES, RAVDESS_FILE, FER_FILE):
        path = data / name
        if not path.is_file():
            raise TonalityError(f"{path}: no such file; --data names the folder of the corpora")
        found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    names = sorted(str(p.relative_to(cache)) for p in cache.rglob("*.npz"))
    found["features"] = hashlib.sha256("\n".join(names).encode()).hexdigest()
    return found


def _unit_prior(width: int) -> Prior:
    return Prior(np.zeros(width, np.float32), np.ones(width, np.float32), 1.0)

"""Residuals of voices out of folds of actors, so that intervals do not rest on two of them.

The training actors are parted in four; for each part a network is trained on the others, and judged on
it as a validating actor is: one window a clip, after a long session (cross-conformal prediction, Vovk
2015). Each of these networks has heard a quarter less than the one whose intervals are wanted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from model.calibration import half_width
from model.corpora.text import TRAIN, VALID
from model.corpora.voice import actor_of
from model.live.banks import Banks, VoiceBank
from model.live.judging import as_heard, residuals
from model.networks.rtil import RTIL

FOLDS: Final = 4
HELD: Final = "held"  # split of what a fold's network neither learns from nor is judged on
VOICED: Final = ("voice", "text+voice", "voice+face", "text+voice+face")
REAL: Final = ("voice", "voice+face")  # those whose windows are not put together
LEFT_OUT: Final = "left out "  # before a subset's name, of what :func:`left_out` found
Folds = Mapping[str, Sequence[np.ndarray]]


def groups(banks: Banks) -> list[list[str]]:
    """The training actors in four parts, of both genders where there are enough; no empty ones."""
    speakers = banks.voice.speaker[banks.voice.split == TRAIN].tolist()
    actors = sorted({actor_of(speaker) for speaker in speakers})
    parts = [actors[first::FOLDS] for first in range(FOLDS)]
    return [part for part in parts if part]


def without(banks: Banks, actors: list[str]) -> Banks:
    """Banks in which voices and faces of some actors, and copies of them, belong to no split."""
    gone = np.array([actor_of(own) in actors for own in banks.voice.speaker.tolist()], np.bool_)
    clips = set(banks.voice.clip[gone].tolist())
    faces = np.isin(banks.face.clip, sorted(clips))
    voice = replace(banks.voice, split=np.where(gone, HELD, banks.voice.split))
    face = replace(banks.face, split=np.where(faces, HELD, banks.face.split))
    return replace(banks, voice=voice, face=face)


def judging(banks: Banks, held: VoiceBank, actors: list[str]) -> Banks:
    """Banks whose validating voices are those of some actors among ``held``, and so their faces."""
    own = np.isin(held.speaker, actors)
    arrays = {name: getattr(held, name)[own] for name in VoiceBank.__slots__}
    voice = VoiceBank(**{**arrays, "split": np.full(int(own.sum()), VALID)})
    faces = np.isin(banks.face.clip, sorted(set(voice.clip.tolist())))
    others = (banks.face.clip != "") & ~faces
    split = np.where(faces, VALID, np.where(others, HELD, banks.face.split))
    return replace(banks, voice=voice, face=replace(banks.face, split=split))


def crossed(
    banks: Banks, held: VoiceBank, seed: int, fit: Callable[[Banks, int], RTIL]
) -> dict[str, list[np.ndarray]]:
    """Truth minus score of every subset with a voice, fold by fold, over all training actors.

    ``held`` has one window of each of their clips; ``fit`` trains a network on banks, given the number
    of the fold.
    """
    found: dict[str, list[np.ndarray]] = {name: [] for name in VOICED}
    for number, actors in enumerate(groups(banks)):
        network = fit(without(banks, actors), number)
        own = as_heard(judging(banks, held, actors))
        for name, off in residuals(network, own, VALID, seed).items():
            if name in found:
                found[name].append(off)
    return {name: parts for name, parts in found.items() if parts}


def pooled(folds: Folds) -> dict[str, np.ndarray]:
    """Those of all folds together."""
    return {name: np.concatenate(parts) for name, parts in folds.items()}


def left_out(folds: Folds, coverage: float) -> dict[str, dict[str, float]]:
    """How often the truth lies in an interval as wide as everyone else's residuals ask for.

    ``folds`` are residuals of unlike people, part by part; each part is judged by the width that the
    others give, so that nobody's own windows widen their interval.
    """
    found = {}
    for name in REAL:
        parts = folds.get(name, ())
        if len(parts) < 2:
            continue
        held = []
        for number, own in enumerate(parts):
            others = np.concatenate([p for i, p in enumerate(parts) if i != number])
            held.append(np.abs(own) <= half_width(others, coverage))
        within = np.concatenate(held)
        found[name] = {"n": float(len(within)), "coverage": float(within.mean())}
    return found

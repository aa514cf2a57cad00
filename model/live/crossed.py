"""Residuals of voices out of folds of actors, so that intervals do not rest on two of them.

The training actors are parted in four; for each part a network is trained on the others, and judged on
it as a validating actor is: one window a clip, after a long session (cross-conformal prediction, Vovk
2015). Each of these networks has heard a quarter less than the one whose intervals are wanted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

import numpy as np

from model.corpora.text import TRAIN, VALID
from model.live.banks import Banks, VoiceBank
from model.live.judging import as_heard, residuals
from model.networks.rtil import RTIL

FOLDS: Final = 4
HELD: Final = "held"  # split of what a fold's network neither learns from nor is judged on
VOICED: Final = ("voice", "text+voice", "voice+face", "text+voice+face")


def groups(banks: Banks) -> list[list[str]]:
    """The training actors in four parts, of both genders where there are enough; no empty ones."""
    actors = sorted(set(banks.voice.speaker[banks.voice.split == TRAIN].tolist()))
    parts = [actors[first::FOLDS] for first in range(FOLDS)]
    return [part for part in parts if part]


def without(banks: Banks, actors: list[str]) -> Banks:
    """Banks in which voices and faces of some actors belong to no split."""
    gone = np.isin(banks.voice.speaker, actors)
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
) -> dict[str, np.ndarray]:
    """Truth minus score of every subset with a voice, over all training actors.

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
    return {name: np.concatenate(parts) for name, parts in found.items() if parts}

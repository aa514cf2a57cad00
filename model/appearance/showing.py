"""FER2013's aligned crops with what they show, and how they look in one epoch of a training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from features.spec import EXPRESSIONS
from model.appearance.augmenting import augmented
from model.corpora.face import FER_VALENCE
from model.corpora.pictures import fer2013, load_pictures
from model.corpora.text import TRAIN, VALID
from model.networks.emotions import OTHER_NAMES

SIDES: Final = (slice(0, 4), slice(4, 5), slice(5, 6))  # of EXPRESSIONS; surprise has none


@dataclass(frozen=True, slots=True)
class Table:
    """Crops ``(n, 60, 60) uint8`` with ``expression (n,) int64`` and ``valence (n,) float32``."""

    crops: np.ndarray
    expression: np.ndarray
    valence: np.ndarray


class Shown(Dataset[tuple[np.ndarray, int, np.float32]]):
    """Each picture of a table as it looks in one epoch; the same for the same seed and epoch."""

    def __init__(self, table: Table, seed: int, epoch: int) -> None:
        self._table, self._seed, self._epoch = table, seed, epoch

    def __len__(self) -> int:
        return len(self._table.crops)

    def __getitem__(self, row: int) -> tuple[np.ndarray, int, np.float32]:
        chance = np.random.default_rng([self._seed, self._epoch, row])
        table = self._table
        pixels = augmented(table.crops[row], chance)[None]
        return pixels, int(table.expression[row]), table.valence[row]


def tables(data: Path, cache: Path) -> tuple[Table, Table]:
    """Training and validation pictures."""
    faces, corpus = load_pictures(cache), fer2013(data)
    names, split = corpus.emotion[faces.index], corpus.split[faces.index]
    own = [EXPRESSIONS.index(OTHER_NAMES.get(name, name)) for name in names.tolist()]
    expression = np.array(own, np.int64)
    valence = np.array([FER_VALENCE[name] for name in names.tolist()], np.float32)
    first, second = (
        Table(faces.crops[rows], expression[rows], valence[rows])
        for rows in (split == TRAIN, split == VALID)
    )
    return first, second


def common(expression: np.ndarray) -> Tensor:
    """``(7,)``: logarithm of the share of each expression's side; surprise is one of its own."""
    counts = np.bincount(expression, minlength=len(EXPRESSIONS)) + 1e-3
    sides = counts.copy()
    for own in SIDES:
        sides[own] = counts[own].sum()
    return torch.from_numpy(np.log(sides / counts.sum())).float()

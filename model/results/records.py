"""What an experiment leaves: one line of JSON for each run, protocol and condition."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from features.errors import TonalityError

PATTERN: Final = "records-*.jsonl"
LETTERS: Final = {"text": "T", "audio": "A", "vision": "V"}


class Setting(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was trained, on what and how, and what it cost: the fields that records and runs share.

    Attributes:
        group: the experiment that it belongs to.
        model: a preset, or the name of a baseline or of another package's model.
        encoder: what made the text: an encoder's name, or ``file`` for the data set's own features.
        tune, start: what of the encoder was trained, and from which weights, where it was.
        without: the part that was left out, see :mod:`model.research.ablations`.
        scheme, losing: of the training, see :class:`model.research.presets.TrainingPlan`.
        modalities: some of ``TAV``.
        valid: of the selected epoch, on what the training validated on.
        seconds_per_epoch: seconds of the processor.
    """

    group: str
    model: str
    data: str
    seed: int
    variant: str = ""
    encoder: str = ""
    tune: str = ""
    start: str = ""
    without: str = ""
    scheme: str = ""
    losing: str = ""
    modalities: str = "TAV"
    changes: dict[str, float | str] = {}
    valid: dict[str, float] = {}
    parameters: int = 0
    seconds_per_epoch: float = 0.0
    best_epoch: int = 0


class Record(Setting, frozen=True, kw_only=True, omit_defaults=True):
    """One run under one condition. Whoever measures elsewhere writes the same fields.

    Attributes:
        condition: ``0.3`` (rate or deviation), ``t+a`` (what is left), or empty.
        curve: the file of the run's log by epoch, beside the records, or empty.
    """

    metrics: dict[str, float]
    protocol: str = "complete"
    condition: str = ""
    split: str = "test"
    curve: str = ""


def letters(modalities: Sequence[str]) -> str:
    """``("text", "audio")`` to ``TA``."""
    return "".join(letter for name, letter in LETTERS.items() if name in modalities)


def read_records(folder: Path) -> list[Record]:
    """All records of a folder. Raises :class:`TonalityError` for a line that is not one."""
    found = []
    for path in sorted(folder.glob(PATTERN)):
        for number, line in enumerate(path.read_bytes().splitlines(), 1):
            try:
                found.append(msgspec.json.decode(line, type=Record))
            except msgspec.MsgspecError as error:
                raise TonalityError(f"{path}, line {number}: not a record: {error}") from error
    if not found:
        raise TonalityError(f"{folder}: no {PATTERN}; make them with 'python -m model.results run'")
    return found


def write_records(path: Path, records: Iterable[Record]) -> None:
    """Replace a file of records at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_bytes(b"".join(msgspec.json.encode(record) + b"\n" for record in records))
    part.replace(path)

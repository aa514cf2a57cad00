"""Keeps a data set in a folder of our own: ``data.safetensors`` and ``data.json``, nothing that runs.

Features are kept as they were read, NaN and infinities included, so that scaling them later gives the
same as it would have from the original file.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from features.errors import CorpusError
from model.data.splits import SequenceData, Split
from model.data.streams import Stream, Text, Tokens

ARRAYS: Final = "data.safetensors"
MANIFEST: Final = "data.json"
FORMAT: Final = 1
MASKS: Final = ("valid", "known")


class StoredSplit(msgspec.Struct, frozen=True):
    """What is text in a split."""

    ids: list[str]
    raw: list[str] | None = None
    unknown: int | None = None


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What ``data.json`` says. ``source`` is the SHA-256 of the file that was converted."""

    format: int
    name: str
    low: float
    high: float
    classes: int
    source: str
    counts: dict[str, int]
    notes: list[str]
    arrays_sha256: str
    splits: dict[str, StoredSplit]


def found(folder: Path) -> bool:
    """Whether this is a folder of this format."""
    return (folder / MANIFEST).is_file()


def save(data: SequenceData, folder: Path) -> None:
    """Write both files, the manifest last, so that a folder without one is not a data set."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MANIFEST).unlink(missing_ok=True)
    arrays: dict[str, np.ndarray] = {}
    for name, split in data.splits.items():
        arrays |= {f"{name}.{key}": value for key, value in _arrays(split).items()}
    part = folder / f"{ARRAYS}.part"
    save_file({key: np.ascontiguousarray(value) for key, value in arrays.items()}, part)
    digest = sha256(part)
    part.replace(folder / ARRAYS)
    manifest = Manifest(
        format=FORMAT, name=data.name, low=data.low, high=data.high, classes=data.classes,
        source=data.source, counts=dict(data.counts), notes=list(data.notes), arrays_sha256=digest,
        splits={name: _strings(split) for name, split in data.splits.items()},
    )  # fmt: skip
    part = folder / f"{MANIFEST}.part"
    part.write_bytes(msgspec.json.format(msgspec.json.encode(manifest)) + b"\n")
    part.replace(folder / MANIFEST)


def parse(folder: Path) -> SequenceData:
    """A folder that :func:`save` wrote; :class:`CorpusError` where it is damaged."""
    try:
        manifest = msgspec.json.decode((folder / MANIFEST).read_bytes(), type=Manifest)
        if manifest.format != FORMAT:
            raise CorpusError(f"{folder}: format {manifest.format}; expected {FORMAT}")
        if sha256(folder / ARRAYS) != manifest.arrays_sha256:
            raise CorpusError(f"{folder / ARRAYS}: damaged, its SHA-256 is not the manifest's")
        arrays = load_file(folder / ARRAYS)
        splits = {
            name: _split(own, {k[len(name) + 1 :]: v for k, v in arrays.items() if k.startswith(f"{name}.")})
            for name, own in manifest.splits.items()
        }  # fmt: skip
    except (OSError, msgspec.MsgspecError, SafetensorError, KeyError, ValueError) as error:
        raise CorpusError(f"{folder}: cannot be read as a converted data set: {error}") from error
    return SequenceData(
        manifest.name, splits, manifest.low, manifest.high, manifest.classes,
        manifest.source, manifest.counts, notes=tuple(manifest.notes),
    )  # fmt: skip


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _arrays(split: Split) -> dict[str, np.ndarray]:
    arrays = {"labels": split.labels, **{f"extra.{k}": v for k, v in split.extra.items()}}
    for modality, stream in split.streams.items():
        arrays |= {f"{modality}.{key}": getattr(stream, key) for key in ("values", *MASKS)}
    if split.text is not None and split.text.tokens is not None:
        own = split.text.tokens
        arrays |= {f"tokens.{key}": getattr(own, key) for key in ("ids", *MASKS, "fixed")}
    return arrays


def _strings(split: Split) -> StoredSplit:
    text = split.text
    if text is None:
        return StoredSplit(list(split.ids))
    raw = None if text.raw is None else list(text.raw)
    return StoredSplit(list(split.ids), raw, text.tokens.unknown if text.tokens else None)


def _split(own: StoredSplit, arrays: dict[str, np.ndarray]) -> Split:
    tokens = None
    if own.unknown is not None:
        ids, valid, known, fixed = (arrays[f"tokens.{key}"] for key in ("ids", *MASKS, "fixed"))
        tokens = Tokens(ids, valid, known, fixed, own.unknown)
    features = _stream("text", arrays)
    raw = None if own.raw is None else tuple(own.raw)
    there = raw is not None or tokens is not None or features is not None
    return Split(
        tuple(own.ids),
        arrays["labels"],
        Text(raw, tokens, features) if there else None,
        _stream("audio", arrays),
        _stream("vision", arrays),
        {key[6:]: value for key, value in arrays.items() if key.startswith("extra.")},
    )


def _stream(modality: str, arrays: dict[str, np.ndarray]) -> Stream | None:
    if f"{modality}.values" not in arrays:
        return None
    return Stream(*(arrays[f"{modality}.{key}"] for key in ("values", *MASKS)))

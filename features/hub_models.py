"""Text encoders of the model hub, fetched by name, only when a user asks for it.

Unlike the assets of the manifest these have no hash known beforehand; whoever trains with one records
the hash of its weights.
"""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path
from typing import Final

from features.assets import default_cache, offline
from features.downloads import PlaceError, Progress, download, silent
from features.errors import AssetError
from features.fetching import HUB_SETTINGS

NEEDED: Final = ("config.json", "tokenizer.json", "model.safetensors")
FURTHER: Final = "tokenizer_config.json"  # says which token stands for an unknown one
_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")


def hub_folder(name: str, cache: Path | None = None) -> Path:
    """Where a model of the hub lies once it is fetched."""
    return (cache or default_cache()) / "models" / "hub" / name.replace("/", "--")


def is_here(name: str, cache: Path | None = None) -> bool:
    """Whether all files that are needed are there."""
    return all((hub_folder(name, cache) / file).is_file() for file in NEEDED)


def fetch_model(name: str, progress: Progress = silent, cache: Path | None = None) -> Path:
    """Bring a model into the cache and give its folder; one that is here is left alone.

    Raises :class:`AssetError` for names that cannot be, a hub that cannot be reached, and models
    without safetensors.
    """
    folder = hub_folder(name, cache)
    if not _NAME.fullmatch(name) or ".." in name:
        raise AssetError(f"'{name}' is no name of a model; they look like bert-base-uncased")
    if is_here(name, cache):
        return folder
    if offline():
        raise AssetError(f"{name}: TONALITY_OFFLINE forbids fetching; run this without it")
    work = folder.with_name(f"{folder.name}.part")
    work.mkdir(parents=True, exist_ok=True)  # what an interrupted fetch finished is kept
    for file in (*NEEDED, FURTHER):
        try:
            if not (work / file).is_file():
                command = [sys.executable, "-m", "features.hub_file", name, "main", file, str(work)]
                download(command, work, f"{name}: {file}", 0, progress, HUB_SETTINGS)
        except PlaceError as error:
            if file in NEEDED:
                raise AssetError(
                    f"{name}: {file} cannot be fetched from the hub ({error}); check name and "
                    "connection, or copy its files into a folder and name that"
                ) from error
    shutil.rmtree(folder, ignore_errors=True)
    work.replace(folder)
    return folder

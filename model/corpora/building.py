"""Build the features of the corpora, through the very extractors that run live.

    python -m model.corpora build --data CORPORA [--cache FOLDER]

What is in the cache already is not made again, so a killed build goes on where it was.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from features.assets import Assets
from features.errors import TonalityError
from model import commands
from model.corpora import face, pictures, voice

DEFAULT_CACHE: Final = Path(".cache/corpora")
PARTS: Final = ("ravdess", "copies", "emodb", "pictures", "fer2013", "video")
VOICES: Final = {
    "ravdess": voice.ravdess,
    "copies": lambda data: voice.copies(voice.ravdess(data)),
    "emodb": voice.emodb,
}

JUDGED: Final = tuple(name for name in PARTS if name != "copies")  # what no test part needs

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Corpora of the live model.")


@app.callback()
def corpora() -> None:
    """Corpora of the live model."""


@app.command()
def build(
    data: Annotated[Path, typer.Option(help="Folder of the corpora.")],
    cache: Annotated[Path, typer.Option(help="Where the features are kept.")] = DEFAULT_CACHE,
    part: Annotated[
        list[str] | None, typer.Option(help=f"Only these of {', '.join(PARTS)}.")
    ] = None,
    threads: Annotated[int, typer.Option(help="Threads of the recogniser.")] = 1,
) -> None:
    """Extract voice and face features of RAVDESS, copies of it at another speed, EMO-DB and FER2013."""
    build_missing(data, cache, threads, part or PARTS)


def build_missing(
    data: Path, cache: Path = DEFAULT_CACHE, threads: int = 1, parts: Sequence[str] = PARTS
) -> None:
    """Extract what is not in the cache yet, with progress bars."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as progress:
        for name in parts:
            _build(name, data, cache, threads, progress)


def _build(name: str, data: Path, cache: Path, threads: int, progress: Progress) -> None:
    assets = Assets(None)
    bar = progress.add_task(name, total=None)

    def advance(count: int) -> None:
        progress.advance(bar, count)

    if name in VOICES:
        clips = VOICES[name](data)
        progress.update(bar, total=len(clips))
        recogniser = assets.folder("whisper-base")
        voice.build_voice(_shuffled(clips), recogniser, cache, advance, threads)
    elif name in ("pictures", "fer2013"):
        found = pictures.fer2013(data)
        progress.update(bar, total=len(found.order))
        make = {"pictures": pictures.build_pictures, "fer2013": face.build_fer}[name]
        make(found, assets.folder("face-landmarker"), cache, advance)
    elif name == "video":
        videos = sorted((data / "ravdess" / "av_sample").glob("*.mp4"))
        videos += sorted(assets.folder("demo-clip").glob("*.mp4"))
        progress.update(bar, total=len(videos))
        for path in videos:
            face.build_video(path, assets.folder("face-landmarker"), cache)
            advance(1)
    else:
        raise TonalityError(f"part '{name}' is not one of {', '.join(PARTS)}")


def _shuffled(clips: list[voice.VoiceClip]) -> list[voice.VoiceClip]:
    """An order in which every beginning is a fair sample."""
    return sorted(clips, key=lambda clip: hashlib.sha256(clip.id.encode()).digest())


if __name__ == "__main__":
    commands.run(app)

"""Tune the upper layers of the text encoder to hear sentiment in spoken words.

    python -m model.live.text_tuning --data CORPORA --out FOLDER [--teacher RUN ...]

Stage 1 learns from written and acted text (SST sentences and phrases, VADER ratings, EmoBank, MELD,
EmoryNLP, GoEmotions), stage 2 from CMU-MOSI mixed with as much of the same, several times; the mean of
the runs' weights is kept, whatever validation says of each. Teachers are larger encoders that research
tuned (:mod:`model.live.teaching`); what they say of a text is learned beside its label. The test part
is looked at once, at the end. A killed run goes on where it last saved.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final

import msgspec
import torch
import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from safetensors.torch import load_file, save_file
from torch import Tensor

from features.errors import CorpusError
from model.corpora import text as corpora
from model.live import teaching
from model.live.tuning import tune
from model.live.tuning_judging import judge_all
from model.live.tuning_plan import Protocol, plan, read_texts
from model.text.deltas import packed
from model.text.encoder import TextEncoder
from model.text.lower import LowerActivations

logger = logging.getLogger(__name__)

LAYERS_FILE: Final = "text.safetensors"
HEAD_FILE: Final = "text_head.safetensors"


def file_hashes(data: Path) -> dict[str, str]:
    """SHA-256 of every corpus file that the tuning reads."""
    return {
        name: hashlib.sha256((data / name).read_bytes()).hexdigest() for name in corpora.TEXT_FILES
    }


def run(
    data: Path,
    out: Path,
    folder: Path,
    protocol: Protocol,
    progress: Progress,
    start: Path | None = None,
    teachers: Sequence[Path] = (),
) -> Path:
    """Everything from corpora to ``text.safetensors``, ``text_head.safetensors``, ``text.json``.

    ``start`` is such a folder, whose layers and head are tuned further; ``teachers`` are folders of
    checkpoints, what they say is kept in ``out``.
    """
    started = time.monotonic()
    before, began = ({}, {}) if start is None else tuned(start)
    if start is not None:
        digest = hashlib.sha256((start / LAYERS_FILE).read_bytes()).hexdigest()
        protocol = msgspec.structs.replace(protocol, start=digest)
    out.mkdir(parents=True, exist_ok=True)
    texts = read_texts(data, protocol)
    if teachers:
        protocol = msgspec.structs.replace(protocol, teachers=teaching.digest(teachers))
        bar = progress.add_task("teachers", total=len(texts.said) * len(teachers))
        scores = teaching.taught(
            texts.said, teachers, out / "taught", lambda count: progress.advance(bar, count)
        )
        texts = msgspec.structs.replace(texts, taught=scores)
    encoder = TextEncoder.load(folder, before)
    encoder.tunable(protocol.layers)
    bar = progress.add_task("lower layers", total=len(texts.samples))
    lower = LowerActivations.compute(
        encoder.eval(),
        [sample.text for sample in texts.samples],
        out / "lower",
        protocol.dtype,
        lambda count: progress.advance(bar, count),
    )
    total = len(plan(texts, lower.length, protocol))
    bar = progress.add_task("tuning", total=total)
    head, state = tune(
        encoder, texts, lower, protocol, out, lambda count: progress.advance(bar, count), began
    )
    layers = packed(encoder.tuned_state(torch.float32), TextEncoder.load(folder).state_dict())
    save_file(layers, out / LAYERS_FILE)
    save_file(head.state_dict(), out / HEAD_FILE)
    loaded = TextEncoder.load(folder, layers)
    report = {
        "protocol": msgspec.to_builtins(protocol),
        "steps": total,
        "selection": "none: the mean of the runs' last weights; test looked at once",
        "validation": state.history,
        "metrics": judge_all(loaded, head, data),
        "data_sha256": file_hashes(data),
        "seconds": round(time.monotonic() - started, 1),
    }
    (out / "text.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return out / "text.json"


def tuned(folder: Path) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Layers, packed as they are kept, and head of a run's folder."""
    for name in (LAYERS_FILE, HEAD_FILE):
        if not (folder / name).is_file():
            raise CorpusError(f"{folder / name}: no such file; name the folder of a finished run")
    return load_file(folder / LAYERS_FILE), load_file(folder / HEAD_FILE)


def main(
    data: Annotated[Path, typer.Option(help="Folder of the corpora.")],
    out: Annotated[Path, typer.Option(help="Folder for the result and the resumable state.")],
    encoder: Annotated[
        Path | None, typer.Option(help="Folder of gte-small, if not the cache.")
    ] = None,
    layers: Annotated[int, typer.Option(help="How many upper layers learn.")] = Protocol().layers,
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0,
    limit: Annotated[int, typer.Option(help="Training samples per corpus, 0 for all.")] = 0,
    rate: Annotated[
        float, typer.Option(help="Peak learning rate of the layers.")
    ] = Protocol().rate,
    epochs: Annotated[
        int, typer.Option(help="Passes over the texts of stage 1.")
    ] = Protocol().epochs,
    mosi_epochs: Annotated[
        int, typer.Option(help="Passes over MOSI in a run of stage 2.")
    ] = Protocol().mosi_epochs,
    mixed: Annotated[float, typer.Option(help="Other texts to each of MOSI.")] = Protocol().mixed,
    start: Annotated[Path | None, typer.Option(help="A finished run to go on from.")] = None,
    teacher: Annotated[
        list[Path] | None, typer.Option(help="Checkpoint of words alone to learn from; several.")
    ] = None,
    share: Annotated[
        float, typer.Option(help="Of what teachers say in the score of rated texts.")
    ] = Protocol().taught,
    share_neutral: Annotated[
        float, typer.Option(help="The same, of texts that people called neutral.")
    ] = Protocol().taught_neutral,
    written: Annotated[
        float, typer.Option(help="Share of what people wrote that keeps its punctuation.")
    ] = Protocol().written,
    threads: Annotated[int, typer.Option(help="Threads of the arithmetic.")] = 2,
) -> None:
    """Tune the text encoder's upper layers on sentiment corpora."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total}"),
    )
    protocol = Protocol(
        layers=layers, seed=seed, limit=limit, rate=rate, epochs=epochs,
        mosi_epochs=mosi_epochs, mixed=mixed, taught=share, taught_neutral=share_neutral, written=written,
    )  # fmt: skip
    torch.set_num_threads(threads)
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn()) as progress:
        report = run(
            data, out, encoder or encoder_folder(), protocol, progress, start, teacher or ()
        )
    logger.info("%s", report.read_text(encoding="utf-8"))


def encoder_folder() -> Path:
    """Where gte-small lies."""
    from features.assets import Assets

    return Assets(None).folder("gte-small")


if __name__ == "__main__":
    typer.run(main)

"""Train the network that sees expressions, on FER2013's training pictures.

    python -m model.appearance.training --data CORPORA --out features/appearance.onnx

A twelfth of the training pictures validates and is only looked at; PublicTest is not read here. What is
kept is the moving average of the weights after the last epoch. A killed run goes on where it was.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import cv2
import torch
import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from model.appearance.export import write_onnx
from model.appearance.learning import Plan, judge, train
from model.appearance.showing import tables
from model.corpora.building import DEFAULT_CACHE

logger = logging.getLogger(__name__)


def main(
    data: Annotated[Path, typer.Option(help="Folder of the corpora.")],
    out: Annotated[Path, typer.Option(help="The ONNX file to write.")],
    cache: Annotated[Path, typer.Option(help="Extracted features.")] = DEFAULT_CACHE,
    folder: Annotated[Path, typer.Option(help="For going on after a kill.")] = Path(
        ".cache/appearance"
    ),
    epochs: Annotated[int, typer.Option(help="How many epochs.")] = Plan().epochs,
    seed: Annotated[int, typer.Option(help="Of all that is random.")] = 0,
    threads: Annotated[int, typer.Option(help="Threads of the arithmetic.")] = 1,
) -> None:
    """Train and write the network; its crops come from 'python -m model.corpora build'."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(threads)
    cv2.setNumThreads(1)
    plan = Plan(seed=seed, epochs=epochs)
    table, valid = tables(data, cache)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeRemainingColumn()) as progress:
        network = train(table, valid, plan, folder, progress)
    write_onnx(network, out)
    logger.info("%s: %s", out, judge(network, valid))


if __name__ == "__main__":
    typer.run(main)

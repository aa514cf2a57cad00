"""The mean of finished tunings of the text encoder, as a tuning of its own.

    python -m model.live.text_mean --data CORPORA --out FOLDER TUNING TUNING ...

Weights that were tuned from the same beginning can be averaged, and the mean reads texts that none of
them learned at least about as well as the best of them (model soups, Wortsman et al. 2022). Judged
like a tuning; what each was made of is kept in ``text.json``.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import torch
import typer
from safetensors.torch import save_file
from torch import Tensor

from features.errors import CorpusError
from model.live.text_tuning import HEAD_FILE, LAYERS_FILE, encoder_folder, file_hashes, tuned
from model.live.tuning import SentimentHead
from model.live.tuning_judging import judge_all
from model.text.deltas import packed, unpacked
from model.text.encoder import TextEncoder

logger = logging.getLogger(__name__)


def run(data: Path, out: Path, tunings: Sequence[Path], folder: Path) -> Path:
    """``text.safetensors``, ``text_head.safetensors`` and ``text.json`` of the mean in ``out``.

    ``folder`` is the encoder's. Raises :class:`CorpusError` for less than two tunings, for one that is
    not finished, and for tunings of unlike layers.
    """
    if len(tunings) < 2:
        raise CorpusError("the mean is that of two tunings or more; name their folders")
    base = TextEncoder.load(folder).state_dict()
    parts = [tuned(own) for own in tunings]
    layers = mean_of([unpacked(own, base) for own, _ in parts])
    head = SentimentHead()
    head.load_state_dict(mean_of([own for _, own in parts]))
    out.mkdir(parents=True, exist_ok=True)
    kept = packed(layers, base)
    save_file(kept, out / LAYERS_FILE)
    save_file(head.state_dict(), out / HEAD_FILE)
    report = {
        "mean_of": [
            json.loads((own / "text.json").read_text("utf-8"))["protocol"] for own in tunings
        ],
        "metrics": judge_all(TextEncoder.load(folder, kept), head, data),
        "data_sha256": file_hashes(data),
    }
    (out / "text.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return out / "text.json"


def mean_of(parts: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The mean of tensors of the same names, each ``float32``."""
    if any(set(own) != set(parts[0]) for own in parts):
        raise CorpusError("tunings of unlike layers have no mean; tune as many layers in each")
    return {name: torch.stack([own[name].float() for own in parts]).mean(0) for name in parts[0]}


def main(
    tunings: Annotated[
        list[Path], typer.Argument(help="Folders of finished tunings, two or more.")
    ],
    data: Annotated[Path, typer.Option(help="Folder of the corpora.")],
    out: Annotated[Path, typer.Option(help="Folder for the result.")],
    threads: Annotated[int, typer.Option(help="Threads of the arithmetic.")] = 2,
) -> None:
    """Average finished tunings of the text encoder."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(threads)
    report = run(data, out, tunings, encoder_folder())
    logger.info("%s", report.read_text(encoding="utf-8"))


if __name__ == "__main__":
    typer.run(main)

"""Tune the upper layers of the text encoder to hear sentiment in spoken words.

    python -m model.live.text_tuning --data CORPORA --out FOLDER

Linear heads on the masked mean of the token states: Smooth L1 on the scale of -3 to +3, and cross
entropy of negative, neutral and positive for what is labelled by class. Stage 1 learns from written
and acted text (SST sentences and phrases, VADER ratings, MELD, EmoryNLP, GoEmotions), stage 2 from
CMU-MOSI mixed with as much of the same, several times; the mean of the runs' weights is kept,
whatever validation says of each. The test part is looked at once, at the end. A killed run goes on
where it last saved.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Final

import msgspec
import numpy as np
import torch
import torch.nn.functional as F
import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from features.errors import CorpusError
from model.corpora import text as corpora
from model.corpora.text import TEST, VALID, TextSample, part
from model.live.tuning_plan import Protocol, Step, Texts, plan, read_texts
from model.live.tuning_state import TuningState
from model.metrics import pearson, regression, weighted_f1
from model.text.encoder import TextEncoder, masked_mean
from model.text.lower import LowerActivations

logger = logging.getLogger(__name__)

LAYERS_FILE: Final = "text.safetensors"
HEAD_FILE: Final = "text_head.safetensors"
SHARP: Final = 0.5  # errors beyond this count linearly: the measure is the mean absolute error


class SentimentHead(nn.Module):
    """Masked mean of token states, then a linear score and sides: ``(B, N, 384)`` to ``(B,)``."""

    def __init__(self) -> None:
        super().__init__()
        self.score = nn.Linear(TextEncoder.width, 1)
        self.sides = nn.Linear(TextEncoder.width, 3)
        for linear in (self.score, self.sides):
            nn.init.zeros_(linear.weight)
            nn.init.zeros_(linear.bias)

    def forward(self, hidden: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Scores ``(B,)`` on -3..3, not clipped, and logits ``(B, 3)`` of negative, neutral, positive."""
        pooled = masked_mean(hidden, mask)
        return self.score(pooled).squeeze(-1), self.sides(pooled)


def tune(
    encoder: TextEncoder,
    texts: Texts,
    lower: LowerActivations,
    protocol: Protocol,
    folder: Path,
    advance: Callable[[int], None],
    began: Mapping[str, Tensor] | None = None,
) -> tuple[SentimentHead, TuningState]:
    """Run or go on with the plan; leaves the mean of the second stage's runs in encoder and head.

    ``began`` are weights of a head to begin with.
    """
    torch.manual_seed(protocol.seed)
    encoder.tunable(protocol.layers)
    head = SentimentHead()
    head.load_state_dict(dict(began or {}), strict=False)
    optimiser = _optimiser(encoder, head, protocol)
    state = TuningState(folder, protocol.key, encoder, head, optimiser)
    first = state.resume()
    if protocol.epochs == 0 and first == 0:
        state.end(0)  # the first stage lies behind the weights that came
    advance(first)
    truth, steps = (texts.labels, texts.sides), plan(texts, lower.length, protocol)
    saved = time.monotonic()
    for done, step in enumerate(steps[first:], start=first + 1):
        _update(step, encoder, head, optimiser, lower, truth, protocol)
        if step.judge:
            error = _error(encoder, head, lower, texts)
            logger.info("step %d of %d: MOSI valid MAE %.4f", done, len(steps), error)
            state.judge(error, done)
        if step.ends is not None:
            state.end(step.ends)
        if step.judge or time.monotonic() - saved > protocol.save_every_s:
            state.save(done)
            saved = time.monotonic()
        advance(1)
    state.take_mean(protocol.mosi_runs)
    state.judge(_error(encoder, head, lower, texts), len(steps))
    return head, state


def _error(
    encoder: TextEncoder, head: SentimentHead, lower: LowerActivations, texts: Texts
) -> float:
    predicted = predict(encoder, head, lower, texts.valid)
    return regression(predicted, texts.labels[texts.valid].numpy())["mae"]


def _optimiser(
    encoder: TextEncoder, head: SentimentHead, protocol: Protocol
) -> torch.optim.Optimizer:
    layers = [parameter for parameter in encoder.parameters() if parameter.requires_grad]
    groups = [
        {"params": layers, "peak": protocol.rate},
        {"params": list(head.parameters()), "peak": protocol.head_rate},
    ]
    return torch.optim.AdamW(groups, weight_decay=protocol.decay)


def _update(
    step: Step,
    encoder: TextEncoder,
    head: SentimentHead,
    optimiser: torch.optim.Optimizer,
    lower: LowerActivations,
    truth: tuple[Tensor, Tensor],
    protocol: Protocol,
) -> None:
    encoder.train()
    for group in optimiser.param_groups:
        group["lr"] = group["peak"] * step.rate
    hidden, mask = lower.batch(step.indices)
    with torch.autocast("cpu", protocol.dtype, protocol.dtype != torch.float32):
        states = encoder.upper(hidden, mask)
    loss = _loss(head(states.float(), mask), [part[step.indices] for part in truth], protocol)
    optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_([p for g in optimiser.param_groups for p in g["params"]], 1.0)
    optimiser.step()


def _loss(found: tuple[Tensor, Tensor], truth: Sequence[Tensor], protocol: Protocol) -> Tensor:
    """Of scores and sides; what is labelled by class counts less in the first, all in the second."""
    (score, logits), (label, side) = found, truth
    classed = side >= 0
    weight = torch.where(classed, protocol.chats, 1.0)
    loss = (weight * F.smooth_l1_loss(score, label, reduction="none", beta=SHARP)).mean()
    if bool(classed.any()):
        apart = F.cross_entropy(logits[classed], side[classed], reduction="sum")
        loss = loss + protocol.sides * apart / len(side)
    return loss


@torch.no_grad()
def predict(
    encoder: TextEncoder, head: SentimentHead, lower: LowerActivations, indices: Sequence[int]
) -> np.ndarray:
    """Scores ``(n,)`` of some texts out of their lower activations."""
    encoder.eval()
    scores = []
    for start in range(0, len(indices), 64):
        hidden, mask = lower.batch(indices[start : start + 64])
        scores.append(head(encoder.upper(hidden, mask), mask)[0].numpy())
    return np.concatenate(scores)


@torch.no_grad()
def score(
    encoder: TextEncoder, head: SentimentHead, samples: Sequence[TextSample]
) -> tuple[np.ndarray, np.ndarray]:
    """Scores ``(n,)`` and sides ``(n,)`` of -1, 0, 1 as a live run would: from the words."""
    encoder.eval()
    scores, sides = [], []
    for start in range(0, len(samples), 64):
        tokens = encoder.tokenize([sample.text for sample in samples[start : start + 64]])
        found, logits = head(encoder(tokens.ids, tokens.mask), tokens.mask)
        scores.append(found.numpy())
        sides.append(logits.argmax(1).numpy() - 1)
    return np.concatenate(scores), np.concatenate(sides)


def judge_all(encoder: TextEncoder, head: SentimentHead, data: Path) -> dict[str, dict[str, float]]:
    """Measures on every part that nothing was trained or (but for MOSI valid) chosen on."""
    measured = {}
    mosi, sst = corpora.mosi(data), corpora.sst(data)
    for name, samples in {
        "mosi_valid": part(mosi, VALID),
        "mosi_test": part(mosi, TEST),
        "sst_dev": part(sst, VALID),
        "meld_dev": part(corpora.meld(data), VALID),
        "vader_held_out": part(corpora.vader(data), VALID),
    }.items():
        predicted, sides = score(encoder, head, samples)
        label = np.array([sample.label for sample in samples])
        measured[name] = {"n": len(samples), **regression(predicted, label)}
        if name == "meld_dev":
            measured[name] = {
                "n": len(samples),
                "r": pearson(predicted, label),
                "weighted_f1_3": weighted_f1(sides, np.sign(label)),
            }
    return measured


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
) -> Path:
    """Everything from corpora to ``text.safetensors``, ``text_head.safetensors``, ``text.json``.

    ``start`` is such a folder, whose layers and head are tuned further.
    """
    started = time.monotonic()
    before, began = ({}, {}) if start is None else _tuned(start)
    if start is not None:
        digest = hashlib.sha256((start / LAYERS_FILE).read_bytes()).hexdigest()
        protocol = msgspec.structs.replace(protocol, start=digest)
    out.mkdir(parents=True, exist_ok=True)
    texts = read_texts(data, protocol)
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
    tuned = encoder.tuned_state()
    save_file(tuned, out / LAYERS_FILE)
    save_file(head.state_dict(), out / HEAD_FILE)
    loaded = TextEncoder.load(folder, tuned)
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


def _tuned(folder: Path) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Layers and head of a run's folder."""
    for name in (LAYERS_FILE, HEAD_FILE):
        if not (folder / name).is_file():
            raise CorpusError(
                f"{folder / name}: no such file; --start names a finished run's folder"
            )
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
    rate: Annotated[float, typer.Option(help="Peak learning rate of the layers.")] = 1e-4,
    epochs: Annotated[int, typer.Option(help="Passes over the texts of stage 1.")] = 1,
    mosi_epochs: Annotated[
        int, typer.Option(help="Passes over MOSI in a run of stage 2.")
    ] = Protocol().mosi_epochs,
    mixed: Annotated[float, typer.Option(help="Other texts to each of MOSI.")] = Protocol().mixed,
    start: Annotated[Path | None, typer.Option(help="A finished run to go on from.")] = None,
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
        mosi_epochs=mosi_epochs, mixed=mixed,
    )  # fmt: skip
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn()) as progress:
        report = run(data, out, encoder or _encoder_folder(), protocol, progress, start)
    logger.info("%s", report.read_text(encoding="utf-8"))


def _encoder_folder() -> Path:
    from features.assets import Assets

    return Assets(None).folder("gte-small")


if __name__ == "__main__":
    typer.run(main)

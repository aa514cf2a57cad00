"""Trains the models of the MMSA package on our files, to be judged beside ours by one ruler.

python -m model.results.peers --data CORPORA --out .cache/results --seeds 5

How they are trained is MMSA's (see :mod:`model.results.mmsa_models`); samples, splits and metrics
are ours.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import msgspec
import torch
import typer
from rich.console import Console

from model import commands
from model.data.protocols import protocol
from model.data.splits import TEST, VALID, SequenceData, Split
from model.metrics import suited
from model.results.baselines import least
from model.results.mmsa_models import PEERS, PeerRun, train_peer
from model.results.peer_data import SETS, peer_data
from model.results.records import Record, letters
from model.results.runs import condition_name
from model.text.states import TextStates

GROUP: Final = "peers"
RECORDS: Final = f"records-{GROUP}.jsonl"
PROTOCOLS: Final = ("complete", "B", "C")  # of one model for all conditions


def records(model: str, name: str, data: SequenceData, seed: int, run: PeerRun) -> list[Record]:
    """What is kept of a run: our metrics of the test split, one record for each condition.

    With complete data ``valid`` are those of validation, with what the best constant gives there
    (``constant_mae``, ``constant_acc``): a peer that is no better has learned nothing. Encoded words
    cannot be lost afterwards: no protocols but the first.
    """
    own, _, encoder = name.partition("+")
    common = Record(
        group=GROUP, model=model, variant="mmsa", data=own, seed=seed, metrics={},
        encoder=encoder or ("file" if "text" in data.modalities else ""),
        modalities=letters(data.modalities), parameters=run.parameters,
        seconds_per_epoch=round(run.seconds_per_epoch, 3), best_epoch=run.best_epoch,
    )  # fmt: skip
    found = []
    for title in PROTOCOLS[:1] if encoder else PROTOCOLS:
        for condition in protocol(title, data).conditions:
            metrics = _judged(run, condition.apply(data.splits[TEST]), data)
            valid = _judged(run, data.splits[VALID], data) | least(data)
            part = msgspec.structs.replace(
                common, protocol=title, condition=condition_name(title, condition),
                metrics=metrics, valid=valid if title == "complete" else {},
            )  # fmt: skip
            found.append(part)
    return found


def _judged(run: PeerRun, split: Split, data: SequenceData) -> dict[str, float]:
    return suited(run.say(split, data), split.labels, data.low, data.high, data.classes)


def done(path: Path) -> set[tuple[str, str, bool, int]]:
    """Model, data, whether words were encoded, and seed of the runs that were recorded."""
    lines = path.read_bytes().splitlines() if path.is_file() else []
    found = (msgspec.json.decode(line, type=Record) for line in lines)
    return {(own.model, own.data, own.encoder == "gte-small", own.seed) for own in found}


app = typer.Typer(add_completion=False)


@app.command()
def main(
    data: Annotated[Path, typer.Option(help="Folder of the corpora.")],
    out: Annotated[Path, typer.Option(help=f"Folder of {RECORDS}.")],
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds, from 0.")] = 5,
    models: Annotated[str, typer.Option(help="Which, with commas.")] = ",".join(PEERS),
    sets: Annotated[str, typer.Option(help="Which data sets, with commas.")] = ",".join(SETS),
) -> None:
    """Train MMSA's models on our files and judge them by our metrics; what is recorded is not run again."""
    torch.set_num_threads(1)
    out.mkdir(parents=True, exist_ok=True)
    path = out / RECORDS
    known = done(path)
    console = Console(stderr=True)
    for name in sets.split(","):
        own, _, encoder = name.partition("+")
        wanted = [
            (model, seed)
            for model in models.split(",")
            for seed in range(seeds)
            if (model, own, bool(encoder), seed) not in known
        ]
        if wanted:
            read_in = peer_data(name, data, _encoder)
            for model, seed in wanted:
                _run(console, path, model, name, read_in, seed)


def _run(
    console: Console, path: Path, model: str, name: str, data: SequenceData, seed: int
) -> None:
    with console.status(f"{model} on {name}, seed {seed}") as status:
        epochs = 0

        def advance() -> None:
            nonlocal epochs
            epochs += 1
            status.update(f"{model} on {name}, seed {seed}: epoch {epochs}")

        lines = records(model, name, data, seed, train_peer(model, data, seed, advance))
    with path.open("ab") as file:
        file.write(b"".join(msgspec.json.encode(line) + b"\n" for line in lines))
    shown = {key: lines[0].metrics.get(key) for key in ("mae", "r", "acc2_has0", "acc", "f1")}
    told = ", ".join(f"{key} {value:.3g}" for key, value in shown.items() if value is not None)
    console.print(
        f"{model} on {name}, seed {seed}: best was epoch {lines[0].best_epoch}, {told}",
        markup=False,
    )


def _encoder() -> TextStates:
    from features.assets import Assets
    from model.research.runs import text_encoder

    return text_encoder(Assets().folder("gte-small"))


if __name__ == "__main__":
    commands.run(app)

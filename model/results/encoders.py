"""Words alone on MOSI's standard split: every text encoder at hand, in every way of tuning.

python -m model.results.encoders --data CORPORA --out .cache/results

Each row of :data:`ROWS` is trained with five seeds, its epoch selected on validation, the test split
looked at last; rows with a first stage start from one training on the sentences of the Stanford
Sentiment Treebank (seed 0, one epoch), the same for all seeds. One line of JSON is appended for each
run to ``records-text.jsonl``; a run that has a line, or a checkpoint, is not trained again.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
import torch
import typer
from rich.console import Console

from features.errors import TonalityError
from model.data.splits import TEST, SequenceData
from model.research.checkpoint import ResearchCheckpoint
from model.research.inputs import Inputs
from model.research.presets import TrainingPlan, training_plan
from model.results.records import Record
from model.weight_files import MANIFEST

GROUP: Final = "mosi-text"
STAGE: Final = "sst"
SEEDS: Final = 5
RECORDS: Final = "records-text.jsonl"
RATES: Final = {"upper": 5e-5, "all": 3e-5, "lora": 5e-4, "frozen": 0.0}  # of the encoder


class Row(msgspec.Struct, frozen=True):
    """Runs that differ by seed only; ``start`` is empty or the first stage's data set."""

    encoder: str
    tune: str
    start: str = ""
    model: str = "text"

    @property
    def name(self) -> str:
        """For ``--only`` and folders."""
        return "-".join(filter(None, (self.model, self.encoder, self.tune, self.start)))

    @property
    def frozen(self) -> bool:
        """Whether nothing of the encoder learns."""
        return self.tune == "frozen"

    def plan(self, stage: bool) -> TrainingPlan:
        """The settings of its first stage or of its training on MOSI."""
        kind = self.tune.partition(":")[0]
        own: dict[str, Any] = {"tune": self.tune, "encoder": self.encoder, "text": "encoder"}
        if not self.frozen:
            own |= {"bf16": True, "batch": 16, "pool": 8, "encoder_rate": RATES[kind]}
            own |= {"epochs": 1 if stage else 3}
        elif stage:
            own |= {"epochs": 10, "patience": 3}
        return training_plan(self.model, **own)


ROWS: Final = (
    Row("gte-small", "frozen"),
    Row("gte-small", "upper:4"),
    Row("gte-small", "upper:4", STAGE),
    Row("minilm", "frozen"),
    Row("minilm", "upper:3"),
    Row("minilm", "upper:3", STAGE),
    Row("gte-small", "lora"),
    Row("gte-small", "upper:4", STAGE, "rtil"),
    Row("gte-small", "upper:4", STAGE, "mitr"),
    Row("minilm", "lora"),
    Row("gte-small", "frozen", STAGE),
    Row("minilm", "frozen", STAGE),
    Row("minilm", "all", STAGE),
    Row("gte-small", "all", STAGE),
    Row("mpnet", "frozen"),
    Row("mpnet", "all", STAGE),
)


class Runs:
    """Trains rows; what is done lies in ``out``."""

    def __init__(self, corpora: Path, out: Path, say: Callable[[str], None]) -> None:
        self.corpora, self.out, self.say = corpora, out, say
        self._data: dict[str, SequenceData] = {}

    def run(self, row: Row, over: Callable[[], bool]) -> None:
        """All seeds of a row, until ``over()``."""
        missing = [seed for seed in range(SEEDS) if (row.name, seed) not in self._done()]
        if not missing or over():
            return
        start = self._stage(row) if row.start else None
        inputs = self._inputs(row, GROUP, row.plan(stage=False))
        for seed in missing:
            if not over():
                self._seed(row, inputs, seed, start)

    def _stage(self, row: Row) -> ResearchCheckpoint:
        folder, plan = self.out / "runs" / f"{row.name}-stage", row.plan(stage=True)
        if not (folder / MANIFEST).is_file():
            self._train(row.start, self._inputs(row, row.start, plan), plan, 0, folder, None)
        found = ResearchCheckpoint.load(folder)
        self.say(f"{row.name}: first stage {_told(found.manifest.metrics[TEST])} on {row.start}")
        return found

    def _seed(self, row: Row, inputs: Inputs, seed: int, start: ResearchCheckpoint | None) -> None:
        folder, plan = self.out / "runs" / row.name / f"seed-{seed}", row.plan(stage=False)
        begun = time.process_time()
        checkpoint = self._train(GROUP, inputs, plan, seed, folder, start)
        spent = time.process_time() - begun
        record = _record(row, checkpoint, spent)
        with (self.out / RECORDS).open("ab") as file:
            file.write(msgspec.json.encode(record) + b"\n")
        self.say(f"{row.name}, seed {seed}: {_told(record.metrics)} ({spent:.0f} s)")

    def _train(
        self,
        name: str,
        inputs: Inputs,
        plan: TrainingPlan,
        seed: int,
        folder: Path,
        start: ResearchCheckpoint | None,
    ) -> ResearchCheckpoint:
        from model.research.runs import train_seed

        found = train_seed(self._read(name), inputs, plan, seed, folder, start=start)
        for kept in ("state", "best"):  # the checkpoint has what is needed; these are large
            (folder / f"{kept}.safetensors").unlink(missing_ok=True)
        return found

    def _read(self, name: str) -> SequenceData:
        from model.data.datasets import parse

        if name not in self._data:
            self._data[name] = parse(self.corpora, name)
        return self._data[name]

    def _inputs(self, row: Row, name: str, plan: TrainingPlan) -> Inputs:
        from model.research.runs import prepared
        from model.text.choice import load_encoder

        encoded = self.out / "runs" / "encoded"
        return prepared(
            self._read(name), plan, lambda: load_encoder(row.encoder, row.tune), encoded
        )

    def _done(self) -> set[tuple[str, int]]:
        path = self.out / RECORDS
        lines = path.read_bytes().splitlines() if path.is_file() else []
        found = [msgspec.json.decode(line, type=Record) for line in lines]
        rows = {(Row(own.encoder, own.tune, own.start, own.model).name, own.seed) for own in found}
        return rows


def _record(row: Row, checkpoint: ResearchCheckpoint, spent: float) -> Record:
    manifest = checkpoint.manifest
    tensors = (*checkpoint.network.parameters(), *checkpoint.text.values())
    valid = {k.removeprefix("valid_"): v for k, v in manifest.metrics["valid"].items()}
    return Record(
        group=GROUP, model=row.model, data=GROUP, seed=manifest.seed, variant="intended",
        encoder=row.encoder, tune=row.tune, start=row.start, modalities="T",
        metrics=manifest.metrics[TEST], valid=valid, best_epoch=manifest.best_epoch,
        scheme=manifest.plan.scheme, parameters=sum(own.numel() for own in tensors),
        seconds_per_epoch=spent / max(1, manifest.epochs or manifest.best_epoch),
    )  # fmt: skip


def _told(metrics: dict[str, float]) -> str:
    return ", ".join(
        f"{name} {metrics[name]:.3f}" for name in ("mae", "r", "acc2_has0", "acc2_non0")
    )


def main(
    data: Annotated[Path, typer.Option(help="The folder of the corpora.")],
    out: Annotated[Path, typer.Option(help="Folder of records and runs.")],
    only: Annotated[list[str] | None, typer.Option(help="Rows by name; all by default.")] = None,
    minutes: Annotated[float, typer.Option(help="Begin no run after so many.")] = 1e9,
    threads: Annotated[int, typer.Option(min=1, help="Threads of the arithmetic.")] = 1,
) -> None:
    """Train and judge every row that is not done; a killed run goes on where it was."""
    names = {row.name: row for row in ROWS}
    strange = set(only or ()) - set(names)
    if strange:
        raise TonalityError(f"no row '{min(strange)}'; there are {', '.join(names)}")
    torch.set_num_threads(threads)
    console, begun = Console(stderr=True), time.monotonic()
    runs = Runs(data, out, lambda line: console.print(line, markup=False, soft_wrap=True))
    for name in only or names:
        runs.run(names[name], lambda: time.monotonic() - begun > 60 * minutes)


if __name__ == "__main__":
    try:
        typer.run(main)
    except TonalityError as error:
        Console(stderr=True).print(str(error), style="red", markup=False, soft_wrap=True)
        sys.exit(2)

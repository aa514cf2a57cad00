"""The results in one small file that is kept with the page, so that it can be made anew from it."""

from __future__ import annotations

import csv
import platform
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from features.errors import TonalityError
from model.metrics import Spread, over_seeds
from model.results.records import Record, Setting

FILE: Final = "results.json"
KEPT: Final = ("mae", "r", "acc2_has0", "acc2_non0", "acc", "f1")  # of damaged inputs
DIGITS: Final = 4
IDENTITY: Final = (
    "group", "model", "variant", "encoder", "tune", "start", "without", "scheme", "losing", "data",
    "modalities",
)  # fmt: skip


class Run(Setting, frozen=True, kw_only=True, omit_defaults=True):
    """One seed, and its metrics by protocol and condition.

    ``curve`` holds for each epoch the task's loss in training, the loss on validation, and there r
    (or the accuracy).
    """

    results: dict[str, dict[str, dict[str, float]]]
    curve: list[tuple[float, float, float]] = msgspec.field(default_factory=list)

    @property
    def identity(self) -> tuple[str, ...]:
        """The same for all seeds of one experiment."""
        return (*(str(getattr(self, name)) for name in IDENTITY), str(sorted(self.changes.items())))


class Results(msgspec.Struct, frozen=True, kw_only=True):
    """All runs, and the machine that they ran on."""

    host: str
    runs: list[Run]

    def save(self, folder: Path) -> None:
        """Write :data:`FILE`, one run a line."""
        folder.mkdir(parents=True, exist_ok=True)
        lines = b",\n".join(msgspec.json.encode(run) for run in self.runs)
        host = msgspec.json.encode(self.host)
        (folder / FILE).write_bytes(b'{"host":' + host + b',"runs":[\n' + lines + b"\n]}\n")

    @classmethod
    def load(cls, folder: Path) -> Results:
        """Read what :meth:`save` wrote. Raises :class:`TonalityError` where it is not there."""
        try:
            return msgspec.json.decode((folder / FILE).read_bytes(), type=cls)
        except (OSError, msgspec.MsgspecError) as error:
            raise TonalityError(
                f"{folder / FILE}: {error}; make it with 'python -m model.results page --records'"
            ) from error

    def joined(self, newer: Results) -> Results:
        """These runs, each replaced by the newer one of the same experiment and seed, and the new ones.

        The machine stays this one's where it is the same, else both are named.
        """
        runs = {(*run.identity, run.seed): run for run in (*self.runs, *newer.runs)}
        hosts = dict.fromkeys((*self.host.split("; "), newer.host))
        return Results(host="; ".join(hosts), runs=list(runs.values()))

    def rows(self, keep: Callable[[Run], bool]) -> list[Row]:
        """The experiments whose runs are kept, in the order in which they were met."""
        found: dict[tuple[str, ...], list[Run]] = {}
        for run in self.runs:
            if keep(run):
                found.setdefault(run.identity, []).append(run)
        return [Row(tuple(sorted(runs, key=lambda run: run.seed))) for runs in found.values()]


@dataclass(frozen=True, slots=True)
class Row:
    """The seeds of one experiment."""

    runs: tuple[Run, ...]

    @property
    def one(self) -> Run:
        """Any of them, for what they have in common."""
        return self.runs[0]

    def at(self, seeds: Container[int]) -> Row:
        """Only these seeds; there may be none."""
        return Row(tuple(run for run in self.runs if run.seed in seeds))

    def spread(self, protocol: str = "complete", condition: str = "") -> dict[str, Spread]:
        """Mean and deviation of each metric over the seeds; empty where it was not measured."""
        own = [run.results.get(protocol, {}).get(condition) for run in self.runs]
        there = [metrics for metrics in own if metrics]
        return over_seeds(there) if there else {}

    def mean_over(self, protocol: str) -> dict[str, Spread]:
        """Mean over the conditions of a protocol in each seed, then mean and deviation over seeds."""
        means = [mean_of(run.results[protocol]) for run in self.runs if protocol in run.results]
        return over_seeds(means) if means else {}


def mean_of(conditions: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """The mean of each metric over the conditions."""
    every = list(conditions.values())
    return {name: sum(own[name] for own in every) / len(every) for name in every[0]}


def condensed(records: Sequence[Record], folder: Path, host: str = "") -> Results:
    """Records, with the logs that they name in ``folder``, as :class:`Results`."""
    found: dict[tuple[object, ...], Run] = {}
    for record in records:
        run = _run(record)
        place = (*run.identity, run.seed)
        if place not in found:
            found[place] = msgspec.structs.replace(run, curve=_curve(folder / record.curve, record))
        known = found[place]
        known.results.setdefault(record.protocol, {})[record.condition] = _kept(record)
    return Results(host=host or this_host(), runs=list(found.values()))


def _run(record: Record) -> Run:
    shared = {name: getattr(record, name) for name in Setting.__struct_fields__}
    shared["valid"] = rounded(record.valid)
    shared["seconds_per_epoch"] = round(record.seconds_per_epoch, 2)
    return Run(**shared, results={})


def _kept(record: Record) -> dict[str, float]:
    whole = record.protocol == "complete"
    return rounded({k: v for k, v in record.metrics.items() if whole or k in KEPT})


def rounded(metrics: Mapping[str, float]) -> dict[str, float]:
    """To four significant digits."""
    return {name: float(f"{value:.{DIGITS}g}") for name, value in metrics.items()}


def _curve(path: Path, record: Record) -> list[tuple[float, float, float]]:
    if not record.curve or not path.is_file():
        return []
    with path.open(encoding="utf-8") as file:
        return [_point(row) for row in csv.DictReader(file)]


def _point(row: Mapping[str, str]) -> tuple[float, float, float]:
    def first(names: Iterable[str]) -> float:
        return next((round(float(row[name]), 3) for name in names if row.get(name)), 0.0)

    task = first(("loss_task", "loss_student", "loss_total"))
    return task, first(("valid_loss",)), first(("valid_r", "valid_acc"))


def this_host() -> str:
    """The processor by name, as far as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.machine())

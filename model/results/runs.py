"""Runs the experiments one after another in one process: resumable, one thread, records at once.

A run's folder keeps its log and its measures; its weights are removed when it has been judged.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final, Protocol

import msgspec
import numpy as np

from model.data.datasets import parse
from model.data.plain import mosi_sentences, mosi_utterances
from model.data.protocols import Condition, protocol
from model.data.splits import TEST, SequenceData
from model.metrics import suited
from model.research.inputs import Inputs, LabelScale, Seen, scaled_for, wants_encoder
from model.research.prediction import predict
from model.research.training import Trainer
from model.results.baselines import BASELINES
from model.results.experiments import ALONE, GROUPS, UTTERANCES, Experiment
from model.results.records import Record, letters, write_records
from model.results.sentence_vectors import sentence_vectors
from model.text.states import TextStates

RESULT: Final = "result.json"
CONTEXT: Final = {ALONE: 0, UTTERANCES: 3}  # neighbours on either side
SHORTER: Final = {"text": "t", "audio": "a", "vision": "v"}


class RunResult(msgspec.Struct, frozen=True):
    """What is known of a finished run; ``metrics`` by protocol and condition, of the test split."""

    metrics: dict[str, dict[str, dict[str, float]]]
    valid: dict[str, float]
    parameters: int
    seconds_per_epoch: float = 0.0
    best_epoch: int = 0


class Progress(Protocol):
    """Is told what goes on."""

    def __call__(self, name: str, epochs: int) -> None:
        """``epochs`` more of the run ``name`` are over."""
        ...


class Runner:
    """Trains and judges experiments on the corpora in ``data``; everything lies under ``out``."""

    def __init__(self, data: Path, out: Path, encoder: Callable[[], TextStates]) -> None:
        self.data, self.out, self._new_encoder = data, out, encoder
        self._encoder: TextStates | None = None
        self._inputs: dict[tuple[object, ...], Inputs] = {}
        self._damaged: dict[tuple[object, ...], Seen] = {}

    def folder(self, experiment: Experiment, seed: int) -> Path:
        """Where a run lies."""
        return self.out / "runs" / experiment.key / f"seed-{seed}"

    def finished(self, experiment: Experiment, seed: int) -> RunResult | None:
        """What a run gave, if it is over and was judged under all that is asked for."""
        path = self.folder(experiment, seed) / RESULT
        if not path.is_file():
            return None
        found = msgspec.json.decode(path.read_bytes(), type=RunResult)
        return found if set(experiment.protocols) <= set(found.metrics) else None

    def run(self, experiment: Experiment, seed: int, progress: Progress) -> RunResult:
        """Train one seed and judge it; nothing is done twice."""
        done = self.finished(experiment, seed)
        if done is None:
            known = self._baseline if experiment.baseline else self._network
            done = known(experiment, seed, progress)
            folder = self.folder(experiment, seed)
            folder.mkdir(parents=True, exist_ok=True)
            part = folder / "result.part"
            part.write_bytes(msgspec.json.format(msgspec.json.encode(done)))
            part.replace(folder / RESULT)
            for weights in folder.glob("*.safetensors"):
                weights.unlink()
        return done

    def _network(self, experiment: Experiment, seed: int, progress: Progress) -> RunResult:
        plan, inputs = experiment.plan(), self.inputs(experiment)
        name = f"{experiment.model} {experiment.leave_out} on {inputs.data.name}, seed {seed}"
        epochs: list[int] = []

        def advance(more: int) -> None:
            epochs.append(more)
            progress(name, more)

        trainer = Trainer(plan, seed, inputs, self.folder(experiment, seed))
        begun = time.process_time()
        trained = trainer.run(advance)
        seconds = (time.process_time() - begun) / max(1, sum(epochs[1:]))
        best = trained.history[trained.best_epoch - 1]
        return RunResult(
            self._judge(
                experiment, inputs, lambda seen: predict(trained.network, seen, plan.batch).numpy()
            ),
            {key: value for key, value in best.items() if key.startswith("valid_")},
            sum(own.numel() for own in trained.network.parameters()),
            seconds,
            trained.best_epoch,
        )

    def _baseline(self, experiment: Experiment, seed: int, progress: Progress) -> RunResult:
        inputs = self.inputs(experiment)
        progress(f"{experiment.model} on {inputs.data.name}", 0)
        found = BASELINES[experiment.model](inputs)
        metrics = self._judge(experiment, inputs, found.predict, labelled=True)
        return RunResult(metrics, found.valid, found.parameters)

    def inputs(self, experiment: Experiment) -> Inputs:
        """The data of an experiment as networks take them; texts are encoded once."""
        scaling = "train" if experiment.baseline else experiment.plan().scaling
        key = (experiment.data, experiment.modalities, experiment.text, scaling)
        if key not in self._inputs:
            whole = self._parsed(experiment).only(experiment.modalities)
            plan = msgspec.structs.replace(
                (experiment if not experiment.baseline else _as("rtil", experiment)).plan(),
                scaling=scaling,
            )
            encoder = self._text_encoder() if wants_encoder(whole, plan.text) else None
            self._inputs[key] = Inputs(scaled_for(whole, plan), encoder)
        return self._inputs[key]

    def _parsed(self, experiment: Experiment) -> SequenceData:
        if experiment.text == "sentences":
            context = CONTEXT[experiment.data]
            return mosi_utterances(self.data, context=context, sentences=self._sentences())
        return parse(self.data, experiment.data)

    def _sentences(self) -> np.ndarray:
        """The vectors of all utterances, kept beside the runs."""
        path = self.out / "sentences.npy"
        if not path.is_file():
            found = sentence_vectors(mosi_sentences(self.data), self._text_encoder())
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, found)
        return np.asarray(np.load(path))

    def _text_encoder(self) -> TextStates:
        if self._encoder is None:
            self._encoder = self._new_encoder()
        return self._encoder

    def _judge(
        self,
        experiment: Experiment,
        inputs: Inputs,
        say: Callable[[Seen], np.ndarray],
        labelled: bool = False,
    ) -> dict[str, dict[str, dict[str, float]]]:
        """Metrics on the test split under every protocol that some group asks of this training."""
        data = inputs.data
        own = data.splits[TEST]
        scale = LabelScale(data.low, data.high, data.classes)
        found: dict[str, dict[str, dict[str, float]]] = {}
        for name in wanted(experiment):
            found[name] = {}
            for condition in protocol(name, data).conditions:
                said = say(self._seen(inputs, name, condition))
                labels = said if labelled else scale.labels(said)
                metrics = suited(labels, own.labels, data.low, data.high, data.classes)
                found[name][condition_name(name, condition)] = metrics
        return found

    def _seen(self, inputs: Inputs, name: str, condition: Condition) -> Seen:
        key = (id(inputs), name, condition.name)
        if key not in self._damaged:
            damaged = condition.apply(inputs.data.splits[TEST])
            self._damaged[key] = inputs.see(damaged)
        return self._damaged[key]

    def write(self, group: str, seeds: Sequence[int]) -> None:
        """The records of what is finished of a group."""
        write_records(self.out / f"records-{group}.jsonl", self._records(group, seeds))

    def _records(self, group: str, seeds: Sequence[int]) -> Iterable[Record]:
        for experiment in GROUPS[group]:
            for seed in (0,) if experiment.baseline else seeds:
                done = self.finished(experiment, seed)
                if done is not None:
                    yield from self._of(experiment, seed, done)

    def _of(self, experiment: Experiment, seed: int, done: RunResult) -> Iterable[Record]:
        log = self.folder(experiment, seed) / "log.csv"
        common = Record(
            group=experiment.group, model=experiment.model, data=experiment.data, seed=seed,
            metrics={}, variant="" if experiment.baseline else experiment.variant,
            encoder=_encoder_of(experiment), without=experiment.leave_out,
            scheme=_scheme_of(experiment), losing=experiment.losing if experiment.scheme else "",
            modalities=letters(experiment.modalities), valid=done.valid,
            parameters=done.parameters, seconds_per_epoch=done.seconds_per_epoch,
            best_epoch=done.best_epoch, changes=experiment.changes,
            curve=str(log.relative_to(self.out)) if log.is_file() else "",
        )  # fmt: skip
        for name in experiment.protocols:
            for condition, metrics in done.metrics[name].items():
                yield msgspec.structs.replace(
                    common, protocol=name, condition=condition, metrics=metrics
                )


def _as(model: str, experiment: Experiment) -> Experiment:
    return msgspec.structs.replace(experiment, model=model)


def _scheme_of(experiment: Experiment) -> str:
    if experiment.leave_out == "distillation":
        return "masked"
    return "" if experiment.baseline else experiment.scheme


def _encoder_of(experiment: Experiment) -> str:
    if "text" not in experiment.modalities:
        return ""
    return "file" if experiment.text in ("features", "auto") else "gte-small"


def wanted(experiment: Experiment) -> list[str]:
    """The protocols that any group asks of this training: it is judged once, for all of them."""
    same = (own for group in GROUPS.values() for own in group if own.key == experiment.key)
    return list(dict.fromkeys(name for own in (*same, experiment) for name in own.protocols))


def condition_name(name: str, condition: Condition) -> str:
    """``0.3`` of a rate or deviation, ``t+a`` of a subset, nothing of complete data."""
    if name == "complete":
        return ""
    if name == "C":
        return "+".join(SHORTER[own] for own in condition.name.split("+"))
    return f"{condition.noise if name == 'noise' else condition.rate:g}"

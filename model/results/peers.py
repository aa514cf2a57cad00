"""Trains the models of the MMSA package on our files, to be judged beside ours by one ruler.

python -m model.results.peers --data CORPORA --out .cache/results --seeds 5

Networks, training loops, hyper-parameters (MMSA's for CMU-MOSI) and the selection on validation are
those of MMSA 2.2.1 (Yu et al. 2020 and 2021; github thuiar/MMSA); samples, splits and metrics are
ours. What differs from how MMSA runs them:

- Features are scaled by the training split, as ours are; labels are moved to -3..3 and predictions
  back. YouTube's classes take MMSA's classification mode.
- Texts are padded in front: each of these networks reads the last step.
- MulT's convolutions are as wide as the sequence where that is shorter than their kernel of 5.
- A text that does not exist is 20 steps of zeros: a constant branch, since none can leave one out.

And what MMSA does: all but MulT see voice and face as means over time, padding included; LMF's fusion
weights and TFN's output range are never trained.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
import numpy as np
import torch
import typer
from rich.console import Console
from torch import nn

from features.errors import TonalityError
from model import commands
from model.data import mmsa_files
from model.data.datasets import read
from model.data.protocols import protocol
from model.data.splits import MODALITIES, TEST, TRAIN, VALID, SequenceData, Split
from model.data.streams import Stream
from model.metrics import suited
from model.research.inputs import Inputs, LabelScale, blocks
from model.results.records import Record, letters
from model.results.runs import condition_name
from model.text.states import TextStates

PEERS: Final = ("LF_DNN", "LMF", "TFN", "MFN", "MulT")
SETS: Final = (
    "mosi-utterances", "mosi-utterances-in-context", "mosi-utterances+gte-small", "mmmo", "pom",
    "youtube",
)  # fmt: skip
GROUP: Final = "peers"
RECORDS: Final = f"records-{GROUP}.jsonl"
KERNEL: Final = 5  # of MulT's convolutions over time
BATCH: Final = 256  # of predictions
PROTOCOLS: Final = ("complete", "B", "C")  # of one model for all conditions


@dataclass(frozen=True, slots=True, eq=False)
class PeerRun:
    """A trained peer, and what it cost. ``pooled``: it sees voice and face as means over time."""

    network: nn.Module
    pooled: bool
    scale: LabelScale
    parameters: int
    best_epoch: int
    seconds_per_epoch: float

    @torch.no_grad()
    def say(self, split: Split, data: SequenceData) -> np.ndarray:
        """Scores ``(N,)`` on the scale of the labels, or class numbers, in the split's order.

        Of ``split``, which may be damaged: what is not known is zero, as MMSA has it.
        """
        arrays = mmsa_files.part(split, data)
        text, audio, vision = (torch.from_numpy(arrays[name]) for name in MODALITIES)
        if self.pooled:
            audio, vision = audio.mean(1, keepdim=True), vision.mean(1, keepdim=True)
        self.network.eval()
        pieces = blocks(torch.arange(len(split)), BATCH)
        found = torch.cat([self.network(text[r], audio[r], vision[r])["M"] for r in pieces])
        return self.scale.labels(found.squeeze(1).numpy())


def peer_data(name: str, corpora: Path, encoder: Callable[[], TextStates]) -> SequenceData:
    """One of :data:`SETS`, scaled by its training split, as the peers are given it."""
    if name not in SETS:
        raise TonalityError(f"no set '{name}'; there are {', '.join(SETS)}")
    own, _, encoded = name.partition("+")
    data = read(corpora, own, "train")
    return with_states(data, encoder()) if encoded else data


def with_states(data: SequenceData, encoder: TextStates) -> SequenceData:
    """The same data with the encoder's states of each token as the features of the text."""
    inputs = Inputs(data, encoder)
    splits = {}
    for name in data.splits:
        batch = inputs.complete(name).batch
        valid = batch.valid[0].numpy()
        steps = int(np.flatnonzero(valid.any(0)).max()) + 1
        states = Stream(batch.values[0].numpy()[:, :steps], valid[:, :steps], valid[:, :steps])
        split = inputs.data.splits[name]
        assert split.text is not None
        splits[name] = replace(split, text=replace(split.text, tokens=None, features=states))
    return replace(data, splits=_one_length(splits))


def _one_length(splits: Mapping[str, Split]) -> dict[str, Split]:
    """Texts of all splits in as many steps as the longest, their words at the end."""
    steps = max(split.streams["text"].values.shape[1] for split in splits.values())
    made = {}
    for name, split in splits.items():
        text = split.streams["text"]
        made[name] = split.with_streams({"text": in_front(text, steps)})
    return made


def in_front(stream: Stream, steps: int) -> Stream:
    """The same sequences in ``steps`` steps with their padding first, so that they end at the last."""
    size, _, width = stream.values.shape
    values, valid = np.zeros((size, steps, width), np.float32), np.zeros((size, steps), bool)
    for row, length in enumerate(stream.lengths.tolist()):
        values[row, steps - length :] = stream.values[row, :length]
        valid[row, steps - length :] = stream.valid[row, :length]
    return Stream(values, valid, valid)


def train_peer(
    model: str,
    data: SequenceData,
    seed: int,
    advance: Callable[[], None] = lambda: None,
    **settings: Any,
) -> PeerRun:
    """Train one of :data:`PEERS` on a CPU until MMSA's early stopping ends it.

    ``settings`` replace MMSA's hyper-parameters. Raises :class:`TonalityError` without the package.
    """
    package = _package()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "data.pkl"
        mmsa_files.write(data, file)
        args = _arguments(package, model, data, file)
        args.update(settings)
        return _trained(package, args, data, seed, advance)


def _trained(
    package: Any, args: Any, data: SequenceData, seed: int, advance: Callable[[], None]
) -> PeerRun:
    package.utils.setup_seed(seed)
    loaders = package.data_loader.MMDataLoader(args, 0)
    network = package.models.AMIO(args)
    trainer = package.trains.ATIO().getTrain(args)
    vars(sys.modules[type(trainer).__module__])["tqdm"] = nullcontext  # its bars
    judge, epochs = trainer.do_test, 0

    def counted(*values: Any, **named: Any) -> Any:
        nonlocal epochs
        epochs += 1
        advance()
        return judge(*values, **named)

    trainer.do_test = counted  # on validation, once an epoch
    begun = time.process_time()
    trainer.do_train(network, loaders)
    seconds = (time.process_time() - begun) / epochs
    if not args["model_save_path"].is_file():
        raise TonalityError(f"{args['model_name']} never had a finite loss on validation")
    network.load_state_dict(torch.load(args["model_save_path"], weights_only=True))
    return PeerRun(
        network,
        bool(args.get("need_normalized")),
        LabelScale(data.low, data.high, data.classes),
        package.utils.count_parameters(network),
        epochs - args["early_stop"],
        seconds,
    )


def _arguments(package: Any, model: str, data: SequenceData, file: Path) -> Any:
    """MMSA's settings of a model for CMU-MOSI, with what the data decide."""
    if model not in PEERS:
        raise TonalityError(f"no peer '{model}'; there are {', '.join(PEERS)}")
    config = Path(package.__file__).parent / "config" / "config_regression.json"
    args = package.get_config_regression(model.lower(), "mosi", config)
    args.update(
        featurePath=file, custom_feature=None, feature_T=None, feature_A=None, feature_V=None,
        model_save_path=file.with_name("best.pth"), device=torch.device("cpu"), cur_seed=1,
        train_mode="classification" if data.classes else "regression",
        num_classes=data.classes or args["num_classes"],
    )  # fmt: skip
    if model == "MulT":
        for modality, letter in zip(MODALITIES, "lav", strict=True):
            stream = data.splits[TRAIN].streams.get(modality)
            steps = KERNEL if stream is None else stream.values.shape[1]
            args[f"conv1d_kernel_size_{letter}"] = min(KERNEL, steps)
    return args


def _package() -> Any:
    """MMSA, made to run with this torch."""
    try:
        package = import_module("MMSA")
        mult = import_module("MMSA.trains.singleTask.MULT")
    except ImportError as error:
        raise TonalityError(
            f"the peers need the package MMSA ({error}); install it with: "
            "pip install 'tonality[peers]'"
        ) from error
    vars(mult)["ReduceLROnPlateau"] = _plateau
    return package


def _plateau(
    optimiser: torch.optim.Optimizer, verbose: bool = False, **settings: Any
) -> torch.optim.lr_scheduler.ReduceLROnPlateau:
    """What torch had while it knew ``verbose``."""
    return torch.optim.lr_scheduler.ReduceLROnPlateau(optimiser, **settings)


def records(model: str, name: str, data: SequenceData, seed: int, run: PeerRun) -> list[Record]:
    """What is kept of a run: our metrics of the test split, one record for each condition.

    With complete data ``valid`` are those of validation, with the MAE or accuracy of the best
    constant of the training split (``constant_mae``, ``constant_acc``): a peer that is no better
    there has learned nothing. Encoded words cannot be lost afterwards: no protocols but the first.
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
            valid = _judged(run, data.splits[VALID], data) | constant(data)
            part = msgspec.structs.replace(
                common, protocol=title, condition=condition_name(title, condition),
                metrics=metrics, valid=valid if title == "complete" else {},
            )  # fmt: skip
            found.append(part)
    return found


def _judged(run: PeerRun, split: Split, data: SequenceData) -> dict[str, float]:
    return suited(run.say(split, data), split.labels, data.low, data.high, data.classes)


def constant(data: SequenceData) -> dict[str, float]:
    """How good the training split's median, or most frequent class, is on validation."""
    known, asked = data.splits[TRAIN].labels, data.splits[VALID].labels
    if data.classes:
        most = np.bincount(known.astype(np.int64)).argmax()
        return {"constant_acc": 100 * float((asked == most).mean())}
    return {"constant_mae": float(np.abs(asked - np.median(known)).mean())}


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

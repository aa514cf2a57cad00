"""The models of the MMSA package, trained on our files as MMSA trains them.

Networks, training loops, hyper-parameters (MMSA's for CMU-MOSI) and the selection on validation are
those of MMSA 2.2.1 (Yu et al. 2020 and 2021; github thuiar/MMSA). What differs from how MMSA runs
them:

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
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import nn

from features.errors import TonalityError
from model.data import mmsa_files
from model.data.splits import MODALITIES, TRAIN, SequenceData, Split
from model.research.inputs import LabelScale, blocks

PEERS: Final = ("LF_DNN", "LMF", "TFN", "MFN", "MulT")
KERNEL: Final = 5  # of MulT's convolutions over time
BATCH: Final = 256  # of predictions


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
    package = load_package()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "data.pkl"
        mmsa_files.write(data, file)
        args = arguments(package, model, data, file)
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


def arguments(package: Any, model: str, data: SequenceData, file: Path) -> Any:
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


def load_package() -> Any:
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

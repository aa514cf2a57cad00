"""The trained network as the ONNX file that :mod:`features.appearance` runs."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from torch import nn

from features.appearance import SIZE


def write_onnx(network: nn.Module, path: Path) -> None:
    """Input ``crops (n, 1, 44, 44)`` standardised, output ``seen (n, 7)``, float32; whole or not at all."""
    part = path.with_suffix(".part")
    crops = torch.zeros(1, 1, SIZE, SIZE)
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", DeprecationWarning
        )  # the other exporter wants two more packages
        torch.onnx.export(
            network.eval().cpu(), (crops,), str(part), dynamo=False,
            input_names=["crops"], output_names=["seen"],
            dynamic_axes={"crops": {0: "n"}, "seen": {0: "n"}},
        )  # fmt: skip
    part.replace(path)

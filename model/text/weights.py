"""Weights of a BERT encoder out of its ONNX export.

Most initializers carry their parameter's name. The matrices of linear layers lost theirs in the
export (``onnx::MatMul_1525``); they are the transposed weights of the node that multiplies by them,
and that node's path names the layer (``/encoder/layer.0/attention/self/query/MatMul``).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import torch
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import numpy_helper
from torch import Tensor

from features.errors import AssetError


def bert_weights(path: Path) -> dict[str, Tensor]:
    """All parameters by their BERT names (``encoder.layer.0.attention.self.query.weight``), float32.

    Linear weights are ``(out, in)``, as ``torch.nn.Linear`` keeps them. Raises
    :class:`features.errors.AssetError` where the file is missing or is no such export.
    """
    if not path.is_file():
        raise AssetError(
            f"{path}: no such file; fetch the text encoder with 'tonality models fetch'"
        )
    try:
        graph = onnx.load(str(path)).graph
    except DecodeError as error:
        raise AssetError(f"{path}: not an ONNX file") from error
    constants = {item.name: numpy_helper.to_array(item) for item in graph.initializer}
    weights = {name: _tensor(value) for name, value in constants.items() if ":" not in name}
    for node in graph.node:
        unnamed = [name for name in node.input if name in constants and ":" in name]
        if node.op_type == "MatMul" and unnamed:
            layer = node.name.removeprefix("/").removesuffix("/MatMul").replace("/", ".")
            weights[f"{layer}.weight"] = _tensor(constants[unnamed[0]].T)
    return weights


def _tensor(value: np.ndarray) -> Tensor:
    return torch.from_numpy(np.array(value, dtype=np.float32, order="C"))

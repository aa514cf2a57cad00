"""The text encoder: gte-small (BERT, 12 layers of 384) with upper layers that can be tuned.

Architecture: Devlin et al. 2019 (BERT), post-norm, exact GELU, learned absolute positions. Weights:
Li et al. 2023 (GTE, ``thenlper/gte-small``), read out of the ONNX export. Layers are tuned
from the top down, as many as are asked for, the embeddings never: so a checkpoint holds these layers
alone, and training may keep the activations below them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from torch import Tensor, nn

from features.errors import AssetError, CheckpointError
from features.text import written
from model.text.deltas import unpacked
from model.text.weights import bert_weights

WIDTH: Final = 384
LAYERS: Final = 12
HEADS: Final = 12
INNER: Final = 1536
VOCABULARY: Final = 30_522
POSITIONS: Final = 512
NORM_EPS: Final = 1e-12
MAX_TOKENS: Final = 64

BERT_NAMES: Final = {
    "query": "attention.self.query",
    "key": "attention.self.key",
    "value": "attention.self.value",
    "mix": "attention.output.dense",
    "mix_norm": "attention.output.LayerNorm",
    "widen": "intermediate.dense",
    "narrow": "output.dense",
    "narrow_norm": "output.LayerNorm",
}


@dataclass(frozen=True, slots=True)
class Tokens:
    """A batch of texts: ``ids (B, N) int64`` and ``mask (B, N) bool``, true where a token is."""

    ids: Tensor
    mask: Tensor

    def to(self, device: torch.device | str) -> Tokens:
        """The same tokens on another device."""
        return Tokens(self.ids.to(device), self.mask.to(device))


def masked_mean(hidden: Tensor, mask: Tensor) -> Tensor:
    """Mean of ``hidden (B, N, D)`` over the steps where ``mask (B, N)`` is true: ``(B, D)``.

    A row without any true step gives zeros.
    """
    weight = mask.unsqueeze(-1).to(hidden.dtype)
    return (hidden * weight).sum(1) / weight.sum(1).clamp(min=1.0)


class TextLayer(nn.Module):
    """Self-attention and a two-layer perceptron, each with residual and norm after it."""

    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.query = nn.Linear(WIDTH, WIDTH)
        self.key = nn.Linear(WIDTH, WIDTH)
        self.value = nn.Linear(WIDTH, WIDTH)
        self.mix = nn.Linear(WIDTH, WIDTH)
        self.mix_norm = nn.LayerNorm(WIDTH, eps=NORM_EPS)
        self.widen = nn.Linear(WIDTH, INNER)
        self.narrow = nn.Linear(INNER, WIDTH)
        self.narrow_norm = nn.LayerNorm(WIDTH, eps=NORM_EPS)
        self.dropout = nn.Dropout(dropout)

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """``hidden (B, N, 384)`` and ``mask (B, N) bool`` to ``(B, N, 384)``."""
        attended = F.scaled_dot_product_attention(
            self._heads(self.query(hidden)),
            self._heads(self.key(hidden)),
            self._heads(self.value(hidden)),
            attn_mask=mask[:, None, None, :],
            dropout_p=self.dropout.p if self.training else 0.0,
        )
        mixed = self.mix(attended.transpose(1, 2).flatten(2))
        hidden = self.mix_norm(hidden + self.dropout(mixed))
        narrowed = self.narrow(F.gelu(self.widen(hidden)))
        out: Tensor = self.narrow_norm(hidden + self.dropout(narrowed))
        return out

    @staticmethod
    def _heads(projected: Tensor) -> Tensor:
        rows, steps, _ = projected.shape
        return projected.view(rows, steps, HEADS, WIDTH // HEADS).transpose(1, 2)


class TextEncoder(nn.Module):
    """Texts to hidden states per token. Made by :meth:`load`; frozen and in evaluation mode then.

    Attributes:
        width: columns of the output, 384.
        tuned_layers: how many of the upper layers were tuned or may be (see :meth:`tunable`).
    """

    width: Final = WIDTH

    def __init__(self, tokenizer: Tokenizer, dropout: float = 0.1) -> None:
        super().__init__()
        self.words = nn.Embedding(VOCABULARY, WIDTH)
        self.positions = nn.Embedding(
            POSITIONS, WIDTH
        )  # token type 0 is added in: there is no other
        self.embedding_norm = nn.LayerNorm(WIDTH, eps=NORM_EPS)
        self.layers = nn.ModuleList(TextLayer(dropout) for _ in range(LAYERS))
        self.tuned_layers = 0
        self._tokenizer = tokenizer

    @classmethod
    def load(cls, folder: Path, tuned: Mapping[str, Tensor] | None = None) -> TextEncoder:
        """The encoder from ``model.onnx`` and ``tokenizer.json``, upper layers replaced by ``tuned``.

        ``tuned`` is what :meth:`tuned_state` gave (any float type, or packed, see
        :mod:`model.text.deltas`). Raises
        :class:`features.errors.AssetError` for missing or foreign files and
        :class:`features.errors.CheckpointError` for tensors that do not fit.
        """
        encoder = cls(_tokenizer(folder / "tokenizer.json"))
        encoder._read(folder / "model.onnx")
        if tuned:
            encoder._replace(tuned)
        return encoder.requires_grad_(False).eval()

    def _read(self, path: Path) -> None:
        source = bert_weights(path)
        try:
            state = _own_names(source)
            self.load_state_dict(state)
        except (KeyError, RuntimeError) as error:
            raise AssetError(f"{path}: not the gte-small export ({error})") from error

    def _replace(self, tuned: Mapping[str, Tensor]) -> None:
        """Put tuned tensors in, packed or not; they must be complete upper layers."""
        tuned = unpacked(tuned, self.state_dict())
        found = [re.match(r"layers\.(\d+)\.", name) for name in tuned]
        first = min((int(match[1]) for match in found if match), default=LAYERS)
        expected = self._names_from(first)
        if set(tuned) != set(expected):
            odd = sorted(set(tuned) ^ set(expected))[0]
            raise CheckpointError(
                f"tuned text tensors do not make up complete upper layers (first odd one: {odd})"
            )
        try:
            self.load_state_dict(tuned, strict=False)
        except RuntimeError as error:
            raise CheckpointError(f"tuned text tensors do not fit: {error}") from error
        self.tuned_layers = LAYERS - first

    def _names_from(self, first: int) -> list[str]:
        return [
            name
            for name in self.state_dict()
            if name.startswith("layers.") and int(name.split(".")[1]) >= first
        ]

    def tokenize(self, texts: Sequence[str]) -> Tokens:
        """Texts as heard or as written to tokens: at most 64 with both marks, padded to the longest."""
        encoded = self._tokenizer.encode_batch([written(text) for text in texts])
        longest = max((len(item.ids) for item in encoded), default=0)
        ids = torch.zeros(len(encoded), longest, dtype=torch.int64)
        mask = torch.zeros(len(encoded), longest, dtype=torch.bool)
        for row, item in enumerate(encoded):
            ids[row, : len(item.ids)] = torch.tensor(item.ids)
            mask[row, : len(item.ids)] = True
        return Tokens(ids, mask)

    def cut(self, texts: Sequence[str]) -> list[bool]:
        """Whether each text is longer than what :meth:`tokenize` takes, so that its end is not read."""
        encoded = self._tokenizer.encode_batch([written(text) for text in texts])
        return [bool(item.overflowing) for item in encoded]

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """``ids (B, N)`` and ``mask (B, N) bool`` to ``(B, N, 384)``; padding changes no real token."""
        return self.upper(self.lower(ids, mask), mask)

    def lower(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Embeddings and the layers below the first tuned one: ``(B, N, 384)``."""
        places = torch.arange(ids.shape[1], device=ids.device)
        hidden: Tensor = self.embedding_norm(self.words(ids) + self.positions(places))
        for layer in self.layers[: LAYERS - self.tuned_layers]:
            hidden = layer(hidden, mask)
        return hidden

    def upper(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """The tuned layers over what :meth:`lower` gave: ``(B, N, 384)``."""
        for layer in self.layers[LAYERS - self.tuned_layers :]:
            hidden = layer(hidden, mask)
        return hidden

    def tunable(self, layers: int) -> list[nn.Parameter]:
        """Let the upper ``layers`` (0 to 12) learn, freeze the rest, and give their parameters."""
        if not 0 <= layers <= LAYERS:
            raise ValueError(f"tunable layers must be 0 to {LAYERS}, got {layers}")
        self.requires_grad_(False)
        self.tuned_layers = layers
        upper = self.layers[LAYERS - layers :].requires_grad_(True)
        return list(upper.parameters())

    def tuned_state(self, dtype: torch.dtype = torch.float16) -> dict[str, Tensor]:
        """The tuned layers' tensors, contiguous on the CPU; as float16 3.5 MB a layer."""
        state = self.state_dict()
        names = self._names_from(LAYERS - self.tuned_layers)
        return {name: state[name].detach().to("cpu", dtype).contiguous() for name in names}


def _tokenizer(path: Path) -> Tokenizer:
    if not path.is_file():
        raise AssetError(
            f"{path}: no such file; fetch the text encoder with 'tonality models fetch'"
        )
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_padding()
    tokenizer.enable_truncation(MAX_TOKENS)
    return tokenizer


def _own_names(source: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """BERT's parameter names to ours."""
    state = {
        "words.weight": source["embeddings.word_embeddings.weight"],
        "positions.weight": source["embeddings.position_embeddings.weight"]
        + source["embeddings.token_type_embeddings.weight"][0],
    }
    for kind in ("weight", "bias"):
        state[f"embedding_norm.{kind}"] = source[f"embeddings.LayerNorm.{kind}"]
        for layer in range(LAYERS):
            for own, bert in BERT_NAMES.items():
                state[f"layers.{layer}.{own}.{kind}"] = source[
                    f"encoder.layer.{layer}.{bert}.{kind}"
                ]
    return state

"""A BERT, RoBERTa or MPNet that research tunes: frozen, its upper layers, all of it, or by LoRA.

Below the first layer that learns nothing ever changes, so that what comes out there is computed once
for a data set (:meth:`TunableText.lower`) and only the rest again in every update
(:meth:`TunableText.upper`). Where a checkpoint is concerned an encoder is the tensors that learned;
the others are known by their hash.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, cast

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from features.errors import CheckpointError, TonalityError
from features.text import plain
from model.text.encoder import MAX_TOKENS, Tokens

BERT_VOCABULARY: Final = 30_522
BERT_UNKNOWN: Final = 100
LORA_RANK: Final = 8


@dataclass(frozen=True, slots=True)
class Tuning:
    """What of an encoder learns: nothing, the upper ``count`` layers, all, or LoRA of a rank."""

    kind: Literal["frozen", "upper", "all", "lora"]
    count: int = 0

    @classmethod
    def parse(cls, text: str) -> Tuning:
        """``frozen``, ``upper:N``, ``all``, ``lora`` or ``lora:RANK``; :class:`TonalityError`."""
        name, _, number = text.partition(":")
        whole = number.isdecimal() and int(number) > 0
        if name in ("frozen", "all") and not number:
            return cls(cast(Any, name))
        if name == "upper" and whole:
            return cls("upper", int(number))
        if name == "lora" and (whole or not number):
            return cls("lora", int(number or LORA_RANK))
        raise TonalityError(
            f"'{text}' is no way to tune an encoder; there are frozen, upper:N (layers), all and "
            "lora[:RANK]"
        )


class TunableText(nn.Module):
    """An encoder with the layout of BERT (``embeddings`` and ``encoder.layer``), frozen at first.

    MPNet (Song et al. 2020) has that layout too, but its layers also take a bias by the distance of
    two tokens.

    Args:
        name: what the user called it; checkpoints record it.
        model: the transformers model, without a pooler.
        tokenizer: its tokenizer; padding and truncation are set here.
        unknown: the id of the token that stands for a lost word.
        padding: the id of padding.
        as_heard: texts are brought to the plain form of recognised speech first.
        add_lora: adds adapters of a rank to the model, in place.
    """

    def __init__(
        self,
        name: str,
        model: nn.Module,
        tokenizer: Tokenizer,
        unknown: int,
        padding: int,
        as_heard: bool,
        add_lora: Callable[[nn.Module, int], None],
    ) -> None:
        super().__init__()
        self.name, self.unknown = name, unknown
        self.model = model.requires_grad_(False)
        self.tuning = Tuning("frozen")
        self.sha256 = _sha256(model)
        self._padding, self._as_heard, self._add_lora = padding, as_heard, add_lora
        self._tokenizer = tokenizer
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(MAX_TOKENS)
        self._first: dict[str, Tensor] = {}
        self.eval()

    @property
    def width(self) -> int:
        """Columns of a state."""
        return int(cast(Any, self.model).config.hidden_size)

    @property
    def layers(self) -> nn.ModuleList:
        """All layers, the lowest first."""
        return cast(nn.ModuleList, cast(Any, self.model).encoder.layer)

    @property
    def embeddings(self) -> nn.Module:
        """What comes before the layers."""
        return cast(nn.Module, cast(Any, self.model).embeddings)

    @property
    def knows_bert_ids(self) -> bool:
        """Whether its ids are those of ``bert-base-uncased``, which files of the field hold."""
        same = self._tokenizer.get_vocab_size() == BERT_VOCABULARY
        return same and self._tokenizer.token_to_id("[UNK]") == BERT_UNKNOWN

    @property
    def kept(self) -> int:
        """How many layers lie below all that learns; -1 where the embeddings learn too."""
        depth = len(self.layers)
        found = {"frozen": depth, "upper": depth - self.tuning.count, "lora": 0, "all": -1}
        return found[self.tuning.kind]

    def tune(self, tuning: Tuning) -> None:
        """Choose what learns, once. Raises :class:`TonalityError` for more layers than there are."""
        if self._first or self.tuning.kind != "frozen":
            raise TonalityError(f"{self.name} is tuned already; load it anew")
        if tuning.kind == "upper" and tuning.count > len(self.layers):
            raise TonalityError(
                f"{self.name} has {len(self.layers)} layers, so {tuning.count} cannot be tuned"
            )
        self.tuning = tuning
        if tuning.kind == "lora":
            self._add_lora(self.model, tuning.count)
        else:
            self.requires_grad_(tuning.kind == "all")
            self.layers[self.kept if tuning.kind == "upper" else 0 :].requires_grad_(
                tuning.kind != "frozen"
            )
        self.eval()
        self._first = {name: value.detach().clone() for name, value in self.learning().items()}

    def learning(self) -> dict[str, nn.Parameter]:
        """The parameters that learn, by name."""
        return {n: p for n, p in self.model.named_parameters() if p.requires_grad}

    @torch.no_grad()
    def begin(self, seed: int, start: Mapping[str, Tensor] | None = None) -> None:
        """As before any training; adapters are drawn from ``seed``; then ``start`` is put in.

        Raises :class:`CheckpointError` for a start that does not fit.
        """
        chance = torch.Generator().manual_seed(seed)
        for name, value in self.learning().items():
            if "lora_A" in name:  # as peft draws them; the other half of an adapter begins at zero
                bound = 1 / math.sqrt(value.shape[1])
                value.copy_(torch.empty(value.shape).uniform_(-bound, bound, generator=chance))
            else:
                value.copy_(self._first[name])
        if start:
            self.put(start)

    @torch.no_grad()
    def put(self, tuned: Mapping[str, Tensor]) -> None:
        """Put tensors in that :meth:`tuned` gave, of this way of tuning or a part of it.

        Raises :class:`CheckpointError` for tensors that do not learn here, or of another shape.
        """
        own = self.learning()
        for name, value in tuned.items():
            if name not in own:
                raise CheckpointError(f"{self.name}: '{name}' was tuned there, but is not here")
            if own[name].shape != value.shape:
                raise CheckpointError(
                    f"{self.name}: '{name}' has shape {tuple(value.shape)} there, "
                    f"{tuple(own[name].shape)} here"
                )
            own[name].copy_(value)

    def tuned(self) -> dict[str, Tensor]:
        """What learned, on the CPU."""
        return {n: p.detach().cpu().clone().contiguous() for n, p in self.learning().items()}

    def train(self, mode: bool = True) -> TunableText:
        """Only what lies above the frozen part takes dropout."""
        super().train(False)
        if mode:
            if self.kept < 0:
                self.embeddings.train()
            self.layers[max(self.kept, 0) :].train()
        return self

    def tokenize(self, texts: Sequence[str]) -> Tokens:
        """Texts to tokens: at most 64 with both marks, padded to the longest."""
        heard = [plain(text) if self._as_heard else text for text in texts]
        encoded = self._tokenizer.encode_batch(heard)
        longest = max((len(item.ids) for item in encoded), default=0)
        ids = torch.full((len(encoded), longest), self._padding, dtype=torch.int64)
        mask = torch.zeros(len(encoded), longest, dtype=torch.bool)
        for row, item in enumerate(encoded):
            ids[row, : len(item.ids)] = torch.tensor(item.ids)
            mask[row, : len(item.ids)] = True
        return Tokens(ids, mask)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """``ids (B, N)`` and ``mask (B, N) bool`` to ``(B, N, width)``; padding changes no real token."""
        return self.upper(self.lower(ids, mask), mask)

    def lower(self, ids: Tensor, mask: Tensor) -> Tensor:
        """What lies below all that learns: ``(B, N, width)``, or the ids where the embeddings learn."""
        if self.kept < 0:
            return ids.unsqueeze(-1)
        with torch.no_grad():
            return self._layers(self._embed(ids, mask), mask, 0, self.kept)

    def upper(self, lower: Tensor, mask: Tensor) -> Tensor:
        """The rest over what :meth:`lower` gave: ``(B, N, width)``."""
        if self.kept < 0:
            lower = self._embed(lower.squeeze(-1), mask)
        return self._layers(lower, mask, max(self.kept, 0), len(self.layers))

    def _embed(self, ids: Tensor, mask: Tensor) -> Tensor:
        return cast(Tensor, self.embeddings(input_ids=ids.masked_fill(~mask, self._padding)))

    def _layers(self, hidden: Tensor, mask: Tensor, first: int, last: int) -> Tensor:
        begun = torch.arange(mask.shape[1], device=mask.device) == 0
        seen = mask | (begun & ~mask.any(1, keepdim=True))  # attention to nothing is not a number
        attended = seen[:, None, None, :]
        by_distance = getattr(cast(Any, self.model).encoder, "compute_position_bias", None)
        if by_distance is None:
            for layer in self.layers[first:last]:
                hidden = layer(hidden, attended)
            return hidden
        bias = by_distance(hidden).masked_fill(~attended, torch.finfo(torch.float32).min)
        for layer in self.layers[first:last]:
            hidden = layer(hidden, position_bias=bias)[0]
        return hidden


def _sha256(model: nn.Module) -> str:
    found = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        found.update(name.encode())
        found.update(value.detach().contiguous().numpy().tobytes())
    return found.hexdigest()

"""RTIL as intended, for unaligned streams with missing modalities (arXiv 2409.00143).

Text token states, the voice's two streams and the face are encoded and split into private and
shared codes; text asks voice and face by cross attention, gated by how well the shared codes agree.
Encoding is done once; fusing the codes for another subset of modalities is cheap.
Differences to the published code, all on purpose: padding masks everywhere, positions in the
encoders, a gate that learns, learned tokens for what is missing, gradient reversal on the shared
codes only.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Final

import msgspec
import torch
from torch import Tensor, nn

from features.messages import MODALITIES
from features.spec import BLENDSHAPES, POSE, STATE_WIDTH
from model.blocks import (
    BilinearGate,
    Discriminator,
    GatedAttention,
    Positions,
    Projection,
    StreamEncoder,
    masked_mean,
)
from model.inputs import VOICE_WIDTH, Batch

LIMIT: Final = 3.0  # scores lie in -3..3
MAX_STEPS: Final = 512
FACE_WIDTH: Final = len(BLENDSHAPES) + len(POSE)


class RTILConfig(msgspec.Struct, frozen=True):
    """Sizes and rates of the network; the whole of what a checkpoint needs to rebuild it."""

    width: int = 128
    heads: int = 4
    feedforward: int = 256
    text_width: int = 384
    state_components: int = 64
    gate: str = "straight-through"
    gate_hidden: int = 32
    gate_factor: int = 2
    dropout: float = 0.1
    cross_dropout: float = 0.2
    gate_dropout: float = 0.4
    head_dropout: float = 0.3
    discriminator_dropout: float = 0.6


@dataclass(frozen=True, slots=True)
class Codes:
    """Encoded windows, one tensor per modality in the order of ``MODALITIES``.

    ``features``, ``private`` and ``shared`` are ``(B, T, width)``, ``masks`` ``(B, T) bool``.
    """

    features: tuple[Tensor, ...]
    private: tuple[Tensor, ...]
    shared: tuple[Tensor, ...]
    masks: tuple[Tensor, ...]

    def select(self, rows: Tensor) -> Codes:
        """The codes of the given windows, which may repeat."""
        return Codes(*(tuple(t[rows] for t in getattr(self, f.name)) for f in fields(self)))


@dataclass(frozen=True, slots=True)
class Fusion:
    """``score (B,)`` in -3..3 and the gates ``(B, 1 + N, 1)`` of voice and face at each text step."""

    score: Tensor
    voice_gate: Tensor
    face_gate: Tensor


class VoiceEmbedding(nn.Module):
    """Descriptors and encoder states on one grid; each works without the other.

    The states go through a fixed basis (the leading principal components of training data).
    """

    basis: Tensor

    def __init__(self, config: RTILConfig) -> None:
        super().__init__()
        basis = torch.zeros(STATE_WIDTH, config.state_components)
        self.register_buffer("basis", nn.init.orthogonal_(basis))
        self.descriptors = nn.Linear(VOICE_WIDTH, config.width)
        self.states = nn.Linear(config.state_components, config.width)
        self.no_descriptors = nn.Parameter(0.02 * torch.randn(config.width))
        self.no_states = nn.Parameter(0.02 * torch.randn(config.width))

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """``(B, T, width)`` and its mask: true where either stream is known."""
        steps, cells = batch.voice.shape[1], batch.states.shape[1]
        middle = torch.arange(steps, device=batch.voice.device) * 2 + 1
        cell = middle * cells // (2 * steps)  # the coarse cell that covers the middle of a step
        known = batch.states_mask[:, cell]
        states = self.states(batch.states @ self.basis)[:, cell]
        descriptors = self.descriptors(batch.voice)
        heard = batch.voice_mask.unsqueeze(-1)
        joint = torch.where(heard, descriptors, self.no_descriptors)
        joint = joint + torch.where(known.unsqueeze(-1), states, self.no_states)
        return joint, batch.voice_mask | known


class ScoreHead(nn.Module):
    """A pooled vector to a score that cannot leave -3..3 and has a gradient everywhere."""

    def __init__(self, inputs: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(inputs, hidden), nn.Dropout(dropout), nn.ReLU(), nn.Linear(hidden, 1)
        )

    def forward(self, pooled: Tensor) -> Tensor:
        """``(B, inputs) -> (B,)``."""
        raw = self.layers(pooled).squeeze(-1)
        return LIMIT * torch.tanh(raw / LIMIT)


class RTIL(nn.Module):
    """The network. ``encode`` once, then ``fuse`` for any subset of modalities."""

    face_columns: Tensor

    def __init__(self, config: RTILConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.register_buffer("face_columns", torch.ones(FACE_WIDTH))  # 0 hides a column for good
        self.text_in = Projection(config.text_width, width)
        self.voice_in = VoiceEmbedding(config)
        self.face_in = nn.Linear(FACE_WIDTH, width)
        self.voice_encoder = self._encoder()
        self.face_encoder = self._encoder()
        self.private = nn.ModuleList(nn.Linear(width, width) for _ in MODALITIES)
        self.shared = nn.Linear(width, width)
        self.private_token = nn.Parameter(0.5 * torch.randn(3, width))
        self.shared_token = nn.Parameter(0.5 * torch.randn(3, width))
        self.positions = Positions(MAX_STEPS, width)
        self.ask_voice = self._ask()
        self.ask_face = self._ask()
        self.mix = nn.TransformerEncoderLayer(
            2 * width, config.heads, config.feedforward, config.dropout, batch_first=True
        )
        self.head = ScoreHead(2 * width, width, config.head_dropout)
        self.alone = nn.ModuleList(ScoreHead(width, 64, config.head_dropout) for _ in MODALITIES)
        self.decoders = nn.ModuleList(nn.Linear(width, width) for _ in MODALITIES)
        self.discriminator = Discriminator(width, config.discriminator_dropout)

    def _encoder(self) -> StreamEncoder:
        c = self.config
        return StreamEncoder(c.width, c.heads, c.feedforward, c.dropout, MAX_STEPS)

    def _ask(self) -> GatedAttention:
        c = self.config
        gate = BilinearGate(c.width, c.gate_hidden, c.gate_factor, c.gate_dropout, c.gate)
        return GatedAttention(c.width, c.heads, c.cross_dropout, gate)

    def encode(self, batch: Batch) -> Codes:
        """Private and shared codes of every modality, whether it will be used or not."""
        voice, voice_mask = self.voice_in(batch)
        face = self.face_in(batch.face * self.face_columns)
        features = (
            self.text_in(batch.text),
            self.voice_encoder(voice, voice_mask),
            self.face_encoder(face, batch.face_mask),
        )
        private = tuple(torch.sigmoid(p(x)) for p, x in zip(self.private, features, strict=True))
        shared = tuple(torch.sigmoid(self.shared(x)) for x in features)
        return Codes(features, private, shared, (batch.text_mask, voice_mask, batch.face_mask))

    def fuse(self, codes: Codes, present: Tensor) -> Fusion:
        """The score of the modalities in ``present (B, 3) bool``; the others count as missing.

        Each modality's sequence begins with a learned token that is always there, so that a missing
        one is its token alone; for text, that token is the query that asks voice and face.
        """
        private, shared, masks = self._with_tokens(codes, present)
        (text, voice, face), (text_shared, voice_shared, face_shared) = private, shared
        at, voice_gate = self.ask_voice(text, text_shared, voice, voice_shared, masks[1])
        vt, face_gate = self.ask_face(text, text_shared, face, face_shared, masks[2])
        mixed = self.mix(torch.cat([at, vt], -1), src_key_padding_mask=~masks[0])
        return Fusion(self.head(masked_mean(mixed, masks[0])), voice_gate, face_gate)

    def _with_tokens(
        self, codes: Codes, present: Tensor
    ) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        private, shared, masks = [], [], []
        for m, mask in enumerate(codes.masks):
            size = (len(mask), 1, self.config.width)
            own = torch.sigmoid(self.private_token[m]).expand(size)
            common = torch.sigmoid(self.shared_token[m]).expand(size)
            private.append(self.positions(torch.cat([own, codes.private[m]], 1)))
            shared.append(torch.cat([common, codes.shared[m]], 1))
            there = mask & present[:, m : m + 1]
            masks.append(torch.cat([torch.ones_like(there[:, :1]), there], 1))
        return private, shared, masks

    def score_alone(self, codes: Codes) -> Tensor:
        """What each modality's own small head says, ``(B, 3)``: an auxiliary task of training."""
        pooled = [masked_mean(x, k) for x, k in zip(codes.features, codes.masks, strict=True)]
        return torch.stack([head(x) for head, x in zip(self.alone, pooled, strict=True)], 1)

    def forward(self, batch: Batch, present: Tensor | None = None) -> Tensor:
        """Scores ``(B,)`` of a batch, by default with everything that is there."""
        return self.fuse(self.encode(batch), batch.present if present is None else present).score

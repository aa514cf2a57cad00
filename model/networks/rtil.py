"""RTIL as intended, for unaligned streams with missing modalities (arXiv 2409.00143).

Text token states, the voice's two streams and the face are encoded and split into private and
shared codes; text asks voice and face by cross attention, gated by how well the shared codes agree.
Beside that, each modality is read by itself, the face by its shapes and by its appearance; the score is
the readings' mean, each as far as it is trusted, and what the fused codes add. Encoding is done once; fusing for another subset is cheap.
Differences to the published code, all on purpose: padding masks everywhere, positions in the
encoders, a gate that learns, learned tokens for what is missing, gradient reversal on the shared
codes only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Final

import msgspec
import torch
from torch import Tensor, nn

from features.messages import MODALITIES
from features.spec import APPEARANCE, BLENDSHAPES, POSE, STATE_WIDTH
from model.networks.blocks import (
    BilinearGate,
    Discriminator,
    GatedAttention,
    Positions,
    Projection,
    StreamEncoder,
    join_steps,
    masked_mean,
)
from model.networks.inputs import VOICE_WIDTH, Batch
from model.networks.readings import (
    READING,
    SCORE,
    TRUST,
    AppearanceReading,
    Reading,
    Summary,
    VoiceSummary,
)

LIMIT: Final = 3.0  # scores lie in -3..3
LINEAR: Final = 2.0
LEAST_TRUST: Final = 0.99
MAX_STEPS: Final = 512
SHAPE_WIDTH: Final = len(BLENDSHAPES) + len(POSE)


class RTILConfig(msgspec.Struct, frozen=True):
    """Sizes and rates of the network; the whole of what a checkpoint needs to rebuild it.

    The face's reading has a rate of dropout of its own (``face_dropout``, and none on its statistics):
    of faces there are twenty times as many as of voices.
    """

    width: int = 128
    heads: int = 4
    feedforward: int = 256
    text_width: int = 384
    state_components: int = 64
    joined_steps: int = 2
    gate: str = "straight-through"
    gate_hidden: int = 32
    gate_factor: int = 2
    dropout: float = 0.1
    cross_dropout: float = 0.2
    gate_dropout: float = 0.4
    head_dropout: float = 0.3
    summary_dropout: float = 0.2
    face_dropout: float = 0.1
    discriminator_dropout: float = 0.6


@dataclass(frozen=True, slots=True)
class Codes:
    """Encoded windows, one tensor per modality in the order of ``MODALITIES``.

    ``features``, ``private`` and ``shared`` are ``(B, T, width)``, ``masks`` ``(B, T) bool``;
    ``readings`` are ``(B, 10)``: what each says by itself (see :mod:`model.networks.readings`).
    """

    features: tuple[Tensor, ...]
    private: tuple[Tensor, ...]
    shared: tuple[Tensor, ...]
    masks: tuple[Tensor, ...]
    readings: tuple[Tensor, ...] = ()

    def select(self, rows: Tensor) -> Codes:
        """The codes of the given windows, which may repeat."""
        return Codes(*(tuple(t[rows] for t in getattr(self, f.name)) for f in fields(self)))


@dataclass(frozen=True, slots=True)
class Fusion:
    """``score (B,)`` in -3..3 and the gates ``(B, 1 + N, 1)`` of voice and face at each text step."""

    score: Tensor
    voice_gate: Tensor
    face_gate: Tensor


Encoded = tuple[Tensor, Tensor, Tensor]  # features (B, T, width), mask (B, T), reading (B, 10)


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


def bounded(raw: Tensor) -> Tensor:
    """A score that cannot leave -3..3 and has a gradient everywhere: as it is up to 2, then ever less."""
    beyond = (raw.abs() - LINEAR).clamp(min=0.0)
    room = LIMIT - LINEAR
    return raw.clamp(-LINEAR, LINEAR) + raw.sign() * room * torch.tanh(beyond / room)


class RTIL(nn.Module):
    """The network. ``encode`` once, then ``fuse`` for any subset of modalities."""

    face_columns: Tensor

    def __init__(self, config: RTILConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.register_buffer("face_columns", torch.ones(SHAPE_WIDTH))  # 0 hides a column for good
        self.text_in = Projection(config.text_width, width)
        self.voice_in = VoiceEmbedding(config)
        self.face_in = nn.Linear(SHAPE_WIDTH, width)
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
        self.head = nn.Sequential(
            nn.Linear(2 * width, width),
            nn.Dropout(config.head_dropout),
            nn.ReLU(),
            nn.Linear(width, 1),
        )
        large, lost = 2 * width, config.summary_dropout
        # training lets this one begin as the tuned encoder's head
        self.text_direct = nn.Linear(config.text_width, READING)
        self.text_summary = nn.Linear(config.text_width, large)
        self.voice_summary = VoiceSummary(large, lost)
        self.face_summary = Summary(SHAPE_WIDTH, large, 0.0)
        self.appearance = AppearanceReading(len(APPEARANCE))
        dropouts = (config.head_dropout, config.head_dropout, config.face_dropout)
        self.alone = nn.ModuleList(Reading(large, width, own) for own in dropouts)
        self.steps_alone = nn.ModuleList(nn.Linear(width, READING) for _ in MODALITIES)
        for parameter in self.steps_alone.parameters():
            nn.init.zeros_(parameter)
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
        """Private and shared codes and readings of the present modalities; zeros of the others."""
        makers = (self._text, self._voice, self._face)
        made = [_of_rows(make, batch, batch.present[:, m]) for m, make in enumerate(makers)]
        features, masks, readings = zip(*made, strict=True)
        private = tuple(torch.sigmoid(p(x)) for p, x in zip(self.private, features, strict=True))
        shared = tuple(torch.sigmoid(self.shared(x)) for x in features)
        return Codes(features, private, shared, masks, readings)

    def _text(self, batch: Batch) -> Encoded:
        features, said = self.text_in(batch.text), masked_mean(batch.text, batch.text_mask)
        reading = self._read(0, features, batch.text_mask, self.text_summary(said))
        return features, batch.text_mask, reading + self.text_direct(said)

    def _voice(self, batch: Batch) -> Encoded:
        voice, known = self.voice_in(batch)
        voice, mask = join_steps(voice, known, self.config.joined_steps)
        features = self.voice_encoder(voice, mask)
        return features, mask, self._read(1, features, mask, self.voice_summary(batch))

    def _face(self, batch: Batch) -> Encoded:
        shapes = batch.face[..., :SHAPE_WIDTH] * self.face_columns
        face, mask = join_steps(self.face_in(shapes), batch.face_mask, self.config.joined_steps)
        features = self.face_encoder(face, mask)
        reading = self._read(2, features, mask, self.face_summary(shapes, batch.face_mask))
        seen = batch.face[..., SHAPE_WIDTH:]
        return features, mask, self.appearance(reading, seen, batch.face_mask)

    def _read(self, m: int, features: Tensor, mask: Tensor, summary: Tensor) -> Tensor:
        first: Tensor = self.alone[m](summary)
        added: Tensor = self.steps_alone[m](masked_mean(features, mask))
        return first + added

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
        added = self.head(masked_mean(mixed, masks[0])).squeeze(-1)
        return Fusion(bounded(_trusted(codes, present) + added), voice_gate, face_gate)

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
        """What each modality's own reading says, ``(B, 3)``: an auxiliary task of training."""
        return bounded(torch.stack([reading[:, SCORE] for reading in codes.readings], 1))

    def forward(self, batch: Batch, present: Tensor | None = None) -> Tensor:
        """Scores ``(B,)`` of a batch, by default with everything that is there."""
        return self.fuse(self.encode(batch), batch.present if present is None else present).score


def _of_rows(make: Callable[[Batch], Encoded], batch: Batch, rows: Tensor) -> Encoded:
    """What ``make`` gives of the rows that are true; zeros, and no mask, for the others."""
    if bool(rows.all()):
        return make(batch)
    place = rows.nonzero().squeeze(1)
    none = len(place) == 0
    place = torch.zeros(1, dtype=torch.int64, device=rows.device) if none else place
    made = make(Batch(*(getattr(batch, f.name)[place] for f in fields(batch))))
    features, mask, reading = (
        torch.zeros(len(rows), *part.shape[1:], dtype=part.dtype, device=part.device).index_put(
            (place,), torch.zeros_like(part) if none else part
        )
        for part in made
    )
    return features, mask, reading


def held_back(codes: Codes, m: int, share: Tensor) -> Codes:
    """The codes with what modality ``m`` says by itself, and its trust, times ``share (B,)`` of 0..1."""
    reading = codes.readings[m].clone()
    reading[:, SCORE] = reading[:, SCORE] * share
    trust = torch.tanh(reading[:, TRUST] / LIMIT) + share.clamp(min=1e-6).log() / LIMIT
    reading[:, TRUST] = LIMIT * torch.atanh(trust.clamp(-LEAST_TRUST, LEAST_TRUST))
    return replace(codes, readings=(*codes.readings[:m], reading, *codes.readings[m + 1 :]))


def _trusted(codes: Codes, present: Tensor) -> Tensor:
    """Mean of the present modalities' own scores, each as far as it is trusted, ``(B,)``; 0 for none."""
    readings = torch.stack(codes.readings, 1)
    there = present & torch.stack([mask.any(1) for mask in codes.masks], 1)
    trust = LIMIT * torch.tanh(readings[..., TRUST] / LIMIT)
    weight = trust.exp() * there
    return (weight * readings[..., SCORE]).sum(1) / weight.sum(1).clamp(min=1e-6)

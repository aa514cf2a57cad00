"""The RTIL family (arXiv 2409.00143) for research data: one network, three published forms.

``rtil`` (first version: three-way discriminator), ``sati`` (second: prototypes with a cosine margin)
and ``svr`` (third: sequential variation of all modalities), each as ``faithful``, the way the public
code behaves, or as ``intended``, the way the papers describe it. Modalities are split into private
and shared codes; text asks voice and face, gated by how well the shared codes agree.

=================  ==========================================  ======================================
part               faithful                                    intended
=================  ==========================================  ======================================
padding            seen by encoders, fusion, means and losses  masked everywhere
lost steps         zeros, taken for data                       hidden; a learned token holds the place
missing modality   a sequence of zeros                         a learned token that is always there
alignment          words, the same steps for all               any; codes travel by attention weights
encoders           on the raw columns, no positions,           projected first, positions, ``heads``
                   2 (voice, if even) and 1 (face) heads
gate               hard, without a gradient: frozen random     hard forward, sigmoid's gradient
                   weights                                     (``gate``: or ``soft``, ``open``)
gate's last layer  one for both companions                     one each, begins open
answer's bias      yes                                         no
reversal           shared and private codes                    shared codes only
reconstruction     of every step from the mean of all steps,   step by step over known steps,
                   target attached                             target detached
consistency        over all samples                            over samples that have both modalities
temporal loss      softmax, averaged over the batch, then      per sample over neighbouring known
                   compared: near zero; temperature 1          steps; temperature .2
... of which       rtil, sati: face; svr: all (no code of the  rtil, sati: face; svr: all, as total
                   third version was published)                variation (first differences)
=================  ==========================================  ======================================

Sizes, dropouts and the weights of the losses are the published ones in both. Where the sources are
silent (layout of the position code, whether the answer has a bias) it is a reading, not a fact.
The losses live in ``family_losses``.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from features.errors import FeatureError
from features.messages import MODALITIES
from model.networks.blocks import (
    BilinearGate,
    Discriminator,
    GatedAttention,
    Positions,
    masked_mean,
)
from model.networks.family_parts import EmbeddedEncoder, FamilyConfig, RawEncoder, TextProjection
from model.networks.margin import MarginDiscriminator
from model.networks.rtil import Codes
from model.networks.token_fusion import ConcatenationFusion
from model.networks.views import Representations, SequenceBatch, Tensors, Widths, seen, three


@dataclass(frozen=True, slots=True)
class FamilyView(Representations):
    """Adds what the family's losses need.

    Attributes:
        codes: the sequences' codes; its masks are all true in the faithful variant.
        present: ``(B, 3) bool``, all true in the faithful variant.
        gates: of voice and face, ``(B, T, 1)`` at the text's steps, in the intended variant
            ``(B, 1 + T, 1)``: the token first.
    """

    codes: Codes
    present: Tensor
    gates: tuple[Tensor, Tensor]


class RTILFamily(nn.Module):
    """The network; fulfils :class:`model.networks.views.SequenceNetwork`."""

    def __init__(self, config: FamilyConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.encoders = self._encoders()
        self.private = nn.ModuleList(nn.Linear(width, width) for _ in MODALITIES)
        self.shared = nn.Linear(width, width)
        if config.fusion == "concatenation":
            self.side_by_side = ConcatenationFusion(width, config.dropout)
        else:
            self._gate_fusion()
        self.head = nn.Sequential(
            nn.Dropout(config.head_dropout), nn.ReLU(), nn.Linear(width, config.outputs)
        )
        self.decoders = nn.ModuleList(nn.Linear(width, width) for _ in MODALITIES)
        discriminator = Discriminator if config.form == "rtil" else MarginDiscriminator
        self.discriminator = discriminator(width, config.discriminator_dropout)
        if config.faithful and config.fusion == "gated":
            self._share_gate()
        if not config.faithful:
            self.lost = nn.ParameterList(0.02 * torch.randn(w) for w in config.widths)
            self.private_token = nn.Parameter(0.5 * torch.randn(3, width))
            self.shared_token = nn.Parameter(0.5 * torch.randn(3, width))

    @property
    def widths(self) -> Widths:
        """Columns that each modality must have."""
        return self.config.widths

    @property
    def representation(self) -> int:
        """The common width of codes and of the head's hidden layer."""
        return self.config.width

    def _encoders(self) -> nn.ModuleList:
        c = self.config
        text, voice, face = c.widths
        encoders = nn.ModuleList([TextProjection(text, c.width)])
        if c.faithful:
            encoders.extend([RawEncoder(voice, c.voice_heads, c), RawEncoder(face, 1, c)])
        else:
            encoders.extend([EmbeddedEncoder(voice, c), EmbeddedEncoder(face, c)])
        return encoders

    def _gate_fusion(self) -> None:
        c = self.config
        self.positions = Positions(c.steps + 1, c.width)
        self.ask_voice = self._ask()
        self.ask_face = self._ask()
        self.mix = nn.TransformerEncoderLayer(
            2 * c.width, c.mix_heads, c.feedforward, c.dropout, batch_first=True
        )
        self.hidden = nn.Linear(2 * c.width, c.width)

    def _ask(self) -> GatedAttention:
        c = self.config
        gate = BilinearGate(c.width, c.gate_hidden, c.gate_factor, c.gate_dropout, c.gate)
        return GatedAttention(c.width, c.heads, c.cross_dropout, gate, published=c.faithful)

    def _share_gate(self) -> None:
        """Let the face's gate borrow the voice's last layer, registered (and saved) only once."""
        del self.ask_face.gate.out
        object.__setattr__(self.ask_face.gate, "out", self.ask_voice.gate.out)

    def forward(self, batch: SequenceBatch, known: Tensors | None = None) -> FamilyView:
        """The batch as seen through ``known``; any subset of steps and modalities will do.

        Raises :class:`FeatureError` for widths that are not the configuration's, sequences that are
        too long and, in the faithful variant, sequences that are not word-aligned.
        """
        known = seen(batch, known, self.config.widths, self.config.steps)
        if not self.config.faithful:
            return self._as_intended(batch, known)
        steps = [mask.shape[1] for mask in known]
        if len(set(steps)) > 1:
            raise FeatureError(
                f"the published form needs word-aligned sequences, these have {steps} steps; "
                "align them or take the intended variant"
            )
        return self._as_published(batch, known)

    def encode(self, values: list[Tensor], masks: Tensors) -> Codes:
        """Features and their private and shared codes, ``(B, T, width)`` per modality."""
        features = three(
            encoder(value, mask)
            for encoder, value, mask in zip(self.encoders, values, masks, strict=True)
        )
        private = tuple(torch.sigmoid(p(x)) for p, x in zip(self.private, features, strict=True))
        shared = tuple(torch.sigmoid(self.shared(x)) for x in features)
        return Codes(features, private, shared, masks)

    def _as_published(self, batch: SequenceBatch, known: Tensors) -> FamilyView:
        values = [
            value.masked_fill((valid & ~mask).unsqueeze(-1), 0.0)
            for value, valid, mask in zip(batch.values, batch.valid, known, strict=True)
        ]
        everything = three(torch.ones_like(mask) for mask in known)
        codes = self.encode(values, everything)
        steps = three(p + s for p, s in zip(codes.private, codes.shared, strict=True))
        pooled = three(step.mean(1) for step in steps)
        present = torch.ones(len(batch), 3, dtype=torch.bool, device=steps[0].device)
        return self._fuse(
            codes, present, three(codes.private), codes.shared, everything, pooled, steps
        )

    def _as_intended(self, batch: SequenceBatch, known: Tensors) -> FamilyView:
        values = [
            torch.where(mask.unsqueeze(-1), value, token)
            for value, mask, token in zip(batch.values, known, self.lost, strict=True)
        ]
        codes = self.encode(values, known)
        present = torch.stack([mask.any(1) for mask in known], 1)
        own, common = torch.sigmoid(self.private_token), torch.sigmoid(self.shared_token)
        private = three(_lead(own[m], c) for m, c in enumerate(codes.private))
        shared = three(_lead(common[m], c) for m, c in enumerate(codes.shared))
        masks = three(torch.cat([torch.ones_like(k[:, :1]), k], 1) for k in known)
        steps = three(p + s for p, s in zip(codes.private, codes.shared, strict=True))
        pooled = three(
            torch.where(present[:, m : m + 1], masked_mean(step, mask), own[m] + common[m])
            for m, (step, mask) in enumerate(zip(steps, known, strict=True))
        )
        return self._fuse(codes, present, private, shared, masks, pooled, steps)

    def _fuse(
        self,
        codes: Codes,
        present: Tensor,
        private: Tensors,
        shared: tuple[Tensor, ...],
        masks: Tensors,
        pooled: Tensors,
        steps: Tensors,
    ) -> FamilyView:
        if self.config.fusion == "concatenation":
            fused = self.side_by_side(*pooled)
            open_gate = torch.ones_like(private[0][..., :1])
            gates = (open_gate, open_gate)
        else:
            fused, gates = self._text_asks(three(map(self.positions, private)), shared, masks)
        prediction = self.head(fused)
        if self.config.outputs == 1:
            prediction = prediction.squeeze(-1)
        return FamilyView(prediction, fused, pooled, steps, codes, present, gates)

    def _text_asks(
        self, private: Tensors, shared: tuple[Tensor, ...], masks: Tensors
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Text-driven fusion: ``(B, width)``, and the gates of voice and face."""
        (text, voice, face), (text_shared, voice_shared, face_shared) = private, shared
        at, voice_gate = self.ask_voice(text, text_shared, voice, voice_shared, masks[1])
        vt, face_gate = self.ask_face(text, text_shared, face, face_shared, masks[2])
        mixed = self.mix(torch.cat([at, vt], -1), src_key_padding_mask=~masks[0])
        return self.hidden(masked_mean(mixed, masks[0])), (voice_gate, face_gate)


def _lead(token: Tensor, sequence: Tensor) -> Tensor:
    """The sequence ``(B, T, width)`` with the token ``(width,)`` before it."""
    return torch.cat([token.expand(len(sequence), 1, -1), sequence], 1)

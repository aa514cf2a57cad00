"""Everything that shapes a run of the live model's training."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

import msgspec

from model.live.data import DataPlan
from model.live.warmup import WarmUp
from model.networks.losses import LossWeights
from model.networks.rtil import RTILConfig

DEFAULT_CACHE: Final = Path(".cache/corpora")
DEFAULT_TEXT: Final = Path(".cache/text_tuning")
DEFAULT_OUT: Final = Path(".cache/live")
SIZES: Final = {
    "large": RTILConfig(),
    "medium": RTILConfig(width=64, feedforward=128, state_components=32, gate_hidden=16),
    "small": RTILConfig(width=32, feedforward=64, state_components=16, gate_hidden=8),
}


class LivePlan(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that shapes a run, written into the checkpoint.

    ``shares``: of text, voice and face alone, pairs of one clip, synthetic windows whose modalities
    agree, and those that do not. ``drop_stream``: how often each of the voice's two streams hides.
    ``drop_seen``: how often a face is known by its shapes alone; the network that sees pictures knows
    those of training too well. ``reliance``: how much text, voice and face are believed where they disagree; words say most about
    sentiment in every published ablation, and our voices and faces are acted. ``at_rest``: how much a
    label of zero counts against others, in points of the scale. ``kept_rate``: share of ``rate`` at
    which the readings learned beforehand go on learning: at all of it the noise of small batches
    costs them what they knew.
    """

    data: DataPlan = DataPlan()
    seed: int = 0
    size: str = "large"
    epochs: int = 2
    steps: int = 100
    batch: int = 64
    rate: float = 5e-4
    kept_rate: float = 0.1
    decay: float = 0.02
    shares: tuple[float, ...] = (0.2, 0.26, 0.24, 0.1, 0.13, 0.07)
    drop_stream: float = 0.25
    voice_noise: float = 0.2
    drop_token: float = 0.1
    drop_seen: float = 0.5
    reliance: tuple[float, float, float] = (2.0, 1.0, 1.0)
    at_rest: float = 0.3
    emotions: float = 0.5
    warm_up: WarmUp = WarmUp()
    weights: LossWeights = LossWeights(
        consistency=0.02, domain=0.02, reconstruction=0.05, temporal=1.5
    )

    @property
    def key(self) -> str:
        """Hash of the plan: a state of another one is not gone on with."""
        return hashlib.sha256(msgspec.json.encode(self, order="deterministic")).hexdigest()[:16]

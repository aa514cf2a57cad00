"""The tuning of the text encoder's upper layers, step by step: heads, losses, updates.

Linear heads on the masked mean of the token states: Smooth L1 on the scale of -3 to +3, of what people
said and of what larger encoders say, and cross entropy of negative, neutral and positive for what is
labelled by class.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.live.tuning_plan import Protocol, Step, Texts, plan
from model.live.tuning_state import TuningState
from model.metrics import regression
from model.text.encoder import TextEncoder, masked_mean
from model.text.lower import LowerActivations

logger = logging.getLogger(__name__)

SHARP: Final = 0.5  # errors beyond this count linearly: the measure is the mean absolute error


class SentimentHead(nn.Module):
    """Masked mean of token states, then a linear score and sides: ``(B, N, 384)`` to ``(B,)``."""

    def __init__(self) -> None:
        super().__init__()
        self.score = nn.Linear(TextEncoder.width, 1)
        self.sides = nn.Linear(TextEncoder.width, 3)
        for linear in (self.score, self.sides):
            nn.init.zeros_(linear.weight)
            nn.init.zeros_(linear.bias)

    def forward(self, hidden: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Scores ``(B,)`` on -3..3, not clipped, and logits ``(B, 3)`` of negative, neutral, positive."""
        pooled = masked_mean(hidden, mask)
        return self.score(pooled).squeeze(-1), self.sides(pooled)


def tune(
    encoder: TextEncoder,
    texts: Texts,
    lower: LowerActivations,
    protocol: Protocol,
    folder: Path,
    advance: Callable[[int], None],
    began: Mapping[str, Tensor] | None = None,
) -> tuple[SentimentHead, TuningState]:
    """Run or go on with the plan; leaves the mean of the second stage's runs in encoder and head.

    ``began`` are weights of a head to begin with.
    """
    torch.manual_seed(protocol.seed)
    encoder.tunable(protocol.layers)
    head = SentimentHead()
    head.load_state_dict(dict(began or {}), strict=False)
    optimiser = _optimiser(encoder, head, protocol)
    state = TuningState(folder, protocol.key, encoder, head, optimiser)
    first = state.resume()
    if protocol.epochs == 0 and first == 0:
        state.end(0)  # the first stage lies behind the weights that came
    advance(first)
    truth, steps = (
        (texts.targets(protocol.taught, protocol.taught_neutral), texts.sides),
        plan(texts, lower.length, protocol),
    )
    saved = time.monotonic()
    for done, step in enumerate(steps[first:], start=first + 1):
        _update(step, encoder, head, optimiser, lower, truth, protocol)
        if step.judge:
            error = _error(encoder, head, lower, texts)
            logger.info("step %d of %d: MOSI valid MAE %.4f", done, len(steps), error)
            state.judge(error, done)
        if step.ends is not None:
            state.end(step.ends)
        if step.judge or time.monotonic() - saved > protocol.save_every_s:
            state.save(done)
            saved = time.monotonic()
        advance(1)
    state.take_mean(protocol.mosi_runs)
    state.judge(_error(encoder, head, lower, texts), len(steps))
    return head, state


def _error(
    encoder: TextEncoder, head: SentimentHead, lower: LowerActivations, texts: Texts
) -> float:
    predicted = predict(encoder, head, lower, texts.valid)
    return regression(predicted, texts.labels[texts.valid].numpy())["mae"]


def _optimiser(
    encoder: TextEncoder, head: SentimentHead, protocol: Protocol
) -> torch.optim.Optimizer:
    layers = [parameter for parameter in encoder.parameters() if parameter.requires_grad]
    groups = [
        {"params": layers, "peak": protocol.rate},
        {"params": list(head.parameters()), "peak": protocol.head_rate},
    ]
    return torch.optim.AdamW(groups, weight_decay=protocol.decay)


def _update(
    step: Step,
    encoder: TextEncoder,
    head: SentimentHead,
    optimiser: torch.optim.Optimizer,
    lower: LowerActivations,
    truth: tuple[Tensor, Tensor],
    protocol: Protocol,
) -> None:
    encoder.train()
    for group in optimiser.param_groups:
        group["lr"] = group["peak"] * step.rate
    hidden, mask = lower.batch(step.indices)
    with torch.autocast("cpu", protocol.dtype, protocol.dtype != torch.float32):
        states = encoder.upper(hidden, mask)
    loss = _loss(head(states.float(), mask), [part[step.indices] for part in truth], protocol)
    optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_([p for g in optimiser.param_groups for p in g["params"]], 1.0)
    optimiser.step()


def _loss(found: tuple[Tensor, Tensor], truth: Sequence[Tensor], protocol: Protocol) -> Tensor:
    """Of scores and sides; what is labelled by class counts less in the first, all in the second."""
    (score, logits), (label, side) = found, truth
    classed = side >= 0
    weight = torch.where(classed, protocol.chats, 1.0)
    loss = (weight * F.smooth_l1_loss(score, label, reduction="none", beta=SHARP)).mean()
    if bool(classed.any()):
        apart = F.cross_entropy(logits[classed], side[classed], reduction="sum")
        loss = loss + protocol.sides * apart / len(side)
    return loss


@torch.no_grad()
def predict(
    encoder: TextEncoder, head: SentimentHead, lower: LowerActivations, indices: Sequence[int]
) -> np.ndarray:
    """Scores ``(n,)`` of some texts out of their lower activations."""
    encoder.eval()
    scores = []
    for start in range(0, len(indices), 64):
        hidden, mask = lower.batch(indices[start : start + 64])
        scores.append(head(encoder.upper(hidden, mask), mask)[0].numpy())
    return np.concatenate(scores)

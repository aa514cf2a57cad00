"""Trains a research model with one seed, from a data set to its best epoch on validation.

The test split is never looked at here. Everything random is drawn from the seed and the number of
the epoch or update, so that the same seed gives the same weights on the same machine, and a killed
run goes on to what it would have become.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import msgspec
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from features.errors import FeatureError
from model.data.splits import TRAIN, VALID
from model.metrics import suited
from model.networks.distillation import Distillation, lost_steps
from model.networks.family_losses import family_losses
from model.networks.rtil_family import FamilyView, RTILFamily
from model.networks.views import Representations, SequenceNetwork
from model.research.checkpoint import ResearchCheckpoint
from model.research.inputs import Inputs, LabelScale, Seen, fingerprint
from model.research.prediction import predict, shown_to
from model.research.presets import ResearchNetwork, TrainingPlan, network_config, new_network
from model.research.schedule import batches, rate
from model.research.selection import Selection
from model.research.start import check_start
from model.research.training_state import Epoch, TrainingState

VALIDATION_DRAW = 1_000_000  # far from the draws of training


@dataclass(frozen=True, slots=True)
class Trained:
    """A network as it was best, in evaluation mode, and how it came there.

    ``text`` are the tensors of the text encoder that learned.
    """

    network: ResearchNetwork
    best_epoch: int
    history: list[Epoch]
    key: str
    text: dict[str, Tensor]


class Trainer:
    """One run: a plan, a seed, a data set; its state lies in ``folder``.

    ``start`` is a checkpoint whose weights the run begins with. Raises :class:`FeatureError` for data
    that cannot be trained on and :class:`features.errors.CheckpointError` for a start that does not
    fit.
    """

    def __init__(
        self,
        plan: TrainingPlan,
        seed: int,
        inputs: Inputs,
        folder: Path,
        device: str = "cpu",
        start: ResearchCheckpoint | None = None,
    ) -> None:
        data = inputs.data
        for name in (TRAIN, VALID):
            if name not in data.splits or len(data.splits[name]) < 2:
                raise FeatureError(f"{data.name} has no '{name}' split of two samples or more")
        self.plan, self.seed, self.inputs = plan, seed, inputs
        self.device = torch.device(device)
        self.scale = LabelScale(data.low, data.high, data.classes)
        self.targets = {n: self.scale.targets(data.splits[n]) for n in (TRAIN, VALID)}
        self.selection = Selection(plan, self._idle())
        config = network_config(plan, inputs.widths, self.scale.outputs)
        self.network = new_network(config, seed).to(self.device)
        if start is not None:
            check_start(start, plan, config, inputs)
            self.network.load_state_dict(start.network.state_dict())
        self.text = inputs.tuned
        if self.text is not None:
            self.text.begin(seed, None if start is None else start.text)
        self.trained = self._wrapped().to(self.device)
        also = {} if self.text is None else self.text.learning()
        self.state = TrainingState(folder, self._key(), self.trained, self._optimiser(), also)
        if plan.compile:
            self.network.compile()

    def _optimiser(self) -> torch.optim.Optimizer:
        plan = self.plan
        groups: list[dict[str, Any]] = [{"params": list(self.trained.parameters()), "share": 1.0}]
        if self.text is not None:
            share = plan.encoder_rate / plan.learning_rate
            groups.append({"params": list(self.text.learning().values()), "share": share})
        kind = torch.optim.Adam if plan.optimiser == "adam" else torch.optim.AdamW
        fused = True if self.device.type == "cpu" else None  # one kernel; a fifth of an epoch
        return kind(groups, lr=plan.learning_rate, weight_decay=plan.decay, fused=fused)

    def _wrapped(self) -> nn.Module:
        if self.plan.scheme != "distilled":
            return self.network
        if self.plan.distillation is None:
            raise FeatureError("a distilled training needs the weights of its losses")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed + 1)
            return Distillation(cast(SequenceNetwork, self.network), self.plan.distillation)

    def _key(self) -> str:
        """Hash of what decides about the weights: a state of another run is not gone on with."""
        data = [fingerprint(self.inputs.data.splits[name]) for name in (TRAIN, VALID)]
        parts = [self.plan, self.seed, self.inputs.widths, *data]
        if self.text is not None:
            parts.append(self.text.sha256)
        return hashlib.sha256(msgspec.json.encode(parts, order="deterministic")).hexdigest()[:16]

    @property
    def batches(self) -> int:
        """Batches of an epoch."""
        return len(self.rows(0))

    def run(self, advance: Callable[[int], None] = lambda epochs: None) -> Trained:
        """Train, or go on; ``advance`` is told how many epochs more are over."""
        self.state.resume()
        advance(self.state.epoch)
        while not self.over:
            losses = self._epoch(self.state.epoch)
            measured = self.validate()
            lr = self._rate(self.state.epoch * self.batches)
            entry = {"epoch": float(self.state.epoch + 1), "lr": lr, **losses, **measured}
            better = self.selection.better(measured, self.state.history, self.state.best_epoch)
            self.state.end_epoch(entry, better)
            advance(1)
        self.state.restore_best()
        self.network.eval()
        return Trained(
            self.network,
            self.state.best_epoch,
            self.state.history,
            self.state.key,
            {} if self.text is None else self.text.tuned(),
        )

    @property
    def over(self) -> bool:
        """Whether all epochs are over, or nothing got better for too long."""
        return self.selection.over(self.state.history, self.state.best_epoch)

    def _idle(self) -> float:
        """Loss on validation of the constant that is best there."""
        asked = self.targets[VALID]
        if self.scale.classes:
            share = torch.bincount(asked, minlength=self.scale.classes) / len(asked)
            return float(F.cross_entropy(share.clamp(min=1e-6).log().expand(len(asked), -1), asked))
        said = asked.median() if self.plan.task == "l1" else asked.mean()
        return float(self._task(said.expand(len(asked)), asked))

    def rows(self, epoch: int) -> list[Tensor]:
        """Rows of each batch of an epoch."""
        return batches(self.plan, self.seed, epoch, len(self.targets[TRAIN]), self._lengths)

    def _lengths(self) -> Tensor:
        return self.inputs.complete(TRAIN).batch.valid[0].sum(1)

    def _rate(self, step: int) -> float:
        return rate(self.plan, step, max(1, self.plan.epochs * self.batches))

    def _epoch(self, epoch: int) -> Epoch:
        self.trained.train()
        if self.text is not None:
            self.text.train()
        whole = self.inputs.complete(TRAIN)
        less = None
        if self.plan.scheme != "complete":
            less = self.inputs.lost(TRAIN, self.plan, self.seed, epoch % self.plan.draws)
        totals: dict[str, float] = {}
        every = self.rows(epoch)
        for number, rows in enumerate(every):
            step = epoch * len(every) + number
            torch.manual_seed(self.seed * 1_000_003 + step)
            parts = self._update(whole, less, rows, step, last=number + 1 == len(every))
            for name, value in parts.items():
                totals[name] = totals.get(name, 0.0) + value / len(every)
        return {f"loss_{name}": value for name, value in totals.items()}

    def _update(
        self, whole: Seen, less: Seen | None, rows: Tensor, step: int, last: bool
    ) -> dict[str, float]:
        optimiser = self.state.optimiser
        for group in optimiser.param_groups:
            group["lr"] = self._rate(step) * group["share"]
        target = self.targets[TRAIN][rows].to(self.device)
        with self._precision():
            shown = None if less is None else self._shown(less, rows)
            parts = self.losses(self._shown(whole, rows), shown, target)
            total = torch.stack([part.float() for part in parts.values()]).sum()
        if not bool(torch.isfinite(total)):
            raise FeatureError(
                f"the loss is no longer a number at update {step + 1}; "
                "take a smaller learning rate or scale the features"
            )
        total.backward()  # type: ignore[no-untyped-call]
        if last or (step % self.batches + 1) % self.plan.accumulate == 0:
            self._clip()
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        return {"total": float(total.detach())} | {k: float(v.detach()) for k, v in parts.items()}

    def _shown(self, seen: Seen, rows: Tensor) -> Seen:
        return shown_to(self.network, seen, rows, self.device)

    def losses(self, whole: Seen, less: Seen | None, target: Tensor) -> dict[str, Tensor]:
        """All losses of a batch, weighted, by name; their sum is what is minimised."""
        if isinstance(self.trained, Distillation) and less is not None:
            lost = lost_steps(whole.batch, less.known)
            pair = self.trained(whole.batch, less.known, less.batch)
            parts = self.trained.losses(pair, whole.batch, lost, target, self._task)
            return parts | self._own(pair.teacher)
        seen = less or whole
        view = self.network(seen.batch, seen.known)
        return {"task": self._task(view.prediction, target)} | self._own(view)

    def _own(self, view: Representations) -> dict[str, Tensor]:
        if self.plan.family is None or not isinstance(view, FamilyView):
            return {}
        assert isinstance(self.network, RTILFamily)
        return family_losses(self.network, view, self.plan.family)

    def _task(self, prediction: Tensor, target: Tensor) -> Tensor:
        if self.scale.classes:
            return F.cross_entropy(prediction, target)
        found = {"l1": F.l1_loss, "smooth-l1": F.smooth_l1_loss, "l2": F.mse_loss}
        return found[self.plan.task](prediction, target)

    def _precision(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.plan.bf16)

    def _clip(self) -> None:
        if self.plan.clip <= 0:
            return
        groups = self.state.optimiser.param_groups
        parameters = [p for group in groups for p in group["params"] if p.grad is not None]
        if self.plan.clip_by == "value":
            nn.utils.clip_grad_value_(parameters, self.plan.clip)
        else:
            nn.utils.clip_grad_norm_(parameters, self.plan.clip)

    def validate(self) -> Epoch:
        """Loss and metrics on validation, with parts lost where the training loses some."""
        seen = self.inputs.complete(VALID)
        if self.plan.scheme != "complete":
            seen = self.inputs.lost(VALID, self.plan, self.seed, VALIDATION_DRAW)
        with self._precision():
            predicted = predict(self.network, seen, self.plan.batch, self.device)
        loss = self._task(predicted, self.targets[VALID])
        data = self.inputs.data
        found = suited(
            self.scale.labels(predicted.numpy()), data.splits[VALID].labels, data.low, data.high,
            data.classes,
        )  # fmt: skip
        return {"valid_loss": float(loss)} | {f"valid_{name}": v for name, v in found.items()}

"""The predictor: windows in, predictions out, one batch for all and for every subset it needs."""

from __future__ import annotations

import math
import os
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from msgspec.structs import replace
from torch import Tensor

from features.assets import Assets
from features.errors import CheckpointError, SpecError
from features.messages import MODALITIES, Prediction, Present, Statistics, Window
from features.spec import VOICE
from model.checkpoint import TEXT_ENCODER, Checkpoint, default_checkpoint
from model.networks.inputs import Batch, check_streams, collate, prepare
from model.networks.rtil import Codes, held_back
from model.resting import with_rest
from model.text.encoder import TextEncoder

BATCH: Final = 32  # windows in one pass through the network, which bounds its memory
TEXT_CACHE: Final = 512  # distinct texts whose token states are kept
NS_PER_MS: Final = 1_000_000
Subset = tuple[bool, ...]
FULL: Final = len(MODALITIES)
NOTHING: Final[Subset] = (False,) * FULL


@dataclass(frozen=True, slots=True)
class Scores:
    """Scores of one window by subset of modalities."""

    present: Subset
    by_subset: dict[Subset, float]

    @property
    def fused(self) -> float | None:
        """The score of everything that is present; ``None`` for nothing."""
        return self.by_subset.get(self.present)

    def contribution(self, m: int) -> float:
        """Change of the score when modality ``m`` is hidden; from nothing at all, the score itself."""
        if self.fused is None or not self.present[m]:
            return 0.0
        return self.fused - self.by_subset.get(without(self.present, m), 0.0)

    def alone(self, m: int) -> float | None:
        """What modality ``m`` says by itself; ``None`` where it is absent."""
        return self.by_subset.get(only(m)) if self.present[m] else None


def without(present: Subset, m: int) -> Subset:
    """The subset with modality ``m`` hidden."""
    return tuple(there and i != m for i, there in enumerate(present))


def only(m: int) -> Subset:
    """The subset of modality ``m`` alone."""
    return tuple(i == m for i in range(FULL))


def needed_subsets(present: Subset) -> list[Subset]:
    """Everything, everything without one, one alone: distinct, none empty."""
    there = [m for m in range(FULL) if present[m]]
    wanted = [present, *(without(present, m) for m in there), *(only(m) for m in there)]
    return [subset for subset in dict.fromkeys(wanted) if any(subset)]


def choose_device(name: str) -> torch.device:
    """``auto``: CUDA, then MPS, then CPU; else the device of that name, checked."""
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise CheckpointError(
            f"cannot use device '{name}': {reason}; try 'auto' or 'cpu'"
        ) from error
    return device


def limit_threads(device: torch.device) -> None:
    """On a CPU take one thread, or two where there are more than two cores.

    One window gains nothing from a second thread (28.1 against 26.6 ms measured), and the extractors
    need the cores. A recogniser loaded in the same process changes the number, so it is said again
    before every batch: with two threads on busy cores a batch took 1.9 s instead of .3 s.
    """
    if device.type == "cpu":
        torch.set_num_threads(2 if (os.cpu_count() or 1) > 2 else 1)


class TextStates:
    """Token states of texts, each distinct text encoded once (bounded, least recently used goes)."""

    def __init__(self, encoder: TextEncoder, device: torch.device, size: int = TEXT_CACHE) -> None:
        self.encoded = 0
        self.encoder = encoder
        self._device = device
        self._size = size
        self._cache: OrderedDict[str, Tensor] = OrderedDict()

    def __call__(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """States ``(B, N, 384)`` padded with zeros and mask ``(B, N)``; no token for no text."""
        found = {text: self._cache[text] for text in texts if text in self._cache}
        missing = [text for text in dict.fromkeys(texts) if text and text not in found]
        if missing:
            found |= self._encode(missing)
        empty = torch.zeros(0, self.encoder.width, device=self._device)
        rows = [found.get(text, empty) for text in texts]
        longest = max(1, *(len(row) for row in rows))
        states = torch.zeros(len(rows), longest, self.encoder.width, device=self._device)
        mask = torch.zeros(len(rows), longest, dtype=torch.bool, device=self._device)
        for i, row in enumerate(rows):
            states[i, : len(row)] = row
            mask[i, : len(row)] = True
        return states, mask

    def _encode(self, texts: Sequence[str]) -> dict[str, Tensor]:
        tokens = self.encoder.tokenize(texts)
        states = self.encoder(tokens.ids.to(self._device), tokens.mask.to(self._device))
        self.encoded += len(texts)
        out = {}
        for i, text in enumerate(texts):
            out[text] = states[i, tokens.mask[i].to(self._device)].clone()
            self._cache[text] = out[text]
        for text in list(self._cache)[: max(0, len(self._cache) - self._size)]:
            del self._cache[text]
        return out


class Predictor:
    """A checkpoint ready to score windows; one thread at a time."""

    def __init__(
        self, folder: Path | None = None, device: str = "auto", assets: Assets | None = None
    ) -> None:
        """Load the checkpoint (by default the live one) and the text encoder.

        Raises ``CheckpointError`` or ``AssetError``.
        """
        self.checkpoint = Checkpoint.load(folder or default_checkpoint())
        self.device = choose_device(device)
        limit_threads(self.device)
        self.network = self.checkpoint.network.to(self.device).requires_grad_(False)
        self._spec_hash = self.checkpoint.spec.hash
        self._priors = with_rest(self.checkpoint.priors)
        encoder = TextEncoder.load((assets or Assets()).folder(TEXT_ENCODER), self.checkpoint.text)
        self.text_states = TextStates(encoder.to(self.device).eval(), self.device)

    def cut(self, windows: Sequence[Window]) -> list[bool]:
        """Whether each window has more words than are read."""
        return self.text_states.encoder.cut([window.text for window in windows])

    def check(self, window: Window) -> None:
        """Raise what :meth:`predict` would raise for this window."""
        if window.spec != self._spec_hash:
            raise SpecError(
                f"window of '{window.source}' was cut with spec {window.spec}, the checkpoint was "
                f"trained on {self._spec_hash}; use the extractors and checkpoint of one version"
            )
        check_streams(window.streams, window.statistics, self.checkpoint.spec)

    def predict(self, windows: Sequence[Window], now_ns: Callable[[], int]) -> list[Prediction]:
        """Predictions of the windows, in their order; ``now_ns`` stamps them.

        Raises :class:`SpecError` for a window cut with another spec, ``FeatureError`` for one whose
        streams are not what the spec says.
        """
        for window in windows:
            self.check(window)
        out = []
        for first in range(0, len(windows), BATCH):
            out += self._predict(windows[first : first + BATCH], now_ns)
        return out

    def _predict(self, windows: Sequence[Window], now_ns: Callable[[], int]) -> list[Prediction]:
        started_ns = now_ns()
        limit_threads(self.device)
        with torch.inference_mode():
            batch = self._batch(windows)
            known = self._known(windows)
            scores = self._score(batch, self._codes(batch, known))
            rests = self._rest_changes(windows, scores)
        made_ns = now_ns()
        return [
            self._prediction(window, score, share, rest, started_ns, made_ns)
            for window, score, share, rest in zip(windows, scores, known, rests, strict=True)
        ]

    def _batch(self, windows: Sequence[Window]) -> Batch:
        priors, spec = self._priors, self.checkpoint.spec
        samples = [prepare(w.streams, w.statistics, w.present, priors, spec) for w in windows]
        states, mask = self.text_states([w.text if w.present.text else "" for w in windows])
        return collate(samples, states, mask)

    def _known(self, windows: Sequence[Window]) -> list[float]:
        """How far each window's voice is known."""
        prior_s = self._priors[VOICE].seconds
        return [own_share(window.statistics.get(VOICE), prior_s) for window in windows]

    def _codes(self, batch: Batch, known: Sequence[float]) -> Codes:
        """Encoded windows, their voices held back as far as they are not known yet.

        Voices are read against running statistics, which begin as those of the training's actors: a
        lively voice that is new seems an angry one until its own seconds outweigh the prior's. Its
        score and its trust count in the share that is its own.
        """
        share = torch.tensor(known, device=self.device)
        return held_back(self.network.encode(batch), MODALITIES.index(VOICE), share)

    def _score(self, batch: Batch, codes: Codes) -> list[Scores]:
        """Fuse every distinct subset of every window in one go."""
        presents: list[Subset] = [tuple(row) for row in batch.present.tolist()]
        asked = [(i, s) for i, present in enumerate(presents) for s in needed_subsets(present)]
        out = [Scores(present, {}) for present in presents]
        if not asked:
            return out
        rows = torch.tensor([i for i, _ in asked], device=self.device)
        subsets = torch.tensor([s for _, s in asked], device=self.device)
        values = self.network.fuse(codes.select(rows), subsets).score.tolist()
        for (i, subset), value in zip(asked, values, strict=True):
            out[i].by_subset[subset] = value
        return out

    def _rest_changes(
        self, windows: Sequence[Window], scores: Sequence[Scores]
    ) -> list[float | None]:
        """What the resting baseline changed in each score; ``None`` where there is none to use."""
        out: list[float | None] = [None] * len(windows)
        rows = [i for i, w in enumerate(windows) if scores[i].present != NOTHING and has_rest(w)]
        if rows:
            plain = [without_rest(windows[i]) for i in rows]
            batch = self._batch(plain)
            codes = self._codes(batch, self._known(plain))
            values = self.network.fuse(codes, batch.present).score.tolist()
            for i, value in zip(rows, values, strict=True):
                out[i] = scores[i].by_subset[scores[i].present] - value
        return out

    def _prediction(
        self,
        window: Window,
        scores: Scores,
        known: float,
        rest: float | None,
        started_ns: int,
        made_ns: int,
    ) -> Prediction:
        score, low, high = scores.fused, None, None
        if score is not None:
            if not math.isfinite(score):
                raise CheckpointError(f"the network gave {score} for a window of '{window.source}'")
            low, high = self.checkpoint.calibration.interval(score, scores.present, known)
        return Prediction(
            session=window.session,
            participant=window.participant,
            start_s=window.start_s,
            end_s=window.end_s,
            made_ns=made_ns,
            source=window.source,
            seq=window.seq,
            revision=window.revision,
            final=window.final,
            sentiment=score,
            low=low,
            high=high,
            coverage=self.checkpoint.calibration.coverage,
            present=Present(*scores.present),
            contribution={name: scores.contribution(m) for m, name in enumerate(MODALITIES)},
            alone={name: scores.alone(m) for m, name in enumerate(MODALITIES)},
            text=window.text,
            words=window.words,
            lag_ms=lags_ms(window, started_ns, made_ns),
            rest=rest,
        )


def own_share(statistics: Statistics | None, prior_s: float) -> float:
    """How much of what a participant is read against is their own, 0 to 1; all where a rest was taken."""
    if statistics is None:
        return 0.0
    if statistics.rest is not None:
        return 1.0
    return statistics.seconds / (statistics.seconds + prior_s) if prior_s > 0 else 1.0


def has_rest(window: Window) -> bool:
    """Whether the participant's resting face or voice is known in this window."""
    return any(statistics.rest is not None for statistics in window.statistics.values())


def without_rest(window: Window) -> Window:
    """The window as it would be without a resting baseline."""
    plain = {name: replace(own, rest=None) for name, own in window.statistics.items()}
    return replace(window, statistics=plain)


def lags_ms(window: Window, started_ns: int, made_ns: int) -> dict[str, float]:
    """Where the time went: ``capture`` (until the window was made), ``bus`` (until it was taken up),
    ``model``, and ``total`` from the window's end; without a live clock only ``model``."""
    lags = {"model": (made_ns - started_ns) / NS_PER_MS}
    if window.due_ns > 0:
        lags["capture"] = (window.made_ns - window.due_ns) / NS_PER_MS
        lags["bus"] = (started_ns - window.made_ns) / NS_PER_MS
        lags["total"] = (made_ns - window.due_ns) / NS_PER_MS
    return lags

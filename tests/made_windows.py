"""Windows made of seeded noise, for tests of the model room."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from features.messages import Ages, Present, Statistics, StreamData, Window
from features.samples import Word
from features.spec import LIVE, Spec, StreamSpec
from model.networks.inputs import Prior

EVERYTHING = Present(text=True, voice=True, face=True)


def make_stream(
    stream: StreamSpec, steps: int, rng: np.random.Generator, known: float
) -> StreamData:
    mask = rng.random(steps) < known
    values = rng.normal(size=(steps, stream.width)).astype(np.float32)
    values[~mask] = 0.0
    return StreamData(values, mask)


def make_window(
    seed: int = 0,
    text: str = "i am glad to be here",
    present: Present = EVERYTHING,
    participant: str = "me",
    seq: int = 0,
    revision: int = 0,
    due_ns: int = 0,
    made_ns: int = 0,
    spec: Spec = LIVE,
    known: float = 0.8,
    hidden: Sequence[str] = (),
) -> Window:
    """``known`` is the share of valid steps; streams in ``hidden`` are fully masked."""
    rng = np.random.default_rng(seed)
    streams = {
        s.name: make_stream(s, spec.steps(s.name), rng, 0.0 if s.name in hidden else known)
        for s in spec.streams
    }
    statistics = {
        s.name: Statistics(
            rng.normal(size=s.width).astype(np.float32),
            rng.uniform(0.5, 2.0, s.width).astype(np.float32),
            float(rng.uniform(1, 60)),
        )
        for s in spec.streams
    }
    return Window(
        session="s",
        participant=participant,
        source="test",
        start_s=seq * spec.hop_s,
        end_s=seq * spec.hop_s + spec.length_s,
        made_ns=made_ns,
        seq=seq,
        revision=revision,
        final=True,
        due_ns=due_ns,
        spec=spec.hash,
        text=text if present.text else "",
        words=(Word("glad", 1.0, 1.4),) if present.text else (),
        present=present,
        age_s=Ages(),
        streams=streams,
        statistics=statistics,
    )


def make_priors(spec: Spec = LIVE) -> dict[str, Prior]:
    return {
        s.name: Prior(np.zeros(s.width, np.float32), np.ones(s.width, np.float32), 10.0)
        for s in spec.streams
    }

"""The voice part alone, five times over: every actor of RAVDESS judged by a network never trained on them.

    python -m model.live.folds --data CORPORA [--seeds 5] [--out .cache/live_folds.json]

Four folds of actors train the voice's reading (:mod:`model.live.warmup`, with which every training
begins), the fifth judges it by the emotions read; priors and scales come from the training actors.
Five seeds, of which the mean is told: single ones differ by a point. Done folds are kept, so that a
killed run goes on.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Final

import msgspec
import numpy as np
import torch
import typer

from features.errors import CorpusError
from features.spec import FACE, LIVE
from model.corpora.text import TEST, TRAIN
from model.corpora.voice import VoiceClip, actor_of, feature_path, is_woman, load_voice, ravdess
from model.live.banks import Banks, FaceBank, TextBank, VoiceBank
from model.live.data import DataPlan, built_copies, windows_of
from model.live.faces import FaceMaker
from model.live.judging import voice_sides
from model.live.learning import new_network
from model.live.plan import DEFAULT_CACHE, SIZES, LivePlan
from model.live.samples import ClipVoice, Streams, voice_priors
from model.live.warmup import WarmUp
from model.metrics import ERROR, over_seeds
from model.networks.emotions import EMOTIONS
from model.networks.inputs import Prior
from model.networks.rtil import RTIL
from model.text.encoder import WIDTH as TEXT_WIDTH

logger = logging.getLogger(__name__)
FOLDS: Final = 5
SEEDS: Final = 5
DEFAULT_OUT: Final = Path(".cache/live_folds.json")
PLAN: Final = LivePlan(
    epochs=0, shares=(0.0, 1.0, 0.0, 0.0, 0.0, 0.0), warm_up=WarmUp(text=0, face=0)
)
STREAMS: Final = {"both streams": (), "descriptors": ("states_mask",), "states": ("voice_mask",)}


def folds_of(speakers: Sequence[str]) -> list[list[str]]:
    """The actors in five groups of both genders."""
    everyone = sorted(set(speakers))
    return [everyone[first::FOLDS] for first in range(FOLDS)]


def run_fold(
    clips: Sequence[VoiceClip], voices: Sequence[ClipVoice], judged: Sequence[str], plan: LivePlan
) -> dict[str, dict[str, float]]:
    """Train on the other actors, judge on ``judged`` as they are: measures by stream and by actor."""
    chance = np.random.default_rng(plan.data.seed)
    whole = [voice.whole() for voice in voices]
    apart = [actor_of(clip.speaker) in judged for clip in clips]
    learned = [i for i, own in enumerate(apart) if not own]
    known = [whole[i] for i in learned if clips[i].speed == 1.0]
    priors = voice_priors(known, plan.data.prior_s)
    split = [
        replace(clip, split=TEST if own else TRAIN) for clip, own in zip(clips, apart, strict=True)
    ]
    learning = _windows(split, voices, whole, learned, priors, plan.data, chance)
    network = new_network(learning, plan, SIZES[plan.size]).eval()
    tested = [i for i, own in enumerate(apart) if own and clips[i].speed == 1.0]
    banks = _windows(split, voices, whole, tested, priors, plan.data, chance)
    rows = np.arange(len(banks.voice.label))
    out = {}
    for name, hidden in STREAMS.items():
        masks = {key: np.zeros_like(getattr(banks.voice, key)) for key in hidden}
        own = replace(banks, voice=replace(banks.voice, **masks))
        out[name] = _read_sides(network, own, rows)
    for actor in judged:
        own_rows = np.flatnonzero(banks.voice.speaker == actor)
        out[f"actor {actor}"] = _read_sides(network, banks, own_rows)
    return out


def _read_sides(network: RTIL, banks: Banks, rows: np.ndarray) -> dict[str, float]:
    """What the reading gives; the score of all is not learned here."""
    found = voice_sides(network, banks, rows)
    return {key: value for key, value in found.items() if key == "n" or key.endswith("_read")}


def _windows(
    clips: Sequence[VoiceClip],
    voices: Sequence[ClipVoice],
    whole: Sequence[Streams],
    chosen: Sequence[int],
    priors: dict[str, Prior],
    data: DataPlan,
    chance: np.random.Generator,
) -> Banks:
    """Banks of voices alone."""
    voice = windows_of(
        [clips[i] for i in chosen], [voices[i] for i in chosen], [whole[i] for i in chosen],
        priors, data.variants, chance,
    )  # fmt: skip
    return only_voices(voice, priors)


def only_voices(voice: VoiceBank, priors: dict[str, Prior]) -> Banks:
    """Banks with one text and one face that belong to no split."""
    width = LIVE.stream(FACE).width
    nobody, nothing = np.array(["none"]), np.zeros((1, width), np.float32)
    zero = np.zeros(1, np.float32)
    text = TextBank(
        [np.zeros((1, TEXT_WIDTH))], zero, nobody, np.ones((1, len(EMOTIONS)), np.bool_)
    )
    face = FaceBank(nothing, zero, nobody, np.array([""]), np.array(["neutral"]), [None])
    prior = Prior(nothing[0], np.ones(width, np.float32), 1.0)
    return Banks(text, voice, face, FaceMaker(prior, nothing, nothing), {**priors, FACE: prior})


def over_folds(folds: Sequence[dict[str, dict[str, float]]]) -> dict[str, dict[str, float]]:
    """Means over the folds by stream, and of the actors the women, the men, and the spread; of both
    streams the standard errors over actors too."""
    out = {}
    for name in STREAMS:
        own = [fold[name] for fold in folds]
        means = {key: float(np.mean([part[key] for part in own])) for key in own[0]}
        out[name] = {**means, "n": float(sum(part["n"] for part in own))}
    actors = {name: own for fold in folds for name, own in fold.items() if name not in STREAMS}
    women = {name for name in actors if is_woman(name.removeprefix("actor "))}
    for group, names in {"women": women, "men": set(actors) - women}.items():
        keys = ("auc_read", "balanced_read")
        own = [actors[name] for name in sorted(names)]
        out[group] = {key: float(np.mean([part[key] for part in own])) for key in keys}
        out[group]["n"] = float(sum(part["n"] for part in own))
    whole = out[next(iter(STREAMS))]
    for key in ("auc_read", "balanced_read"):
        people = [own[key] for own in actors.values()]
        whole[f"{key}{ERROR}"] = float(np.std(people, ddof=1) / np.sqrt(len(people)))
    every = np.array([own["balanced_read"] for own in actors.values()])
    out["actors"] = {
        "n": float(len(every)), "least": float(every.min()), "greatest": float(every.max()),
        "sd": float(every.std()),
    }  # fmt: skip
    return out


def means(each: Sequence[dict[str, dict[str, float]]]) -> dict[str, dict[str, float]]:
    """Means of every measure over the seeds; how many there were and, of both streams, the deviations."""
    spreads = {name: over_seeds([own[name] for own in each]) for name in each[0]}
    out = {
        name: {key: own.mean for key, own in measures.items()} for name, measures in spreads.items()
    }
    streams = next(iter(STREAMS))
    if len(each) > 1:
        for key in ("auc_read", "balanced_read"):
            out[streams][f"{key}_sd"] = spreads[streams][key].deviation
    out[streams]["seeds"] = float(len(each))
    return out


def run(
    data: Path, cache: Path, out: Path, plan: LivePlan = PLAN, seeds: int = 1
) -> dict[str, dict[str, float]]:
    """All folds of the seeds from the plan's on, kept one by one in ``out``; gives :func:`means`."""
    clips = [clip for clip in ravdess(data) if feature_path(cache, clip).is_file()]
    if not clips:
        raise CorpusError(f"{cache}: no voices yet; run 'tonality corpora build'")
    groups = [own for own in folds_of([clip.speaker for clip in clips]) if own]
    if plan.data.copies:
        clips += built_copies(clips, cache)
    voices = [ClipVoice(load_voice(cache, clip)) for clip in clips]
    kept = json.loads(out.read_text(encoding="utf-8")) if out.is_file() else {}
    for own_plan in _seeded(plan, seeds):
        done = kept.setdefault(own_plan.key, [])
        for judged in groups[len(done) :]:
            done.append(run_fold(clips, voices, judged, own_plan))
            found = json.dumps(done[-1]["both streams"])
            logger.info("seed %d, actors %s: %s", own_plan.seed, ", ".join(judged), found)
            out.parent.mkdir(parents=True, exist_ok=True)
            part = out.with_suffix(".part")
            part.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
            part.replace(out)
    return means([over_folds(kept[own.key]) for own in _seeded(plan, seeds)])


def recorded(out: Path, plan: LivePlan = PLAN, seeds: int = SEEDS) -> dict[str, dict[str, float]]:
    """What :func:`run` left in ``out``, of the seeds that came to their end."""
    kept = json.loads(out.read_text(encoding="utf-8")) if out.is_file() else {}
    found = [kept.get(own.key, []) for own in _seeded(plan, seeds)]
    whole = [over_folds(done) for done in found if len(done) == FOLDS]
    return means(whole) if whole else {}


def _seeded(plan: LivePlan, seeds: int) -> list[LivePlan]:
    return [msgspec.structs.replace(plan, seed=plan.seed + more) for more in range(seeds)]


def main(
    data: Annotated[Path, typer.Option(help="Folder of the corpora.")],
    cache: Annotated[Path, typer.Option(help="Extracted features.")] = DEFAULT_CACHE,
    out: Annotated[Path, typer.Option(help="Where done folds are kept.")] = DEFAULT_OUT,
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds, from 0.")] = SEEDS,
    threads: Annotated[int, typer.Option(help="Threads of the arithmetic.")] = 1,
) -> None:
    """Judge the voice part on every actor, each left out of training."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(threads)
    for name, values in run(data, cache, out, seeds=seeds).items():
        logger.info("%s: %s", name, json.dumps({k: round(v, 3) for k, v in values.items()}))


if __name__ == "__main__":
    typer.run(main)

"""Scores of banked samples, and the measures by which training is steered and judged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Final

import numpy as np
import torch
from torch import Tensor

from features.messages import MODALITIES, Window
from features.samples import ActivityChunk, FaceQuality, FaceSample, VoiceChunk
from features.spec import LIVE, VOICE
from features.windows import Windower, WindowerConfig
from model.calibration import Calibration, calibrate
from model.corpora.text import VALID
from model.live.banks import NONE, VALID_HEARD, Banks
from model.metrics import ERROR, regression, standard_errors
from model.networks.emotions import EMOTIONS, happy_odds, positive_odds, side_logits
from model.networks.inputs import Prior, collate, prepare
from model.networks.rtil import RTIL, held_back
from model.text.encoder import WIDTH as TEXT_WIDTH

BATCH: Final = 128
VALID_VIDEO: Final = "01-01-01-01-01-01-09"
STILL: Final = 500  # validation pictures looked at after each epoch
SILENT_S: Final = 60.0
PICTURES_HZ: Final = 15
DESCRIPTORS_HZ: Final = 100
ACTIVITY_S: Final = 0.032
SYNTHETIC: Final = 1000  # windows put together to calibrate each subset with text
NEGATIVE: Final = ("angry", "sad", "fearful", "disgust", "anger", "sadness", "fear")
POSITIVE: Final = ("happy", "calm", "happiness")


@torch.inference_mode()
def score_rows(
    network: RTIL, banks: Banks, rows: np.ndarray, known: np.ndarray | None = None
) -> np.ndarray:
    """Fused scores ``(n,)`` of rows ``(n, 3)``: what the network says of exactly these modalities, voices
    held back as far as they are not ``known (n,)``, if that is given."""
    network.eval()
    out = [np.zeros(0, np.float32)]
    for i in range(0, len(rows), BATCH):
        batch = banks.batch(rows[i : i + BATCH])
        codes = network.encode(batch)
        if known is not None:
            share = torch.from_numpy(known[i : i + BATCH].astype(np.float32))
            codes = held_back(codes, 1, share)
        out.append(network.fuse(codes, batch.present).score.numpy())
    return np.concatenate(out)


@torch.inference_mode()
def read_rows(
    network: RTIL, banks: Banks, m: int, rows: np.ndarray, chance: np.random.Generator | None = None
) -> Tensor:
    """Logits ``(n, 8)`` of the emotions that modality ``m`` alone is read for, of rows of its bank;
    with ``chance`` faces come to live."""
    network.eval()
    whole = alone(m, rows)
    batches = (banks.batch(whole[i : i + BATCH], chance) for i in range(0, len(rows), BATCH))
    found = [network.encode(batch).readings[m][:, : len(EMOTIONS)] for batch in batches]
    return torch.cat([torch.zeros(0, len(EMOTIONS)), *found])


def sides_of(logits: Tensor) -> np.ndarray:
    """The likeliest side -1, 0, 1 of each row of ``(n, 8)``."""
    sides: np.ndarray = side_logits(logits).argmax(-1).numpy() - 1
    return sides


def alone(m: int, rows: np.ndarray) -> np.ndarray:
    """Rows of one modality's bank as ``(n, 3)`` with the others missing."""
    out = np.full((len(rows), len(MODALITIES)), NONE)
    out[:, m] = rows
    return out


def auc(positive: np.ndarray, negative: np.ndarray) -> float:
    """Chance that a positive's score is above a negative's (ties count half)."""
    if not len(positive) or not len(negative):
        return float("nan")
    difference = positive[:, None] - negative[None]
    return float((difference > 0).mean() + 0.5 * (difference == 0).mean())


def balanced(score: np.ndarray, truth: np.ndarray) -> float:
    """Mean over the classes of ``truth`` of the share that got its class."""
    return float(np.mean([(score[truth == kind] == kind).mean() for kind in np.unique(truth)]))


def two_sides(score: np.ndarray, emotion: np.ndarray) -> dict[str, float]:
    """Negative against positive acted emotions: AUC, and balanced accuracy of the score's sign."""
    positive, negative = np.isin(emotion, POSITIVE), np.isin(emotion, NEGATIVE)
    either = positive | negative
    happy = np.isin(emotion, ("happy", "happiness"))
    return {
        "n": int(either.sum()),
        "auc": auc(score[positive], score[negative]),
        "auc_happy": auc(score[happy], score[negative]),
        "balanced": balanced(score[either] > 0, positive[either]),
    }


def three_sides(sides: np.ndarray, emotion: np.ndarray) -> float:
    """Balanced accuracy of negative, neutral, positive faces; surprise has no side and is left out."""
    told = emotion != "surprise"
    truth = np.where(emotion == "happy", 1, np.where(emotion == "neutral", 0, -1))
    return balanced(sides[told], truth[told])


def video_windows(times_s: np.ndarray, faces: np.ndarray) -> list[Window]:
    """Live windows of a silent video's faces ``(n, 65)``."""
    config = WindowerConfig("video", "one", "file", voice=False, words=False, lossless=True)
    windower = Windower(config)
    for time_s, face in zip(times_s.tolist(), faces, strict=True):
        windower.add(FaceSample(time_s, FaceQuality.OK, 1, face))
    return windower.finish(float(times_s[-1]))


def silent_windows() -> list[Window]:
    """Live windows of a minute in which nobody is seen, and nothing is heard or said."""
    windower, stream = (
        Windower(WindowerConfig("s", "nobody", "file", lossless=True)),
        LIVE.stream(VOICE),
    )
    for picture in range(round(SILENT_S * PICTURES_HZ)):
        windower.add(FaceSample(picture / PICTURES_HZ, FaceQuality.NO_FACE))
    heard = np.zeros((round(SILENT_S * DESCRIPTORS_HZ), stream.width), np.float32)
    windower.add(VoiceChunk(0.0, 0, heard))
    windower.add(ActivityChunk(0.0, 0, np.zeros(round(SILENT_S / ACTIVITY_S), np.float32)))
    return windower.finish(SILENT_S)


@torch.inference_mode()
def score_windows(network: RTIL, windows: Sequence[Window], priors: dict[str, Prior]) -> np.ndarray:
    """Scores ``(n,)`` of windows without words, of those with any evidence."""
    network.eval()
    samples = [prepare(w.streams, w.statistics, w.present, priors, LIVE) for w in windows]
    samples = [sample for sample in samples if sample.present.any()]
    if not samples:
        return np.zeros(0, np.float32)
    empty = torch.zeros(len(samples), 1, TEXT_WIDTH)
    scores: np.ndarray = network(collate(samples, empty, empty[..., 0].bool())).numpy()
    return scores


def voice_sides(
    network: RTIL, banks: Banks, rows: np.ndarray, errors: bool = False
) -> dict[str, float]:
    """Voices alone, by the sign of the score and by the odds of what they are read for: of happy alone
    where only happy clips are told from negative ones. With ``errors`` also the standard errors, over
    speakers."""
    emotion = banks.voice.emotion[rows]
    logits = read_rows(network, banks, 1, rows)
    score = score_rows(network, banks, alone(1, rows))
    positive, happy = positive_odds(logits).numpy(), happy_odds(logits).numpy()

    def measures(chosen: np.ndarray) -> dict[str, float]:
        own = emotion[chosen]
        found = two_sides(positive[chosen], own)
        found["auc_happy"] = two_sides(happy[chosen], own)["auc_happy"]
        read = {f"{k}_read": v for k, v in found.items() if k != "n"}
        return {**two_sides(score[chosen], own), **read}

    whole = measures(np.arange(len(rows)))
    if errors:
        found = standard_errors(measures, banks.voice.speaker[rows])
        whole |= {key: value for key, value in found.items() if key != f"n{ERROR}"}
    return whole


def validate(
    network: RTIL, banks: Banks, videos: dict[str, tuple[np.ndarray, np.ndarray]]
) -> dict[str, float]:
    """Measures on validation parts, to be looked at: nothing is chosen by them."""
    text, voice, face = (np.flatnonzero(split == VALID) for split in banks.splits)
    found: dict[str, float] = {}
    if len(text):
        scores = score_rows(network, banks, alone(0, text))
        found["mosi_mae"] = regression(scores, banks.text.label[text])["mae"]
    if len(voice):
        found |= {
            f"voice_{k}": v for k, v in voice_sides(network, banks, voice).items() if k != "n"
        }
    still = face[banks.face.clip[face] == ""][:STILL]
    if len(still):
        scores = score_rows(network, banks, alone(2, still))
        found["face_mae"] = float(np.abs(scores - banks.face.label[still]).mean())
        sides = sides_of(read_rows(network, banks, 2, still))
        found["face_balanced"] = three_sides(sides, banks.face.emotion[still])
    if VALID_VIDEO in videos:
        windows = video_windows(*videos[VALID_VIDEO])
        found["neutral_face"] = float(score_windows(network, windows, banks.priors).mean())
    return found


def pair_rows(banks: Banks, split: str) -> np.ndarray:
    """``(n, 3)``: voice windows of a split with the face of the same clip."""
    place = {name: i for i, name in enumerate(banks.face.clip.tolist()) if name}
    found = [
        [NONE, int(v), place[name]]
        for v in np.flatnonzero(banks.voice.split == split)
        if (name := str(banks.voice.clip[v])) in place
    ]
    return np.array(found, np.int64).reshape(-1, len(MODALITIES))


def synthetic_rows(banks: Banks, split: str, members: Sequence[int], seed: int) -> np.ndarray:
    """``(1000, 3)``: texts of a split with a voice and a face of about the same label."""
    chance = np.random.default_rng([seed, 23, *members])
    own = [np.flatnonzero(part == split) for part in banks.splits]
    if any(len(own[m]) == 0 for m in members):
        return np.zeros((0, len(MODALITIES)), np.int64)
    rows = np.full((SYNTHETIC, len(MODALITIES)), NONE)
    rows[:, members[0]] = chance.choice(own[members[0]], SYNTHETIC)
    label = banks.labels[members[0]][rows[:, members[0]]]
    for m in members[1:]:
        there = banks.labels[m][own[m]]
        for i in range(SYNTHETIC):
            near = np.argsort(np.abs(there - label[i]), kind="stable")[:12]
            rows[i, m] = own[m][chance.choice(near)]
    return rows


def residuals(network: RTIL, banks: Banks, split: str, seed: int) -> dict[str, np.ndarray]:
    """Truth minus score by subset of modalities; the truth of several is their labels' mean, which
    weighs nothing as they agree."""
    cases = {name: alone(m, _of(banks, m, split)) for m, name in enumerate(MODALITIES)}
    cases["voice+face"] = pair_rows(banks, split)
    for members in ((0, 1), (0, 2), (0, 1, 2)):
        name = "+".join(MODALITIES[m] for m in members)
        cases[name] = synthetic_rows(banks, split, members, seed)
    out = {}
    for name, rows in cases.items():
        if len(rows):
            truth = banks.labels_of(rows).sum(1) / (rows >= 0).sum(1)
            out[name] = truth - score_rows(network, banks, rows)
    return out


def calibration(
    found: Mapping[str, np.ndarray], more: Mapping[str, np.ndarray] = MappingProxyType({})
) -> Calibration:
    """Intervals of 80 % from the residuals of validation parts, and from ``more``, by subset."""
    found = dict(found)
    found |= {k: np.concatenate([found[k], more[k]]) if k in found else more[k] for k in more}
    return no_bolder(calibrate(found))


def as_heard(banks: Banks) -> Banks:
    """Banks half of whose validating texts have words heard wrongly, as those have that intervals are
    wanted for live."""
    heard = banks.text.split == VALID_HEARD
    text = replace(banks.text, split=np.where(heard, VALID, banks.text.split))
    return replace(banks, text=text)


def no_bolder(table: Calibration) -> Calibration:
    """Subsets of text and more are never given less than the surest of their members has alone.

    They are calibrated on windows put together of parts that agree, which is easier than life.
    """
    widths = dict(table.half_widths)
    for name, half in widths.items():
        members = [widths[m] for m in name.split("+") if m in widths]
        if name.startswith("text+") and members:
            widths[name] = max(half, min(members))
    return Calibration(table.coverage, widths)


def _of(banks: Banks, m: int, split: str) -> np.ndarray:
    return np.flatnonzero(banks.splits[m] == split)

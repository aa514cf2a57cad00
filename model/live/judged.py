"""A network before the corpora it is judged on, and every measure that is taken of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from features.messages import MODALITIES
from features.spec import LIVE, VOICE
from model.calibration import Calibration
from model.corpora.text import TEST
from model.corpora.voice import is_woman
from model.live.banks import NEUTRAL_SPOKEN, NONE, Banks, VoiceBank
from model.live.judging import (
    alone,
    pair_rows,
    read_rows,
    residuals,
    score_rows,
    score_windows,
    sides_of,
    silent_windows,
    three_sides,
    two_sides,
    video_windows,
    voice_sides,
)
from model.metrics import ERROR, accuracy, pearson, regression, standard_errors, weighted_f1
from model.networks.rtil import RTIL

Measures = dict[str, dict[str, float]]
SUBSETS: Final = ([0], [1], [2], [0, 1], [0, 2], [1, 2], [0, 1, 2])


@dataclass(frozen=True, slots=True)
class Judged:
    """A network with what it was trained with, and the corpora it is judged on."""

    network: RTIL
    calibration: Calibration
    banks: Banks
    corpus: np.ndarray  # of each text

    def hearing(self, voice: VoiceBank) -> Judged:
        """The same with other voices."""
        return replace(self, banks=replace(self.banks, voice=voice))

    def texts(self) -> Measures:
        """Words alone."""
        out: Measures = {}
        for name in dict.fromkeys(self.corpus.tolist()):
            rows = np.flatnonzero(self.corpus == name)
            score, label = self.said(name)
            own = {**regression(score, label), **rated_errors(score, label)}
            if name.startswith("meld dev"):
                sides = sides_of(read_rows(self.network, self.banks, 0, rows))
                own = {"r": pearson(score, label), **classed(sides, np.sign(label))}
            out[f"text {name}"] = {"n": len(rows), **own}
        return out

    def said(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Scores and labels of one corpus' texts, by words alone."""
        rows = np.flatnonzero(self.corpus == name)
        return self._alone(0, rows), self.banks.text.label[rows]

    def voices(self, name: str) -> Measures:
        """The voice alone: both streams, and each without the other."""
        voice = self.banks.voice
        cases = {
            "both streams": voice,
            "descriptors": replace(voice, states_mask=np.zeros_like(voice.states_mask)),
            "states": replace(voice, voice_mask=np.zeros_like(voice.voice_mask)),
        }
        rows = np.arange(len(voice.label))
        return {
            f"voice {name}, {case}": voice_sides(
                self.network, replace(self.banks, voice=bank), rows, errors=True
            )
            for case, bank in cases.items()
        }

    def speakers(self, name: str) -> Measures:
        """The voice alone, by gender and by actor."""
        speaker = self.banks.voice.speaker
        women = np.array([is_woman(own) for own in speaker.tolist()])
        groups = {"women": women, "men": ~women}
        groups |= {f"actor {own}": speaker == own for own in sorted(set(speaker.tolist()))}
        return {
            f"voice {name}, {group}": voice_sides(self.network, self.banks, np.flatnonzero(chosen))
            for group, chosen in groups.items()
        }

    def faces(self) -> Measures:
        """Pictures alone, by the side that they are read for, and the same faces moving as live."""
        face = self.banks.face
        out: Measures = {}
        test = np.flatnonzero((face.clip == "") & (face.split == TEST))
        if len(test):
            sides = sides_of(read_rows(self.network, self.banks, 2, test))
            out["face fer2013 public test"] = {
                "n": int((face.emotion[test] != "surprise").sum()),
                "balanced_3": three_sides(sides, face.emotion[test]),
                **sided_errors(sides, face.emotion[test]),
                "mae": float(np.abs(self._alone(2, test) - face.label[test]).mean()),
            }
            moving = read_rows(self.network, self.banks, 2, test, np.random.default_rng(0))
            out["face fer2013 public test moving"] = {
                "n": out["face fer2013 public test"]["n"],
                "balanced_3": three_sides(sides_of(moving), face.emotion[test]),
            }
        return out

    def subsets(self) -> Measures:
        """Every subset of words, voice and face of the same real clips."""
        pairs = pair_rows(self.banks, TEST)
        sentences = np.flatnonzero(self.banks.text.split == NEUTRAL_SPOKEN)
        if not len(pairs) or not len(sentences):
            return {}
        pairs[:, 0] = sentences[np.arange(len(pairs)) % len(sentences)]
        emotion, label = (getattr(self.banks.voice, k)[pairs[:, 1]] for k in ("emotion", "label"))
        out: Measures = {}
        scores: dict[int, np.ndarray] = {}
        for members in SUBSETS:
            rows = np.full_like(pairs, NONE)
            rows[:, members] = pairs[:, members]
            score = score_rows(self.network, self.banks, rows)
            name = "clips " + "+".join(MODALITIES[m] for m in members)
            error = float(np.abs(score - label).mean())
            out[name] = {**two_sides(score, emotion), "mae": error}
            if len(members) == 1:
                scores[members[0]] = score
            else:
                best = max((scores[m] for m in members), key=lambda s: two_sides(s, emotion)["auc"])
                out[name] |= behind(score, best, emotion)
        return out

    def intervals(self) -> Measures:
        """How often the truth lies in the interval, and how wide it is."""
        out: Measures = {}
        for name, off in residuals(self.network, self.banks, TEST, 1).items():
            half = self.calibration.half_widths.get(name, 6.0)
            out[f"interval {name}"] = {
                "n": len(off),
                "half_width": half,
                "coverage": float((np.abs(off) <= half).mean()),
            }
        return out

    def first_words(self) -> Measures:
        """How often the truth lies in the interval of a voice that was never heard before, as live: held
        back, and wider, as far as it is not known yet."""
        voice = self.banks.voice
        rows = alone(1, np.arange(len(voice.label)))
        own_s = LIVE.length_s * voice.voice_mask.mean(1)
        known = own_s / (own_s + self.banks.priors[VOICE].seconds)
        off = voice.label - score_rows(self.network, self.banks, rows, known)
        half = np.array([self.calibration.half((False, True, False), own) for own in known])
        return {
            "first words held back": {
                "n": len(off),
                "half_width": float(half.mean()),
                "coverage": float((np.abs(off) <= half).mean()),
            }
        }

    def silence(self) -> Measures:
        """How many windows get a score in which there is no evidence."""
        windows = silent_windows()
        scored = score_windows(self.network, windows, self.banks.priors)
        return {"no evidence": {"n": len(windows), "scored": len(scored)}}

    def neutral(self, videos: dict[str, tuple[np.ndarray, np.ndarray]]) -> Measures:
        """What faces alone say of people who speak neutrally, window by window as live."""
        out: Measures = {}
        for name, (times_s, faces) in videos.items():
            score = score_windows(self.network, video_windows(times_s, faces), self.banks.priors)
            out[f"neutral face {name}"] = {
                "n": len(score), "mean": float(score.mean()), "sd": float(score.std()),
            }  # fmt: skip
        return out

    def swing(self) -> Measures:
        """How much the score of an actor's voice moves within clips that are said neutrally."""
        neutral = np.flatnonzero(self.banks.voice.emotion == "neutral")
        score, clip = self._alone(1, neutral), self.banks.voice.clip[neutral]
        own = [score[clip == name] for name in dict.fromkeys(clip.tolist())]
        spread = [float(part.std()) for part in own if len(part) > 1]
        mean = float(np.mean(spread)) if spread else 0.0
        most = max(spread, default=0.0)
        return {"swing of a neutral voice": {"n": len(spread), "sd": mean, "greatest": most}}

    def _alone(self, m: int, rows: np.ndarray) -> np.ndarray:
        return score_rows(self.network, self.banks, alone(m, rows))


def rated_errors(score: np.ndarray, label: np.ndarray) -> dict[str, float]:
    """Standard errors of MAE and of Acc-2 in both forms, over texts."""
    return standard_errors(lambda rows: rated(score[rows], label[rows]), np.arange(len(label)))


def apart_errors(score: np.ndarray, other: np.ndarray, label: np.ndarray) -> dict[str, float]:
    """Standard errors of how far two scores of the same texts are apart in these measures, as
    ``NAME_apart_se``: what one reads wrongly, the other often does too."""

    def apart(rows: np.ndarray) -> dict[str, float]:
        one, two = (rated(own[rows], label[rows]) for own in (score, other))
        return {f"{key}_apart": one[key] - two[key] for key in one}

    return standard_errors(apart, np.arange(len(label)))


def rated(score: np.ndarray, label: np.ndarray) -> dict[str, float]:
    """MAE and Acc-2 in both forms."""
    signed = label != 0
    return {
        "mae": float(np.abs(score - label).mean()),
        "acc2_has0": accuracy(score >= 0, label >= 0),
        "acc2_non0": accuracy(score[signed] > 0, label[signed] > 0),
    }


def classed(sides: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Weighted F1 of negative, neutral, positive, and its standard error over texts."""

    def measure(rows: np.ndarray) -> dict[str, float]:
        return {"weighted_f1_3": weighted_f1(sides[rows], truth[rows])}

    every = np.arange(len(truth))
    return {**measure(every), **standard_errors(measure, every)}


def sided_errors(sides: np.ndarray, emotion: np.ndarray) -> dict[str, float]:
    """Standard error of :func:`model.live.judging.three_sides`, over pictures."""
    return standard_errors(
        lambda rows: {"balanced_3": three_sides(sides[rows], emotion[rows])}, np.arange(len(sides))
    )


def behind(score: np.ndarray, best: np.ndarray, emotion: np.ndarray) -> dict[str, float]:
    """How far the AUC of ``score`` is below that of ``best`` on the same clips, and the deviation of
    that difference over clips drawn again (bootstrap)."""
    every = np.arange(len(score))

    def difference(rows: np.ndarray) -> dict[str, float]:
        ours, other = (two_sides(own[rows], emotion[rows])["auc"] for own in (score, best))
        return {"behind": other - ours}

    noise = standard_errors(difference, every)[f"behind{ERROR}"]
    return {**difference(every), "noise": noise}

"""Judge a live checkpoint on the corpora's test parts, which training never reads.

    python -m model.live_evaluation --data CORPORA [--cache .cache/corpora] [--checkpoint FOLDER]

Test parts are CMU-MOSI and SST test, MELD dev, held-out VADER texts, RAVDESS' actors 17 to 20, all of
EMO-DB (another language, never trained on) and FER2013's public test part. ``--record`` writes the
measures into the checkpoint.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Final

import numpy as np
import torch
import typer
from rich.console import Console
from rich.table import Table

from features.spec import FACE
from model.calibration import Calibration
from model.checkpoint import TEXT_ENCODER, Checkpoint, default_checkpoint
from model.corpora_face import FaceTable, load_fer, load_videos, speaking_faces
from model.corpora_text import TEST, TRAIN, VALID, TextSample, meld, mosi, part, sst, vader
from model.corpora_voice import VoiceClip, emodb, feature_path, load_voice, ravdess
from model.live_banks import Banks, FaceBank, TextBank, VoiceBank
from model.live_data import MAX_SPEECH_S, actor_statistics, upper_states, windows_of
from model.live_faces import FaceMaker
from model.live_judging import (
    alone,
    best_thresholds,
    pair_rows,
    residuals,
    score_rows,
    score_windows,
    three_sides,
    two_sides,
    video_windows,
)
from model.live_samples import ClipVoice
from model.metrics import pearson, regression, three_classes, weighted_f1
from model.rtil import RTIL
from model.text import TextEncoder
from model.text_lower import LowerActivations

Measures = dict[str, dict[str, float]]
MELD_THRESHOLD: Final = 0.75


@dataclass(frozen=True, slots=True)
class Judged:
    """A network with what it was trained with, and the corpora it is judged on."""

    network: RTIL
    calibration: Calibration
    banks: Banks
    corpus: np.ndarray  # of each text

    def texts(self) -> Measures:
        """Words alone."""
        out: Measures = {}
        for name in dict.fromkeys(self.corpus.tolist()):
            rows = np.flatnonzero(self.corpus == name)
            score, label = self._alone(0, rows), self.banks.text.label[rows]
            out[f"text {name}"] = {"n": len(rows), **regression(score, label)}
            if name == "meld dev":
                f1 = weighted_f1(three_classes(score, MELD_THRESHOLD), np.sign(label))
                out[f"text {name}"] = {
                    "n": len(rows), "r": pearson(score, label), "weighted_f1_3": f1,
                }  # fmt: skip
        return out

    def voices(self, name: str) -> Measures:
        """The voice alone: both streams, and each without the other."""
        voice = self.banks.voice
        cases = {
            "both streams": voice,
            "descriptors": replace(voice, states_mask=np.zeros_like(voice.states_mask)),
            "states": replace(voice, voice_mask=np.zeros_like(voice.voice_mask)),
        }
        rows = alone(1, np.arange(len(voice.label)))
        return {
            f"voice {name}, {case}": two_sides(
                score_rows(self.network, replace(self.banks, voice=bank), rows), voice.emotion
            )
            for case, bank in cases.items()
        }

    def faces(self) -> Measures:
        """Pictures alone (cuts between the three classes chosen on validation pictures), and voices
        with the faces of the same clips."""
        face = self.banks.face
        pictures = face.clip == ""
        out: Measures = {}
        valid, test = (np.flatnonzero(pictures & (face.split == s)) for s in (VALID, TEST))
        if len(valid) and len(test):
            cuts = best_thresholds(self._alone(2, valid), face.emotion[valid])
            score = self._alone(2, test)
            out["face fer2013 public test"] = {
                "n": int((face.emotion[test] != "surprise").sum()),
                "balanced_3": three_sides(score, face.emotion[test], cuts),
                "mae": float(np.abs(score - face.label[test]).mean()),
            }
        pairs = pair_rows(self.banks, TEST)
        if len(pairs):
            emotion = self.banks.voice.emotion[pairs[:, 1]]
            for name, columns in {"voice": [1], "face": [2], "voice+face": [1, 2]}.items():
                rows = np.full_like(pairs, -1)
                rows[:, columns] = pairs[:, columns]
                out[f"{name} ravdess pairs"] = two_sides(
                    score_rows(self.network, self.banks, rows), emotion
                )
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

    def neutral(self, videos: dict[str, tuple[np.ndarray, np.ndarray]]) -> Measures:
        """What faces alone say of people who speak neutrally, window by window as live."""
        out: Measures = {}
        for name, (times_s, faces) in videos.items():
            score = score_windows(self.network, video_windows(times_s, faces), self.banks.priors)
            out[f"neutral face {name}"] = {
                "n": len(score), "mean": float(score.mean()), "sd": float(score.std()),
            }  # fmt: skip
        return out

    def _alone(self, m: int, rows: np.ndarray) -> np.ndarray:
        return score_rows(self.network, self.banks, alone(m, rows))


def text_parts(data: Path) -> dict[str, list[TextSample]]:
    """The texts that are judged, by name."""
    return {
        "mosi test": part(mosi(data), TEST),
        "sst test": part(sst(data), TEST),
        "meld dev": part(meld(data), VALID),
        "vader held out": part(vader(data), VALID),
    }


def encoded(encoder: TextEncoder, samples: Sequence[TextSample], folder: Path) -> list[np.ndarray]:
    """Token states ``(tokens, 384) float16``; what the frozen layers give is kept in ``folder``."""
    lower = LowerActivations.compute(encoder, [sample.text for sample in samples], folder)
    return upper_states(encoder, lower, range(len(samples)))


def voices_of(
    clips: Sequence[VoiceClip], cache: Path, checkpoint: Checkpoint, past_s: float
) -> VoiceBank:
    """The fullest window of each clip, after ``past_s`` seconds of the same speaker's other clips."""
    clips = [clip for clip in clips if feature_path(cache, clip).is_file()]
    voices = [ClipVoice(load_voice(cache, clip)) for clip in clips]
    whole = [voice.whole() for voice in voices]
    chance = np.random.default_rng(0)
    priors = {name: prior for name, prior in checkpoint.priors.items() if name != FACE}
    return windows_of(clips, voices, whole, priors, 1, chance, lambda _: past_s)


def faces_of(data: Path, cache: Path, checkpoint: Checkpoint) -> tuple[FaceBank, FaceMaker]:
    """Test and validation pictures, and the faces of the actors who test."""
    fer = load_fer(data, cache)
    actors = speaking_faces(data, ravdess(data), fer.rows(fer.split == TRAIN))
    own = actor_statistics(actors, np.random.default_rng(0))
    used = np.flatnonzero(actors.split == TEST)
    ids = [clip.id for clip in ravdess(data)]
    pictures: FaceTable = fer.rows(fer.split != TRAIN)
    tables = [pictures, actors.rows(used)]
    count = len(pictures.label)
    bank = FaceBank(
        values=np.concatenate([t.values for t in tables]),
        label=np.concatenate([t.label for t in tables]),
        split=np.concatenate([t.split for t in tables]),
        clip=np.array([*[""] * count, *(ids[i] for i in used)]),
        emotion=np.concatenate([t.emotion for t in tables]),
        own=[*[None] * count, *(own[i] for i in used)],
    )
    nothing = np.zeros((1, fer.values.shape[1]), np.float32)
    return bank, FaceMaker(checkpoint.priors[FACE], nothing, nothing)


def evaluate(data: Path, cache: Path, checkpoint: Checkpoint, encoder: TextEncoder) -> Measures:
    """Every measure by name."""
    parts = text_parts(data)
    samples = [sample for texts in parts.values() for sample in texts]
    label = np.array([sample.label for sample in samples], np.float32)
    corpus = np.array([name for name, texts in parts.items() for _ in texts])
    split = np.where(corpus == "mosi test", TEST, "other")  # intervals are judged on MOSI
    text = TextBank(encoded(encoder, samples, cache / "text"), label, split)
    actors = [clip for clip in ravdess(data) if clip.split == TEST]
    face, maker = faces_of(data, cache, checkpoint)
    voice = voices_of(actors, cache, checkpoint, MAX_SPEECH_S)
    banks = Banks(text, voice, face, maker, dict(checkpoint.priors))
    judged = Judged(checkpoint.network, checkpoint.calibration, banks, corpus)
    out = {**judged.texts(), **judged.voices("ravdess, known speaker"), **judged.faces()}
    fresh = voices_of(actors, cache, checkpoint, 0.0)
    out |= replace(judged, banks=replace(banks, voice=fresh)).voices("ravdess, first words")
    german = [clip for clip in emodb(data) if feature_path(cache, clip).is_file()]
    if german:
        foreign = voices_of(german, cache, checkpoint, MAX_SPEECH_S)
        out |= replace(judged, banks=replace(banks, voice=foreign)).voices("emodb, known speaker")
    return {**out, **judged.neutral(load_videos(cache)), **judged.intervals()}


def table(measured: Measures) -> Table:
    """The measures for people."""
    shown = Table("what", "measures", title="live checkpoint on test parts")
    for name, values in measured.items():
        parts = [f"{k} {v:.0f}" if k == "n" else f"{k} {v:.3f}" for k, v in values.items()]
        shown.add_row(name, "  ".join(parts))
    return shown


def main(
    data: Annotated[Path, typer.Option(help="Folder of the corpora.")],
    cache: Annotated[Path, typer.Option(help="Extracted features.")] = Path(".cache/corpora"),
    checkpoint: Annotated[Path | None, typer.Option(help="Folder, if not the live one.")] = None,
    record: Annotated[bool, typer.Option(help="Write the measures into the checkpoint.")] = False,
    threads: Annotated[int, typer.Option(help="Threads of the arithmetic.")] = 1,
) -> None:
    """Judge a live checkpoint on test parts."""
    from features.assets import Assets

    torch.set_num_threads(threads)
    folder = checkpoint or default_checkpoint()
    loaded = Checkpoint.load(folder)
    encoder = TextEncoder.load(Assets(None).folder(TEXT_ENCODER), loaded.text)
    measured = evaluate(data, cache, loaded, encoder)
    Console(width=160).print(table(measured))
    if record:
        kept = {k: v for k, v in loaded.metrics.items() if k == "validation"}
        replace(loaded, metrics={**kept, **measured}).save(folder, torch.float16)


if __name__ == "__main__":
    typer.run(main)

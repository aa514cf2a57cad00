"""A capture worker whose conversation is written down: real messages, no camera and no models.

What the source names decides what happens: ``calm`` goes on for ever; ``fast`` does so at a
hundred times the speed, with words and pictures every tenth window; ``short`` ends after twelve windows; ``broken`` refuses; ``faceless`` loses
the face, ``voiceless`` the voice, ``wordless`` the words, ``nothing`` all three; ``unscored`` goes on
like ``calm``, but after sixteen windows none has a prediction, as where the inference worker hangs.
"""

from __future__ import annotations

import math
import sys
import time
from pathlib import Path

import cv2
import numpy as np

from capture.config import CaptureConfig
from capture.frames import FrameWriter
from features.errors import SourceError
from features.harness import Harness, run_worker
from features.messages import Lamp, Prediction, Present, Preview, Transcript
from features.samples import Word

HOP_S = 0.5
FAST = 100.0
FAST_HOPS = 10  # a transcript holds half a minute: more of them would say nothing new
SPEECH = [
    "well",
    "I",
    "must",
    "say",
    "this",
    "turned",
    "out",
    "far",
    "better",
    "than",
    "we",
    "had",
    "hoped",
    "and",
    "everyone",
    "was",
    "really",
    "happy",
    "with",
    "it",
    "but",
    "then",
    "the",
    "second",
    "part",
    "was",
    "a",
    "disaster",
    "honestly",
    "it",
    "was",
    "terrible",
    "and",
    "I",
    "hated",
    "it",
]
WORD_S = 0.42
SCORED = 16  # windows of ``unscored`` that have a prediction


def score_at(time_s: float) -> float:
    return 2.2 * math.sin(time_s / 7.0) + 0.3 * math.sin(time_s * 1.7)


def what(config: CaptureConfig) -> str:
    return Path(config.source).stem


class Script:
    """Everything that is known at a moment of media time."""

    def __init__(self, config: CaptureConfig) -> None:
        self.config = config
        self.made = 0

    def _about(self, start_s: float, end_s: float) -> dict[str, object]:
        return {
            "session": self.config.session,
            "participant": self.config.participant,
            "start_s": start_s,
            "end_s": end_s,
            "made_ns": time.monotonic_ns(),
        }

    def words(self, until_s: float) -> tuple[Word, ...]:
        if what(self.config) in ("wordless", "nothing"):
            return ()
        first = max(0, int((until_s - 30.0) / WORD_S))
        return tuple(
            Word(SPEECH[i % len(SPEECH)], i * WORD_S, i * WORD_S + 0.36, 0.9)
            for i in range(first, int(until_s / WORD_S))
            if not self.silent(i * WORD_S)
        )

    @staticmethod
    def silent(time_s: float) -> bool:
        return 26.0 <= time_s % 60.0 < 34.0

    def prediction(self, seq: int, revision: int) -> Prediction:
        end_s = (seq + 8) * HOP_S
        lost = what(self.config)
        face = lost not in ("faceless", "nothing") and not 20.0 <= end_s % 60.0 < 32.0
        heard = lost != "nothing" and not self.silent(end_s - 1.0)
        text = heard and lost != "wordless" and revision > 0
        present = Present(text=text, voice=heard and lost != "voiceless", face=face)
        score = score_at(end_s) if present.any() else None
        parts = {
            "text": 1.2 * (score or 0),
            "voice": 0.7 * (score or 0),
            "face": 0.4 * (score or 0),
        }
        width = 0.5 + 0.5 * (not face) + 0.4 * (not heard)
        return Prediction(
            **self._about(end_s - 4.0, end_s),
            source=self.config.source,
            seq=seq,
            revision=revision,
            final=revision > 0,
            sentiment=score,
            low=None if score is None else max(-3.0, score - width),
            high=None if score is None else min(3.0, score + width),
            coverage=0.8,
            present=present,
            contribution={k: 0.3 * v * getattr(present, k) for k, v in parts.items()},
            alone={k: v if getattr(present, k) else None for k, v in parts.items()},
            text=" ".join(word.text for word in self.words(end_s) if word.start_s > end_s - 4.0),
            words=(),
            lag_ms={"capture": 60.0, "wait": 210.0, "predict": 12.0, "total": 282.0},
        )

    def transcript(self, now_s: float) -> Transcript:
        stable, known = self.words(now_s - 2.0), self.words(now_s - 0.4)
        return Transcript(
            **self._about(max(0.0, now_s - 30.0), now_s),
            stable=stable,
            tentative=tuple(w for w in known if not stable or w.start_s > stable[-1].start_s),
            stable_until_s=now_s - 2.0,
        )

    def preview(self, now_s: float) -> Preview:
        image = np.zeros((180, 320, 3), np.uint8)
        image[:] = np.linspace(40, 110, 320).astype(np.uint8)[None, :, None]
        centre = (160 + round(30 * math.sin(now_s)), 90)
        cv2.ellipse(image, centre, (45, 62), 0, 0, 360, (120, 150, 190), -1)
        angle = np.linspace(0, 24 * math.pi, 478)
        radius = np.linspace(0.1, 1.0, 478)
        points = np.stack(
            [
                centre[0] / 320 + radius * np.cos(angle) * 45 / 320,
                0.5 + radius * np.sin(angle) * 62 / 180,
            ],
            axis=1,
        )
        face = what(self.config) not in ("faceless", "nothing")
        turned = (6 * math.sin(now_s / 3), 25 * math.sin(now_s / 2), 4 * math.sin(now_s))
        return Preview(
            **self._about(now_s, now_s),
            jpeg=cv2.imencode(".jpg", image)[1].tobytes(),
            landmarks=points.astype(np.float32) if face else np.zeros((0, 2), np.float32),
            quality="ok" if face else "no face",
            faces=int(face),
            expressions={"mouthSmileLeft": 0.6, "browInnerUp": 0.3} if face else {},
            pose_deg=turned if face else (),
        )

    def lamps(self, seq: int) -> dict[str, Lamp]:
        present = self.prediction(seq, 1).present
        return {
            "text": Lamp("present") if present.text else Lamp("missing", "no words yet"),
            "voice": Lamp("present") if present.voice else Lamp("missing", "no speech is heard"),
            "face": Lamp("present") if present.face else Lamp("missing", "no face"),
        }


def main(harness: Harness) -> None:
    config = harness.config(CaptureConfig)
    if what(config) == "broken":
        raise SourceError("webcam:7: no such camera; 'tonality devices' lists those there are")
    script = Script(config)
    frames = FrameWriter(config.frames) if config.frames else None
    speed = FAST if what(config) == "fast" else 1.0
    state, seq = "paused" if harness.paused else "running", 0
    ticks_per_hop = 5 if speed == 1.0 else 1
    while not harness.stop.is_set():
        while len(harness.commands):
            command = harness.commands.get(0.0)
            state = {"pause": "paused", "resume": "running"}.get(
                command.do if command else "", state
            )
        if state == "running":
            seq = _hop(harness, script, seq, ticks_per_hop, speed, frames)
        else:
            harness.stop.wait(0.05)
        harness.heartbeat(
            state,
            config.source,
            {"windows": seq, "pictures": round(seq * 15 * HOP_S)},
            {"fps": 15.0},
            script.lamps(seq),
            {"pictures skipped": 3 if seq > 2 else 0},
        )
        if what(config) == "short" and seq >= 12:
            harness.heartbeat("ended", "the source is over")
            return


def _hop(
    harness: Harness,
    script: Script,
    seq: int,
    ticks: int,
    speed: float,
    frames: FrameWriter | None,
) -> int:
    if what(script.config) != "unscored" or seq < SCORED:
        harness.publish(script.prediction(seq, 0))
        for earlier in (seq - 4,):
            if earlier >= 0:
                harness.publish(script.prediction(earlier, 1))
    now_s = (seq + 8) * HOP_S
    told = speed == 1.0 or seq % FAST_HOPS == 0
    if told:
        harness.publish(script.transcript(now_s))
    for tick in range(ticks):
        if told:
            harness.publish(script.preview(now_s + tick * HOP_S / ticks))
        if frames is not None:
            frames.write(now_s + tick * HOP_S / ticks, np.full((90, 160, 3), 128, np.uint8))
        harness.stop.wait(HOP_S / ticks / speed)
    return seq + 1


if __name__ == "__main__":
    sys.exit(run_worker(main))

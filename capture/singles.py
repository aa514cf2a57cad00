"""Windows of things without time: a still picture, a line of text.

They go through the live windower: a picture is a face that holds still for one window, a line is
words spoken evenly over one, with the punctuation that speech does not have. The other modalities are masked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from msgspec.structs import replace

from features.face import StillFaceExtractor
from features.messages import Window
from features.rest import Rest
from features.samples import FaceQuality, FaceSample, SpeechUpdate, Word
from features.spec import LIVE
from features.statistics import Moments
from features.text import written
from features.windows import Windower, WindowerConfig

STILL_HZ = 1.0  # how often a picture is shown to the windower, which joins faces up to 1.1 s apart


@dataclass(frozen=True, slots=True)
class Whose:
    """Whose picture or words these are, and what is known of them."""

    session: str
    participant: str
    source: str
    before: Mapping[str, Moments] = field(default_factory=dict)
    rest: Rest = field(default_factory=dict)

    def windower(self, *, face: bool, words: bool) -> Windower:
        """A fresh one, which expects only these."""
        config = WindowerConfig(
            session=self.session,
            participant=self.participant,
            source=self.source,
            face=face,
            voice=False,
            words=words,
            lossless=True,
        )
        return Windower(config, before=self.before, rest=self.rest)


class StillReader:
    """Pictures to windows, by the landmark model in its mode for single pictures."""

    def __init__(self, folder: Path) -> None:
        """Load the model; raises :class:`FeatureError`."""
        self._extractor = StillFaceExtractor(folder)

    def window(self, image: np.ndarray, whose: Whose) -> tuple[Window, FaceQuality, Moments]:
        """The one window of ``image (height, width, 3) uint8`` RGB, why it holds no face if it does
        not, and the moments of its face stream."""
        seen = self._extractor.sample(image)
        windower = whose.windower(face=True, words=False)
        for k in range(round(LIVE.length_s * STILL_HZ) + 1):
            windower.add(FaceSample(k / STILL_HZ, seen.quality, seen.faces, seen.values))
        window = windower.finish(LIVE.length_s)[-1]
        return _alone(window), seen.quality, windower.moments()["face"]

    def close(self) -> None:
        """Release the model; safe to call twice."""
        self._extractor.close()


def text_window(line: str, whose: Whose, seq: int = 0) -> Window:
    """The one window of a line of text, read as it was written; without a word nothing is present."""
    words = line.split()
    step_s = LIVE.length_s / max(1, len(words))
    spoken = tuple(Word(word, k * step_s, (k + 1) * step_s) for k, word in enumerate(words))
    windower = whose.windower(face=False, words=True)
    windower.add(SpeechUpdate(spoken, (), LIVE.length_s, LIVE.length_s))
    window = _alone(windower.finish(LIVE.length_s)[-1], seq)
    return replace(window, text=written(line))


def _alone(window: Window, seq: int = 0) -> Window:
    """The window as the only one, or one of many lines."""
    return replace(window, seq=seq)

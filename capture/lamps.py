"""For people: which modality is there right now, and why not."""

from __future__ import annotations

from capture.config import CaptureConfig
from features.messages import Lamp, Window
from features.samples import FaceQuality, FaceSample, Lost, Returned, SpeechUpdate
from features.windows import Sample

STALE_S = 2.0  # a stream silent for longer is called stale


class Lamps:
    """Follows the samples of one participant and says the state of text, voice and face."""

    def __init__(self, config: CaptureConfig) -> None:
        self._off = {
            "text": "" if config.sound and config.words else "switched off",
            "voice": "" if config.sound and config.voice else "switched off",
            "face": "" if config.picture else "switched off",
        }
        self.paused = False
        self._lost: dict[str, str] = {}
        self._face: FaceSample | None = None
        self._heard_until_s = 0.0
        self._window: Window | None = None

    def expect(self, face: bool, voice: bool) -> None:
        """Say what the opened source has."""
        if not face:
            self._off["face"] = self._off["face"] or "the source has no picture"
        if not voice:
            self._off["voice"] = self._off["voice"] or "the source has no sound"
            self._off["text"] = self._off["text"] or "the source has no sound"

    def see(self, sample: Sample) -> None:
        """Take a sample on its way to the windower."""
        if isinstance(sample, FaceSample):
            self._face = sample
        elif isinstance(sample, SpeechUpdate):
            self._heard_until_s = sample.heard_until_s
        elif isinstance(sample, Lost):
            self._lost[sample.modality] = sample.reason
        elif isinstance(sample, Returned):
            self._lost.pop(sample.modality, None)

    def window(self, window: Window) -> None:
        """Take the newest window."""
        if self._window is None or window.seq >= self._window.seq:
            self._window = window

    def state(self) -> dict[str, Lamp]:
        """The lamps as they stand now."""
        return {"text": self._text(), "voice": self._voice(), "face": self._face_lamp()}

    def _missing(self, name: str, medium: str) -> Lamp | None:
        if self._off[name]:
            return Lamp("off", self._off[name])
        if self.paused:
            return Lamp("missing", "paused")
        if medium in self._lost:
            return Lamp("missing", self._lost[medium])
        return None

    def _face_lamp(self) -> Lamp:
        missing = self._missing("face", "picture")
        if missing is not None:
            return missing
        if self._face is None:
            return Lamp("missing", "no picture yet")
        if self._window is not None and self._window.end_s - self._face.time_s > STALE_S:
            return Lamp("stale", f"no picture for {self._window.end_s - self._face.time_s:.0f} s")
        if self._face.quality is not FaceQuality.OK:
            return Lamp("missing", self._face.quality.value)
        return Lamp("present", "" if self._face.faces < 2 else f"the largest of {self._face.faces}")

    def _voice(self) -> Lamp:
        missing = self._missing("voice", "sound")
        if missing is not None:
            return missing
        if self._window is not None and self._window.present.voice:
            return Lamp("present")
        return Lamp("missing", "no speech is heard")

    def _text(self) -> Lamp:
        missing = self._missing("text", "sound")
        if missing is not None:
            return missing
        behind_s = 0.0 if self._window is None else self._window.end_s - self._heard_until_s
        if self._heard_until_s > 0 and behind_s > 3 * STALE_S:
            return Lamp("stale", f"the recogniser is {behind_s:.0f} s behind")
        if self._window is not None and self._window.present.text:
            return Lamp("present")
        return Lamp("missing", "no words yet")

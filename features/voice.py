"""Voice: eGeMAPSv02 low-level descriptors as one endless openSMILE stream.

One thread writes sound into openSMILE's external source, ``run()`` works in another, an external
sink calls back per frame. The numbers are those of a run over the whole recording, to the last bit.
Feature set: Eyben et al., "The Geneva Minimalistic Acoustic Parameter Set (GeMAPS) for voice
research and affective computing", IEEE Transactions on Affective Computing 7(2), 2016.
"""

from __future__ import annotations

import atexit
import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from features.errors import FeatureError
from features.samples import VoiceChunk
from features.spec import DESCRIPTORS
from features.threads import OwnedThread

logger = logging.getLogger(__name__)

SAMPLE_RATE_HZ = 16_000
SAMPLES_PER_FRAME = 160
FULL_SCALE = 32_768
PIECE_SAMPLES = 1_600  # a write larger than the ring would never be taken
LAG_FRAMES = 10  # openSMILE gives a frame 7 to 10 frames after its sound (measured)
GROUP_FRAMES = 50
STALL_S = 30.0
CLOSE_S = 5.0
SOURCE, SINK = "extsource", "extsink"


class VoiceExtractor:
    """Sound in, descriptors out, in frames of 10 ms numbered from 0.

    ``on_chunk`` is called from a thread of the extractor with at least one frame at a time, and may
    block: :meth:`feed` then blocks too, no sound is dropped. What it raises is raised by the next
    call of :meth:`feed` or :meth:`finish`. Feeding, finishing and closing belong to one thread.
    """

    def __init__(self, on_chunk: Callable[[VoiceChunk], None], origin_s: float = 0.0) -> None:
        self._on_chunk = on_chunk
        self._origin_s = origin_s
        self._pending: list[np.ndarray] = []
        self._delivered = 0
        self._fed = 0
        self._finished = False
        self._error: Exception | None = None
        self._progress = threading.Event()
        self._smile = _open_smile()
        try:
            _check_names(self._smile)
            self._smile.external_sink_set_callback_ex(SINK, self._receive)
        except BaseException:
            self._smile.free()
            raise
        self._thread = OwnedThread("voice", self._run, on_exit=self._progress.set).start()
        # A thread inside native code when the interpreter ends would abort the whole process.
        atexit.register(self.close)

    def feed(self, samples: np.ndarray) -> None:
        """Hand in the next ``(n,) float32`` samples in -1..1 at 16 kHz; louder ones are clipped.

        Blocks while openSMILE is behind. Raises :class:`FeatureError` when openSMILE failed or took
        nothing for 30 s, when a sample is not a number, and after :meth:`finish` or :meth:`close`.
        """
        if self._finished:
            raise FeatureError("voice: sound was fed after the end")
        data = _to_pcm(samples)
        for start in range(0, len(data), PIECE_SAMPLES):
            self._write(data[start : start + PIECE_SAMPLES])

    def finish(self, timeout_s: float = 30.0) -> None:
        """End of the sound: returns when every frame was given out; then releases openSMILE.

        Sound of less than 60 ms has no frame. Raises :class:`FeatureError` when openSMILE failed or
        is not done after ``timeout_s``, and whatever ``on_chunk`` raised. A second call does nothing.
        """
        if self._finished:
            return
        self._finished = True
        self._end_input()
        if not self._thread.join(timeout_s):
            self._abort()
            raise FeatureError(f"voice: openSMILE did not finish within {timeout_s:g} s")
        self._free()
        self._thread.check()

    def close(self) -> None:
        """Stop without the remaining frames and release openSMILE; safe to call twice."""
        self._finished = True
        if self._smile is None:
            return
        self._thread.stop.set()
        deadline = time.monotonic() + CLOSE_S
        # An abort is refused until run() has begun, so it is repeated until the thread has ended.
        while not self._thread.join(0.0) and time.monotonic() < deadline:
            self._abort()
            self._thread.join(0.01)
        try:
            self._thread.close(timeout_s=0.0)
        finally:
            self._free()

    def _write(self, piece: np.ndarray) -> None:
        data = piece.tobytes()
        deadline = time.monotonic() + STALL_S
        while True:
            self._progress.clear()
            self._check()
            # Counted before the write, so that the frames it gives find the count raised.
            self._fed += len(piece)
            if self._smile.external_audio_source_write_data(SOURCE, data):
                return
            self._fed -= len(piece)
            if self._progress.wait(0.05):
                deadline = time.monotonic() + STALL_S
            elif time.monotonic() > deadline:
                raise FeatureError(f"voice: openSMILE took no sound for {STALL_S:g} s")

    def _end_input(self) -> None:
        from opensmile.core.lib import OpenSmileException

        try:
            self._smile.external_audio_source_set_eoi(SOURCE)
        except OpenSmileException:
            # Refused where the run is over already; its own error is raised after the join.
            logger.debug("voice: end of input refused", exc_info=True)

    def _abort(self) -> None:
        from opensmile.core.lib import OpenSmileException

        try:
            self._smile.abort()
        except OpenSmileException:
            logger.debug("voice: abort refused", exc_info=True)

    def _check(self) -> None:
        if not self._thread.alive:
            self._thread.check()
            raise FeatureError("voice: openSMILE stopped before the end of the sound")

    def _run(self, stop: threading.Event) -> None:
        from opensmile.core.lib import OpenSmileException

        try:
            self._smile.run()
        except OpenSmileException as error:
            if self._error is None:
                raise FeatureError(f"voice: openSMILE failed: {error}") from error
        if self._error is None and not stop.is_set():
            self._emit()
        if self._error is not None:
            raise self._error

    def _receive(self, frames: np.ndarray, _meta: Any) -> None:
        # Called by native code, through which no exception can pass: kept, and raised by _run.
        if self._error is not None:
            return
        try:
            self._pending.append(frames.copy())
            self._progress.set()
            ready = self._delivered + len(self._pending)
            behind = self._fed // SAMPLES_PER_FRAME - ready
            if behind <= LAG_FRAMES or len(self._pending) >= GROUP_FRAMES:
                self._emit()
        except Exception as error:
            logger.debug("voice: on_chunk failed", exc_info=True)
            self._error = error
            self._abort()

    def _emit(self) -> None:
        if not self._pending:
            return
        values = np.concatenate(self._pending)
        chunk = VoiceChunk(self._origin_s, self._delivered, values)
        self._delivered += len(values)
        self._pending.clear()
        self._on_chunk(chunk)

    def _free(self) -> None:
        # Freeing under a running thread would crash the process; a thread that stays is leaked.
        if self._smile is not None and not self._thread.alive:
            self._smile.free()
            self._smile = None
            atexit.unregister(self.close)


def _to_pcm(samples: np.ndarray) -> np.ndarray:
    """16-bit samples as the opensmile package makes them (truncated), but clipped, not wrapped."""
    if samples.ndim != 1:
        raise FeatureError(f"voice: sound must have one axis, got shape {samples.shape}")
    if not np.isfinite(samples).all():
        raise FeatureError("voice: the sound holds values that are not numbers")
    scaled = samples.astype(np.float32, copy=False) * np.float32(FULL_SCALE)
    pcm: np.ndarray = np.clip(scaled, -FULL_SCALE, FULL_SCALE - 1).astype(np.int16)
    return pcm


def _open_smile() -> Any:
    """An openSMILE that writes no log anywhere, initialised with our two rings."""
    import opensmile
    from opensmile.core.lib import OpenSMILE, OpenSmileException

    theirs = Path(opensmile.__file__).parent / "core" / "config"
    ours = Path(__file__).parent
    options = {
        "source": ours / "voice_source.conf",
        "sink": theirs / "shared" / "standard_external_data_output_single.conf.inc",
        "sinkLevel": "lld",
        "bufferModeConf": ours / "voice_ring.conf",
        "bufferModeRbConf": theirs / "shared" / "BufferModeRb.conf.inc",
        "frameModeFunctionalsConf": theirs / "shared" / "FrameModeFunctionals.conf.inc",
        "sampleRate": SAMPLE_RATE_HZ,
        "nBits": 16,
    }
    smile = OpenSMILE()
    try:
        smile.initialize(str(theirs / "egemaps" / "v02" / "eGeMAPSv02.conf"), options, loglevel=0)
    except UnicodeEncodeError as error:
        raise FeatureError(
            f"voice: openSMILE cannot read the folder {theirs}: install below a path of ASCII letters"
        ) from error
    except OpenSmileException as error:
        smile.free()
        raise FeatureError(f"voice: openSMILE cannot start: {error}") from error
    return smile


def _check_names(smile: Any) -> None:
    """Refuse an openSMILE whose columns are not those of the spec."""
    count = smile.external_sink_get_num_elements(SINK)
    names = tuple(smile.external_sink_get_element_name(SINK, i) for i in range(count))
    if names != DESCRIPTORS:
        different = [f"{a} for {b}" for a, b in zip(names, DESCRIPTORS, strict=False) if a != b]
        raise FeatureError(
            f"voice: openSMILE gives {count} descriptors, {len(DESCRIPTORS)} are known; "
            f"different: {', '.join(different) or 'none'}; install opensmile 2.6.0"
        )

"""From a source to messages: the reader, the extractor stages, and the windower behind them.

One :class:`Pipeline` serves one participant. It is the same code live and for files read as fast as
possible; the only difference is what a full queue does: live, pictures give way to newer ones and
the recogniser skips passes; lossless, whoever is faster waits.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from typing import Any, Protocol

import numpy as np

from capture.config import CaptureConfig
from capture.lamps import Lamps
from capture.previews import make_preview
from capture.reader import Reader
from capture.source import Source
from capture.stages import FaceStage, SpeechStage, Stage, VoiceStage, put_until, stages_error
from features.assets import Assets
from features.clock import NS_PER_S, Clock, SystemClock
from features.messages import Preview, Transcript, Window
from features.participants import Participant
from features.queues import BoundedQueue, DropPolicy
from features.rest import REST_S, Rest
from features.samples import ActivityChunk, Counters, SpeechUpdate, Word
from features.statistics import Moments
from features.windows import Sample, Windower, WindowerConfig

PICTURES_QUEUED = 8
SOUND_QUEUED = 600  # chunks of 0.1 s: a minute of sound before the reader has to wait
SAMPLES_QUEUED = 4096
TICK_S = 0.05  # how often live windows are looked at when nothing arrives
TRANSCRIPT_S = 30.0
DRAIN_S = 2.0  # after a stop, how long the stages may still finish what is queued
SKIPPED, UNREAD = "passes_skipped", "stretches_unread"


class Closeable(Protocol):
    """Anything that must be released."""

    def close(self) -> None:
        """Release."""


class Pipeline:
    """Runs the extractors over a source. Use: ``for message in pipeline.messages(stop): ...``.

    ``known`` is what is kept of the participant from earlier recordings; ``rest`` was taken earlier in
    this session, by a worker that died, and is not taken again.

    Attributes:
        counters: what was dropped, skipped or late, by name.
        lamps: what is there of text, voice and face, for people.
    """

    def __init__(
        self,
        config: CaptureConfig,
        source: Source,
        assets: Assets | None = None,
        clock: Clock | None = None,
        known: Participant | None = None,
        rest: Rest | None = None,
    ) -> None:
        self.config = config
        self.source = source
        self._known = known
        self._rest = rest or {}
        self.counters = Counters()
        self.lamps = Lamps(config)
        self._assets = assets or Assets()
        self._clock = clock or SystemClock()
        self._samples: BoundedQueue[Sample] = BoundedQueue(SAMPLES_QUEUED, DropPolicy.BLOCK)
        self._previews: BoundedQueue[Preview] = BoundedQueue(2, DropPolicy.NEWEST_WINS)
        self._stop = threading.Event()
        self._stages: list[Stage[Any]] = []
        self._reader: Reader | None = None
        self._paused = False
        self._unused: list[Closeable] = []  # extractors that no stage has taken over
        self._face: FaceStage | None = None
        self._voice: VoiceStage | None = None
        self._speech: SpeechStage | None = None
        self._words: list[Word] = []
        self._windower: Windower | None = None

    def messages(
        self, stop: threading.Event | None = None, on_tick: Callable[[], None] | None = None
    ) -> Generator[Window | Transcript | Preview, None, None]:
        """Windows, transcripts and previews until the source ends or ``stop`` is set.

        ``on_tick`` is called in this thread several times a second, whether or not anything came.
        Opens the source and loads the models first. Raises :class:`TonalityError` when the source or
        an extractor fails; everything is released however the iteration ends.
        """
        stop = stop or threading.Event()
        try:
            self._load()
            self.source.open()
            self._build()
            self._reader = Reader(
                self.source,
                None if self._face is None else self._face.queue,
                None if self._voice is None else self._voice.queue,
                self._outlet,
            )
            self._windower = self._make_windower()
            if self.config.rest_s and not self._rest:
                self._windower.resting.begin(0.0, self.config.rest_s)
            if on_tick is not None:
                on_tick()  # a pause that was ordered while the models loaded holds from the first item
            self.pause(self._paused)
            for thread in (self._reader.thread, *(s.thread for s in self._stages)):
                thread.start()
            yield from self._assemble(self._reader, self._windower, stop, on_tick)
        finally:
            self.close()

    def _load(self) -> None:
        """Load the models before the source starts, so that no live second is lost to loading."""
        from features.activity import SpeechActivity
        from features.face import FaceExtractor
        from features.speech import SpeechExtractor

        if self.config.picture:
            self._face_extractor = FaceExtractor(self._assets.folder("face-landmarker"))
            self._unused.append(self._face_extractor)
        if self.config.sound:
            self._activity = SpeechActivity()
        if self.config.sound and self.config.words:
            folder = self._assets.folder(f"whisper-{self.config.recogniser}")
            self._speech_extractor = SpeechExtractor(folder, language=self.config.language)
            self._unused.append(self._speech_extractor)

    def _build(self) -> None:
        """Make the stages that this source can feed."""
        live = self.source.live
        if self.config.picture and self.source.has_picture:
            policy = DropPolicy.NEWEST_WINS if live else DropPolicy.BLOCK
            self._face = FaceStage(
                BoundedQueue(PICTURES_QUEUED, policy),
                self._outlet,
                self._face_extractor,
                self._previews if self.config.preview else None,
                self._preview,
            )
            self._stages.append(self._face)
            self._unused.remove(self._face_extractor)
        if self.config.sound and self.source.has_sound:
            onward: BoundedQueue[tuple[np.ndarray, ActivityChunk | None]] | None = None
            if self.config.words:
                onward = BoundedQueue(SOUND_QUEUED, DropPolicy.BLOCK)
                self._speech = SpeechStage(onward, self._outlet, self._speech_extractor, live)
                self._stages.append(self._speech)
                self._unused.remove(self._speech_extractor)
            sound: BoundedQueue[np.ndarray] = BoundedQueue(SOUND_QUEUED, DropPolicy.BLOCK)
            self._voice = VoiceStage(sound, self._outlet, self._activity, self.config.voice, onward)
            self._stages.append(self._voice)
        self.lamps.expect(face=self._face is not None, voice=self._voice is not None)

    def _outlet(self, sample: Sample) -> None:
        put_until(self._samples, sample, self._stop)

    def _preview(self, image: np.ndarray, sample: Any) -> Preview:
        config = self.config
        return make_preview(image, sample, config.session, config.participant, self._clock.now_ns())

    def pause(self, paused: bool = True) -> None:
        """Look and listen no more, or again; also before the first message.

        The session's clock goes on. Call from the thread that takes the messages.
        """
        self._paused = paused
        self.lamps.paused = paused
        if self._reader is not None and self._windower is not None:
            (self._reader.paused.set if paused else self._reader.paused.clear)()
            self._windower.pause(paused)

    def resume(self) -> None:
        """Look and listen again."""
        self.pause(False)

    def rest(self, seconds: float = REST_S) -> None:
        """Take the next ``seconds`` as the participant's resting face and voice.

        Call from the thread that takes the messages; before the source is open it does nothing.
        """
        if self._reader is not None and self._windower is not None:
            self._windower.resting.begin(self._reader.position_s, seconds)

    def resting(self) -> tuple[Rest, dict[str, float]]:
        """Means at rest by stream, and the seconds behind those that were taken here."""
        if self._windower is None:
            return {}, {}
        return self._windower.resting.means, self._windower.resting.seconds

    def moments(self) -> dict[str, Moments]:
        """What this recording itself said about the participant so far, by stream."""
        return {} if self._windower is None else self._windower.moments()

    @property
    def position_s(self) -> float:
        """Media time that has been read from the source."""
        return 0.0 if self._reader is None else self._reader.position_s

    def _assemble(
        self,
        reader: Reader,
        windower: Windower,
        stop: threading.Event,
        on_tick: Callable[[], None] | None,
    ) -> Iterator[Window | Transcript | Preview]:
        """Samples to windows, in the caller's thread."""
        while True:
            if stop.is_set():
                yield from self._leave(reader, windower)
                return
            if on_tick is not None:
                on_tick()
            running = reader.thread.alive or any(s.thread.alive for s in self._stages)
            sample = self._samples.get(TICK_S)
            if sample is not None:
                yield from self._take(sample, windower)
            yield from self._drain_previews()
            windower.origin_ns = self.source.origin_ns
            if windower.origin_ns or not self.source.live:
                yield from self._count(windower.advance(self._now_s(reader)))
            self._raise_failures(reader)
            if sample is None and not running and not len(self._samples):
                end_s = reader.position_s if reader.end_s is None else reader.end_s
                yield from self._count(windower.finish(end_s))
                return

    def _leave(self, reader: Reader, windower: Windower) -> Iterator[Window | Transcript]:
        """Stopped by the user: what was said and seen until now still becomes final."""
        reader.close()
        deadline_ns = self._clock.now_ns() + round(DRAIN_S * NS_PER_S)
        while any(s.thread.alive for s in self._stages) and self._clock.now_ns() < deadline_ns:
            sample = self._samples.get(TICK_S)
            if sample is not None:
                yield from self._take(sample, windower)
        while len(self._samples):
            sample = self._samples.get(0.0)
            if sample is not None:
                yield from self._take(sample, windower)
        yield from self._count(windower.finish(reader.position_s))

    def _make_windower(self) -> Windower:
        return Windower(
            WindowerConfig(
                session=self.config.session,
                participant=self.config.participant,
                source=self.source.name,
                face=self._face is not None,
                voice=self._voice is not None and self.config.voice,
                words=self._speech is not None,
                lossless=not self.source.live,
            ),
            clock=self._clock,
            before=None if self._known is None else self._known.before(),
            rest=self._rest or (None if self._known is None else self._known.resting()),
        )

    def _now_s(self, reader: Reader) -> float:
        if not self.source.live:
            return 0.0  # lossless windows ask their streams, not the clock
        now_s = (self._clock.now_ns() - self.source.origin_ns) / NS_PER_S
        return now_s if reader.end_s is None else min(now_s, reader.end_s)  # none after the end

    def _take(self, sample: Sample, windower: Windower) -> Iterator[Transcript]:
        self.lamps.see(sample)
        windower.add(sample)
        if isinstance(sample, SpeechUpdate):
            yield self._transcript(sample)

    def _transcript(self, update: SpeechUpdate) -> Transcript:
        oldest_s = update.heard_until_s - TRANSCRIPT_S
        self._words = [w for w in (*self._words, *update.stable) if w.end_s >= oldest_s]
        return Transcript(
            session=self.config.session,
            participant=self.config.participant,
            start_s=max(0.0, oldest_s),
            end_s=update.heard_until_s,
            made_ns=self._clock.now_ns(),
            stable=tuple(self._words),
            tentative=update.tentative,
            stable_until_s=update.stable_until_s,
        )

    def _drain_previews(self) -> Iterator[Preview]:
        while len(self._previews):
            preview = self._previews.get(0.0)
            if preview is not None:
                yield preview

    def _count(self, windows: list[Window]) -> Iterator[Window]:
        for window in windows:
            self.counters.add("windows", window.final)
            self.counters.add("revisions", window.revision > 0)
            self.lamps.window(window)
            yield window

    def _raise_failures(self, reader: Reader) -> None:
        reader.thread.check()
        error = stages_error(self._stages)
        if error is not None:
            raise error

    def counted(self) -> dict[str, int]:
        """What was done, by name."""
        counts = dict(self.counters.counts)
        if self._face is not None:
            counts["pictures"] = self._face.done
        if self._speech is not None:
            counts.update(self._speech.extractor.counters.counts)
            for name in (SKIPPED, UNREAD):  # told among the losses
                counts.pop(name, None)
        return counts

    def losses(self) -> dict[str, int]:
        """All that was dropped, skipped or came too late, by name; zeros are left out."""
        lost = dict(self.source.dropped)
        if self._face is not None:
            lost["pictures skipped"] = self._face.queue.dropped
        if self._speech is not None:
            counts = self._speech.extractor.counters.counts
            lost["recogniser passes skipped"] = counts.get(SKIPPED, 0)
            lost["stretches of speech not read"] = counts.get(UNREAD, 0)
        if self._windower is not None:
            lost["windows closed before all was in"] = self._windower.late_windows
        return {name: count for name, count in lost.items() if count}

    def gauges(self) -> dict[str, float]:
        """Momentary figures: how far the media is, what waits, milliseconds per item and stage."""
        gauges: dict[str, float] = {"media s": round(self.position_s, 1), **self.source.gauges}
        if self._speech is not None:
            gauges["speech waiting s"] = round(self._speech.waiting_s, 2)
        if self._windower is not None:
            gauges.update(self._windower.resting.gauges())
        for stage in self._stages:
            gauges.update({name: round(value, 2) for name, value in stage.gauges().items()})
        return gauges

    def close(self) -> None:
        """Stop all threads and release source and extractors; safe to call twice."""
        self._stop.set()
        with ExitStack() as release:  # each step is taken even where one before it fails
            release.callback(self.source.close)
            while self._unused:
                release.callback(self._unused.pop().close)
            for stage in self._stages:
                release.callback(stage.close)
            if self._reader is not None:
                release.callback(self._reader.close)

"""The messages on the bus, as frozen typed records.

Every message says what it is *about* (``start_s`` to ``end_s`` on the session's media clock) and
when it was *made* (``made_ns``, the system's monotonic clock). Arrays are documented as
``(steps, columns) dtype``; ``features.wire`` carries them beside the msgpack body.
"""

from __future__ import annotations

import msgspec
import numpy as np

from features.samples import Word

SCHEMA_VERSION = 1
MODALITIES = ("text", "voice", "face")


class Present(msgspec.Struct, frozen=True):
    """Which modalities a window truly holds."""

    text: bool
    voice: bool
    face: bool

    def any(self) -> bool:
        """Whether there is any evidence at all."""
        return self.text or self.voice or self.face


class Ages(msgspec.Struct, frozen=True):
    """Seconds between the newest item of each modality and the window's end; ``None``: none yet."""

    text: float | None = None
    voice: float | None = None
    face: float | None = None


class StreamData(msgspec.Struct, frozen=True):
    """One feature stream in a window: ``values (T, D)`` and ``mask (T,) bool``, true where known.

    Masked steps hold zeros and must never be read as data.
    """

    values: np.ndarray
    mask: np.ndarray


class Statistics(msgspec.Struct, frozen=True):
    """Running statistics of one participant's stream up to the window's end.

    ``mean (D,)`` and ``variance (D,)`` float32 over ``seconds`` of valid data. The checkpoint holds
    the prior that they are blended with. ``rest (D,)`` float32 is the mean while the participant was
    at rest, ``None`` where no resting stretch was taken.
    """

    mean: np.ndarray
    variance: np.ndarray
    seconds: float
    rest: np.ndarray | None = None


class Message(msgspec.Struct, frozen=True, kw_only=True, tag_field="type"):
    """What every message says: whose it is, what it is about, when it was made."""

    session: str
    participant: str
    start_s: float
    end_s: float
    made_ns: int


class Window(Message, frozen=True, kw_only=True, tag="window"):
    """``[start_s, end_s)`` of one participant on the grid of hops; the spec gives the shapes.

    A higher ``revision`` of the same ``seq`` replaces the lower; ``final`` says that none follows.
    ``due_ns`` is the monotonic time at which the session's media clock read ``end_s`` (0 where media
    time is not bound to the clock on the wall). ``text`` is what is read of the words: those of the
    window, ``words``, and before them what was said in the same breath; of a line of text, the line.
    """

    source: str
    seq: int
    revision: int
    final: bool
    due_ns: int
    spec: str
    text: str
    words: tuple[Word, ...]
    present: Present
    age_s: Ages
    streams: dict[str, StreamData]
    statistics: dict[str, Statistics]


class Prediction(Message, frozen=True, kw_only=True, tag="prediction"):
    """Sentiment of one window revision in -3..3 with an interval of stated coverage.

    All of ``sentiment``, ``low`` and ``high`` are ``None`` where nothing was seen, heard or said.
    ``contribution`` is the change of the score when the modality is hidden (0 where it is absent);
    ``alone`` what the modality says by itself (``None`` where it is absent). ``rest`` is what the
    participant's resting face and voice changed in the score, ``None`` where none are set.
    ``lag_ms`` names each stage's share; ``total`` runs from the window's end to this message.
    """

    source: str
    seq: int
    revision: int
    final: bool
    sentiment: float | None
    low: float | None
    high: float | None
    coverage: float
    present: Present
    contribution: dict[str, float]
    alone: dict[str, float | None]
    text: str
    words: tuple[Word, ...]
    lag_ms: dict[str, float]
    rest: float | None = None

    @property
    def shared(self) -> float:
        """What is left of the score when all contributions are taken from it.

        It stays whichever single modality is hidden: what several of them say alike (or, of another
        sign, what each says only as long as the others do). 0 without a score.
        """
        return 0.0 if self.sentiment is None else self.sentiment - sum(self.contribution.values())


class Transcript(Message, frozen=True, kw_only=True, tag="transcript"):
    """The last half minute of words: stable ones, and tentative ones that may still change."""

    stable: tuple[Word, ...]
    tentative: tuple[Word, ...]
    stable_until_s: float


class Preview(Message, frozen=True, kw_only=True, tag="preview"):
    """A small JPEG picture and the landmarks of the followed face in it.

    ``landmarks (478, 2) float32`` in 0..1 of the picture, empty ``(0, 2)`` where there is no face.
    ``pose_deg`` is the head's pitch, yaw and roll in degrees, empty where there is no face.
    """

    jpeg: bytes
    landmarks: np.ndarray
    quality: str
    faces: int
    expressions: dict[str, float]
    pose_deg: tuple[float, ...] = ()


class Lamp(msgspec.Struct, frozen=True):
    """State of one modality for people: ``present``, ``missing``, ``stale`` or ``off``, and why."""

    state: str
    why: str = ""


class Status(Message, frozen=True, kw_only=True, tag="status"):
    """A worker's heartbeat, about once a second.

    ``state`` is one of ``starting``, ``running``, ``paused``, ``ended`` (the source is over),
    ``failed``. ``counters`` only grow; ``losses`` too, and are all that was dropped, skipped or came
    too late, by name; ``gauges`` are momentary (fps, ms, MiB). ``carry``, each ``(D,) float32``, is
    what the worker's next run begins with, should this one die.
    """

    worker: str
    role: str
    pid: int
    state: str
    detail: str = ""
    counters: dict[str, int] = {}
    losses: dict[str, int] = {}
    gauges: dict[str, float] = {}
    lamps: dict[str, Lamp] = {}
    carry: dict[str, np.ndarray] = {}


AnyMessage = Window | Prediction | Transcript | Preview | Status

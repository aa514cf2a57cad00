"""What is kept of a participant between recordings: running statistics and rest, never media.

One JSON file per participant, readable by its owner alone, in ``$TONALITY_DATA`` or the user's data
folder. A recording that is scored again replaces what it gave before, and is never its own past, so
that scoring twice counts once.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, unquote

import filelock
import msgspec
import numpy as np
import platformdirs

from features.errors import ParticipantError, SpecError
from features.rest import Rest
from features.spec import LIVE, Spec
from features.statistics import Moments

FORMAT: Final = 1
MAX_RECORDINGS: Final = 100  # the oldest go; so do old cameras and microphones
MAX_NAME: Final = 64
MARK_BYTES: Final = 1 << 20  # of a file's beginning and end, to know it again
LOCK_S: Final = 10.0


class KeptMoments(msgspec.Struct, frozen=True):
    """:class:`Moments` as JSON."""

    steps: int
    counts: list[float]
    mean: list[float]
    variance: list[float]

    def moments(self) -> Moments:
        """The same as arrays; raises ``ValueError`` where the lengths differ."""
        counts, mean, variance = (np.array(x) for x in (self.counts, self.mean, self.variance))
        if not len(counts) == len(mean) == len(variance):
            raise ValueError("columns of different number")
        return Moments(self.steps, counts, mean, variance)


class Recording(msgspec.Struct, frozen=True):
    """What one file gave: its name for people, its mark, when it was scored, moments by stream."""

    source: str
    mark: str
    scored: str
    streams: dict[str, KeptMoments]


class Participant(msgspec.Struct, frozen=True, kw_only=True):
    """All that is kept of one participant; ``spec`` is the hash of the features it was made of."""

    name: str
    spec: str
    recordings: tuple[Recording, ...] = ()
    rest: dict[str, list[float]] = {}
    rest_from: str = ""
    format: int = FORMAT

    def before(self) -> dict[str, Moments]:
        """Moments by stream of all recordings together."""
        out: dict[str, Moments] = {}
        for recording in self.recordings:
            for name, kept in recording.streams.items():
                own = kept.moments()
                out[name] = out[name].joined(own) if name in out else own
        return out

    def without(self, mark: str) -> Participant:
        """Without what the recording of this mark gave: nothing is its own past."""
        others = tuple(recording for recording in self.recordings if recording.mark != mark)
        return msgspec.structs.replace(self, recordings=others)

    def resting(self) -> Rest:
        """Means at rest by stream; empty where no rest was taken."""
        return {name: np.array(mean, np.float32) for name, mean in self.rest.items()}

    def seconds(self, spec: Spec = LIVE) -> dict[str, float]:
        """Seconds of each stream that are known."""
        before = self.before()
        return {s.name: before[s.name].steps / s.rate_hz for s in spec.streams if s.name in before}

    def with_recording(self, source: str, mark: str, moments: Mapping[str, Moments]) -> Participant:
        """With what a recording gave, in place of what it gave before."""
        streams = {
            name: KeptMoments(m.steps, m.counts.tolist(), m.mean.tolist(), m.variance.tolist())
            for name, m in moments.items()
            if m.steps
        }
        others = self.without(mark)
        if not streams:
            return others
        kept = (*others.recordings, Recording(source, mark, _today(), streams))
        return msgspec.structs.replace(others, recordings=kept[-MAX_RECORDINGS:])

    def with_rest(self, source: str, rest: Rest) -> Participant:
        """With the rest that was taken in a recording."""
        lists = {name: mean.tolist() for name, mean in rest.items()}
        return msgspec.structs.replace(self, rest=lists, rest_from=source)


class Participants:
    """The folder of participants. Raises :class:`ParticipantError` where it cannot be used."""

    def __init__(self, folder: Path | None = None, spec: Spec = LIVE) -> None:
        self.folder = (folder or default_data()) / "participants"
        self._spec = spec

    def load(self, name: str) -> Participant:
        """What is kept under a name; nothing yet for a new one.

        Raises :class:`SpecError` for what was made of other features than this version's.
        """
        path = self._path(name)
        try:
            found = self._read(path)
        except FileNotFoundError:
            return Participant(name=name, spec=self._spec.hash)
        if found.spec != self._spec.hash:
            raise SpecError(
                f"participant '{name}' was kept with features {found.spec}, this version has "
                f"{self._spec.hash}; 'tonality participants forget' lets you begin anew"
            )
        return found

    def save(self, participant: Participant) -> Path:
        """Write it whole or not at all, for its owner's eyes alone; gives the file."""
        path = self._path(participant.name)
        part = path.with_suffix(f".{os.getpid()}.part")
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(msgspec.json.encode(participant))
            part.replace(path)
        except OSError as error:
            raise ParticipantError(f"{path} cannot be written: {error.strerror}") from error
        return path

    def lock(self, name: str) -> filelock.BaseFileLock:
        """Held while one process scores a participant, so that no other's results are lost."""
        path = self._path(name)
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise ParticipantError(f"{self.folder}: {error.strerror}") from error
        return filelock.FileLock(path.with_suffix(".lock"), timeout=LOCK_S)

    def names(self) -> list[str]:
        """Names of all participants of whom anything is kept."""
        return sorted(unquote(path.stem) for path in self.folder.glob("*.json"))

    def peek(self, name: str) -> Participant:
        """What is kept, of whatever features it was made; :class:`ParticipantError` for nobody."""
        try:
            return self._read(self._path(name))
        except FileNotFoundError:
            raise ParticipantError(f"nothing is kept of '{name}' in {self.folder}") from None

    def forget(self, name: str) -> None:
        """Delete what is kept, readable or not; :class:`ParticipantError` for nobody."""
        path = self._path(name)
        try:
            path.unlink()
        except FileNotFoundError:
            raise ParticipantError(f"nothing is kept of '{name}' in {self.folder}") from None
        except OSError as error:
            raise ParticipantError(f"{path} cannot be deleted: {error.strerror}") from error
        path.with_suffix(".lock").unlink(missing_ok=True)

    def _path(self, name: str) -> Path:
        if not name.strip() or len(name) > MAX_NAME or not name.isprintable():
            raise ParticipantError(f"'{name}' cannot be a name: 1 to {MAX_NAME} characters")
        return self.folder / f"{quote(name, safe=' ').replace('.', '%2E')}.json"

    def _read(self, path: Path) -> Participant:
        try:
            found = msgspec.json.decode(path.read_bytes(), type=Participant)
            self._check(found)
        except FileNotFoundError:
            raise
        except (OSError, ValueError, msgspec.MsgspecError) as error:
            raise ParticipantError(
                f"{path} cannot be used ({error}); 'tonality participants forget' deletes it"
            ) from error
        return found

    def _check(self, found: Participant) -> None:
        """Raise ``ValueError`` for columns that are not those of the spec it claims."""
        if found.format != FORMAT:
            raise ValueError(f"format {found.format}, this version knows {FORMAT}")
        if found.spec != self._spec.hash:
            return
        widths = {stream.name: stream.width for stream in self._spec.streams}
        sizes: list[tuple[str, Any]] = [*found.rest.items()]
        for recording in found.recordings:
            sizes += [(name, kept.moments().mean) for name, kept in recording.streams.items()]
        for name, values in sizes:
            if len(values) != widths.get(name) or not np.isfinite(values).all():
                raise ValueError(f"stream '{name}' is not {widths.get(name)} finite numbers")


def default_data() -> Path:
    """``$TONALITY_DATA``, or ``tonality`` in the user's data folder."""
    named = os.environ.get("TONALITY_DATA")
    if named:
        return Path(named)
    try:
        return platformdirs.user_data_path("tonality", appauthor=False).expanduser()
    except RuntimeError as error:
        raise ParticipantError("this user has no home folder: set TONALITY_DATA") from error


def file_mark(path: Path) -> str:
    """By which a file is known again: a hash of its size, its beginning and its end."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            digest.update(str(size).encode())
            for place in (0, max(0, size - MARK_BYTES)):
                file.seek(place)
                digest.update(file.read(MARK_BYTES))
    except OSError as error:
        raise ParticipantError(f"{path}: {error.strerror}") from error
    return digest.hexdigest()[:32]


def _today() -> str:
    return datetime.now(UTC).isoformat(timespec="minutes")

"""One participant over the files of a command: what was known, what each file adds, what is kept."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import filelock

from dashboard.output import complain
from dashboard.participants_cli import told
from features.errors import ParticipantError
from features.participants import Participant, Participants, file_mark
from features.rest import Rest
from features.statistics import Moments


class Keeper:
    """Carries a participant from file to file, and says on standard error what it does.

    Without a name nothing is carried and nothing kept. With ``write`` every file's moments go to
    disk as soon as the file is scored; else they last as long as the command.
    """

    def __init__(self, name: str | None, store: Participants, write: bool) -> None:
        self.participant: Participant | None = None if name is None else store.load(name)
        self._store = store
        self._write = write

    def known(self, path: Path) -> Participant | None:
        """What is known from other files than this one."""
        return None if self.participant is None else self.participant.without(file_mark(path))

    def learn(self, path: Path, moments: Mapping[str, Moments]) -> None:
        """Take what a file said of the participant."""
        if self.participant is not None:
            mark = file_mark(path)
            self._keep(self.participant.with_recording(path.name, mark, moments))

    def learn_rest(self, path: Path, rest: Rest) -> None:
        """Take the rest that a file gave."""
        if self.participant is not None:
            self._keep(self.participant.with_rest(path.name, rest))

    def _keep(self, participant: Participant) -> None:
        self.participant = participant
        if self._write:
            self._store.save(participant)


@contextlib.contextmanager
def keeping(name: str | None, write: bool) -> Iterator[Keeper]:
    """A keeper for a command; alone with its participant, so that no other's results are lost.

    Raises :class:`ParticipantError`, or ``SpecError`` for what was kept with other features.
    """
    store = Participants()
    with contextlib.ExitStack() as release:
        if name is not None and write:
            try:
                release.enter_context(store.lock(name))
            except filelock.Timeout:
                raise ParticipantError(f"another command scores '{name}'; wait for it") from None
        keeper = Keeper(name, store, write)
        if keeper.participant is not None:
            complain(f"participant {name}: known before: {told(keeper.participant)}")
        yield keeper
        if keeper.participant is not None:
            where = f"kept in {store.folder}" if write else "not kept"
            complain(f"participant {name}: now known: {told(keeper.participant)}; {where}")

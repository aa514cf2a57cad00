"""The one tree of errors that Tonality raises on purpose.

Whoever talks to a person (command line, page) catches :class:`TonalityError` and prints its text,
which is one line that names the thing, the reason and, where there is one, the way to mend it.
"""

from __future__ import annotations


class TonalityError(Exception):
    """Root of all errors that carry a message meant for people."""


class AssetError(TonalityError):
    """Weights or media are missing, were refused for a wrong hash, or cannot be fetched."""


class SourceError(TonalityError):
    """A camera, microphone or file cannot be opened or read."""


class FeatureError(TonalityError):
    """An extractor failed or was fed something it cannot use."""


class SpecError(TonalityError):
    """Windows and checkpoint disagree about the features; the message names both."""


class ParticipantError(TonalityError):
    """What is kept of a participant cannot be read, written or found."""


class MessageError(TonalityError):
    """A message is too large, malformed or of a schema version that is not ours."""


class CheckpointError(TonalityError):
    """A checkpoint folder is incomplete or does not fit the network."""


class WorkerError(TonalityError):
    """A worker process died, went silent or refused a command."""


class BindError(TonalityError):
    """An address was asked for that others could reach, and the user has named nobody."""


class CorpusError(TonalityError):
    """A corpus file is missing or does not look as its reader expects."""

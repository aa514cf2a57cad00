"""The two forms in which words reach a text encoder, in training as live: as heard and as written."""

from __future__ import annotations

import re

_KEPT = re.compile(r"[^\w' ]+")
_SPACES = re.compile(r"\s+")
_STRAIGHT = str.maketrans({
    "\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"', "\u2026": "...", "_": " ",
})  # fmt: skip


def plain(text: str) -> str:
    """Lower-case words joined by single spaces, without punctuation but with apostrophes.

    Recognised speech has no reliable punctuation or case, so neither has what the network reads.
    """
    straight = text.replace("\u2019", "'").replace("_", " ")
    return _SPACES.sub(" ", _KEPT.sub(" ", straight.lower())).strip()


def written(text: str) -> str:
    """As people write: lower-case, with the punctuation that they set, spaces and quotes made alike.

    An exclamation mark or an emoticon says much of how a line of a chat is meant. What :func:`plain`
    gives stays as it is.
    """
    return _SPACES.sub(" ", text.translate(_STRAIGHT).lower()).strip()

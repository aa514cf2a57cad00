"""The one form in which words reach a text encoder, in training as live."""

from __future__ import annotations

import re

_KEPT = re.compile(r"[^\w' ]+")
_SPACES = re.compile(r"\s+")


def plain(text: str) -> str:
    """Lower-case words joined by single spaces, without punctuation but with apostrophes.

    Recognised speech has no reliable punctuation or case, so neither has what the network reads.
    """
    straight = text.replace("\u2019", "'").replace("_", " ")
    return _SPACES.sub(" ", _KEPT.sub(" ", straight.lower())).strip()

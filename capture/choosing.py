"""Which of the devices that are listed somebody means by a name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from capture.live import HINT
from features.errors import SourceError

D = TypeVar("D")


def named(
    listed: Sequence[D], device: str, names: Callable[[D], tuple[str, str]], what: str, advice: str
) -> D:
    """The device one of whose ``names`` (key and label) this is, else the only one with it in them.

    Numbers count only whole. Raises :class:`SourceError`, which says ``what`` is missing, or by
    which ``advice`` one of several is meant.
    """
    part = device.lower()
    whole = [one for one in listed if device in names(one)]
    found = whole or [
        one for one in listed if any(part in n.lower() for n in names(one) if not n.isdigit())
    ]
    if not found:
        raise SourceError(f"there is no {what} '{device}' ({HINT})")
    if len(found) > 1:
        several = ", ".join(": ".join(names(one)) for one in found)
        raise SourceError(f"{what} '{device}' may be any of {several}; give {advice}")
    return found[0]

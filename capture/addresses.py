"""Addresses of streams: which they are, and how they are shown without what is secret in them."""

from __future__ import annotations

import re
from typing import Final

ADDRESS: Final = re.compile(r"(?:rtsps?|https?|rtmps?|srt|udp|tcp|rtp)://[^\s/@][^\s]*")
SECRET: Final = re.compile(r"[?#]")  # what follows may hold a key


def is_address(source: str) -> bool:
    """Whether this is the address of a stream."""
    return ADDRESS.fullmatch(source) is not None


def shown(address: str) -> str:
    """The address without user, password and what follows a question mark, which may hold a key."""
    scheme, _, rest = address.partition("://")
    host, slash, path = SECRET.split(rest, maxsplit=1)[0].partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"


def safe(source: str) -> str:
    """Any source as it may be shown and kept: an address without its secrets, all else as it is."""
    return shown(source) if is_address(source) else source

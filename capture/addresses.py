"""Addresses of streams: which they are, and how they are shown without what is secret in them."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urlsplit

ADDRESS: Final = re.compile(r"(?:rtsps?|https?|rtmps?|srt|udp|tcp|rtp)://[^\s/@][^\s]*")


def is_address(source: str) -> bool:
    """Whether this is the address of a stream."""
    return ADDRESS.fullmatch(source) is not None


def shown(address: str) -> str:
    """The address without user, password and what follows a question mark, which may hold a key."""
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"

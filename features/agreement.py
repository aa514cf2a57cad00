"""The stable prefix: words that two hypotheses in a row agree on, and that never change again.

LocalAgreement-2 (Liu et al. 2020, as used for Whisper by Macháček et al. 2023): the longest common
prefix of two consecutive hypotheses is final.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, Protocol, TypeVar


class HasText(Protocol):
    """Anything that carries the text of one word."""

    @property
    def text(self) -> str:
        """The word as written."""


W = TypeVar("W", bound=HasText)


def bare(text: str) -> str:
    """The letters and digits of a word, case folded: what two hypotheses must share."""
    return "".join(sign for sign in text.casefold() if sign.isalnum())


def common_prefix(first: Sequence[HasText], second: Sequence[HasText]) -> int:
    """How many words two hypotheses share from their start, whatever their case and punctuation."""
    count = 0
    for one, other in zip(first, second, strict=False):
        if bare(one.text) != bare(other.text):
            break
        count += 1
    return count


class StablePrefix(Generic[W]):
    """Turns hypotheses into words that are stable and words that may still change.

    Each hypothesis holds the words *after* those that are stable already.
    """

    def __init__(self) -> None:
        self._tentative: tuple[W, ...] = ()

    @property
    def tentative(self) -> tuple[W, ...]:
        """The last hypothesis without its stable words."""
        return self._tentative

    def update(self, hypothesis: Sequence[W]) -> tuple[W, ...]:
        """Words that became stable, in the newer hypothesis's writing."""
        count = common_prefix(self._tentative, hypothesis)
        return self._split(hypothesis, count)

    def commit(self, hypothesis: Sequence[W]) -> tuple[W, ...]:
        """Make a last hypothesis stable as a whole."""
        return self._split(hypothesis, len(hypothesis))

    def commit_first(self, count: int) -> tuple[W, ...]:
        """Make the first ``count`` tentative words stable without waiting for agreement."""
        return self._split(self._tentative, count)

    def _split(self, words: Sequence[W], count: int) -> tuple[W, ...]:
        self._tentative = tuple(words[count:])
        return tuple(words[:count])

"""The stable prefix, as pure logic."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from features.agreement import StablePrefix, common_prefix


@dataclass(frozen=True)
class Said:
    text: str


def said(sentence: str) -> list[Said]:
    return [Said(word) for word in sentence.split()]


def texts(words: tuple[Said, ...]) -> str:
    return " ".join(word.text for word in words)


def test_words_are_stable_once_two_hypotheses_agree() -> None:
    prefix: StablePrefix[Said] = StablePrefix()
    assert prefix.update(said("I am a lecture")) == ()
    assert texts(prefix.tentative) == "I am a lecture"
    assert texts(prefix.update(said("I am a lecturer at"))) == "I am a"
    assert texts(prefix.tentative) == "lecturer at"
    assert texts(prefix.update(said("lecturer at the"))) == "lecturer at"


def test_case_and_punctuation_do_not_keep_words_apart_and_the_newer_writing_wins() -> None:
    prefix: StablePrefix[Said] = StablePrefix()
    prefix.update(said("hello World."))
    assert texts(prefix.update(said("Hello, world again"))) == "Hello, world"


def test_disagreement_at_the_first_word_makes_nothing_stable() -> None:
    prefix: StablePrefix[Said] = StablePrefix()
    prefix.update(said("a b c"))
    assert prefix.update(said("x b c")) == ()


def test_commit_makes_all_stable_and_forgets_the_tentative() -> None:
    prefix: StablePrefix[Said] = StablePrefix()
    prefix.update(said("one two"))
    assert texts(prefix.commit(said("one three"))) == "one three"
    assert prefix.tentative == ()


def test_commit_first_takes_the_oldest_tentative_words() -> None:
    prefix: StablePrefix[Said] = StablePrefix()
    prefix.update(said("one two three"))
    assert texts(prefix.commit_first(2)) == "one two"
    assert texts(prefix.tentative) == "three"


WORDS = st.lists(st.sampled_from(["a", "b", "c", "d"]).map(Said), max_size=6)


@given(WORDS, WORDS)
def test_the_common_prefix_is_the_longest_one(first: list[Said], second: list[Said]) -> None:
    count = common_prefix(first, second)
    assert first[:count] == second[:count]
    assert count in (len(first), len(second)) or first[count] != second[count]


@given(st.lists(WORDS, max_size=8), WORDS)
def test_what_is_stable_was_in_two_hypotheses_and_never_changes(
    passes: list[list[Said]], last: list[Said]
) -> None:
    prefix: StablePrefix[Said] = StablePrefix()
    stable: list[Said] = []
    before: list[Said] = []
    for hypothesis in passes:
        new = list(prefix.update(hypothesis))
        assert new == before[: len(new)] == hypothesis[: len(new)]
        assert list(prefix.tentative) == hypothesis[len(new) :]
        stable += new
        before = hypothesis[len(new) :]
    assert stable + list(prefix.commit(last)) == stable + last

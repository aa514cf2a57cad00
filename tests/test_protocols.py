"""Protocols of missing data: masks told, seeded, the published ones, and the same whatever the batch.

Run time: about 3 s.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.data.protocols import (
    RATES_A,
    RATES_A_SIMS,
    RATES_B,
    SEEDS_A,
    Condition,
    Damage,
    ProtocolError,
    protocol,
    subsets,
    training_b,
)
from model.data.splits import SequenceData, Split
from model.data.streams import Stream, Text, Tokens, tokens_of
from model.metrics import auilc

SIZE, WORDS, UNK = 60, 12, 100


def _stream(steps: int, width: int, chance: np.random.Generator) -> Stream:
    lengths = chance.integers(1, steps + 1, SIZE)
    valid = np.arange(steps)[None] < lengths[:, None]
    values = np.where(valid[..., None], 3 + chance.standard_normal((SIZE, steps, width)), 0)
    return Stream(values.astype(np.float32), valid, valid)


@cache
def sample() -> Split:
    chance = np.random.default_rng(0)
    valid = np.arange(WORDS)[None] < chance.integers(3, WORDS + 1, SIZE)[:, None]
    ids = np.where(valid, chance.integers(1000, 2000, (SIZE, WORDS)), 0)
    raw = tuple(f"words of {row}" for row in range(SIZE))
    return Split(
        tuple(f"s{row}" for row in range(SIZE)),
        chance.uniform(-3, 3, SIZE).astype(np.float32),
        Text(raw, tokens_of(ids, valid, UNK)),
        _stream(30, 5, chance),
        _stream(20, 7, chance),
    )


def words(split: Split) -> Tokens:
    assert split.text is not None and split.text.tokens is not None
    return split.text.tokens


def sequences(split: Split) -> tuple[Tokens, Stream, Stream]:
    assert split.audio is not None and split.vision is not None
    return words(split), split.audio, split.vision


def same(one: Split, other: Split) -> None:
    assert one.ids == other.ids
    assert np.array_equal(one.labels, other.labels)
    assert one.text is not None and other.text is not None and one.text.raw == other.text.raw
    for mine, theirs in zip(sequences(one), sequences(other), strict=True):
        values = "ids" if isinstance(mine, Tokens) else "values"
        for part in (values, "valid", "known"):
            assert np.array_equal(getattr(mine, part), getattr(theirs, part))


def data(split: Split | None = None, low: float = -3.0, high: float = 3.0) -> SequenceData:
    return SequenceData("made", {"test": split or sample()}, low, high)


conditions = st.builds(
    Condition,
    st.just("any"),
    st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0]),
    st.tuples(*[st.integers(0, 2**20)] * 3),
    st.sets(st.sampled_from(["text", "audio", "vision"]), max_size=2).map(frozenset),
    st.sampled_from([0.0, 0.5]),
)


@settings(max_examples=40, deadline=None)
@given(conditions)
def test_masks_say_exactly_what_was_lost(condition: Condition) -> None:
    whole, damaged = sample(), condition.apply(sample())
    assert damaged.ids == whole.ids
    assert np.array_equal(damaged.labels, whole.labels)
    for name, own, full in zip(
        ("text", "audio", "vision"), sequences(damaged), sequences(whole), strict=True
    ):
        assert np.array_equal(own.valid, full.valid)
        assert not (own.known & ~own.valid).any()
        if name in condition.hidden:
            assert not own.known.any()
        if isinstance(own, Tokens) and isinstance(full, Tokens):
            lost = own.missing & ~own.fixed
            assert (own.ids[lost] == UNK).all()
            assert np.array_equal(own.ids[~lost], full.ids[~lost])
        elif isinstance(own, Stream) and isinstance(full, Stream):
            assert not own.values[~own.known].any()
            if not condition.noise:
                assert np.array_equal(own.values[own.known], full.values[full.valid & own.known])


@settings(max_examples=40, deadline=None)
@given(conditions, st.lists(st.integers(0, SIZE - 1), min_size=1, max_size=SIZE))
def test_the_same_for_any_batch_order_and_worker(condition: Condition, rows: list[int]) -> None:
    chosen = np.array(rows)
    whole = condition.apply(sample())
    damage = condition.draw(sample())
    same(damage.select(chosen).apply(sample().select(chosen)), whole.select(chosen))
    same(condition.apply(sample()), whole)


@settings(max_examples=20, deadline=None)
@given(st.tuples(*[st.integers(0, 2**20)] * 3), st.floats(0, 1), st.floats(0, 1))
def test_a_higher_rate_takes_away_more_of_the_same(
    seeds: tuple[int, int, int], one: float, other: float
) -> None:
    less, more = sorted((one, other))
    for light, heavy in zip(
        sequences(Condition("", less, seeds).apply(sample())),
        sequences(Condition("", more, seeds).apply(sample())),
        strict=True,
    ):
        assert not (heavy.known & ~light.known).any()


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**20), st.sampled_from([0.2, 0.5, 0.8]))
def test_the_rate_is_the_share_that_is_lost(seed: int, rate: float) -> None:
    damaged = Condition("", rate, (seed, seed + 1, seed + 2)).apply(sample())
    for own in sequences(damaged):
        losable = own.valid & ~own.fixed if isinstance(own, Tokens) else own.valid
        count = int(losable.sum())
        lost = int((losable & ~own.known).sum())
        assert abs(lost - rate * count) < 6 * np.sqrt(rate * (1 - rate) * count)


def test_nothing_is_changed_in_place() -> None:
    before = [getattr(own, "values", getattr(own, "ids", None)) for own in sequences(sample())]
    copies = [np.array(own) for own in before]
    for name in ("A", "B", "C", "noise"):
        for condition in protocol(name, data()).conditions:
            condition.apply(sample())
    for own, copy in zip(before, copies, strict=True):
        assert np.array_equal(own, copy)


@pytest.mark.parametrize("name", ["A", "B"])
def test_masks_are_those_of_the_published_protocols(name: str) -> None:
    """Drawn here in another way, as the papers' data loaders do: one global seed, one table."""
    for condition in protocol(name, data()).conditions:
        damaged = condition.apply(sample())
        for own, seed in zip(sequences(damaged), condition.seeds, strict=True):
            np.random.seed(seed)
            kept = (np.random.uniform(size=own.valid.shape) > condition.rate) * own.valid
            if isinstance(own, Tokens):
                for row, length in enumerate(own.valid.sum(1)):
                    kept[row, 0] = kept[row, length - 1] = 1
            assert np.array_equal(own.known, kept.astype(bool))


def test_a_has_its_rates_seeds_and_area() -> None:
    plan = protocol("A", data())
    assert [condition.rate for condition in plan.conditions] == list(RATES_A)
    assert {condition.seeds for condition in plan.conditions} == {SEEDS_A} == {(111, 1111, 11111)}
    assert plan.one_model_each
    same(plan.conditions[0].apply(sample()), sample())
    last = plan.conditions[-1].apply(sample())
    assert not last.present.any()
    assert np.array_equal(words(last).known, words(last).fixed)
    results = [{"acc": 80 - 30 * rate, "mae": 1 + rate} for rate in RATES_A]
    assert plan.summary(results) == pytest.approx({"acc": 65.0, "mae": 1.5})
    sims = protocol("A", data(low=-1.0, high=1.0))
    assert [condition.rate for condition in sims.conditions] == list(RATES_A_SIMS)
    found = sims.summary([{"acc": 80.0}] * 6)
    assert found["acc"] == pytest.approx(40.0) == auilc(RATES_A_SIMS, [80.0] * 6)


def test_b_is_the_plain_mean_over_ten_rates_with_one_seed() -> None:
    plan = protocol("B", data())
    assert [condition.rate for condition in plan.conditions] == list(RATES_B)
    assert {condition.seeds for condition in plan.conditions} == {(1111, 1111, 1111)}
    assert not plan.one_model_each
    assert plan.summary([{"mae": float(i)} for i in range(10)])["mae"] == 4.5
    with pytest.raises(ProtocolError, match="3 results, not 10"):
        plan.summary([{"mae": 1.0}] * 3)


def test_c_hides_whole_modalities() -> None:
    plan = protocol("C", data())
    names = [condition.name for condition in plan.conditions]
    assert names == [
        "text", "audio", "vision", "text+audio", "text+vision", "audio+vision", "text+audio+vision",
    ]  # fmt: skip
    for condition in plan.conditions:
        damaged = condition.apply(sample())
        kept = [name in condition.name for name in ("text", "audio", "vision")]
        assert np.array_equal(damaged.present, np.tile(kept, (SIZE, 1)))
        assert damaged.text is not None and damaged.text.raw is not None
        assert all(bool(own) == kept[0] for own in damaged.text.raw)
        if not kept[0]:
            assert not words(damaged).known.any()
    same(plan.conditions[-1].apply(sample()), sample())
    whole = sample()
    two = Split(whole.ids, whole.labels, None, whole.audio, whole.vision)
    assert [own.name for own in protocol("C", data(two)).conditions] == [
        "audio", "vision", "audio+vision",
    ]  # fmt: skip
    assert len(subsets(("a", "b", "c"))) == 7


def test_noise_has_the_deviation_it_says_and_leaves_masks() -> None:
    plan = protocol("noise", data())
    assert plan.conditions[0].noise == 0.0
    same(plan.conditions[0].apply(sample()), sample())
    for condition in plan.conditions[1:]:
        for own, whole in zip(
            sequences(condition.apply(sample()))[1:], sequences(sample())[1:], strict=True
        ):
            assert isinstance(own, Stream) and isinstance(whole, Stream)
            assert np.array_equal(own.known, whole.known)
            added = (own.values - whole.values)[own.known]
            assert abs(added.mean()) < 6 * condition.noise / np.sqrt(added.size)
            assert added.std() == pytest.approx(condition.noise, rel=0.1)
    noisy, whole = plan.conditions[2].apply(sample()), sample()
    added = {
        name: (noisy.streams[name].values - own.values)[:2, 0, :5]
        for name, own in whole.streams.items()
    }
    assert not np.allclose(added["audio"], added["vision"], atol=1e-3)
    assert not np.allclose(added["audio"][0], added["audio"][1], atol=1e-3)


def test_features_of_text_are_lost_with_the_tokens() -> None:
    whole = sample()
    tokens = words(whole)
    features = Stream(np.ones((SIZE, WORDS, 4), np.float32) * tokens.valid[..., None],
                      tokens.valid, tokens.valid)  # fmt: skip
    both = Split(whole.ids, whole.labels, Text(None, tokens, features), whole.audio, whole.vision)
    damaged = Condition("", 0.5).apply(both)
    assert damaged.text is not None and damaged.text.features is not None
    assert np.array_equal(damaged.text.features.known, words(damaged).known)
    alone = Split(whole.ids, whole.labels, Text(features=features))
    lost = Condition("", 0.5).apply(alone)
    assert lost.text is not None and lost.text.features is not None
    assert 0 < lost.text.features.missing.sum() < tokens.valid.sum()


def test_training_of_b_draws_anew_each_epoch_and_half_stay_whole() -> None:
    first, again = training_b(sample(), 3, 0), training_b(sample(), 3, 0)
    second, other = training_b(sample(), 3, 1), training_b(sample(), 4, 0)
    for own, name in zip(sequences(sample()), ("text", "audio", "vision"), strict=True):
        assert np.array_equal(first.known[name], again.known[name])
        assert not np.array_equal(first.known[name], second.known[name])
        assert not np.array_equal(first.known[name], other.known[name])
        whole = (first.known[name] == own.valid).all(1)
        assert whole.sum() >= SIZE // 2
        assert whole.sum() < SIZE
    assert not np.array_equal(
        (first.known["audio"] == sequences(sample())[1].valid).all(1),
        (first.known["vision"] == sequences(sample())[2].valid).all(1),
    )
    rows = np.array([5, 1, 40])
    same(first.select(rows).apply(sample().select(rows)), first.apply(sample()).select(rows))


def test_seeds_and_rates_can_be_chosen() -> None:
    few = protocol("A", data(), rates=(0.0, 0.4))
    assert [condition.name for condition in few.conditions] == ["r=0", "r=0.4"]
    assert few.summary([{"mae": 1.0}, {"mae": 2.0}])["mae"] == pytest.approx(0.6)
    published = protocol("A", data()).conditions[3].apply(sample())
    one = protocol("A", data(), seed=1).conditions[3].apply(sample())
    again = protocol("A", data(), seed=1).conditions[3].apply(sample())
    same(one, again)
    assert not np.array_equal(words(one).known, words(published).known)


def test_what_does_not_suit_is_told() -> None:
    with pytest.raises(ProtocolError, match="there are complete, A, B, C, noise"):
        protocol("D", data())
    alone = Split(("a",), np.zeros(1, np.float32), Text(("some words",)))
    with pytest.raises(ProtocolError, match="tokens or features first"):
        protocol("A", data(alone)).conditions[1].apply(alone)
    same(protocol("complete", data()).conditions[0].apply(sample()), sample())
    with pytest.raises(ProtocolError, match="a mask of audio"):
        Damage({"audio": np.ones((SIZE, 3), bool)}).apply(sample())

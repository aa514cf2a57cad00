"""The contract that all networks of sequences share, over all names and variants. About 5 s."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from features.errors import FeatureError
from model.networks.views import SequenceBatch, batch_of, three
from tests.made_sequences import (
    NAMES,
    ROWS,
    WIDTHS,
    drop_steps,
    make_batch,
    make_network,
    pad,
    without_dropout,
)

SUBSETS = list(product([False, True], repeat=3))
SEEDS = st.integers(0, 10_000)


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("variant", ["faithful", "intended"])
def test_any_subset_of_modalities_is_accepted(name: str, variant: str) -> None:
    network, batch = make_network(name, variant), make_batch()
    found = []
    with torch.inference_mode():
        for subset in SUBSETS:
            view = network(batch, batch.known_of(torch.tensor([subset] * ROWS)))
            assert view.prediction.shape == (ROWS,)
            assert view.fused.shape == (ROWS, network.representation)
            for pooled, steps, values in zip(view.pooled, view.steps, batch.values, strict=True):
                assert pooled.shape == (ROWS, network.representation)
                assert steps.shape == (*values.shape[:2], network.representation)
                assert bool(torch.isfinite(steps).all())
            found.append(view.prediction)
    assert bool(torch.isfinite(torch.stack(found)).all())
    assert len({round(float(one[0]), 6) for one in found}) == len(SUBSETS), "each subset has a say"


@pytest.mark.parametrize("name", NAMES)
@given(seed=SEEDS, extra=st.integers(1, 20), fill=st.sampled_from([0.0, 7.0, -50.0]))
@settings(max_examples=8, deadline=None)
def test_padding_changes_nothing_as_intended(name: str, seed: int, extra: int, fill: float) -> None:
    network, batch = make_network(name, "intended"), make_batch(seed, steps=(5, 9, 7))
    padded = pad(batch, extra, fill)
    known = drop_steps(batch, seed)
    longer = three(
        torch.cat([mask, torch.ones(ROWS, extra, dtype=torch.bool)], 1) for mask in known
    )
    with torch.inference_mode():
        for before, after in ((None, None), (known, longer)):
            close(network(batch, before).prediction, network(padded, after).prediction)


@pytest.mark.parametrize("name", NAMES)
@given(seed=SEEDS)
@settings(max_examples=8, deadline=None)
def test_a_batch_gives_what_single_samples_give_as_intended(name: str, seed: int) -> None:
    network, batch = make_network(name, "intended"), make_batch(seed, steps=(5, 9, 7))
    with torch.inference_mode():
        together = network(batch).prediction
        close(together, torch.cat([network(alone(batch, i)).prediction for i in range(ROWS)]))


@pytest.mark.parametrize("name", NAMES)
def test_the_published_forms_depend_on_padding_and_on_the_batch(name: str) -> None:
    """What the public code does wrong, stated so that nobody takes it for a bug of ours."""
    network, batch = make_network(name, "faithful"), make_batch(3)
    with torch.inference_mode():
        plain = network(batch).prediction
        assert not torch.allclose(plain, network(pad(batch, 9, 0.0)).prediction, atol=1e-4)
        assert not torch.allclose(plain, network(pad(batch, 0, 3.0)).prediction, atol=1e-4)
        single = torch.cat([network(alone(batch, i)).prediction for i in range(ROWS)])
    assert torch.allclose(plain[0], single[0], atol=1e-5), "the longest sample has no padding"
    assert not torch.allclose(plain, single, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_padding_changes_nothing_in_training_either(name: str) -> None:
    """Batch statistics and gradients included; without dropout, which draws by shape."""
    batch = make_batch(4, steps=(5, 9, 7))
    found = []
    for one in (batch, pad(batch, 6, 5.0)):
        network = make_network(name, "intended")
        assert isinstance(network, nn.Module)
        view = network.train()(one)
        view.prediction.square().sum().backward()
        found.append(
            [view.prediction, *(p.grad for p in network.parameters() if p.grad is not None)]
        )
        found[-1] += [b.float() for n, b in network.named_buffers() if "running" in n]
    for before, after in zip(*found, strict=True):
        torch.testing.assert_close(before, after, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("variant", ["faithful", "intended"])
@pytest.mark.parametrize("hidden", [0, 1, 2])
def test_what_is_not_known_cannot_be_seen(name: str, variant: str, hidden: int) -> None:
    network, batch, other = make_network(name, variant), make_batch(5), make_batch(6)
    values = list(batch.values)
    values[hidden] = other.values[hidden] * batch.valid[hidden].unsqueeze(-1)
    swapped = SequenceBatch(three(values), batch.valid)
    present = torch.ones(ROWS, 3, dtype=torch.bool)
    with torch.inference_mode():
        assert not torch.allclose(network(batch).prediction, network(swapped).prediction, atol=1e-4)
        present[:, hidden] = False
        known = batch.known_of(present)
        close(network(batch, known).prediction, network(swapped, known).prediction)
        known = drop_steps(batch, 7)
        noisy = SequenceBatch(
            three(
                torch.where((m & ~k).unsqueeze(-1), 9.0, v)
                for v, m, k in zip(batch.values, batch.valid, known, strict=True)
            ),
            batch.valid,
        )
        close(network(batch, known).prediction, network(noisy, known).prediction)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("hidden", [0, 1, 2])
def test_missing_is_neither_zeros_nor_its_length_as_intended(name: str, hidden: int) -> None:
    network, batch = make_network(name, "intended"), make_batch(8)
    present = torch.ones(ROWS, 3, dtype=torch.bool)
    present[:, hidden] = False
    values, valid = list(batch.values), list(batch.valid)
    values[hidden] = torch.zeros_like(values[hidden])
    zeros = SequenceBatch(three(values), batch.valid)
    parts = [None if m == hidden else (values[m], valid[m]) for m in range(3)]
    with torch.inference_mode():
        without = network(batch, batch.known_of(present)).prediction
        assert not torch.allclose(without, network(zeros).prediction, atol=1e-4)
        close(without, network(batch_of(parts, WIDTHS)).prediction)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("hidden", [0, 1, 2])
def test_pooled_vectors_are_means_of_known_steps_or_a_learned_one(name: str, hidden: int) -> None:
    network, batch = make_network(name, "intended"), make_batch(11)
    known = list(drop_steps(batch, 11, 0.3))
    known[hidden] = torch.zeros_like(known[hidden])
    with torch.inference_mode():
        view = network(batch, three(known))
    for m, (pooled, steps, mask) in enumerate(zip(view.pooled, view.steps, known, strict=True)):
        for row in range(ROWS):
            if mask[row].any():
                close(pooled[row], steps[row][mask[row]].mean(0))
        if m == hidden:
            close(pooled, pooled[:1].expand_as(pooled))
            assert bool(pooled.abs().sum() > 0.01)


@pytest.mark.parametrize("name", NAMES)
def test_holes_within_a_sequence_say_nothing(name: str) -> None:
    network, batch = make_network(name, "intended"), make_batch(9)
    holes = three(mask & (torch.arange(mask.shape[1]) % 2 == 1) for mask in batch.valid)
    other = SequenceBatch(
        three(
            torch.where(mask.unsqueeze(-1), value, 9.0)
            for value, mask in zip(batch.values, holes, strict=True)
        ),
        holes,
    )
    with torch.inference_mode():
        view = network(SequenceBatch(batch.values, holes))
        assert bool(torch.isfinite(view.prediction).all())
        close(view.prediction, network(other).prediction)


@pytest.mark.parametrize("name", NAMES)
def test_batches_that_do_not_fit_are_refused_in_one_line(name: str) -> None:
    network, batch = make_network(name, "intended"), make_batch()
    with pytest.raises(FeatureError, match=r"text has shape \(4, 6, 13\).*steps, 12"):
        network(make_batch(widths=(13, 6, 7)))
    with pytest.raises(FeatureError, match="known of text"):
        network(batch, make_batch(steps=(5, 6, 6)).valid)
    with pytest.raises(FeatureError, match="1025 steps; the network takes 1 to 1024"):
        network(make_batch(steps=(3, 1025, 3)))


@pytest.mark.parametrize("name", NAMES)
def test_it_learns_from_each_modality_alone(name: str) -> None:
    """Twelve samples, each with one modality that tells its score; sixty steps of Adam."""
    network, batch = make_network(name, "intended"), make_batch(10, rows=12)
    assert isinstance(network, nn.Module)
    known = batch.known_of(torch.eye(3, dtype=torch.bool).repeat(4, 1))
    target = torch.linspace(-2, 2, 12)[torch.randperm(12)]
    optimiser = torch.optim.Adam(without_dropout(network).train().parameters(), 5e-3)
    first = float((network(batch, known).prediction - target).square().mean().detach())
    for _ in range(60):
        loss = (network(batch, known).prediction - target).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        error = (network(batch, known).prediction - target).square()
    for m in range(3):
        assert float(error[m::3].mean()) < 0.25 * first, f"modality {m}"


def alone(batch: SequenceBatch, row: int) -> SequenceBatch:
    """One sample, cut to its own length in every modality."""
    one = batch.select(slice(row, row + 1))
    ends = [int(mask.sum()) for mask in one.valid]
    return SequenceBatch(
        three(v[:, :n] for v, n in zip(one.values, ends, strict=True)),
        three(m[:, :n] for m, n in zip(one.valid, ends, strict=True)),
    )


def close(left: torch.Tensor, right: torch.Tensor) -> None:
    torch.testing.assert_close(left, right, atol=1e-5, rtol=1e-5)

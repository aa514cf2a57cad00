"""Each loss against its formula in NumPy or SciPy, and against its edge cases."""

from __future__ import annotations

from itertools import combinations, pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.spatial.distance import jensenshannon
from scipy.stats import moment
from torch import Tensor

from model.networks.blocks import masked_mean, reverse_gradient
from model.networks.losses import (
    LossWeights,
    batch_temporal_loss,
    central_moment_discrepancy,
    consistency_loss,
    domain_loss,
    jensen_shannon,
    reconstruction_loss,
    regularisers,
    temporal_invariance,
    temporal_loss,
    variation_loss,
)
from model.networks.rtil import RTIL, Codes, RTILConfig

WIDTH = 16
CONFIG = RTILConfig(width=WIDTH, heads=2, feedforward=16, state_components=8, gate_hidden=8)


def make_codes(seed: int = 0, rows: int = 6, requires_grad: bool = False) -> Codes:
    generator = torch.Generator().manual_seed(seed)

    def draw(steps: int) -> Tensor:
        values = torch.rand(rows, steps, WIDTH, generator=generator)
        return values.requires_grad_(requires_grad)

    lengths = (5, 7, 9)
    masks = tuple(torch.rand(rows, n, generator=generator) < 0.7 for n in lengths)
    for mask in masks:
        mask[:, 0] = True
    draws = [tuple(draw(n) for n in lengths) for _ in range(3)]
    return Codes(draws[0], draws[1], draws[2], masks)


def pooled(values: Tensor, mask: Tensor) -> np.ndarray:
    return np.stack([v[m].numpy().mean(0) for v, m in zip(values, mask, strict=True)])


def cmd(x: np.ndarray, y: np.ndarray) -> float:
    total = np.linalg.norm(x.mean(0) - y.mean(0))
    for k in range(2, 6):
        total += np.linalg.norm(moment(x, k, axis=0) - moment(y, k, axis=0))
    return float(total)


def test_central_moment_discrepancy_against_scipy_moments() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 5)), rng.gamma(2.0, size=(30, 5))
    value = central_moment_discrepancy(torch.tensor(x), torch.tensor(y))
    assert float(value.detach()) == pytest.approx(cmd(x, y), rel=1e-6)


def test_central_moment_discrepancy_of_equals_is_zero_with_a_finite_gradient() -> None:
    x = torch.rand(8, 4, requires_grad=True)
    value = central_moment_discrepancy(x, x.detach().clone())
    value.backward()
    assert float(value.detach()) == pytest.approx(0.0, abs=1e-8)
    assert x.grad is not None and bool(torch.isfinite(x.grad).all())


def test_consistency_is_the_mean_over_pairs_that_occur_together() -> None:
    codes = make_codes()
    present = torch.tensor([[1, 1, 1], [1, 1, 0], [1, 0, 1], [0, 1, 1], [1, 1, 1], [1, 0, 0]]) > 0
    means = [pooled(x, k) for x, k in zip(codes.shared, codes.masks, strict=True)]
    expected = []
    for a, b in combinations(range(3), 2):
        rows = (present[:, a] & present[:, b]).numpy()
        expected.append(cmd(means[a][rows], means[b][rows]))
    assert float(consistency_loss(codes, present)) == pytest.approx(np.mean(expected), rel=1e-5)


def test_temporal_loss_against_scipys_divergence() -> None:
    codes = make_codes(1)
    values, mask = codes.private[1], codes.masks[1]
    exponent = np.exp(values.numpy().astype(float) / 0.2)
    steps = exponent / exponent.sum(-1, keepdims=True)
    divergences = [
        jensenshannon(steps[b, t], steps[b, t + 1]) ** 2
        for b in range(len(mask))
        for t in range(mask.shape[1] - 1)
        if mask[b, t] and mask[b, t + 1]
    ]
    value = temporal_loss(values, mask, 0.2)
    assert float(value.detach()) == pytest.approx(np.mean(divergences), rel=1e-4)


def test_temporal_loss_sees_change_and_only_change() -> None:
    still = torch.rand(2, 1, WIDTH).expand(2, 6, WIDTH)
    mask = torch.ones(2, 6, dtype=torch.bool)
    assert float(temporal_loss(still, mask, 0.2)) == pytest.approx(0.0, abs=1e-7)
    assert float(temporal_loss(torch.rand(2, 6, WIDTH), mask, 0.2)) > 0.01
    lonely = torch.tensor([[True, False, True, False, True, False]] * 2)
    assert float(temporal_loss(torch.rand(2, 6, WIDTH), lonely, 0.2)) == 0.0


def test_jensen_shannon_against_scipy_and_its_bounds() -> None:
    generator = torch.Generator().manual_seed(0)
    left, right = torch.rand(2, 5, 8, generator=generator, dtype=torch.float64)
    left, right = left / left.sum(-1, keepdim=True), right / right.sum(-1, keepdim=True)
    expected = [jensenshannon(p, q) ** 2 for p, q in zip(left, right, strict=True)]
    np.testing.assert_allclose(jensen_shannon(left, right).numpy(), expected, rtol=1e-7)
    torch.testing.assert_close(jensen_shannon(left, right), jensen_shannon(right, left))
    apart = jensen_shannon(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]]))
    assert float(apart) == pytest.approx(np.log(2), rel=1e-6)


@pytest.mark.parametrize("temperature", [1.0, 0.2])
def test_batch_averaged_temporal_loss_against_scipy(temperature: float) -> None:
    values = make_codes(1).private[1]
    exponent = np.exp(values.numpy().astype(float) / temperature)
    steps = (exponent / exponent.sum(-1, keepdims=True)).mean(0)
    expected = np.mean([jensenshannon(p, q) ** 2 for p, q in pairwise(steps)])
    value = batch_temporal_loss(values, temperature)
    assert float(value) == pytest.approx(expected, rel=1e-3)
    assert float(batch_temporal_loss(values[:, :1])) == 0.0, "one step has no neighbour"


def test_averaging_over_the_batch_hides_changes_that_cancel_out() -> None:
    wave = torch.tensor([0.0, 1.0, 0.0, 1.0])
    both = torch.stack([wave, 1 - wave]).unsqueeze(-1) * torch.tensor([1.0, -1.0])
    mask = torch.ones(2, 4, dtype=torch.bool)
    assert float(batch_temporal_loss(both)) == pytest.approx(0.0, abs=1e-7)
    assert float(temporal_loss(both, mask, 1.0)) > 0.05
    assert float(variation_loss(both, mask)) == pytest.approx(1.0)


def test_total_variation_counts_valid_neighbours_only() -> None:
    values = torch.tensor([[[0.0], [2.0], [7.0], [8.0]]])
    mask = torch.tensor([[True, True, False, True]])
    assert float(variation_loss(values, mask)) == 2.0
    assert float(variation_loss(values, torch.ones_like(mask))) == pytest.approx((2 + 5 + 1) / 3)
    assert float(variation_loss(values, torch.zeros_like(mask))) == 0.0


def test_temporal_invariance_covers_voice_and_face_but_not_text() -> None:
    codes = make_codes(2)
    present = torch.ones(6, 3, dtype=torch.bool)
    joint = [torch.cat([codes.private[m], codes.shared[m]], -1) for m in (1, 2)]
    parts = [
        float(temporal_loss(j, codes.masks[m], 0.2)) for j, m in zip(joint, (1, 2), strict=True)
    ]
    value = temporal_invariance(codes, present, 0.2)
    assert float(value.detach()) == pytest.approx(np.mean(parts), rel=1e-6)


def test_reconstruction_is_the_masked_squared_error_of_present_modalities() -> None:
    network = RTIL(CONFIG).eval()
    codes = make_codes(3)
    present = torch.ones(6, 3, dtype=torch.bool)
    present[:3, 2] = False
    expected = 0.0
    for m in range(3):
        weight = network.decoders[m].weight.detach().numpy()  # type: ignore[union-attr, operator]
        bias = network.decoders[m].bias.detach().numpy()  # type: ignore[union-attr, operator]
        valid = (codes.masks[m] & present[:, m : m + 1]).numpy()
        rebuilt = (codes.private[m] + codes.shared[m]).numpy()[valid] @ weight.T + bias
        expected += np.mean((rebuilt - codes.features[m].numpy()[valid]) ** 2) / 3
    value = reconstruction_loss(network, codes, present)
    assert float(value.detach()) == pytest.approx(expected, rel=1e-5)


def test_domain_loss_is_cross_entropy_of_both_codes() -> None:
    network = RTIL(CONFIG).eval()
    codes = make_codes(4)
    present = torch.ones(6, 3, dtype=torch.bool)
    present[0, 1] = False
    expected = 0.0
    for kind in (codes.shared, codes.private):
        losses = []
        for m in range(3):
            logits = network.discriminator(masked_mean(kind[m], codes.masks[m])).detach().numpy()
            likelihood = logits - np.log(np.exp(logits).sum(1, keepdims=True))
            losses += list(-likelihood[present[:, m].numpy(), m])
        expected += np.mean(losses)
    value = domain_loss(network, codes, present, 1.0)
    assert float(value.detach()) == pytest.approx(expected, rel=1e-5)


def test_reversal_keeps_the_value_and_turns_the_gradient_by_the_scale() -> None:
    values = torch.tensor([1.0, -2.0, 3.0], requires_grad=True)
    out = reverse_gradient(values, 0.7)
    assert torch.equal(out, values)
    (out * torch.tensor([1.0, 2.0, 3.0])).sum().backward()
    assert values.grad is not None
    torch.testing.assert_close(values.grad, torch.tensor([-0.7, -1.4, -2.1]))


def test_only_the_shared_codes_are_pushed_to_fool_the_discriminator() -> None:
    network = RTIL(CONFIG).eval()
    present = torch.ones(6, 3, dtype=torch.bool)
    codes = make_codes(5, requires_grad=True)
    domain_loss(network, codes, present, 1.0).backward()
    plain = make_codes(5, requires_grad=True)
    rows = present.nonzero()[:, 1]
    for kind in (plain.shared, plain.private):
        means = torch.stack([masked_mean(x, k) for x, k in zip(kind, plain.masks, strict=True)], 1)
        F.cross_entropy(network.discriminator(means[present]), rows).backward()
    for reversed_code, code in zip(codes.shared, plain.shared, strict=True):
        assert reversed_code.grad is not None and code.grad is not None
        torch.testing.assert_close(reversed_code.grad, -code.grad)
    for own_code, code in zip(codes.private, plain.private, strict=True):
        assert own_code.grad is not None and code.grad is not None
        torch.testing.assert_close(own_code.grad, code.grad)


@pytest.mark.parametrize("present", [[0, 0, 0], [0, 1, 0], [1, 0, 0]])
def test_batches_with_little_in_them_give_finite_losses_and_gradients(present: list[int]) -> None:
    network = RTIL(CONFIG)
    codes = make_codes(6, rows=1, requires_grad=True)
    there = torch.tensor([present]) > 0
    losses = regularisers(network, codes, there, LossWeights())
    total = torch.stack(list(losses.values())).sum()
    total.backward()
    assert bool(torch.isfinite(total))
    for code in (*codes.shared, *codes.private):
        assert code.grad is None or bool(torch.isfinite(code.grad).all())


def test_weights_scale_the_losses() -> None:
    network = RTIL(CONFIG).eval()
    codes = make_codes(7)
    present = torch.ones(6, 3, dtype=torch.bool)
    off = LossWeights(consistency=0, domain=0, reconstruction=0, temporal=0)
    assert all(float(v.detach()) == 0 for v in regularisers(network, codes, present, off).values())
    on = regularisers(network, codes, present, LossWeights(domain=2.0))
    once = domain_loss(network, codes, present, 1.0)
    assert float(on["domain"].detach()) == pytest.approx(2 * float(once.detach()))

"""The scheme around every network: its losses against formulas, who learns from whom. About 3 s."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from model.networks.distillation import (
    Consistency,
    Distillation,
    Pair,
    distillation_weights,
    lost_reconstruction,
    lost_steps,
    transfer_loss,
)
from model.networks.views import Representations, SequenceBatch, three
from model.text.encoder import TextEncoder, Tokens
from model.text.states import TextStates, lose_words, word_tokens
from tests.made_sequences import NAMES, drop_steps, make_batch, make_network

ROWS = 6


pytestmark = pytest.mark.usefixtures("one_thread")


def made(name: str, variant: str) -> Distillation:
    torch.manual_seed(1)
    return Distillation(make_network(name, variant), distillation_weights(variant)).train()


def array(value: Tensor) -> np.ndarray:
    return value.detach().double().numpy()


def representations(seed: int, requires_grad: bool = False) -> Representations:
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator).requires_grad_(requires_grad)

    return Representations(
        draw(ROWS),
        draw(ROWS, 8),
        three(draw(ROWS, 8) for _ in range(3)),
        three(draw(ROWS, 5, 8) for _ in range(3)),
    )


def cosine(x: np.ndarray, y: np.ndarray) -> float:
    lengths = np.linalg.norm(x, axis=1) * np.linalg.norm(y, axis=1)
    return float(((x * y).sum(1) / lengths).mean())


def test_consistency_is_the_mean_negative_cosine_of_predictor_and_projector() -> None:
    torch.manual_seed(0)
    head = Consistency(8)
    left, right = torch.randn(ROWS, 8), torch.randn(ROWS, 8)
    z = [head.projector(x) for x in (left, right)]
    p = [head.predictor(x) for x in z]
    expected = -0.5 * (cosine(array(p[1]), array(z[0])) + cosine(array(p[0]), array(z[1])))
    assert float(head(left, right).detach()) == pytest.approx(expected, rel=1e-5)
    for projected in z:  # batch norm without parameters of its own
        np.testing.assert_allclose(array(projected).mean(0), 0, atol=1e-6)


def test_consistency_sends_no_gradient_through_its_targets() -> None:
    """With the predictor cut off, nothing reaches the views: what is left goes by the targets."""
    torch.manual_seed(0)
    head = Consistency(8)
    views = [torch.randn(ROWS, 8, requires_grad=True) for _ in range(2)]
    head(*views).backward()
    assert all(v.grad is not None and bool(v.grad.abs().sum() > 0) for v in views)
    for view in views:
        view.grad = None
    head.predictor.register_forward_hook(lambda _, __, out: out.detach())
    assert not head(*views).requires_grad


def test_reconstruction_counts_lost_steps_only() -> None:
    torch.manual_seed(0)
    rebuilt, target = torch.randn(3, 5, 4) * 3, torch.randn(3, 5, 4)
    lost = torch.rand(3, 5) < 0.5
    apart = np.abs(array(rebuilt) - array(target))[lost.numpy()]
    smooth = np.where(apart < 1, 0.5 * apart**2, apart - 0.5)
    value = lost_reconstruction(rebuilt, target, lost)
    assert float(value) == pytest.approx(smooth.mean(), rel=1e-5)
    assert float(lost_reconstruction(rebuilt, target, torch.zeros_like(lost))) == 0.0
    moved = torch.where(lost.unsqueeze(-1), target, target + 100)
    torch.testing.assert_close(lost_reconstruction(rebuilt, moved, lost), value)


def test_transfer_against_numpy() -> None:
    pair = Pair(representations(0), representations(1))
    teacher, student = pair.teacher, pair.student
    expected = 0.0
    for own, other in zip(student.pooled, teacher.pooled, strict=True):
        expected += np.abs(array(own) - array(teacher.fused)).mean()
        expected += np.mean((array(own) - array(other)) ** 2)
        expected += np.mean((array(own) - array(student.fused)) ** 2)
    there = torch.ones(ROWS, 3, dtype=torch.bool)
    for detach in (True, False):
        assert float(transfer_loss(pair, there, detach)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("variant", ["faithful", "intended"])
def test_the_teacher_is_pulled_only_in_the_published_form(variant: str) -> None:
    pair = Pair(representations(0, True), representations(1, True))
    there = torch.ones(ROWS, 3, dtype=torch.bool)
    transfer_loss(pair, there, distillation_weights(variant).detach_teacher).backward()
    pulled = [t.grad is not None for t in (pair.teacher.fused, *pair.teacher.pooled)]
    assert pulled == [variant == "faithful"] * 4
    assert all(t.grad is not None for t in (pair.student.fused, *pair.student.pooled))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("variant", ["faithful", "intended"])
def test_every_network_can_be_wrapped(name: str, variant: str) -> None:
    scheme, batch = made(name, variant), make_batch(2, rows=ROWS)
    known = drop_steps(batch, 3)
    known[1][0] = False
    pair = scheme(batch, known)
    lost, target = lost_steps(batch, known), torch.linspace(-2, 2, ROWS)
    losses = scheme.losses(pair, batch, lost, target)
    assert list(losses) == ["student", "teacher", "consistency", "reconstruction", "transfer"]
    assert -3 <= float(losses["consistency"].detach()) <= 3
    torch.testing.assert_close(losses["student"], (pair.student.prediction - target).abs().mean())
    torch.testing.assert_close(losses["teacher"], (pair.teacher.prediction - target).abs().mean())
    torch.stack(list(losses.values())).sum().backward()
    for head in (scheme.consistency, scheme.rebuild):
        for parameter in head.parameters():
            assert parameter.grad is not None and bool(torch.isfinite(parameter.grad).all())
    assert isinstance(scheme.network, nn.Module)
    if variant == "intended":
        tokens = [p for n, p in scheme.network.named_parameters() if n.startswith("lost")]
        assert len(tokens) == 3
        assert all(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in tokens)


@pytest.mark.parametrize("name", NAMES)
def test_teacher_and_student_are_one_network_and_differ_by_what_they_see(name: str) -> None:
    scheme, batch = made(name, "intended").eval(), make_batch(4, rows=ROWS)
    with torch.inference_mode():
        same = scheme(batch, batch.valid)
        torch.testing.assert_close(same.teacher.prediction, same.student.prediction)
        pair = scheme(batch, drop_steps(batch, 5))
        torch.testing.assert_close(pair.teacher.prediction, same.teacher.prediction)
        assert not torch.allclose(pair.teacher.prediction, pair.student.prediction, atol=1e-4)
        other = make_batch(6, rows=ROWS)
        own = SequenceBatch((other.values[0], *batch.values[1:]), batch.valid)
        shown = scheme(batch, batch.valid, masked=own)
        torch.testing.assert_close(shown.teacher.prediction, same.teacher.prediction)
        assert not torch.allclose(shown.student.prediction, same.student.prediction, atol=1e-4)


def test_a_modality_that_a_sample_never_had_takes_no_part() -> None:
    scheme, batch = made("mitr", "intended"), make_batch(8, rows=ROWS)
    valid = list(batch.valid)
    valid[2] = torch.zeros_like(valid[2])  # nobody has a face
    valid[1] = valid[1].clone()
    valid[1][1:] = False  # one has a voice: too few for batch statistics
    batch = SequenceBatch(batch.values, (valid[0], valid[1], valid[2]))
    known = drop_steps(batch, 3)
    pair = scheme(batch, known)
    losses = scheme.losses(pair, batch, lost_steps(batch, known), torch.zeros(ROWS))
    text = scheme.consistency[0](pair.teacher.pooled[0], pair.student.pooled[0])
    torch.testing.assert_close(losses["consistency"], text)
    student, teacher = array(pair.student.fused), array(pair.teacher.fused)
    expected = 0.0
    for m, rows in ((0, slice(None)), (1, slice(1))):
        own, guide = array(pair.student.pooled[m])[rows], array(pair.teacher.pooled[m])[rows]
        expected += np.abs(own - teacher[rows]).mean() + np.mean((own - guide) ** 2)
        expected += np.mean((own - student[rows]) ** 2)
    assert float(losses["transfer"].detach()) == pytest.approx(0.3 * expected, rel=1e-5)
    torch.stack(list(losses.values())).sum().backward()
    for parameter in scheme.parameters():
        assert parameter.grad is None or bool(torch.isfinite(parameter.grad).all())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("variant", ["faithful", "intended"])
def test_half_precision_gives_finite_losses_near_the_full_ones(name: str, variant: str) -> None:
    batch, target = make_batch(9, rows=ROWS), torch.linspace(-2, 2, ROWS)
    known = drop_steps(batch, 9)
    found = []
    for half in (False, True):
        scheme = made(name, variant)
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            pair = scheme(batch, known)
            losses = scheme.losses(pair, batch, lost_steps(batch, known), target)
            total = torch.stack([loss.float() for loss in losses.values()]).sum()
        total.backward()
        grads = [p.grad for p in scheme.parameters() if p.grad is not None]
        assert all(bool(torch.isfinite(grad).all()) for grad in grads)
        found.append(float(total.detach()))
    assert found[1] == pytest.approx(found[0], abs=0.3)


def test_losses_that_are_switched_off_are_not_there() -> None:
    scheme, batch = made("mitr", "intended"), make_batch(2, rows=ROWS)
    scheme.weights = msgspec.structs.replace(
        scheme.weights, teacher=0, consistency=0, reconstruction=0, transfer=0
    )
    known = drop_steps(batch, 3)
    losses = scheme.losses(scheme(batch, known), batch, lost_steps(batch, known), torch.zeros(ROWS))
    assert list(losses) == ["student"]
    assert distillation_weights("faithful").transfer == 0.3
    with pytest.raises(ValueError, match="there are"):
        distillation_weights("both")


@pytest.mark.parametrize("name", ["svr", "mitr"])
def test_the_scheme_learns(name: str) -> None:
    scheme, batch = made(name, "intended"), make_batch(7, rows=8)
    target = torch.linspace(-2, 2, 8)
    optimiser = torch.optim.Adam(scheme.parameters(), 5e-3)
    totals = []
    for step in range(25):
        known = drop_steps(batch, step)
        losses = scheme.losses(scheme(batch, known), batch, lost_steps(batch, known), target)
        total = torch.stack(list(losses.values())).sum()
        optimiser.zero_grad()
        total.backward()
        optimiser.step()
        totals.append(float(total.detach()))
    assert np.mean(totals[-5:]) < 0.6 * np.mean(totals[:3])


# Text.


def test_marks_stay_when_words_are_lost() -> None:
    ids = torch.tensor([[101, 7, 8, 9, 102, 0], [101, 102, 0, 0, 0, 0], [101, 5, 102, 0, 0, 0]])
    tokens = Tokens(ids, ids > 0)
    assert word_tokens(tokens.mask).sum(1).tolist() == [3, 0, 1]
    known = torch.ones_like(tokens.mask)
    known[:, 2:] = False
    assert lose_words(tokens, known, 100).ids.tolist() == [
        [101, 7, 100, 100, 102, 0],
        [101, 102, 0, 0, 0, 0],
        [101, 5, 102, 0, 0, 0],
    ]


def test_finished_states_tell_of_lost_words_and_states_made_again_do_not(text_folder: Path) -> None:
    encoder: TextStates = TextEncoder.load(text_folder)
    tokens = encoder.tokenize(["it was terrible", "it was wonderful"])
    known = torch.ones_like(tokens.mask)
    known[:, 3] = False
    with torch.inference_mode():
        finished = encoder(tokens.ids, tokens.mask)
        again = lose_words(tokens, known, 100)
        states = encoder(again.ids, again.mask)
    assert finished.shape == (2, 5, encoder.width)
    assert not torch.allclose(finished[0][known[0]], finished[1][known[1]], atol=1e-2)
    torch.testing.assert_close(states[0], states[1])

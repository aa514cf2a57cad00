"""RTIL: masks, missing modalities, gates, and that it learns."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from features.spec import FACE, LIVE
from model.networks.blocks import BilinearGate, masked_mean
from model.networks.inputs import VOICE_WIDTH, Batch
from model.networks.losses import LossWeights, regularisers
from model.networks.readings import SCORE, TRUST
from model.networks.rtil import RTIL, SHAPE_WIDTH, RTILConfig, bounded, held_back

CONFIG = RTILConfig(width=32, heads=2, feedforward=32, state_components=16, gate_hidden=8)
STEPS, CELLS, TOKENS = 40, 16, 6


pytestmark = pytest.mark.usefixtures("one_thread")


def make_batch(seed: int = 0, rows: int = 3, tokens: int = TOKENS, known: float = 0.7) -> Batch:
    generator = torch.Generator().manual_seed(seed)

    def values(steps: int, width: int) -> Tensor:
        return torch.randn(rows, steps, width, generator=generator)

    def mask(steps: int) -> Tensor:
        out = torch.rand(rows, steps, generator=generator) < known
        out[:, 0] = True
        return out

    return Batch(
        text=values(tokens, 384),
        text_mask=mask(tokens),
        voice=values(STEPS, VOICE_WIDTH),
        voice_mask=mask(STEPS),
        states=values(CELLS, 512),
        states_mask=mask(CELLS),
        face=values(STEPS, LIVE.stream(FACE).width),
        face_mask=mask(STEPS),
        present=torch.ones(rows, 3, dtype=torch.bool),
    )


def rows_of(batch: Batch, rows: slice) -> Batch:
    return Batch(*(getattr(batch, name)[rows] for name in Batch.__slots__))


@pytest.fixture(scope="module")
def network() -> RTIL:
    torch.manual_seed(0)
    return RTIL(CONFIG).eval()


def test_scores_are_bounded_finite_and_repeatable(network: RTIL) -> None:
    batch = make_batch()
    loud = replace(batch, text=batch.text * 1e4, face=batch.face * 1e4)
    with torch.inference_mode():
        for some in (batch, loud):
            scores = network(some)
            assert scores.shape == (3,)
            assert bool((scores.abs() <= 3).all())
            assert torch.equal(scores, network(some))


@given(seed=st.integers(0, 10_000))
@settings(max_examples=15, deadline=None)
def test_a_batch_gives_what_single_windows_give(seed: int) -> None:
    torch.manual_seed(0)
    network = RTIL(CONFIG).eval()
    batch = make_batch(seed)
    batch.present[1, seed % 3] = False
    with torch.inference_mode():
        together = network(batch)
        single = torch.cat([network(rows_of(batch, slice(i, i + 1))) for i in range(3)])
    torch.testing.assert_close(together, single, atol=1e-5, rtol=1e-5)


@given(seed=st.integers(0, 10_000), extra=st.integers(1, 30))
@settings(max_examples=15, deadline=None)
def test_padding_and_what_lies_under_masks_changes_nothing(seed: int, extra: int) -> None:
    torch.manual_seed(0)
    network = RTIL(CONFIG).eval()
    batch = make_batch(seed)
    padded = replace(
        batch,
        text=torch.cat([batch.text, torch.full((3, extra, 384), 9.0)], 1),
        text_mask=torch.cat([batch.text_mask, torch.zeros(3, extra, dtype=torch.bool)], 1),
        voice=torch.where(batch.voice_mask[..., None], batch.voice, -7.0),
        states=torch.where(batch.states_mask[..., None], batch.states, 5.0),
        face=torch.where(batch.face_mask[..., None], batch.face, 11.0),
    )
    with torch.inference_mode():
        torch.testing.assert_close(network(batch), network(padded), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("hidden", [0, 1, 2])
def test_a_hidden_modality_cannot_be_seen(network: RTIL, hidden: int) -> None:
    first, second = make_batch(1), make_batch(2)
    parts = [
        ("text", "text_mask"),
        ("voice", "voice_mask", "states", "states_mask"),
        ("face", "face_mask"),
    ]
    swapped = replace(first, **{name: getattr(second, name) for name in parts[hidden]})
    present = torch.ones(3, 3, dtype=torch.bool)
    with torch.inference_mode():
        assert not torch.allclose(network(first), network(swapped), atol=1e-4), "seen when present"
        present[:, hidden] = False
        torch.testing.assert_close(network(first, present), network(swapped, present))


def test_a_face_is_read_by_its_shapes_and_by_what_is_seen_of_it() -> None:
    torch.manual_seed(0)
    network = RTIL(CONFIG).eval()
    batch = make_batch(4)
    unseen = replace(batch, face=batch.face.clone())
    unseen.face[..., SHAPE_WIDTH:] = torch.nan
    with torch.inference_mode():
        shapes = network.encode(unseen).readings[2]
        assert torch.equal(network.encode(batch).readings[2], shapes), "as long as nothing sees"
        opened(network)
        assert torch.equal(network.encode(unseen).readings[2], shapes)
        both = network.encode(batch).readings[2]
        seen = torch.stack([
            values[mask].mean(0)
            for values, mask in zip(batch.face[..., SHAPE_WIDTH:], batch.face_mask, strict=True)
        ])  # fmt: skip
    check_joined(network, both, shapes, seen)


def opened(network: RTIL) -> None:
    """Let the network read what is seen, somehow."""
    for values in network.appearance.state_dict().values():
        values.normal_()


def check_joined(network: RTIL, both: Tensor, shapes: Tensor, seen: Tensor) -> None:
    """``both`` are three parts of what is seen and one of the shapes, and the valence of that."""
    own = network.appearance
    said = own.direct(seen).softmax(1) ** 0.75 * shapes[:, :SCORE].softmax(1) ** 0.25
    torch.testing.assert_close(both[:, :SCORE].softmax(1), said / said.sum(1, keepdim=True))
    likely = said * own.usual.exp()
    valence = (likely * own.valence).sum(1) / likely.sum(1)
    torch.testing.assert_close(both[:, SCORE], valence)
    assert torch.equal(both[:, TRUST], shapes[:, TRUST])


def test_pictures_without_a_number_leave_the_others_of_the_window() -> None:
    torch.manual_seed(0)
    network = RTIL(CONFIG).eval()
    opened(network)
    batch = make_batch(5, known=1.0)
    holes = replace(batch, face=batch.face.clone())
    holes.face[:, 3, SHAPE_WIDTH:] = torch.nan
    rest = batch.face[:, [i for i in range(STEPS) if i != 3], SHAPE_WIDTH:]
    with torch.inference_mode():
        found = network.encode(holes).readings[2]
        shapes = network.encode(replace(batch, face=torch.cat(
            [batch.face[..., :SHAPE_WIDTH], torch.full((3, STEPS, 7), torch.nan)], -1
        ))).readings[2]  # fmt: skip
    check_joined(network, found, shapes, rest.mean(1))


@pytest.mark.parametrize("hidden", [0, 1, 2])
def test_hidden_equals_fully_masked(network: RTIL, hidden: int) -> None:
    batch = make_batch(3)
    names = [("text_mask",), ("voice_mask", "states_mask"), ("face_mask",)][hidden]
    masked = replace(batch, **{n: torch.zeros_like(getattr(batch, n)) for n in names})
    present = batch.present.clone()
    present[:, hidden] = False
    with torch.inference_mode():
        torch.testing.assert_close(network(batch, present), network(masked), atol=1e-6, rtol=1e-5)


def test_absence_is_not_a_modality_of_zeros(network: RTIL) -> None:
    batch = make_batch(4)
    zeros = replace(batch, face=torch.zeros_like(batch.face))
    present = batch.present.clone()
    present[:, 2] = False
    with torch.inference_mode():
        assert not torch.allclose(network(zeros), network(batch, present), atol=1e-4)


@pytest.mark.parametrize("gone", ["voice_mask", "states_mask"])
def test_each_voice_stream_works_without_the_other(network: RTIL, gone: str) -> None:
    batch = make_batch(5)
    without = replace(
        batch,
        **{gone: torch.zeros_like(batch.voice_mask if gone == "voice_mask" else batch.states_mask)},
    )
    voice_only = torch.tensor([[False, True, False]]).expand(3, 3)
    with torch.inference_mode():
        codes = network.encode(without)
        assert bool(codes.masks[1].any())
        scores = network.fuse(codes, voice_only).score
        nothing = network.fuse(codes, torch.zeros(3, 3, dtype=torch.bool)).score
    assert bool(torch.isfinite(scores).all())
    assert not torch.allclose(scores, nothing, atol=1e-5)


def test_states_are_laid_on_the_cell_that_covers_the_step(network: RTIL) -> None:
    batch = make_batch(6)
    mask = torch.zeros_like(batch.states_mask)
    mask[:, 4] = True  # 1.00 to 1.25 s: steps of 0.1 s whose middle is 1.05 and 1.15
    silent = replace(batch, states_mask=mask, voice_mask=torch.zeros_like(batch.voice_mask))
    _, known = network.voice_in(silent)
    assert known[0].nonzero().flatten().tolist() == [10, 11]


def test_encoding_once_and_fusing_often_is_the_same(network: RTIL) -> None:
    batch = make_batch(7)
    rows = torch.tensor([2, 0, 2, 1])
    subsets = torch.tensor([[1, 0, 0], [1, 1, 0], [0, 1, 1], [1, 1, 1]]) > 0
    with torch.inference_mode():
        fused = network.fuse(network.encode(batch).select(rows), subsets).score
        for score, row, subset in zip(fused, rows.tolist(), subsets, strict=True):
            alone = network(rows_of(batch, slice(row, row + 1)), subset[None])
            torch.testing.assert_close(score[None], alone, atol=1e-5, rtol=1e-5)


def test_a_face_column_that_is_hidden_for_good_has_no_say() -> None:
    torch.manual_seed(0)
    network = RTIL(CONFIG).eval()
    network.face_columns[55:] = 0.0
    batch = make_batch(8)
    moved = replace(batch, face=batch.face.clone())
    moved.face[..., 55:] += 3.0
    with torch.inference_mode():
        assert torch.equal(network(batch), network(moved))


def test_the_straight_through_gate_is_hard_and_learns() -> None:
    torch.manual_seed(0)
    gate = BilinearGate(32, 8, 2, 0.0, "straight-through")
    left, right = torch.rand(4, 5, 32), torch.rand(4, 5, 32)
    out = gate(left, right)
    assert set(out.detach().round(decimals=5).flatten().tolist()) <= {0.0, 1.0}
    out.sum().backward()
    for parameter in gate.parameters():
        assert parameter.grad is not None and float(parameter.grad.abs().sum()) > 0


def test_gates_are_soft_or_open_where_asked() -> None:
    left, right = torch.rand(4, 5, 32), torch.rand(4, 5, 32)
    soft = BilinearGate(32, 8, 2, 0.0, "soft")(left, right)
    assert bool(((soft > 0) & (soft < 1)).all())
    assert torch.equal(BilinearGate(32, 8, 2, 0.0, "open")(left, right), torch.ones(4, 5, 1))


def test_a_closed_gate_keeps_the_companion_out(network: RTIL) -> None:
    torch.manual_seed(0)
    shut = RTIL(CONFIG).eval()
    for side in (shut.ask_voice, shut.ask_face):
        torch.nn.init.zeros_(side.gate.out.weight)
        torch.nn.init.constant_(side.gate.out.bias, -9.0)
    with torch.inference_mode():
        codes = shut.encode(make_batch(9))
        silent = tuple(torch.zeros_like(reading) for reading in codes.readings)
        codes = replace(codes, readings=silent)  # each by itself is heard whatever the gates say
        everything = torch.ones(3, 3, dtype=torch.bool)
        text_only = torch.tensor([[True, False, False]]).expand(3, 3)
        fusion = shut.fuse(codes, everything)
        torch.testing.assert_close(fusion.score, shut.fuse(codes, text_only).score)
    assert float(fusion.voice_gate.max()) == 0.0


def test_every_parameter_is_trained_by_some_loss() -> None:
    torch.manual_seed(0)
    network = RTIL(CONFIG)
    batch = make_batch(10, rows=8)
    batch.present[:4, 0] = False
    batch.voice_mask[:2] = False
    batch.states_mask[2:4] = False
    codes = network.encode(batch)
    losses = regularisers(network, codes, batch.present, LossWeights())
    total = network.fuse(codes, batch.present).score.square().mean()
    total = total + torch.stack(list(losses.values())).sum()
    (total + network.score_alone(codes).square().mean()).backward()
    learned = [(n, p) for n, p in network.named_parameters() if p.requires_grad]
    idle = [n for n, p in learned if p.grad is None or not p.grad.abs().sum() > 0]
    assert idle == []


def test_it_learns_from_each_modality_alone() -> None:
    """Eight windows per modality whose score only that modality knows; forty steps of Adam."""
    torch.manual_seed(0)
    network = RTIL(replace_dropout(CONFIG))
    batch = make_batch(11, rows=24)
    present = torch.eye(3, dtype=torch.bool).repeat(8, 1)
    target = torch.linspace(-2, 2, 24)[torch.randperm(24)]
    optimiser = torch.optim.Adam(network.parameters(), 3e-3)
    losses = []
    for _ in range(40):
        loss = (network(batch, present) - target).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    network.eval()
    with torch.inference_mode():
        error = (network(batch, present) - target).square()
    for m in range(3):
        assert float(error[m::3].mean()) < 0.25 * losses[0], f"modality {m}"


def replace_dropout(config: RTILConfig) -> RTILConfig:
    return RTILConfig(
        width=config.width, heads=2, feedforward=32, state_components=16, gate_hidden=8, dropout=0.0,
        cross_dropout=0.0, gate_dropout=0.0, head_dropout=0.0, discriminator_dropout=0.0,
    )  # fmt: skip


def test_a_modality_is_held_back_by_its_share_alone(network: RTIL) -> None:
    with torch.no_grad():
        codes = network.encode(make_batch(5))
    whole = held_back(codes, 1, torch.ones(3))
    for before, after in zip(codes.readings, whole.readings, strict=True):
        torch.testing.assert_close(after, before, atol=1e-4, rtol=1e-4)
    half = held_back(codes, 1, torch.tensor([0.5, 1.0, 0.0]))
    torch.testing.assert_close(half.readings[1][0, SCORE], codes.readings[1][0, SCORE] / 2)

    def weight(readings: Tensor) -> Tensor:
        return (3 * torch.tanh(readings[..., TRUST] / 3)).exp()

    torch.testing.assert_close(weight(half.readings[1][0]), weight(codes.readings[1][0]) / 2)
    assert float(half.readings[1][2, SCORE]) == 0.0
    assert float(weight(half.readings[1][2])) < 0.06
    assert torch.equal(half.readings[0], codes.readings[0])


def test_a_score_is_bounded_and_itself_up_to_two() -> None:
    raw = torch.linspace(-9, 9, 181, requires_grad=True)
    score = bounded(raw)
    score.sum().backward()
    plain = raw.abs() <= 2
    torch.testing.assert_close(score[plain], raw[plain])
    assert float(score.abs().max()) <= 3 and bool((score.diff() >= 0).all())
    assert raw.grad is not None and bool((raw.grad[raw.abs() < 6] > 0).all())


def test_masked_mean_of_nothing_is_zero() -> None:
    values = torch.rand(2, 3, 4)
    mask = torch.tensor([[True, False, True], [False, False, False]])
    out = masked_mean(values, mask)
    torch.testing.assert_close(out[0], (values[0, 0] + values[0, 2]) / 2)
    assert not out[1].any()

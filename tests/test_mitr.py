"""MITR-DNet: causality, the flips, masked statistics, and the published sizes. About 3 s."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from model.networks.mitr import MITR, CausalEncoder, mitr_config
from model.networks.temporal_blocks import (
    CausalConvolution,
    DilatedGate,
    MaskedBatchNorm,
    TemporalStreams,
)
from model.networks.token_fusion import Adapter, TokenFusion
from tests.made_sequences import make_batch, make_network

MOSI = (768, 5, 20)
SEEDS = st.integers(0, 10_000)


pytestmark = pytest.mark.usefixtures("one_thread")


def streams(flip: str, seed: int = 0) -> TemporalStreams:
    torch.manual_seed(seed)
    network = TemporalStreams(6, 4, 2, (1, 2, 4, 8), 0.0, flip).eval()
    for part in network.modules():  # as after training: neither zero mean nor unit deviation
        if isinstance(part, MaskedBatchNorm):
            nn.init.normal_(part.running_mean)  # type: ignore[arg-type]
            nn.init.uniform_(part.running_var, 0.5, 2.0)  # type: ignore[arg-type]
            nn.init.normal_(part.bias)
    return network


def changed(before: Tensor, after: Tensor) -> list[bool]:
    """Which steps of ``(1, T, D)`` differ."""
    return (before - after).abs().amax((0, 2)).gt(1e-7).tolist()


@pytest.mark.parametrize("masked", [False, True])
@given(seed=SEEDS, step=st.integers(0, 29))
@settings(max_examples=15, deadline=None)
def test_an_output_of_the_forward_stream_never_sees_a_later_input(
    masked: bool, seed: int, step: int
) -> None:
    """Neither with the masks of the intended form nor without them, as published."""
    network, values = streams("none", seed), torch.randn(1, 30, 6)
    mask = torch.rand(1, 30) > 0.3 if masked else None
    moved = values.clone()
    moved[:, step] += torch.randn(6)
    with torch.inference_mode():
        seen = changed(network(values, mask), network(moved, mask))
    assert not any(seen[:step])
    assert not any(seen[step + 16 :]), "kernel 2 with dilations 1 + 2 + 4 + 8 reaches back 15 steps"


def test_the_forward_stream_reaches_back_fifteen_steps() -> None:
    """Over several networks, since a ReLU can close on the way."""
    values = torch.randn(1, 30, 6, generator=torch.Generator().manual_seed(0))
    moved = values.clone()
    moved[:, 5] += 3.0
    reached: set[int] = set()
    with torch.inference_mode():
        for seed in range(10):
            network = streams("none", seed)
            seen = changed(network(values, None), network(moved, None))
            reached |= {index - 5 for index, one in enumerate(seen) if one}
    assert reached == set(range(16))


@given(seed=SEEDS, step=st.integers(0, 29))
@settings(max_examples=10, deadline=None)
def test_a_block_reaches_back_exactly_its_dilation(seed: int, step: int) -> None:
    torch.manual_seed(seed)
    block, values = DilatedGate(4, 2, 4, 0.0).eval(), torch.randn(1, 4, 30)
    moved = values.clone()
    moved[:, :, step] += 3.0
    with torch.inference_mode():
        seen = changed(block(values, None).mT, block(moved, None).mT)
    assert {index for index, one in enumerate(seen) if one} <= {step, step + 4}
    assert seen[step]


@pytest.mark.parametrize(("flip", "sees_later"), [("channels", False), ("time", True)])
def test_only_a_flip_of_time_lets_the_past_hear_of_the_future(flip: str, sees_later: bool) -> None:
    """The public code's backward stream is one more forward stream: it flips channels."""
    network, values = streams(flip), torch.randn(1, 30, 6)
    moved = values.clone()
    moved[:, 20] += 1.0
    with torch.inference_mode():
        seen = changed(network(values, None), network(moved, None))
    assert any(seen[:20]) is sees_later
    assert any(seen[21:])


def test_the_backward_stream_is_the_forward_one_over_reversed_time() -> None:
    network, values = streams("time"), torch.randn(2, 12, 6)
    network.enter_backward.load_state_dict(network.enter.state_dict())
    with torch.inference_mode():
        out = network(values, None)
        torch.testing.assert_close(network(values.flip(1), None), out.flip(1))
        ahead = streams("none")
        ahead.load_state_dict(network.state_dict(), strict=False)
        once, back = ahead(values, None), ahead(values.flip(1), None).flip(1)
    torch.testing.assert_close(out, once + back)


@pytest.mark.parametrize("flip", ["channels", "time"])
def test_a_flip_is_an_involution_along_its_own_axis(flip: str) -> None:
    network, values = streams(flip), torch.arange(24.0).reshape(1, 4, 6)
    turned = network.turn(values)
    assert not torch.equal(turned, values)
    assert torch.equal(network.turn(turned), values)
    expected = values.numpy()[:, ::-1] if flip == "channels" else values.numpy()[:, :, ::-1]
    np.testing.assert_array_equal(turned.numpy(), expected)


def test_a_flip_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="no flip 'both'"):
        TemporalStreams(6, 4, 2, (1,), 0.0, "both")


@given(seed=SEEDS)
@settings(max_examples=10, deadline=None)
def test_masked_batch_statistics_are_those_of_the_valid_steps(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(3, 5, 7, generator=generator) * 3 + 1
    mask = torch.rand(3, 7, generator=generator) < 0.6
    mask[0] = True
    own, reference = MaskedBatchNorm(5), nn.BatchNorm1d(5)
    valid = values.mT[mask]
    torch.testing.assert_close(own(values, mask).mT[mask], reference(valid), atol=1e-5, rtol=1e-4)
    for name, buffer in own.named_buffers():
        torch.testing.assert_close(buffer, reference.get_buffer(name))
    torch.testing.assert_close(own.eval()(values, mask).mT[mask], reference.eval()(valid))


def test_masked_batch_norm_without_a_valid_step_stays_finite() -> None:
    norm = MaskedBatchNorm(5)
    out = norm(torch.randn(2, 5, 3), torch.zeros(2, 3, dtype=torch.bool))
    assert bool(torch.isfinite(out).all())
    assert norm.running_var is not None and bool(torch.isfinite(norm.running_var).all())


def test_a_convolution_against_numpy() -> None:
    torch.manual_seed(0)
    convolution, values = CausalConvolution(3, 2, 2, 4, 0.0).eval(), torch.randn(1, 3, 9)
    weight = convolution.convolution.weight.detach().numpy()
    bias = convolution.convolution.bias.detach().numpy()  # type: ignore[union-attr]
    padded = np.concatenate([np.zeros((3, 4)), values[0].numpy()], axis=1)
    expected = np.stack(
        [
            weight[:, :, 0] @ padded[:, t] + weight[:, :, 1] @ padded[:, t + 4] + bias
            for t in range(9)
        ],
        axis=1,
    )
    expected = np.maximum(expected / np.sqrt(1 + 1e-5), 0)  # fresh running statistics
    np.testing.assert_allclose(convolution(values, None)[0].detach().numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("variant", ["faithful", "intended"])
def test_encoders_are_causal(variant: str) -> None:
    torch.manual_seed(0)
    encoder = CausalEncoder(5, 0.0, mitr_config(variant, MOSI)).eval()
    values, valid = torch.randn(1, 9, 5), torch.ones(1, 9, dtype=torch.bool)
    moved = values.clone()
    moved[:, 4] += torch.randn(5)  # a constant would vanish in the norm
    with torch.inference_mode():
        seen = changed(encoder(values, valid), encoder(moved, valid))
    assert seen == [False] * 4 + [True] * 5


@pytest.mark.parametrize("variant", ["faithful", "intended"])
def test_encoders_attend_to_invalid_steps_only_in_the_published_form(variant: str) -> None:
    torch.manual_seed(0)
    encoder = CausalEncoder(5, 0.0, mitr_config(variant, MOSI)).eval()
    values, valid = torch.randn(1, 9, 5), torch.ones(1, 9, dtype=torch.bool)
    valid[:, :3] = False
    moved = values.clone()
    moved[:, :3] += torch.randn(3, 5)
    with torch.inference_mode():
        seen = changed(encoder(values, valid), encoder(moved, valid))
    assert any(seen[3:]) is (variant == "faithful")


def test_the_published_encoder_gives_no_position_where_the_first_column_is_zero() -> None:
    values = torch.randn(2, 6, 5)
    values[0, 2:4, 0] = 0.0
    published = CausalEncoder(5, 0.0, mitr_config("faithful", MOSI))
    intended = CausalEncoder(5, 0.0, mitr_config("intended", MOSI))
    scaled = values * 5**0.5
    assert torch.equal(published._placed(values)[0, 2:4], scaled[0, 2:4])
    apart = (intended._placed(values) - published._placed(values)).abs().amax(-1).gt(0)
    assert apart.nonzero().tolist() == [[0, 2], [0, 3]]


def test_adapters_begin_as_nothing() -> None:
    torch.manual_seed(0)
    assert not Adapter(10, 5)(torch.randn(3, 10)).any()
    fusion = TokenFusion(10, 2, 5, 6, 0.0).eval()
    text, voice, face = torch.randn(3, 3, 10)
    with torch.inference_mode():
        heard = fusion.voice.attend(voice[:, None], text[:, None])
        shown = fusion.face.attend(face[:, None], text[:, None])
        plain = heard + fusion.voice.perceptron(heard) + shown + fusion.face.perceptron(shown)
        torch.testing.assert_close(fusion(text, voice, face), plain[:, 0])
        fusion.voice.cross_adapter.adapter.up.weight.fill_(0.5)
        assert not torch.allclose(fusion(text, voice, face), plain[:, 0])


def test_attention_over_one_token_is_a_linear_map() -> None:
    """A fact about the published fusion, in both variants."""
    torch.manual_seed(0)
    cross = TokenFusion(10, 2, 5, 6, 0.0).eval().voice.cross_adapter
    value, out = torch.randn(4, 1, 10), cross.attention
    with torch.inference_mode():
        answer, _ = out(torch.randn(4, 1, 10), value, value)
        mapped = value @ out.in_proj_weight[20:].T + out.in_proj_bias[20:]
        torch.testing.assert_close(answer, out.out_proj(mapped))


def test_the_published_forward_pass_step_by_step() -> None:
    """From the description alone, with our weights; fresh batch statistics are 0 and 1."""
    network = make_network("mitr", "faithful")
    assert isinstance(network, MITR)
    for part in network.modules():
        if isinstance(part, Adapter):  # as after training: an adapter says something
            nn.init.normal_(part.up.weight)
    batch = make_batch(12, steps=(5, 9, 7))
    sequences = [
        published_streams(network.streams[m], network.encoders[m](value, valid))  # type: ignore[arg-type]
        for m, (value, valid) in enumerate(zip(batch.values, batch.valid, strict=True))
    ]
    text, voice, face = (sequence.mean(2) for sequence in sequences)
    fusion, start = network.fusion, torch.tensor([0.0, 1.0] * 10)  # sine and cosine of position 0
    assert isinstance(fusion, TokenFusion)
    own = []
    for branch_, x in ((fusion.voice, voice), (fusion.face, face)):
        own.append(x + branch_.layer((x + start + text).unsqueeze(1)).squeeze(1))
    fused = torch.zeros_like(text)
    for branch_, x, other in ((fusion.voice, *own), (fusion.face, *own[::-1])):
        cross = branch_.cross_adapter
        key = cross.other_norm(other).unsqueeze(1)
        answer = cross.attention(cross.own_norm(x).unsqueeze(1), key, key)[0].squeeze(1)
        adapted = [branch_.own_adapter[1], cross.adapter]
        inputs = [branch_.own_adapter[0](x), answer]
        small = [a.up(a.down(i).relu()) for a, i in zip(adapted, inputs, strict=True)]  # type: ignore[operator, union-attr]
        fused = fused + x + branch_.perceptron(x) + small[0] + cross.scale * small[1]
    view = network(batch)
    torch.testing.assert_close(view.fused, fused, atol=1e-5, rtol=1e-5)
    expected = network.head[3](network.head[0](fused).relu()).squeeze(-1)
    torch.testing.assert_close(view.prediction, expected, atol=1e-5, rtol=1e-5)


def published_streams(network: TemporalStreams, sequence: Tensor) -> Tensor:
    """``(B, T, inputs) -> (B, channels of all blocks, T)`` with the flip of channels."""

    def convolve(part: CausalConvolution, x: Tensor, dilation: int) -> Tensor:
        own = part.convolution
        reach = dilation * (own.kernel_size[0] - 1)
        padded = torch.cat([x.new_zeros(*x.shape[:2], reach), x], 2)
        out = nn.functional.conv1d(padded, own.weight, own.bias, dilation=dilation)
        return (out / (1 + 1e-5) ** 0.5).relu()

    columns = sequence.transpose(1, 2)
    ahead, back = (
        convolve(network.enter, columns, 1),
        convolve(network.enter_backward, columns.flip(1), 1),
    )
    found = []
    for block, dilation in zip(network.blocks, (1, 2, 4, 8), strict=True):
        assert isinstance(block, DilatedGate)
        ahead, back = (
            x
            + block.mix(
                torch.tanh(convolve(block.content, x, dilation))
                * torch.sigmoid(convolve(block.gate, x, dilation))
            )
            for x in (ahead, back)
        )
        found.append(ahead + back)
    return torch.cat(found, 1)


# Sizes of the public code, counted by hand from the paper's description.
def linear(inputs: int, outputs: int) -> int:
    return (inputs + 1) * outputs


def encoder(width: int) -> int:
    return (
        4 * linear(width, width) + linear(width, 4 * width) + linear(4 * width, width) + 6 * width
    )


def temporal(width: int) -> int:
    enter = linear(width, 25) + 2 * 25
    convolution = linear(2 * 25, 25) + 2 * 25
    return 2 * enter + 4 * (2 * convolution + linear(25, 25))


def branch() -> int:
    layer = 4 * linear(100, 100) + 2 * linear(100, 100) + 2 * 2 * 100
    perceptron = linear(100, 50) + linear(50, 100)
    tsa = 2 * 100 + linear(100, 50) + linear(50, 100)
    xaa = 2 * 2 * 100 + 4 * linear(100, 100) + linear(100, 64) + linear(64, 100) + 1
    return layer + perceptron + tsa + xaa


@pytest.mark.parametrize("widths", [MOSI, (768, 33, 709)])
def test_parameter_counts_are_the_published_ones(widths: tuple[int, int, int]) -> None:
    published = sum(encoder(w) + temporal(w) for w in widths) + 2 * branch()
    published += linear(100, 100) + linear(100, 1)
    found = [
        sum(p.numel() for p in MITR(mitr_config(v, widths)).parameters())
        for v in ("faithful", "intended")
    ]
    assert found == [published, published + sum(widths) + 3 * 100], "plus the learned tokens"


def test_every_intended_parameter_is_trained() -> None:
    network = make_network("mitr", "intended")
    assert isinstance(network, MITR)
    batch = make_batch(1, rows=8, steps=(5, 9, 7))
    known = list(batch.valid)
    for m in range(3):
        known[m] = known[m].clone()
        known[m][m] = False  # gone for good
        known[m][m + 3, 0] = False  # lost
    network.train()
    for part in network.modules():
        if isinstance(part, Adapter):
            nn.init.normal_(part.up.weight)
    network(batch, (known[0], known[1], known[2])).prediction.square().sum().backward()
    idle = [
        n for n, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0
    ]
    harmless = {n for n, _ in network.named_parameters() if n.endswith("convolution.bias")}
    attention = {"cross_adapter.own_norm", "attention.in_proj_bias"}
    assert [n for n in idle if n not in harmless and not any(a in n for a in attention)] == []


def test_a_configuration_rebuilds_the_network_from_json() -> None:
    config = msgspec.structs.replace(mitr_config("intended", MOSI), fusion="concatenation")
    again = msgspec.json.decode(msgspec.json.encode(config), type=type(config))
    assert again == config
    network = MITR(again)
    network.load_state_dict(MITR(config).state_dict())
    with pytest.raises(ValueError, match="there are"):
        mitr_config("fixed", MOSI)

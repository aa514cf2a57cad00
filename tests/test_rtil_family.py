"""The RTIL family against the papers' sizes, its losses against NumPy and SciPy. About 3 s."""

from __future__ import annotations

import copy
from itertools import combinations, pairwise

import msgspec
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.spatial.distance import jensenshannon
from scipy.special import log_softmax, softmax
from scipy.stats import moment
from torch import Tensor, nn

from features.errors import FeatureError
from model.networks.blocks import BilinearGate, GatedAttention, masked_mean
from model.networks.family_losses import (
    FamilyWeights,
    family_losses,
    family_weights,
    sequential_variation,
)
from model.networks.family_parts import FORMS, VARIANTS, family_config
from model.networks.margin import MarginDiscriminator, margin_cosine_loss
from model.networks.rtil_family import FamilyView, RTILFamily
from tests.made_sequences import drop_steps, make_batch, make_network

MOSI = (768, 74, 47)  # RoBERTa, COVAREP, FACET


pytestmark = pytest.mark.usefixtures("one_thread")


def family(form: str, variant: str) -> RTILFamily:
    network = make_network(form, variant)
    assert isinstance(network, RTILFamily)
    return network


def number(value: Tensor) -> float:
    return float(value.detach())


def array(value: Tensor) -> np.ndarray:
    return value.detach().double().numpy()


# Sizes of the public code, counted by hand from the papers' description.
def linear(inputs: int, outputs: int, bias: bool = True) -> int:
    return inputs * outputs + bias * outputs


def encoder_layer(width: int, inner: int = 2048) -> int:
    attention = 4 * linear(width, width)
    return attention + linear(width, inner) + linear(inner, width) + 2 * 2 * width


def project(inputs: int) -> int:
    return linear(inputs, 128) + 2 * 128


def fusion(gates: int, answer_bias: bool) -> int:
    cross = 3 * linear(128, 128, bias=False) + linear(128, 128, bias=answer_bias) + 2 * 128
    pooling = 2 * linear(128, 64, bias=False)
    head = linear(256, 128) + linear(128, 1)
    return 2 * (cross + pooling) + gates * linear(32, 1) + encoder_layer(256) + head


DISENTANGLING = 3 * linear(128, 128) + linear(128, 128) + 3 * linear(128, 128)
DISCRIMINATOR = {
    "rtil": linear(128, 128) + linear(128, 3),
    "sati": linear(128, 128) + 3 * 128,
    "svr": linear(128, 128) + 3 * 128,
}


@pytest.mark.parametrize("form", FORMS)
def test_parameter_counts_are_the_published_ones(form: str) -> None:
    text, voice, face = MOSI
    encoders = project(text) + project(voice) + project(face)
    shared = DISENTANGLING + DISCRIMINATOR[form]
    faithful = encoders + encoder_layer(voice) + encoder_layer(face) + fusion(1, True) + shared
    assert count(RTILFamily(family_config(form, "faithful", MOSI))) == faithful
    embedded = linear(voice, 128) + linear(face, 128) + 2 * (encoder_layer(128) + project(128))
    tokens = sum(MOSI) + 2 * 3 * 128
    intended = project(text) + embedded + fusion(2, False) + shared + tokens
    assert count(RTILFamily(family_config(form, "intended", MOSI))) == intended


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_named_configurations_are_the_published_ones() -> None:
    assert {family_config(f, v, MOSI).gate for f in FORMS for v in VARIANTS} == {
        "hard",
        "straight-through",
    }
    assert family_config("sati", "faithful", (300, 81, 75)).voice_heads == 1, "81 is odd"
    assert family_weights("sati", "faithful").temporal_modalities == (2,)
    assert family_weights("svr", "faithful").temporal_modalities == (0, 1, 2)
    for make in (
        lambda: family_config("misa", "faithful", MOSI),
        lambda: family_weights("svr", ""),
    ):
        with pytest.raises(ValueError, match="there are"):
            make()


def test_a_configuration_rebuilds_the_network_from_json() -> None:
    config = family_config("svr", "intended", MOSI, outputs=2)
    again = msgspec.json.decode(msgspec.json.encode(config), type=type(config))
    assert again == config
    RTILFamily(again).load_state_dict(RTILFamily(config).state_dict())


def test_classes_give_logits() -> None:
    network = RTILFamily(family_config("rtil", "intended", (12, 6, 7), outputs=2)).eval()
    assert network(make_batch()).prediction.shape == (4, 2)


def test_the_published_form_refuses_sequences_that_are_not_aligned() -> None:
    with pytest.raises(FeatureError, match=r"word-aligned.*\[5, 9, 7\]"):
        family("sati", "faithful")(make_batch(steps=(5, 9, 7)))


def test_the_published_forward_pass_step_by_step() -> None:
    """From the description alone, time-major as the public code, with our weights."""
    network, batch = family("sati", "faithful"), make_batch(12)
    text, voice, face = (value.transpose(0, 1) for value in batch.values)
    features = [published_features(network, m, x) for m, x in enumerate((text, voice, face))]
    private = [torch.sigmoid(p(x)) for p, x in zip(network.private, features, strict=True)]
    shared = [torch.sigmoid(network.shared(x)) for x in features]
    place = torch.from_numpy(positions(len(text), 16)).float().unsqueeze(1)
    asking, *others = (x + place for x in private)
    answers = []
    for ask, other, code in zip(
        (network.ask_voice, network.ask_face), others, shared[1:], strict=True
    ):
        weights = ask.attention.in_proj_weight.detach().chunk(3)
        query, key, value = (
            (x @ w.T).unflatten(-1, (2, 8)).permute(1, 2, 0, 3)
            for x, w in zip((asking, other, other), weights, strict=True)
        )
        heads = torch.softmax(query @ key.mT / 8**0.5, -1) @ value
        answer = ask.attention.out_proj(heads.permute(2, 0, 1, 3).flatten(2))
        joint = F.normalize(
            (ask.gate.left(code) * ask.gate.right(shared[0])).unflatten(-1, (-1, 2)).sum(-1), dim=-1
        )
        opened = (torch.tanh(network.ask_voice.gate.out(joint)) > 0).float()
        answers.append(ask.norm(opened * answer + asking))
    mixed = network.mix(torch.cat(answers, -1).transpose(0, 1)).mean(1)
    expected = network.head[2](F.relu(network.hidden(mixed))).squeeze(-1)
    torch.testing.assert_close(network(batch).prediction, expected, atol=1e-5, rtol=1e-5)


def published_features(network: RTILFamily, m: int, values: Tensor) -> Tensor:
    encoder = network.encoders[m]
    assert isinstance(encoder.project, nn.Sequential)
    if m > 0:
        assert isinstance(encoder.layer, nn.TransformerEncoderLayer)
        values = encoder.layer(values.transpose(0, 1)).transpose(0, 1)
    return F.layer_norm(
        F.relu(encoder.project[0](values)),
        (16,),
        encoder.project[2].weight,
        encoder.project[2].bias,
    )


def positions(steps: int, width: int) -> np.ndarray:
    angle = np.arange(steps)[:, None] / 10_000 ** (np.arange(0, width, 2) / width)
    return np.stack([np.sin(angle), np.cos(angle)], -1).reshape(steps, width)


# The gate.


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_the_published_gate_never_learns_and_the_intended_one_does(form: str, variant: str) -> None:
    network = family(form, variant).train()
    view = network(make_batch())
    view.prediction.square().sum().backward()
    for ask in (network.ask_voice, network.ask_face):
        moved = [p.grad is not None and bool(p.grad.abs().sum() > 0) for p in ask.gate.parameters()]
        assert not any(moved) if variant == "faithful" else all(moved)
    for gate in view.gates:
        assert set(gate.detach().flatten().round(decimals=5).tolist()) <= {0.0, 1.0}


def test_the_published_gate_is_the_sign_of_the_pooled_product() -> None:
    torch.manual_seed(0)
    gate = BilinearGate(16, 8, 2, 0.4, "hard").eval()
    left, right = torch.rand(4, 5, 16), torch.rand(4, 5, 16)
    joint = (array(left) @ array(gate.left.weight).T) * (array(right) @ array(gate.right.weight).T)
    pooled = joint.reshape(4, 5, 8, 2).sum(-1)
    pooled /= np.linalg.norm(pooled, axis=-1, keepdims=True)
    raw = np.tanh(pooled @ array(gate.out.weight).T + array(gate.out.bias))
    expected = (np.sign(raw) + np.abs(np.sign(raw))) / 2
    assert set(expected.flatten().tolist()) == {0.0, 1.0}
    np.testing.assert_array_equal(array(gate(left, right)), expected)


def test_one_gate_layer_serves_both_companions_in_the_published_form() -> None:
    network = family("sati", "faithful")
    assert network.ask_face.gate.out is network.ask_voice.gate.out
    assert [n for n in network.state_dict() if "gate.out.weight" in n] == [
        "ask_voice.gate.out.weight"
    ]
    twin = copy.deepcopy(network)
    assert twin.ask_face.gate.out is twin.ask_voice.gate.out is not network.ask_voice.gate.out
    with torch.no_grad():
        network.ask_voice.gate.out.weight.zero_()
        network.ask_voice.gate.out.bias.fill_(-1.0)
        assert all(not gate.any() for gate in network(make_batch()).gates)
    intended = family("sati", "intended")
    assert intended.ask_face.gate.out is not intended.ask_voice.gate.out


@pytest.mark.parametrize("published", [True, False])
def test_codes_are_compared_as_they_lie_or_as_attention_carries_them(published: bool) -> None:
    torch.manual_seed(0)
    gate = BilinearGate(16, 8, 2, 0.0, "soft")
    ask = GatedAttention(16, 2, 0.0, gate, published=published).eval()
    text, text_shared, other, other_shared = torch.randn(4, 2, 5, 16)
    mask = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    _, found = ask(text, text_shared, other, other_shared, mask)
    query, key = (ask.attention.in_proj_weight[16 * i : 16 * i + 16] for i in (0, 1))
    asked, keys = (text @ query.T).unflatten(-1, (2, 8)), (other @ key.T).unflatten(-1, (2, 8))
    scores = torch.einsum("bnhd,bthd->bhnt", asked, keys) / 8**0.5
    weights = scores.masked_fill(~mask[:, None, None], -torch.inf).softmax(-1).mean(1)
    matched = other_shared if published else weights @ other_shared
    torch.testing.assert_close(found, gate(matched, text_shared), atol=1e-5, rtol=1e-5)


# The discriminator of the second version.


def test_margin_cosine_loss_against_numpy() -> None:
    rng = np.random.default_rng(0)
    codes, prototypes, classes = rng.normal(size=(9, 5)), rng.normal(size=(3, 5)), np.arange(9) % 3
    cosines = codes @ prototypes.T
    cosines /= np.outer(np.linalg.norm(codes, axis=1), np.linalg.norm(prototypes, axis=1))
    cosines[np.arange(9), classes] -= 0.5
    expected = -log_softmax(30 * cosines, axis=1)[np.arange(9), classes].mean()
    value = margin_cosine_loss(torch.tensor(codes), torch.tensor(prototypes), torch.tensor(classes))
    assert number(value) == pytest.approx(expected, rel=1e-9)


def test_the_margin_discriminator_adds_the_decay_of_its_prototypes() -> None:
    torch.manual_seed(0)
    judge = MarginDiscriminator(8, 0.6).eval()
    codes, classes = torch.randn(6, 8), torch.arange(6) % 3
    apart = margin_cosine_loss(judge.layers(codes), judge.prototypes, classes)
    expected = number(apart) + 0.01 * (array(judge.prototypes) ** 2).sum()
    assert number(judge.loss(codes, classes)) == pytest.approx(expected, rel=1e-6)
    logits = array(judge(codes))
    assert np.abs(logits).max() <= 30.0
    logits[np.arange(6), classes.numpy()] -= 15.0
    likelihood = log_softmax(logits, axis=1)[np.arange(6), classes.numpy()]
    assert number(apart) == pytest.approx(-likelihood.mean(), rel=1e-5)


# The losses.


def cmd(x: np.ndarray, y: np.ndarray) -> float:
    total = np.linalg.norm(x.mean(0) - y.mean(0))
    for k in range(2, 6):
        total += np.linalg.norm(moment(x, k, axis=0) - moment(y, k, axis=0))
    return float(total)


def published(form: str = "sati") -> tuple[RTILFamily, FamilyView]:
    network = family(form, "faithful")
    view = network(make_batch(1))
    assert all(bool(mask.all()) for mask in view.codes.masks)
    return network, view


def test_published_consistency_is_of_means_over_all_steps() -> None:
    network, view = published()
    means = [array(code).mean(1) for code in view.codes.shared]
    expected = np.mean([cmd(means[a], means[b]) for a, b in combinations(range(3), 2)])
    losses = family_losses(network, view, family_weights("sati", "faithful"))
    assert number(losses["consistency"]) == pytest.approx(expected, rel=1e-5)


def test_published_reconstruction_is_of_every_step_from_the_mean() -> None:
    network, view = published()
    expected = 0.0
    for m, decoder in enumerate(network.decoders):
        assert isinstance(decoder, nn.Linear)
        mean = (array(view.codes.private[m]) + array(view.codes.shared[m])).mean(1)
        rebuilt = mean @ array(decoder.weight).T + array(decoder.bias)
        expected += np.mean((rebuilt[:, None] - array(view.codes.features[m])) ** 2) / 3
    losses = family_losses(network, view, family_weights("sati", "faithful"))
    assert number(losses["reconstruction"]) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("form", ["rtil", "svr"])
def test_published_temporal_loss_is_of_batch_means_against_scipy(form: str) -> None:
    network, view = published(form)
    modalities = (2,) if form == "rtil" else (0, 1, 2)
    divergences = []
    for m in modalities:
        joint = np.concatenate([array(view.codes.private[m]), array(view.codes.shared[m])], -1)
        steps = softmax(joint, axis=-1).mean(0)
        divergences.append(np.mean([jensenshannon(p, q) ** 2 for p, q in pairwise(steps)]))
    losses = family_losses(network, view, family_weights(form, "faithful"))
    assert number(losses["temporal"]) == pytest.approx(np.mean(divergences), rel=1e-3)


def test_averaging_over_the_batch_first_hides_most_of_the_change() -> None:
    """The published loss is nearly inert: a fact about it, and why the intended one is per sample."""
    view = family("sati", "faithful")(make_batch(2, rows=64))
    batch = FamilyWeights("batch", (2,), 1.0, True, "pooled")
    sample = msgspec.structs.replace(batch, temporal_form="sample")
    inert = number(sequential_variation(view.codes, batch))
    assert 0 < inert < number(sequential_variation(view.codes, sample)) / 10


def test_total_variation_is_the_mean_first_difference_over_known_neighbours() -> None:
    network, batch = family("svr", "intended"), make_batch(3, steps=(5, 9, 7))
    view = network(batch, drop_steps(batch, 3))
    expected = []
    for m, mask in enumerate(view.codes.masks):
        joint = np.concatenate([array(view.codes.private[m]), array(view.codes.shared[m])], -1)
        both = (mask[:, 1:] & mask[:, :-1]).numpy()
        expected.append(np.abs(np.diff(joint, axis=1))[both].mean())
    losses = family_losses(network, view, family_weights("svr", "intended"))
    assert number(losses["temporal"]) == pytest.approx(np.mean(expected), rel=1e-5)


@pytest.mark.parametrize("form", ["rtil", "sati"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_reversal_is_on_both_codes_as_published_and_on_shared_ones_as_intended(
    form: str, variant: str
) -> None:
    network = family(form, variant)
    view = network(make_batch(4))
    weights = msgspec.structs.replace(
        family_weights(form, variant), consistency=0, reconstruction=0, temporal=0, reversal=0.5
    )
    losses = family_losses(network, view, weights)
    assert set(losses) == {"domain"}
    codes = [*view.codes.shared, *view.codes.private]
    turned = torch.autograd.grad(losses["domain"], codes, retain_graph=True)
    plain = torch.autograd.grad(straight(network, view), codes)
    private = -0.5 if variant == "faithful" else 1.0
    for index, (gradient, expected) in enumerate(zip(turned, plain, strict=True)):
        assert bool(expected.abs().sum() > 0)
        scale = -0.5 if index < 3 else private
        torch.testing.assert_close(gradient, 0.4 * scale * expected)


def straight(network: RTILFamily, view: FamilyView) -> Tensor:
    """The domain loss without any reversal."""
    total = torch.zeros(())
    for kind in (view.codes.shared, view.codes.private):
        means = [masked_mean(code, mask) for code, mask in zip(kind, view.codes.masks, strict=True)]
        pooled = torch.stack(means, 1).flatten(0, 1)
        classes = torch.arange(3).repeat(len(means[0]))
        if network.config.form == "rtil":
            total = total + F.cross_entropy(network.discriminator(pooled), classes)
        else:
            total = total + network.discriminator.loss(pooled, classes)
    return total


@pytest.mark.parametrize("form", FORMS)
def test_losses_of_what_is_known_do_not_depend_on_what_is_not(form: str) -> None:
    network, batch = family(form, "intended"), make_batch(5, steps=(5, 9, 7))
    present = torch.tensor([[1, 1, 1], [1, 0, 1], [0, 1, 1], [1, 1, 0]]) > 0
    known = batch.known_of(present)
    noisy = make_batch(5, steps=(5, 9, 7))
    for value, mask in zip(noisy.values, known, strict=True):
        value.masked_fill_(~mask.unsqueeze(-1), 4.0)
    weights = family_weights(form, "intended")
    plain, other = (family_losses(network, network(b, known), weights) for b in (batch, noisy))
    for name in plain:
        torch.testing.assert_close(plain[name], other[name])


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("present", [[0, 0, 0], [0, 1, 0], [1, 1, 1]])
def test_little_to_go_by_gives_finite_losses_and_gradients(
    variant: str, present: list[int]
) -> None:
    network, batch = family("sati", variant), make_batch(6, rows=1)
    view = network(batch, batch.known_of(torch.tensor([present]) > 0))
    losses = family_losses(network, view, family_weights("sati", variant))
    (torch.stack(list(losses.values())).sum() + view.prediction.sum()).backward()
    assert all(bool(torch.isfinite(loss.detach())) for loss in losses.values())
    for parameter in network.parameters():
        assert parameter.grad is None or bool(torch.isfinite(parameter.grad).all())


@pytest.mark.parametrize("form", FORMS)
def test_every_intended_parameter_is_trained_by_some_loss(form: str) -> None:
    network, batch = family(form, "intended").train(), make_batch(7, rows=8)
    known = list(drop_steps(batch, 7))
    for m in range(3):
        known[m][m] = False
    view = network(batch, (known[0], known[1], known[2]))
    losses = family_losses(network, view, family_weights(form, "intended"))
    total = torch.stack(list(losses.values())).sum() + view.prediction.square().sum()
    (total + sum(steps.square().sum() for steps in view.steps)).backward()
    idle = [
        n for n, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0
    ]
    assert idle == []

"""The text encoder against ONNX Runtime over the very same file. Run time: about 8 s."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from features.errors import AssetError, CheckpointError
from features.text import plain, written
from model.text.encoder import LAYERS, MAX_TOKENS, TextEncoder, masked_mean

TEXTS = [
    "i really liked it",
    "It was AWFUL, wasn't it?",
    "",
    "the plot goes nowhere and yet i could not stop watching because she is wonderful",
]


@pytest.fixture(scope="module")
def encoder(text_folder: Path) -> TextEncoder:
    return TextEncoder.load(text_folder)


def test_hidden_states_equal_onnx_runtime(text_folder: Path, encoder: TextEncoder) -> None:
    session = onnxruntime.InferenceSession(
        str(text_folder / "model.onnx"), providers=["CPUExecutionProvider"]
    )
    tokens = encoder.tokenize(TEXTS)
    ids, mask = tokens.ids.numpy(), tokens.mask.numpy()
    expected = session.run(
        None,
        {
            "input_ids": ids,
            "attention_mask": mask.astype(np.int64),
            "token_type_ids": np.zeros_like(ids),
        },
    )[0]
    with torch.no_grad():
        hidden = encoder(tokens.ids, tokens.mask).numpy()
    assert hidden.shape == (len(TEXTS), ids.shape[1], encoder.width)
    assert np.abs(hidden - expected)[mask].max() < 1e-5


def test_padding_changes_no_real_token(encoder: TextEncoder) -> None:
    tokens = encoder.tokenize(TEXTS)
    with torch.no_grad():
        together = encoder(tokens.ids, tokens.mask)
        for row, text in enumerate(TEXTS):
            alone = encoder.tokenize([text])
            hidden = encoder(alone.ids, alone.mask)[0]
            assert torch.allclose(hidden, together[row, : len(hidden)], atol=1e-5)


def test_tokens_are_lower_cased_marked_and_cut(encoder: TextEncoder) -> None:
    tokens = encoder.tokenize(["GOOD  film", "good FILM", "so " * 200, ""])
    assert torch.equal(tokens.ids[0], tokens.ids[1])
    assert tokens.ids.shape == (4, MAX_TOKENS)
    assert tokens.mask.sum(1).tolist() == [4, 4, MAX_TOKENS, 2]
    assert tokens.ids[3, :2].tolist() == [101, 102]


def test_punctuation_and_emoticons_are_read(encoder: TextEncoder) -> None:
    plainly, happily, loudly = encoder.tokenize(["so late", "so late :)", "so late!"]).ids
    assert plainly[:4].tolist() == [101, *happily[1:3].tolist(), 102]
    assert happily[3:5].tolist() == [1024, 1007] and loudly[3] == 999  # : ) !


def test_lower_then_upper_is_the_whole(encoder: TextEncoder) -> None:
    tokens = encoder.tokenize(TEXTS)
    with torch.no_grad():
        whole = encoder(tokens.ids, tokens.mask)
        encoder.tunable(3)
        hidden = encoder.lower(tokens.ids, tokens.mask)
        assert not torch.allclose(hidden, whole, atol=1e-2)
        assert torch.equal(encoder.upper(hidden, tokens.mask), encoder(tokens.ids, tokens.mask))
        assert torch.allclose(encoder(tokens.ids, tokens.mask), whole, atol=1e-6)
    encoder.tunable(0)


def test_only_the_upper_layers_learn_and_travel(text_folder: Path) -> None:
    encoder = TextEncoder.load(text_folder)
    learning = encoder.tunable(2)
    tokens = encoder.tokenize(TEXTS)
    masked_mean(encoder(tokens.ids, tokens.mask), tokens.mask).square().sum().backward()
    assert all(parameter.grad is not None for parameter in learning)
    assert encoder.words.weight.grad is None
    assert all(p.grad is None for p in encoder.layers[LAYERS - 3].parameters())
    with torch.no_grad():
        for parameter in learning:
            parameter.add_(torch.randn_like(parameter), alpha=0.01)
        changed = encoder(tokens.ids, tokens.mask)
        state = encoder.tuned_state()
        assert sum(t.numel() * t.element_size() for t in state.values()) < 7.2e6
        again = TextEncoder.load(text_folder, state)
        assert again.tuned_layers == 2
        restored = again(tokens.ids, tokens.mask)
    assert torch.allclose(restored[tokens.mask], changed[tokens.mask], atol=2e-2)
    assert not any(parameter.requires_grad for parameter in again.parameters())


def test_tensors_that_do_not_fit_are_refused(text_folder: Path, encoder: TextEncoder) -> None:
    encoder.tunable(1)
    state = encoder.tuned_state()
    encoder.tunable(0)
    incomplete = dict(list(state.items())[1:])
    with pytest.raises(CheckpointError, match="complete upper layers"):
        TextEncoder.load(text_folder, incomplete)
    wrong = {name: value[:1] for name, value in state.items()}
    with pytest.raises(CheckpointError, match="do not fit"):
        TextEncoder.load(text_folder, wrong)
    with pytest.raises(CheckpointError, match="complete upper layers"):
        TextEncoder.load(text_folder, {"head.weight": torch.zeros(1)})


def test_missing_and_foreign_files_are_named(tmp_path: Path, text_folder: Path) -> None:
    with pytest.raises(AssetError, match=r"tokenizer\.json: no such file"):
        TextEncoder.load(tmp_path)
    (tmp_path / "tokenizer.json").symlink_to(text_folder / "tokenizer.json")
    with pytest.raises(AssetError, match=r"model\.onnx: no such file"):
        TextEncoder.load(tmp_path)
    (tmp_path / "model.onnx").write_bytes(b"not a network at all")
    with pytest.raises(AssetError, match=r"model\.onnx: not "):
        TextEncoder.load(tmp_path)


def test_masked_mean_ignores_padding_and_survives_nothing() -> None:
    hidden = torch.tensor([[[2.0], [4.0], [99.0]], [[7.0], [7.0], [7.0]]])
    mask = torch.tensor([[True, True, False], [False, False, False]])
    assert masked_mean(hidden, mask).tolist() == [[3.0], [0.0]]


@given(st.text(max_size=80))
def test_either_form_is_its_own(text: str) -> None:
    heard, own = plain(text), written(text)
    assert plain(heard) == heard and written(own) == own
    assert written(heard) == heard, "what is heard is read as it is"


def test_the_two_forms_by_hand() -> None:
    assert plain("  Oh\u2014don\u2019t_GO!!  ") == "oh don't go"
    assert written("  Oh\u2026 don\u2019t_GO!!\n:) ") == "oh... don't go!! :)"

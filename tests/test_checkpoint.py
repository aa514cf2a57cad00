"""Checkpoints: what is saved comes back, what is broken is refused in one line."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save

from features.errors import CheckpointError
from features.spec import LIVE
from model.calibration import Calibration, calibrate, half_width, subset_name
from model.checkpoint import (
    MANIFEST,
    WEIGHTS,
    Checkpoint,
    default_checkpoint,
    read_manifest,
    untrained,
)
from model.networks.inputs import Prior
from model.networks.rtil import RTIL, RTILConfig

CONFIG = RTILConfig(width=16, heads=2, feedforward=16, state_components=8, gate_hidden=8)


def make_checkpoint() -> Checkpoint:
    rng = np.random.default_rng(0)
    torch.manual_seed(0)
    priors = {
        s.name: Prior(
            rng.normal(size=s.width).astype(np.float32),
            rng.uniform(1, 2, s.width).astype(np.float32),
            float(k + 5),
        )
        for k, s in enumerate(LIVE.streams)
    }
    return Checkpoint(
        network=RTIL(CONFIG),
        priors=priors,
        text={"layers.11.mix.weight": torch.rand(4, 4).half()},
        calibration=Calibration(0.8, {"text": 0.7, "text+voice": 0.5}),
        metrics={"mosi": {"mae": 0.7}},
        data={"mosi": "ab" * 32},
        settings={"seed": "1"},
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_checkpoint().save(tmp_path / "one")
    return tmp_path / "one"


def test_everything_comes_back(folder: Path) -> None:
    saved, loaded = make_checkpoint(), Checkpoint.load(folder)
    for name, tensor in saved.network.state_dict().items():
        assert torch.equal(tensor, loaded.network.state_dict()[name]), name
    assert not loaded.network.training
    for name, prior in saved.priors.items():
        np.testing.assert_array_equal(prior.mean, loaded.priors[name].mean)
        np.testing.assert_array_equal(prior.variance, loaded.priors[name].variance)
        assert prior.seconds == loaded.priors[name].seconds
    assert loaded.text.keys() == saved.text.keys()
    assert loaded.spec == LIVE
    assert loaded.calibration == saved.calibration
    assert (loaded.metrics, loaded.data, loaded.settings) == (
        saved.metrics, saved.data, saved.settings,
    )  # fmt: skip
    assert loaded.created


def test_half_precision_halves_the_file_and_keeps_the_values(tmp_path: Path) -> None:
    checkpoint = make_checkpoint()
    checkpoint.save(tmp_path / "half", torch.float16)
    checkpoint.save(tmp_path / "full")
    sizes = [(tmp_path / n / WEIGHTS).stat().st_size for n in ("half", "full")]
    assert sizes[0] < 0.6 * sizes[1]
    loaded = Checkpoint.load(tmp_path / "half").network.state_dict()
    for name, tensor in checkpoint.network.state_dict().items():
        assert loaded[name].dtype == torch.float32
        torch.testing.assert_close(loaded[name], tensor, atol=1e-3, rtol=1e-3)


def test_a_new_save_replaces_the_old_and_leaves_nothing_over(folder: Path) -> None:
    make_checkpoint().save(folder)
    assert sorted(p.name for p in folder.iterdir()) == [MANIFEST, WEIGHTS]
    Checkpoint.load(folder)


def change_manifest(folder: Path, **changes: object) -> None:
    manifest = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps(manifest | changes))


def change_tensors(folder: Path, drop: str = "", **extra: torch.Tensor) -> None:
    """Rewrite the weights so that their hash fits, as somebody who edits on purpose would."""
    import hashlib

    tensors = {k: v for k, v in load_file(folder / WEIGHTS).items() if k != drop} | extra
    content = save(tensors)
    (folder / WEIGHTS).write_bytes(content)
    change_manifest(folder, weights_sha256=hashlib.sha256(content).hexdigest())


def refusal(folder: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        Checkpoint.load(folder)
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_a_folder_without_a_checkpoint(tmp_path: Path) -> None:
    assert "no checkpoint in" in refusal(tmp_path / "nowhere")


def test_a_truncated_file_is_noticed_by_its_hash(folder: Path) -> None:
    content = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(content[:-100])
    text = refusal(folder)
    assert "SHA-256" in text and WEIGHTS in text


def test_missing_weights(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    assert "cannot read" in refusal(folder)


def test_a_damaged_manifest(folder: Path) -> None:
    (folder / MANIFEST).write_text("{")
    assert "damaged" in refusal(folder)


def test_another_format(folder: Path) -> None:
    change_manifest(folder, format=99)
    assert "format 99" in refusal(folder)


def test_weights_of_another_size(folder: Path) -> None:
    manifest = read_manifest(folder)
    larger = msgspec.to_builtins(RTILConfig(width=32, heads=2))
    assert manifest.config == CONFIG
    change_manifest(folder, config=larger)
    assert "does not fit the network" in refusal(folder)


def test_a_tensor_too_few_or_too_many(folder: Path) -> None:
    change_tensors(folder, drop="network.shared.weight")
    assert "shared.weight" in refusal(folder)


def test_a_prior_that_is_missing_or_too_narrow(folder: Path) -> None:
    change_tensors(folder, **{"prior.face.mean": torch.zeros(3)})
    assert "prior of 'face' is not 65 wide" in refusal(folder)
    change_tensors(folder, drop="prior.face.mean")
    assert "no prior for stream 'face'" in refusal(folder)


def test_a_spec_changed_by_hand(folder: Path) -> None:
    spec = msgspec.to_builtins(msgspec.structs.replace(LIVE, hop_s=1.0))
    change_manifest(folder, spec=spec)
    assert "spec was changed" in refusal(folder)


def test_the_live_checkpoint_fits_this_version_and_the_repository() -> None:
    checkpoint = Checkpoint.load(default_checkpoint())
    assert checkpoint.spec.hash == LIVE.hash
    size = sum(path.stat().st_size for path in default_checkpoint().iterdir())
    assert size <= 25_000_000


def test_untrained_weights_depend_on_the_seed_alone() -> None:
    before = torch.get_rng_state()
    one, same, other = (untrained(config=CONFIG, seed=s).network.shared.weight for s in (1, 1, 2))
    assert torch.equal(one, same) and not torch.equal(one, other)
    assert torch.equal(before, torch.get_rng_state()), "the caller's randomness is left alone"


def test_intervals_cover_what_they_say() -> None:
    rng = np.random.default_rng(0)
    width = half_width(rng.normal(size=2000), 0.8)
    fresh = np.abs(rng.normal(size=20_000)) <= width
    assert fresh.mean() == pytest.approx(0.8, abs=0.03)


def test_conformal_rank_by_hand() -> None:
    residuals = np.array([0.1, -0.9, 0.3, -0.2, 0.5, 0.4, -0.6, 0.8, 0.7])
    assert half_width(residuals, 0.8) == 0.8  # rank ceil(10 * 0.8) = 8 of 9
    assert half_width(residuals[:3], 0.8) == 6.0, "too few to promise anything"


def test_intervals_stay_on_the_scale_and_know_their_subset() -> None:
    table = calibrate({"text": np.linspace(-1, 1, 99), "text+voice": np.linspace(-0.1, 0.1, 99)})
    low, high = table.interval(2.9, (True, False, False))
    assert high == 3.0 and low == pytest.approx(2.9 - 0.816, abs=0.02)
    low, high = table.interval(0.0, (True, True, False))
    assert high - low < 0.2
    assert table.interval(0.0, (False, False, True)) == (-3.0, 3.0), "never calibrated"
    assert subset_name((True, False, True)) == "text+face"


def test_the_interval_of_a_voice_that_is_new_is_wider_until_it_is_known() -> None:
    table = Calibration(0.8, {"voice": 1.0, "face": 1.6, "voice+face": 1.1, "text": 0.9, "text+voice": 1.0, "": 2.4})  # fmt: skip
    voice, both, said = (False, True, False), (False, True, True), (True, True, False)
    assert [table.half(voice, known) for known in (0.0, 0.5, 1.0)] == pytest.approx([2.4, 1.3, 1.0])
    assert table.half(voice, 0.9) == 1.0, "never below its own"
    assert table.half(both, 0.0) == 1.6, "as of the face alone"
    assert table.half(said, 0.0) == 1.0, "words alone are surer, but the voice is there"
    assert table.half((False, False, True), 0.0) == 1.6, "a face has no part in it"
    assert Calibration(0.8, {"voice": 1.0}).half(voice, 0.0) == 1.0, "nothing else is known"
    low, high = table.interval(0.2, voice, 0.0)
    assert (low, high) == pytest.approx((-2.2, 2.6))

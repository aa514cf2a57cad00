"""Files of MMSA and MISA, as researchers have them, train and are judged from the command line.

Run time: about 15 s.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from model.research.checkpoint import read_manifest
from tests.research_files import mmsa, write_misa, write_pickle

pytestmark = pytest.mark.usefixtures("one_thread")


def aligned(folder: Path) -> Path:
    content = mmsa(unaligned=False, text=20, audio=(20, 5), vision=(20, 20))
    return write_pickle(folder / "aligned_50.pkl", content)


def unaligned(folder: Path) -> Path:
    return write_pickle(folder / "unaligned_50.pkl", mmsa(text=20))


def sims(folder: Path) -> Path:
    content = mmsa(text=39, audio=(400, 33), vision=(55, 709), sims=True)
    for split in content.values():
        split["raw_text"] = np.array([f"我不想看第{row}次" for row in range(len(split["id"]))])
    return write_pickle(folder / "unaligned_39.pkl", content)


def misa(folder: Path) -> Path:
    write_misa(folder / "misa")
    return folder / "misa"


@pytest.mark.parametrize(
    ("write", "preset", "encoder", "widths", "metric"),
    [
        (aligned, "rtil", "gte-small", (384, 5, 20), "acc7"),
        (unaligned, "rtil", "gte-small", (384, 5, 20), "acc7"),
        (sims, "svr", "", (8, 33, 709), "acc5"),
        (misa, "rtil", "gte-small", (384, 74, 47), "acc7"),
    ],
)
def test_a_file_trains_and_is_judged(
    tmp_path: Path,
    write: Callable[[Path], Path],
    preset: str,
    encoder: str,
    widths: tuple[int, int, int],
    metric: str,
) -> None:
    from dashboard.cli import app

    data, out = write(tmp_path), tmp_path / "run"
    words = ["train", preset, "--data", str(data), "--out", str(out), "--epochs", "1"]
    trained = CliRunner().invoke(app, words)
    assert trained.exit_code == 0, trained.output
    manifest = read_manifest(out / "seed-0")
    assert manifest.text_encoder == encoder
    assert manifest.config.widths == widths
    judge = ["evaluate", str(out / "seed-0"), "--data", str(data), "--protocol", "C", "--json"]
    judged = CliRunner().invoke(app, judge)
    assert judged.exit_code == 0, judged.output
    found: dict[str, Any] = json.loads(judged.stdout)
    assert len(found["conditions"]) == 7
    assert metric in found["summary"]
    whole = found["conditions"]["text+audio+vision"]
    assert whole == pytest.approx(manifest.metrics["test"], rel=1e-4)

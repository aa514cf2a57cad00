"""Words alone on MOSI's standard split: first stage, seeds, and what a killed run leaves. About 10 s."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from model.research.checkpoint import ResearchCheckpoint
from model.results.encoders import RECORDS, ROWS, Row, Runs
from tests.made_encoders import texts, write_bert
from tests.research_files import write_table

pytestmark = pytest.mark.usefixtures("one_thread")

TABLE = {"train": 48, "valid": 16, "test": 16}


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MOSI and SST in their files' form, in words that the made encoder knows."""
    data = tmp_path_factory.mktemp("corpora")
    found = [
        (split, sentence, float(label))
        for split, part in texts(TABLE).splits.items()
        for sentence, label in zip(part.text.raw, part.labels, strict=True)  # type: ignore[union-attr, arg-type]
    ]
    mosi = [
        {"id": f"v_{row}", "text": text, "label": label, "split_std": split}
        for row, (split, text, label) in enumerate(found)
    ]
    write_table(data / "mosi" / "mosi_utterances.csv", mosi)
    split = {"train": "train", "valid": "dev", "test": "test"}
    sst = [
        {"split": split[name], "label5": round((label + 3) / 1.5), "text": text}
        for name, text, label in found
    ]
    write_table(data / "sst" / "sst_sentences.csv.gz", sst)
    return data


def lines(out: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (out / RECORDS).read_text().splitlines()]


def test_each_seed_starts_from_the_one_first_stage_and_is_trained_once(
    corpora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("model.results.encoders.SEEDS", 2)
    row = Row(str(write_bert(tmp_path / "bert")), "upper:1", "sst")
    said: list[str] = []
    out = tmp_path / "out"
    out.mkdir()
    Runs(corpora, out, said.append).run(row, lambda: False)
    stage, *seeds = sorted(
        (out / "runs").rglob("checkpoint.json"), key=lambda own: own.stat().st_mtime
    )
    start = ResearchCheckpoint.load(stage.parent).manifest
    assert start.data == "sst-text"
    for path in seeds:
        manifest = ResearchCheckpoint.load(path.parent).manifest
        assert manifest.data == "mosi-text"
        assert manifest.plan.start == start.weights_sha256
    first = lines(out)
    assert [line["seed"] for line in first] == [0, 1]
    assert all(line["start"] == "sst" and line["tune"] == "upper:1" for line in first)
    assert all(0 <= line["metrics"]["acc2_has0"] <= 100 for line in first)  # type: ignore[index]
    assert len(said) == 3

    before = {path: path.stat().st_mtime_ns for path in seeds}
    Runs(corpora, out, said.append).run(row, lambda: False)
    assert lines(out) == first
    (out / RECORDS).write_text(json.dumps(first[0]) + "\n")  # killed before the last line
    Runs(corpora, out, said.append).run(row, lambda: False)
    assert [line["metrics"] for line in lines(out)] == [line["metrics"] for line in first]
    assert {path: path.stat().st_mtime_ns for path in seeds}[seeds[0]] == before[seeds[0]]


def test_no_run_is_begun_when_the_time_is_over(corpora: Path, tmp_path: Path) -> None:
    Runs(corpora, tmp_path, print).run(ROWS[0], lambda: True)
    assert list(tmp_path.iterdir()) == []


def test_rows_have_names_of_their_own() -> None:
    assert len({row.name for row in ROWS}) == len(ROWS)
    assert {row.encoder for row in ROWS} == {"gte-small", "minilm", "mpnet"}
    assert {row.tune.partition(":")[0] for row in ROWS} == {"frozen", "upper", "all", "lora"}

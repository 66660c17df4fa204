"""Packing: the shipped folder loads, and its card holds the figures as they were measured and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from systems.simple import write_tiny_model

from duologue.errors import DuologueError, ModelError
from duologue.systems import registry
from duologue.train import pack as packing
from duologue.train.curriculum import MADE, Made
from duologue.train.pack import pack


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = write_tiny_model(tmp_path / "model")
    made = Made(recipe="tiny", seed=3, voice="slt", trained_on=("what it heard",))
    (folder / MADE).write_text(made.model_dump_json())
    return folder


@pytest.fixture
def figures(tmp_path: Path) -> Path:
    folder = tmp_path / "answers-dev"
    folder.mkdir()
    (folder / "settings.json").write_text(json.dumps({"split": "dev", "system": "x"}))
    share = {"value": 0.5, "low": 0.4, "high": 0.6, "count": 20}
    summary = {"seen voices": {"cases": 20, "right": share}, "all": {"steps": 9, "compute_ms_p99": 12.3456}}
    (folder / "summary.json").write_text(json.dumps(summary))
    return folder


def test_a_packed_model_talks_and_its_card_says_what_was_measured(model: Path, figures: Path, tmp_path: Path) -> None:
    card = pack(model, tmp_path / "box", figures)
    assert registry.read_card(tmp_path / "box") == card
    registry.load(tmp_path / "box").open().close()
    assert (card.recipe, card.seed, card.trained_on) == ("recipes/tiny.py", 3, ("what it heard",))
    (right,) = card.measured
    assert (right.name, right.value, right.interval) == ("seen voices: answers right, text", 0.5, (0.4, 0.6))
    assert (
        "| seen voices: answers right, text | dev, 20 cases | 0.5 | 0.4 to 0.6 |"
        in (tmp_path / "box" / "README.md").read_text()
    )


def test_a_card_can_be_written_again_in_place(model: Path, figures: Path) -> None:
    before = (model / "model.safetensors").read_bytes()
    pack(model, model, figures)
    assert (model / "model.safetensors").read_bytes() == before
    assert registry.read_card(model).measured


def test_what_is_missing_or_too_large_is_said(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DuologueError, match=r"summary\.json is missing"):
        pack(model, tmp_path / "box", codec=tmp_path)
    (tmp_path / "unknown").mkdir()
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        (tmp_path / "unknown" / name).write_bytes((model / name).read_bytes())
    with pytest.raises(ModelError, match=r"made\.json is missing"):
        pack(tmp_path / "unknown", tmp_path / "box")
    monkeypatch.setattr(packing, "LIMIT", 1000)
    with pytest.raises(ModelError, match="the package takes 1,000"):
        pack(model, tmp_path / "box")
    assert not (tmp_path / "box" / "model.safetensors").exists()

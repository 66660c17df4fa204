"""Packing: the shipped folder loads, and its card holds the figures as they were measured and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from systems.simple import write_tiny_model

from duologue.errors import DuologueError, ModelError
from duologue.eval.results import fingerprint_of
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
def figures(model: Path, tmp_path: Path) -> Path:
    """A report on the model and another one."""
    own, other = ({"fingerprint": fingerprint_of(str(model))}, {"fingerprint": "another"})
    share = {"value": 0.5, "low": 0.4, "high": 0.6, "count": 20}
    cell = {"cases": 20, "failed": 0, "figures": {"right": share, "chance": share}}
    families = {"mine": {"seen-voices": cell}, "other": {"seen-voices": cell}}
    summary = {
        "settings": {
            "split": "dev",
            "subjects": {"mine": own, "other": other},
            "starts": [{"command": "duologue eval mine other --cases 20"}],
        },
        "figures": {"answers": {"families": families, "groups": {}}},
    }
    folder = tmp_path / "report"
    folder.mkdir()
    (folder / "summary.json").write_text(json.dumps(summary))
    return folder


def test_a_packed_model_talks_and_its_card_says_what_was_measured(model: Path, figures: Path, tmp_path: Path) -> None:
    card = pack(model, tmp_path / "box", [figures])
    assert registry.read_card(tmp_path / "box") == card
    registry.load(tmp_path / "box").open().close()
    assert (card.recipe, card.seed, card.trained_on) == ("recipes/tiny.py", 3, ("what it heard",))
    (right,) = card.measured
    assert (right.name, right.value, right.interval) == ("answers, seen-voices: right in text", 50, (40, 60))
    assert right.command == "duologue eval box other --cases 20"
    assert (
        "| answers, seen-voices: right in text | dev, 20 cases | 50 % | 40 to 60 |"
        in (tmp_path / "box" / "README.md").read_text()
    )


def test_of_two_reports_the_first_one_counts(model: Path, figures: Path, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    (small / "summary.json").write_text((figures / "summary.json").read_text().replace('"value": 0.5', '"value": 0.9'))
    assert [figure.value for figure in pack(model, model, [figures, small]).measured] == [50]
    assert [figure.value for figure in pack(model, model, [small, figures]).measured] == [90]


def test_a_card_can_be_written_again_in_place(model: Path, figures: Path) -> None:
    before = (model / "model.safetensors").read_bytes()
    pack(model, model, [figures])
    assert (model / "model.safetensors").read_bytes() == before
    assert registry.read_card(model).measured


def test_what_is_missing_or_too_large_is_said(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DuologueError, match=r"summary\.json is missing"):
        pack(model, tmp_path / "box", [tmp_path])
    summary = {"settings": {"split": "dev", "subjects": {"box": {"fingerprint": "another"}}}, "figures": {}}
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    with pytest.raises(DuologueError, match="is not of the model in"):
        pack(model, tmp_path / "box", [tmp_path])
    (tmp_path / "unknown").mkdir()
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        (tmp_path / "unknown" / name).write_bytes((model / name).read_bytes())
    with pytest.raises(ModelError, match=r"made\.json is missing"):
        pack(tmp_path / "unknown", tmp_path / "box")
    monkeypatch.setattr(packing, "LIMIT", 1000)
    with pytest.raises(ModelError, match="the package takes 1,000"):
        pack(model, tmp_path / "box")
    assert not (tmp_path / "box" / "model.safetensors").exists()

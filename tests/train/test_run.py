"""The record of a run says what was trained from what, and what changed between its starts."""

from __future__ import annotations

import json
from pathlib import Path

from duologue.train.run import record


def test_record_names_what_changed(tmp_path: Path) -> None:
    recipe = {"loop": {"steps": 10, "seed": 0}, "dims": [1, 2]}
    assert record(tmp_path, recipe, {"train": "aa"}, step=0) == []
    assert record(tmp_path, recipe, {"train": "aa"}, step=5) == []
    changed = record(tmp_path, {**recipe, "loop": {"steps": 20, "seed": 0}}, {"train": "bb"}, step=8, processes=2)
    assert changed == ["data.train", "processes", "recipe.loop.steps"]
    written = json.loads((tmp_path / "run.json").read_text())
    assert written["recipe"]["loop"]["steps"] == 20
    assert [start["step"] for start in written["starts"]] == [0, 5, 8]
    assert written["starts"][0]["libraries"]["torch"]

"""The record of a run says what was trained from what, and what changed between its starts."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from duologue.errors import DataError
from duologue.train.run import fingerprint, record


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


def test_a_fingerprint_follows_contents_and_names_alone(tmp_path: Path) -> None:
    corpus = tmp_path / "a" / "corpus"
    corpus.mkdir(parents=True)
    (corpus / "x.bin").write_bytes(b"x" * 3_000_000)
    (corpus / "y.idx").write_bytes(b"y")
    first = fingerprint(corpus)
    assert fingerprint(shutil.copytree(corpus, tmp_path / "b" / "corpus")) == first
    (corpus / "y.idx").write_bytes(b"z")
    assert fingerprint(corpus) != first
    (corpus / "y.idx").rename(corpus / "z.idx")
    assert len({first, fingerprint(corpus), fingerprint(corpus / "x.bin")}) == 3
    with pytest.raises(DataError, match="no data at"):
        fingerprint(tmp_path / "nowhere")

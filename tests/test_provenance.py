"""Where results come from: a fingerprint follows what data holds, and nothing else."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from duologue.errors import DataError
from duologue.provenance import fingerprint, machine, versions


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


def test_the_machine_and_its_libraries_are_named() -> None:
    assert "Python 3" in machine() and "\n" not in machine()
    assert versions()["torch"]

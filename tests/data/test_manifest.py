"""Manifests: read what was written, read real ones, and name the line that is wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from duologue.data import manifest
from duologue.data.manifest import Entry, Manifest
from duologue.data.shards import ShardWriter
from duologue.errors import DataError

_GOOD = '{"path": "a/b.flac", "text": "two", "duration": 0.5, "sample_rate": 8000, "license": "CC0-1.0"}'


def test_what_is_written_is_read(tmp_path: Path) -> None:
    words = [("hello", 0.1, 0.4), ("été", 0.4, 0.9)]
    entries = [
        Entry(id="one", path="x.bin", duration=1.25, sample_rate=16000, offset=7, words=words, text="hello été"),
        Entry(id="two", path="y.wav", duration=0.0, sample_rate=8000),
    ]
    manifest.write(entries, tmp_path / "manifest.jsonl")
    found = manifest.read(tmp_path / "manifest.jsonl")
    assert found.entries == entries
    assert found.folder == tmp_path
    assert found.duration == 1.25


def test_other_fields_are_kept_and_the_path_names(tmp_path: Path) -> None:
    (tmp_path / "m.jsonl").write_text(_GOOD + "\n\n")
    entry = manifest.read(tmp_path / "m.jsonl").entries[0]
    assert entry.id == "a/b"
    assert entry.model_extra == {"license": "CC0-1.0"}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "Invalid JSON"),
        ("7", "Input should be"),
        ('{"path": "a.wav", "sample_rate": 16000}', "field duration"),
        ('{"path": "a.wav", "sample_rate": 16000, "duration": -1}', "field duration"),
        ('{"path": "a.wav", "sample_rate": "x", "duration": 1}', "field sample_rate"),
        ('{"path": "a.wav", "sample_rate": 16000, "duration": 1, "words": [["a", 0]]}', "field words"),
        ('{"path": "a/b.wav", "sample_rate": 16000, "duration": 1}', "there twice"),
    ],
)
def test_the_wrong_line_is_named(tmp_path: Path, line: str, said: str) -> None:
    (tmp_path / "m.jsonl").write_text(f"{_GOOD}\n\n{line}\n")
    with pytest.raises(DataError, match=said) as caught:
        manifest.read(tmp_path / "m.jsonl")
    assert "m.jsonl, line 3" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_manifest(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"m\.jsonl"):
        manifest.read(tmp_path / "m.jsonl")


def _shard(folder: Path) -> Manifest:
    with ShardWriter(folder / "s", np.int16) as writer:
        writer.append(np.arange(-800, 800, dtype=np.int16))
    words = [("go", 0.0, 0.05)]
    entry = Entry(
        id="go", path="s.bin", duration=0.05, sample_rate=16000, offset=100, text="go", speaker="me", words=words
    )
    return Manifest(folder, [entry])


def test_sound_from_a_shard(tmp_path: Path) -> None:
    corpus = _shard(tmp_path)
    expected = np.arange(-700, 100) / 32768
    np.testing.assert_array_equal(corpus.pcm(corpus.entries[0]), expected.astype(np.float32))
    late = corpus.entries[0].model_copy(update={"offset": 1000})
    with pytest.raises(DataError, match="entry go"):
        corpus.pcm(late)


def test_a_cut_holds_the_sound_and_the_words(tmp_path: Path) -> None:
    corpus = _shard(tmp_path)
    cut = manifest.lhotse_cut(corpus, corpus.entries[0])
    (tmp_path / "cut.wav").write_bytes(cut["recording"]["sources"][0]["source"])
    pcm, rate = soundfile.read(tmp_path / "cut.wav", dtype="int16")
    np.testing.assert_array_equal(pcm, corpus.samples(corpus.entries[0]))
    assert (rate, cut["recording"]["num_samples"], cut["duration"]) == (16000, 800, 0.05)
    assert cut["supervisions"][0]["alignment"]["word"] == [["go", 0.0, 0.05, None]]


def test_real_manifests(speech: Path) -> None:
    files = sorted(speech.glob("*/manifest.jsonl"))
    assert files
    for file in files:
        corpus = manifest.read(file)
        entry = corpus.entries[0]
        pcm = corpus.pcm(entry)
        assert pcm.dtype == np.float32
        assert len(pcm) / 16000 == pytest.approx(entry.duration, abs=0.002)
        assert manifest.lhotse_cut(corpus, entry)["recording"]["sources"][0]["type"] == "file"

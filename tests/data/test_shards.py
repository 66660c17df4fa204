"""Shards: what is written is read back, and broken files are named in one line."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from duologue.data.shards import ShardReader, ShardWriter
from duologue.errors import DataError


@given(
    lengths=st.lists(st.integers(0, 30), max_size=12),
    width=st.sampled_from([None, 1, 8]),
    dtype=st.sampled_from(["int16", "uint16", "float32"]),
)
@settings(max_examples=40, deadline=None)
def test_items_come_back(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[int], width: int | None, dtype: str
) -> None:
    rng = np.random.default_rng(len(lengths))
    shapes = [(n,) if width is None else (n, width) for n in lengths]
    items = [rng.integers(0, 1000, shape).astype(dtype) for shape in shapes]
    path = tmp_path_factory.mktemp("shards") / "codes.v1"
    with ShardWriter(path, dtype, width) as writer:
        assert [writer.append(item) for item in items] == list(range(len(items)))
    shard = ShardReader(path)
    assert len(shard) == len(items)
    for read, item in zip(shard, items, strict=True):
        assert read.dtype == item.dtype
        np.testing.assert_array_equal(read, item)
    for read, item in zip(pickle.loads(pickle.dumps(shard)), items, strict=True):
        np.testing.assert_array_equal(read, item)


def _write(path: Path, value: int = 1) -> None:
    with ShardWriter(path, np.int16) as writer:
        writer.append(np.full(5, value, np.int16))
        writer.append(np.arange(3, dtype=np.int16))


def test_the_fingerprint_tells_contents_apart(tmp_path: Path) -> None:
    for name, value in (("a", 1), ("b", 1), ("c", 2)):
        _write(tmp_path / name, value)
    prints = [ShardReader(tmp_path / name).fingerprint() for name in "abc"]
    assert prints[0] == prints[1] != prints[2]


def test_an_error_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), ShardWriter(tmp_path / "a", np.int16) as writer:
        writer.append(np.zeros(3, np.int16))
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_an_error_while_rewriting_keeps_the_old_shard(tmp_path: Path) -> None:
    _write(tmp_path / "a")
    before = ShardReader(tmp_path / "a").fingerprint()
    with pytest.raises(ZeroDivisionError), ShardWriter(tmp_path / "a", np.int16):
        raise ZeroDivisionError
    assert ShardReader(tmp_path / "a.bin").fingerprint() == before


@pytest.mark.parametrize("suffix", [".bin", ".idx", ".json"])
@pytest.mark.parametrize("harm", ["remove", "truncate", "lengthen"])
def test_broken_files_are_named(tmp_path: Path, suffix: str, harm: str) -> None:
    _write(tmp_path / "a")
    file = tmp_path / f"a{suffix}"
    content = file.read_bytes()
    if harm == "remove":
        file.unlink()
    else:
        file.write_bytes(content[:-3] if harm == "truncate" else content + b"{}")
    with pytest.raises(DataError, match=rf"a{suffix}") as caught:
        ShardReader(tmp_path / "a")
    assert "\n" not in str(caught.value)


def test_items_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="width 8"), ShardWriter(tmp_path / "a", np.uint16, 8) as writer:
        writer.append(np.zeros((3, 4), np.uint16))
    with pytest.raises(DataError, match="outside uint8"), ShardWriter(tmp_path / "a", np.uint8, 1) as writer:
        writer.append(np.array([[256]]))


def test_an_item_that_is_not_there(tmp_path: Path) -> None:
    _write(tmp_path / "a")
    shard = ShardReader(tmp_path / "a")
    np.testing.assert_array_equal(shard[-1], [0, 1, 2])
    with pytest.raises(IndexError):
        shard[2]

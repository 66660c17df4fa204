"""Shards: many arrays in one flat file that is read without copying.

A shard NAME is three files: NAME.bin, the rows of all items one after another; NAME.idx, n + 1 little-endian uint64
row offsets; NAME.json, the row's type and width with a digest of the content. The last is written last, so a shard
either is whole or is not there.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack
from hashlib import blake2b
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import DTypeLike, NDArray

from duologue.atomic import atomic, write_bytes, write_text
from duologue.errors import DataError


def _files(path: str | os.PathLike[str]) -> tuple[Path, Path, Path]:
    base = os.fspath(path).removesuffix(".bin")
    return Path(base + ".bin"), Path(base + ".idx"), Path(base + ".json")


class ShardWriter:
    """Writes a shard; as a context manager it keeps the shard on success and nothing on an error.

    Args:
        path: the shard's name, with or without ".bin".
        dtype: type of a number.
        width: numbers in a row, so that items are (n, width); None makes items (n,).

    Raises:
        DuologueError: the folder cannot be written or the disk is full.
    """

    def __init__(self, path: str | os.PathLike[str], dtype: DTypeLike, width: int | None = None) -> None:
        self._bin, self._idx, self._json = _files(path)
        self._dtype = np.dtype(dtype).newbyteorder("<")
        self._width = width
        self._offsets = [0]
        self._digest = blake2b(digest_size=16)
        self._stack = ExitStack()
        self._file = self._stack.enter_context(self._stack.enter_context(atomic(self._bin)).open("wb"))

    def append(self, array: NDArray[Any]) -> int:
        """Add an item, (n, width) or (n,) as the shard was opened, and return its number.

        Raises:
            DataError: the item has another shape or holds numbers that the shard's type cannot.
        """
        shape = (len(array),) if self._width is None else (len(array), self._width)
        if array.shape != shape:
            raise DataError(f"{self._bin}: an item of shape {array.shape} does not fit rows of width {self._width}")
        stored = np.ascontiguousarray(array, dtype=self._dtype)
        if array.dtype.kind in "iub" and not np.array_equal(stored, array):
            raise DataError(f"{self._bin}: an item has values outside {self._dtype}; choose a wider type")
        self._file.write(stored.tobytes())
        self._digest.update(stored.tobytes())
        self._offsets.append(self._offsets[-1] + len(array))
        return len(self._offsets) - 2

    def close(self) -> None:
        """Put the three files in place."""
        self._json.unlink(missing_ok=True)
        self._stack.close()
        offsets = np.array(self._offsets, "<u8").tobytes()
        write_bytes(self._idx, offsets)
        head = {"dtype": self._dtype.str, "width": self._width, "items": len(self._offsets) - 1}
        self._digest.update(offsets + json.dumps(head).encode())
        write_text(self._json, json.dumps({**head, "fingerprint": self._digest.hexdigest()}) + "\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        else:
            self._stack.__exit__(kind, error, trace)


class ShardReader:
    """Reads a shard: `len(shard)`, `shard[i]` and iteration, each item a view on the file.

    Args:
        path: the shard's name, with or without ".bin".

    Raises:
        DataError: a file is missing, truncated or does not fit the others.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._bin, idx, side = _files(path)
        try:
            head = json.loads(side.read_text())
            self.dtype = np.dtype(head["dtype"])
            self.width: int | None = head["width"]
            self._fingerprint = str(head["fingerprint"])
            items = int(head["items"])
            self.offsets = np.fromfile(idx, "<u8").astype(np.int64)
            size = self._bin.stat().st_size
        except FileNotFoundError as error:
            raise DataError(f"shard file {error.filename} is missing; write the shard again") from error
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{side} does not describe a shard; write the shard again") from error
        if idx.stat().st_size != 8 * (items + 1) or self.offsets[0] != 0 or (np.diff(self.offsets) < 0).any():
            raise DataError(f"{idx} does not hold the offsets of {items} items; write the shard again")
        shape = (self.rows,) if self.width is None else (self.rows, self.width)
        wanted = int(np.prod(shape)) * self.dtype.itemsize
        if size != wanted:
            raise DataError(f"{self._bin} has {size} bytes where {wanted} belong; write the shard again")
        self.data: NDArray[Any] = (
            np.memmap(self._bin, self.dtype, "r", shape=shape) if size else np.empty(shape, self.dtype)
        )

    @property
    def rows(self) -> int:
        """Rows of all items together."""
        return int(self.offsets[-1])

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> NDArray[Any]:
        if not -len(self) <= index < len(self):
            raise IndexError(f"item {index} of a shard of {len(self)}")
        index %= len(self)
        return self.data[self.offsets[index] : self.offsets[index + 1]]

    def __iter__(self) -> Iterator[NDArray[Any]]:
        return (self[index] for index in range(len(self)))

    def __reduce__(self) -> tuple[type[ShardReader], tuple[Path]]:
        return ShardReader, (self._bin,)  # a worker process maps the file itself rather than receive its content

    def fingerprint(self) -> str:
        """Digest of all content as it was written; shards with equal items have equal fingerprints."""
        return self._fingerprint

"""Files written whole or not at all: a temporary neighbour is filled, then renamed over the target."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from duologue.errors import DuologueError


@contextmanager
def atomic(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it takes the name `path`, on any error it is removed.

    The temporary name keeps the target's suffix, since libraries choose the format by it.

    Raises:
        DuologueError: the folder cannot be written, `path` is a folder itself, or the disk is full.
    """
    target = Path(path)
    if target.is_dir():
        raise DuologueError(f"cannot write {target}: it is a folder; name a file")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.stem}-", suffix=target.suffix)
        os.close(handle)
    except OSError as error:
        raise DuologueError(f"cannot write {target}: {error.strerror or error}; choose a writable folder") from error
    temporary = Path(name)
    try:
        yield temporary
        os.chmod(temporary, 0o644)  # mkstemp makes files only their owner can read
        os.replace(temporary, target)
    except OSError as error:
        raise DuologueError(f"cannot write {target}: {error.strerror or error}; nothing was kept") from error
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Write `data` to `path`, whole or not at all."""
    with atomic(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write `text` to `path` as UTF-8, whole or not at all."""
    write_bytes(path, text.encode())

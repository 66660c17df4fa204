"""The record of a run: what was trained, from which code, data and libraries, so that anyone can do it again."""

from __future__ import annotations

import hashlib
import json
import platform
import subprocess
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from duologue.atomic import write_text
from duologue.errors import DataError

LIBRARIES = ("duologue", "torch", "numpy", "safetensors", "tokenizers", "soundfile", "soxr", "pydantic")
SAMPLE = 1 << 20


def record(
    run: Path, recipe: Mapping[str, Any], data: Mapping[str, str], *, step: int, processes: int = 1
) -> list[str]:
    """Write `run.json`: the resolved recipe, code, data and libraries, and how often and from which step it went on.

    Args:
        recipe: the resolved recipe, as JSON would hold it.
        data: fingerprint of each data set by name.
        step: the step that this start goes on from; 0 for a new run.

    Returns:
        The dotted names of what differs from the start before, such as `recipe.loop.steps` or `data.train`.
    """
    path = run / "run.json"
    before = json.loads(path.read_text()) if path.exists() else None
    now = {"recipe": dict(recipe), "data": dict(data), "processes": processes}
    changed: list[str] = []
    if before is not None:
        old, new = (dict(_leaves({key: part[key] for key in now})) for part in (before, now))
        changed = sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))
    start = {
        "step": step,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "command": sys.argv,
        "python": platform.python_version(),
        "machine": platform.platform(),
        "libraries": versions(),
        "changed": changed,
    }
    starts = [*(before["starts"] if before else []), start]
    write_text(path, json.dumps({**now, "starts": starts}, indent=2, default=str) + "\n")
    return changed


def commit() -> str | None:
    """Return the git commit of this code, with "+changes" where files differ from it; None outside a repository."""
    here = Path(__file__).parent
    try:
        head, changes = (
            subprocess.run(["git", *arguments], cwd=here, capture_output=True, text=True, check=True).stdout.strip()
            for arguments in (["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return head + ("+changes" if changes else "")


def versions() -> dict[str, str]:
    """Return the installed version of each library that results depend on."""
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def fingerprint(*paths: Path | str) -> str:
    """Hash files and folders by their names, sizes and first and last MiB: fast on a corpus of any size.

    Raises:
        DataError: a path is missing.
    """
    digest = hashlib.sha256()
    for root in map(Path, paths):
        if not root.exists():
            raise DataError(f"no data at {root}; prepare it first or correct the path")
        files = sorted(p for p in root.rglob("*") if p.is_file()) if root.is_dir() else [root]
        for file in files:
            size = file.stat().st_size
            digest.update(f"{file.relative_to(root.parent)} {size}\n".encode())
            with file.open("rb") as handle:
                digest.update(handle.read(SAMPLE))
                handle.seek(max(0, size - SAMPLE))
                digest.update(handle.read(SAMPLE))
    return digest.hexdigest()[:16]


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, json.loads(json.dumps(value, default=str))

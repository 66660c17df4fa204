"""The record of a run: what was trained, from which code, data and libraries, so that anyone can do it again."""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from duologue.atomic import write_text
from duologue.provenance import commit, versions


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


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, json.loads(json.dumps(value, default=str))

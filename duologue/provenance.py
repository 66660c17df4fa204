"""Where results come from: which code, libraries, machine and data, so that anyone can make them again."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from duologue.errors import DataError

LIBRARIES = ("duologue", "torch", "numpy", "safetensors", "tokenizers", "soundfile", "soxr", "pydantic")
SAMPLE = 1 << 20


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


def machine() -> str:
    """Return the processor, its cores and the Python in one line: "Xeon, 2 cores, Linux x86_64, Python 3.11.2"."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    name = next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.processor())
    system = f"{platform.system()} {platform.machine()}"
    return f"{name or 'unknown processor'}, {os.cpu_count()} cores, {system}, Python {platform.python_version()}"


def digest(parts: Iterable[bytes]) -> str:
    """Hash what is in memory, the bounds of the parts with it, to as many digits as `fingerprint`."""
    found = hashlib.sha256()
    for part in parts:
        found.update(f"{len(part)}\n".encode())
        found.update(part)
    return found.hexdigest()[:16]


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

"""A `duologue serve` process, watched from outside: its counters, its memory, its open files, its log."""

from __future__ import annotations

import json
import os
import re
import socket
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from duologue.errors import ConfigError, DuologueError

from .loopback import Loopback  # relative: the benchmark and the tests know this package by different names

START = 120.0  # seconds that a server may take to be ready
CLI = ("-m", "duologue.cli")
STOP = 60.0  # that it may take to end
OPEN_HOUSE = {
    "sessions_per_key": 4096,
    "sessions_per_address": 4096,
    "messages_per_key": 1e6,
    "messages_per_address": 1e6,
    "drain": 1,
}
"""Limits under which all of a benchmark's clients may come from one address."""

_SAMPLE = re.compile(r"^(\w+)(\{[^}]*\})? (\S+)$", re.MULTILINE)

Counters = dict[str, float]
"""What `/metrics` says, by name; labels of a counter are summed up, buckets of a histogram are by `name le`."""


@dataclass(frozen=True)
class Served(Loopback):
    """A running server."""

    process: psutil.Popen
    log: Path

    @property
    def alive(self) -> bool:
        """Whether the process lives and says that it is well."""
        return self.process.poll() is None and _status(f"{self.http}/healthz") == 200

    def counters(self) -> Counters:
        with urllib.request.urlopen(f"{self.http}/metrics", timeout=30) as answer:
            return read_counters(answer.read().decode())

    def memory(self) -> float:
        """Resident memory of the server and its models' processes in MiB."""
        return sum(self._of_each(lambda process: process.memory_info().rss)) / 2**20

    def files(self) -> int:
        """File descriptors that they use."""
        return sum(self._of_each(lambda process: process.num_fds()))

    def _of_each(self, measure: Callable[[psutil.Process], int]) -> list[int]:
        """Of the server's process and of those that it has made."""
        found = [measure(self.process)]
        for child in self.process.children(recursive=True):
            with suppress(psutil.NoSuchProcess):  # which has ended meanwhile
                found.append(measure(child))
        return found

    def failures(self) -> list[str]:
        """Errors of the server's own in its log: the last line of each trace."""
        return [trace.strip().splitlines()[-1] for trace in _traces(self.log.read_text(errors="replace"))]


@contextmanager
def serving(
    models: Sequence[str], slots: int, log: Path, limits: Mapping[str, Any] | None = None, cli: Sequence[str] = CLI
) -> Iterator[Served]:
    """A server of these models on a free port of loopback, without keys; `cli` runs the command line.

    What it says goes to the file `log`, which stays.

    Raises:
        ConfigError: it does not come up.
        DuologueError: it does not end.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "limits.json"
        file.write_text(json.dumps({**OPEN_HOUSE, **(limits or {})}))
        port = _free_port()
        named = [part for model in models for part in ("--model", model)]
        command = [sys.executable, *cli, "serve", *named, "--port", str(port), "--slots", str(slots)]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("DUOLOGUE_")}
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as errors:
            process = psutil.Popen([*command, "--limits", str(file)], stderr=errors, env=environment)
        served = Served(port, process, log)
        try:
            _wait(served)
            yield served
        finally:
            process.terminate()
            try:
                process.wait(STOP)
            except psutil.TimeoutExpired:
                process.kill()
                raise DuologueError(f"the server does not end within {STOP:g} s of SIGTERM") from None


def _wait(served: Served) -> None:
    end = time.monotonic() + START
    while _status(f"{served.http}/readyz") != 200:
        if served.process.poll() is not None or time.monotonic() > end:
            said = served.log.read_text(errors="replace").strip() or "it says nothing"
            raise ConfigError(f"the server does not come up: {said.splitlines()[-1]}")
        time.sleep(0.1)


def _status(url: str) -> int | None:
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _traces(text: str) -> Iterator[str]:
    """Traces in lines of JSON, and those that went past the log."""
    for line in text.splitlines():
        try:
            told = json.loads(line)
        except ValueError:
            if re.match(r"\w*(Error|Exception)\b", line):
                yield line
            continue
        if isinstance(told, dict) and told.get("trace"):
            yield str(told["trace"])


def read_counters(text: str) -> Counters:
    """Prometheus' text format, as far as a server of ours uses it."""
    counters: Counters = {}
    for name, labels, value in _SAMPLE.findall(text):
        bound = re.search(r'le="([^"]+)"', labels)
        key = f"{name} {bound.group(1)}" if bound else name
        counters[key] = counters.get(key, 0.0) + float(value)
    return counters


def since(before: Counters, after: Counters) -> Counters:
    """What was counted between two readings."""
    return {name: value - before.get(name, 0.0) for name, value in after.items()}


def percentile(counters: Counters, histogram: str, share: float) -> float | None:
    """The value below which `share` of a histogram's observations lie, linear within its buckets; None: no data."""
    prefix = f"{histogram}_bucket "
    bounds = sorted((float(name[len(prefix) :]), count) for name, count in counters.items() if name.startswith(prefix))
    if not bounds or bounds[-1][1] <= 0:
        return None
    wanted, low, below = share * bounds[-1][1], 0.0, 0.0
    for high, count in bounds:
        if count >= wanted:
            return low if high == float("inf") else low + (high - low) * (wanted - below) / max(1e-9, count - below)
        low, below = high, count
    return low

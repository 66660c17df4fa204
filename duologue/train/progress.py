"""What the user sees while a model trains: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

UNIT_NAMES = {
    "steps": "steps/s",
    "seconds_of_audio": "s of audio/s",
    "frames": "frames/s",
    "scenes": "scenes/s",
    "lines": "lines/s",
}
LINE_EVERY = 30.0
"""Seconds between the lines of a count, where there is no bar."""


def clock(seconds: float) -> str:
    """Write a duration as 45s, 12m05s or 3h20m, one that nobody knows yet as ?."""
    if math.isinf(seconds):
        return "?"
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02d}m"


class Reporter:
    """Progress of one run; silent where `console` is None."""

    def __init__(self, name: str, console: Console | None) -> None:
        self._console = console
        self._name = name
        self._bar: Progress | None = None
        if console is not None and console.is_terminal:
            columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[text]}"))
            self._bar = Progress(*columns, console=console)
            self._task = self._bar.add_task(name, total=1.0, text="")
        self._losses = ""

    def __enter__(self) -> Reporter:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def step(self, count: str, progress: float, rates: Mapping[str, float], left: float) -> None:
        """Move the bar; `count` is "120/5000", `rates` are units a second, `left` is in seconds."""
        if self._bar is not None:
            text = _line(count, self._losses, _speed(rates), f"{clock(left)} left")
            self._bar.update(self._task, completed=progress, text=text)

    def log(self, count: str, metrics: Mapping[str, float], rates: Mapping[str, float], left: float) -> None:
        """Show the means since the last call."""
        self._losses = _join({key[5:]: value for key, value in metrics.items() if key.startswith("loss/")})
        if self._bar is None:
            self.say(_line(f"{self._name} {count}", _join(metrics), _speed(rates), f"{clock(left)} left"))

    def validated(self, step: int, metrics: Mapping[str, float]) -> None:
        """Show one held-out measurement."""
        self.say(f"{self._name} {step} validation  {_join(metrics)}")

    def say(self, line: str) -> None:
        """Print one line above the bar."""
        if self._console is not None:
            self._console.print(line, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def counting(name: str, unit: str, console: Console | None) -> Iterator[Callable[[int, int], None]]:
    """Show how far work has come; yields what is to be told the count that is done, first as it stands, and the total.

    Args:
        unit: what is counted, a key of `UNIT_NAMES`.
        console: where progress goes; None is silent.
    """
    began = said = time.monotonic()
    before: int | None = None
    with Reporter(name, console) as reporter:

        def report(done: int, total: int) -> None:
            nonlocal before, said
            now = time.monotonic()
            if before is None:
                before = done
            rate = (done - before) / max(now - began, 1e-9)
            left = (total - done) / rate if rate else math.inf
            reporter.step(f"{done}/{total} {unit}", done / max(total, 1), {unit: rate}, left)
            if done > before and (done == total or now - said >= LINE_EVERY):
                said = now
                reporter.log(f"{done}/{total} {unit}", {}, {unit: rate}, left)

        yield report


def _line(*parts: str) -> str:
    return "  ".join(filter(None, parts))


def _join(metrics: Mapping[str, float]) -> str:
    return "  ".join(f"{key} {value:.4g}" for key, value in metrics.items())


def _speed(rates: Mapping[str, float]) -> str:
    return "  ".join(f"{rate:.1f} {UNIT_NAMES[unit]}" for unit, rate in rates.items())

"""Metrics of a run: means between log lines, one JSON line each, and TensorBoard where it is installed."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from duologue.atomic import write_text
from duologue.audio.files import save
from duologue.errors import DuologueError

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

HELD_OUT = "validation/"
UNITS = ("seconds_of_audio", "frames")
"""Metrics that are amounts of data: summed and shown as a rate."""


class Window:
    """Running means of what happened since the last log line; a checkpoint holds it, so resumed means are exact."""

    def __init__(self, saved: Mapping[str, Any] | None = None) -> None:
        saved = saved or {}
        self.steps: int = saved.get("steps", 0)
        self.seconds: float = saved.get("seconds", 0.0)
        self._sums: dict[str, float] = dict(saved.get("sums", {}))
        self._counts: dict[str, int] = dict(saved.get("counts", {}))

    def add(self, metrics: Mapping[str, float]) -> None:
        """Take in one report; values that are not finite are left out of the mean."""
        for name, value in metrics.items():
            value = float(value)
            if math.isfinite(value):
                self._sums[name] = self._sums.get(name, 0.0) + value
                self._counts[name] = self._counts.get(name, 0) + 1

    def means(self) -> dict[str, float]:
        """Return the mean of each metric that is not an amount of data."""
        return {name: total / self._counts[name] for name, total in self._sums.items() if name not in UNITS}

    def rates(self) -> dict[str, float]:
        """Return `steps` and each amount of data as units a second of training time."""
        seconds = max(self.seconds, 1e-9)
        return {"steps": self.steps / seconds, **{u: self._sums[u] / seconds for u in UNITS if u in self._sums}}

    def save(self) -> dict[str, Any]:
        """Return what the constructor takes back."""
        return {"steps": self.steps, "seconds": self.seconds, "sums": self._sums, "counts": self._counts}


class MetricsLog:
    """`metrics.jsonl`, `tensorboard/` and `samples/` of a run folder.

    A line is `{"step": 1200, "train/loss/lm": 2.1, ..., "time/elapsed": 310.2}`; keys of held-out measurements start
    with `validation/`. Opening it drops all lines after `step`, which the resumed run writes again.
    """

    def __init__(self, run: Path, step: int) -> None:
        self.run = run
        self._path = run / "metrics.jsonl"
        lines = [line for line in _read(self._path) if line["step"] <= step]
        self._validations: dict[int, dict[str, float]] = {}
        for line in lines:
            self._notice(line["step"], line)
        write_text(self._path, "".join(json.dumps(line) + "\n" for line in lines))
        self._file = self._path.open("a")
        self._board = _tensorboard(run / "tensorboard", step)

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        """Append one line.

        Raises:
            DuologueError: the disk is full.
        """
        finite = {key: value if math.isfinite(value) else None for key, value in metrics.items()}
        try:
            self._file.write(json.dumps({"step": step, **finite}) + "\n")
            self._file.flush()
        except OSError as error:
            raise DuologueError(f"cannot write {self._path}: {error.strerror}; free space and run again") from error
        self._notice(step, metrics)
        if self._board is not None:
            for key, value in metrics.items():
                self._board.add_scalar(key, value, step)

    def validation(self, step: int) -> dict[str, float] | None:
        """Return the held-out measurement of `step`; None if there was none."""
        return self._validations.get(step)

    def _notice(self, step: int, metrics: Mapping[str, Any]) -> None:
        found = {key.removeprefix(HELD_OUT): value for key, value in metrics.items() if key.startswith(HELD_OUT)}
        if found:
            self._validations[step] = found

    def audio(self, step: int, samples: Mapping[str, np.ndarray]) -> None:
        """Write samples, (T,) or (C, T) at 16 kHz, as `samples/step-0001200/NAME.wav` and to TensorBoard."""
        for name, pcm in samples.items():
            save(self.run / "samples" / f"step-{step:07d}" / f"{name}.wav", pcm)
            if self._board is not None:
                self._board.add_audio(name, np.atleast_2d(pcm).mean(0, keepdims=True), step, sample_rate=16000)

    def close(self) -> None:
        """Flush and close."""
        self._file.close()
        if self._board is not None:
            self._board.close()


def _read(path: Path) -> list[dict[str, Any]]:
    """Read the whole lines of a log; a last line that a killed run tore is left out."""
    lines = []
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            lines.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return lines


def _tensorboard(folder: Path, step: int) -> SummaryWriter | None:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:  # an extra: metrics.jsonl holds the same numbers
        return None
    return SummaryWriter(str(folder), purge_step=step + 1 if step else None)

"""A tiny adversarial task that uses all that a resumed run must restore, also as a program."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch import Tensor, nn
from torch.nn import functional

from duologue.train.interrupt import Interrupted
from duologue.train.loop import LoopConfig, train
from duologue.train.optim import optimizer_for
from duologue.train.step import batch_rng
from duologue.train.task import Task


@dataclass
class Toy(Task):
    """Turn noise into points on a circle; the discriminator has momentum statistics, the generator dropout."""

    seed: int = 0
    width: int = 16
    dropout: float = 0.1
    muon: bool = True
    statistics: bool = True
    """Whether the discriminator normalises by its batch, whose size then matters."""
    lanes: tuple[int, ...] | None = None
    """Draw the batches of these lanes and train on them as one."""
    signals: dict[int, int] = field(default_factory=dict)
    """Step -> signal that this process sends itself while it computes that step; of several, the last process alone."""
    poison: tuple[int, ...] = ()
    """Steps whose generator loss is not a number."""
    name: str = "toy"

    def __post_init__(self) -> None:
        torch.manual_seed(7)
        width = self.width
        inner = [nn.Tanh(), nn.Dropout(self.dropout), nn.Linear(width, width), nn.Tanh()]
        self.generator = nn.Sequential(nn.Linear(4, width), *inner, nn.Linear(width, 2))
        statistics = nn.BatchNorm1d(width, affine=False).train(self.statistics)
        self.discriminator = nn.Sequential(nn.Linear(2, width), statistics, nn.Linear(width, 1))
        self.modules = nn.ModuleDict({"generator": self.generator, "discriminator": self.discriminator})
        self.seen: list[tuple[int, float]] = []

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        muon_lr = 1e-2 if self.muon else None
        return {
            "discriminator": optimizer_for(self.discriminator, 1e-2),
            "generator": optimizer_for(self.generator, 1e-2, muon_lr=muon_lr),
        }

    def losses(self, step: int, rng: np.random.Generator) -> Iterator[tuple[str, Tensor]]:
        last = int(os.environ.get("RANK", "0")) == int(os.environ.get("WORLD_SIZE", "1")) - 1
        if last and step in self.signals:
            os.kill(os.getpid(), self.signals.pop(step))
        drawn = [rng] if self.lanes is None else [batch_rng(self.seed, step, lane) for lane in self.lanes]
        batches = [(lane.uniform(0, 2 * np.pi, 8), lane.standard_normal((8, 4))) for lane in drawn]
        angle = torch.from_numpy(np.concatenate([angle for angle, _ in batches])).float()
        noise = torch.from_numpy(np.concatenate([noise for _, noise in batches])).float()
        real = torch.stack([angle.cos(), angle.sin()], 1)
        fake = self.generator(noise)
        self.seen.append((step, float(noise.sum())))
        self.metrics["frames"] = len(noise)
        self.metrics["global"] = float(np.random.random())
        yield "discriminator", (functional.softplus(-self.discriminator(real)) + self._fooled(-1, fake.detach())).mean()
        loss = self._fooled(1, fake).mean() + ((fake - real) ** 2).mean()
        yield "generator", loss * float("nan") if step in self.poison else loss

    def _fooled(self, sign: int, fake: Tensor) -> Tensor:
        return functional.softplus(-sign * self.discriminator(fake))

    def validate(self, step: int) -> dict[str, float]:
        assert not self.generator.training
        torch.rand(3), np.random.random(3)  # must not disturb the training that goes on
        noise = torch.from_numpy(np.random.default_rng(1).standard_normal((32, 4))).float()
        return {"radius": float(self.generator(noise).norm(dim=1).mean())}

    def fingerprints(self) -> dict[str, str]:
        return {}

    def samples(self, step: int) -> dict[str, np.ndarray]:
        return {"tone": np.sin(np.arange(1600) * 0.2).astype(np.float32)}


def digest(modules: nn.Module) -> str:
    """Hash all weights and buffers."""
    return hashlib.sha256(b"".join(t.numpy().tobytes() for t in modules.state_dict().values())).hexdigest()


def main(folder: str, *starts: str) -> None:
    """Train with each `{"task": ..., "loop": ...}` in turn; each process leaves a digest of what it ended with.

    All starts but the last may be stopped by a signal.
    """
    torch.set_num_threads(1)
    for number, options in enumerate(starts, 1):
        given: dict[str, Any] = json.loads(options)
        signals = {int(step): number for step, number in given["task"].pop("signals", {}).items()}
        task = Toy(**given["task"], signals=signals)
        with contextlib.suppress(*[Interrupted] if number < len(starts) else []):
            train(task, LoopConfig(**given["loop"]), folder, console=Console())
            Path(folder, f"digest-{os.environ.get('RANK', '0')}").write_text(digest(task.modules))


if __name__ == "__main__":
    main(*sys.argv[1:])

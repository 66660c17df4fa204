"""One training step: each loss that a task yields moves its optimiser, over micro-batches and processes alike."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from duologue.errors import DuologueError
from duologue.train import distributed
from duologue.train.metrics import UNITS, Window
from duologue.train.optim import Schedule
from duologue.train.task import Task


def batch_rng(seed: int, step: int, lane: int) -> np.random.Generator:
    """Return the generator that decides a batch; `lane` is rank * accumulate + the micro-batch's number."""
    return np.random.default_rng([seed, step, lane])


class Stepper:
    """Takes the steps of one task.

    Args:
        window: receives what the task reports and each optimiser's loss and gradient norm.
    """

    def __init__(
        self,
        task: Task,
        optimizers: dict[str, torch.optim.Optimizer],
        *,
        world: distributed.World,
        seed: int,
        accumulate: int,
        clip: float | None,
        schedule: Schedule,
        bf16: bool,
    ) -> None:
        self.task = task
        self.optimizers = optimizers
        self.world = world
        self.seed = seed
        self.accumulate = accumulate
        self.clip = clip
        self.schedule = schedule
        self.bf16 = bf16
        self._rates = {name: [group["lr"] for group in o.param_groups] for name, o in optimizers.items()}

    def autocast(self) -> torch.autocast:
        """Return the context of a forward pass."""
        return torch.autocast(self.task.device.type, torch.bfloat16, enabled=self.bf16)

    def step(self, step: int, progress: float, window: Window) -> int:
        """Do the step after `step` others, at `progress` (0..1) through the run; return how many updates were left out.

        An update is left out where the loss or a gradient is not finite, on all processes alike.

        Raises:
            DuologueError: the task yields a loss for an optimiser that it lacks, or its micro-batches differ in that.
        """
        lanes = [self.world.rank * self.accumulate + micro for micro in range(self.accumulate)]
        _seed_globals(self.seed, step, self.world.rank, self.task.device)
        streams = [self.task.losses(step, batch_rng(self.seed, step, lane)) for lane in lanes]
        factor = self.schedule.factor(step, progress)
        skipped = 0
        # The micro-batches go side by side, so that all of them see the weights as the update before left them.
        while (first := self._next(streams[0], window)) is not None:
            name, loss = first
            if name not in self.optimizers:
                known = ", ".join(self.optimizers)
                raise DuologueError(f"{self.task.name} yields a loss for optimiser {name!r}; it has {known}")
            self.optimizers[name].zero_grad()
            summed = self._backward(loss)
            for stream in streams[1:]:
                item = self._next(stream, window)
                if item is None or item[0] != name:
                    raise DuologueError(f"{self.task.name}: the micro-batches of step {step} yield different losses")
                summed = summed + self._backward(item[1])
            skipped += not self._update(name, summed, factor, window)
        for stream in streams[1:]:
            self._next(stream, window)
        distributed.synchronise_buffers(self.task.modules)
        return skipped

    def _next(self, stream: Iterator[tuple[str, Tensor]], window: Window) -> tuple[str, Tensor] | None:
        self.task.metrics = {}
        with self.autocast():
            item = next(stream, None)
        for name, value in self.task.metrics.items():
            window.add({name: value * self.world.size if name in UNITS else value})
        return item

    def _backward(self, loss: Tensor) -> Tensor:
        share = loss / self.accumulate
        share.backward()  # type: ignore[no-untyped-call]
        return share.detach()

    def _update(self, name: str, loss: Tensor, factor: float, window: Window) -> bool:
        optimizer = self.optimizers[name]
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        loss = distributed.mean(loss.double())
        distributed.average_gradients(parameters)
        norm = get_total_norm([p.grad for p in parameters if p.grad is not None])
        if not (math.isfinite(loss.item()) and math.isfinite(norm.item())):
            optimizer.zero_grad()
            return False
        if self.clip is not None:
            clip_grads_with_norm_(parameters, self.clip, norm)
        for group, rate in zip(optimizer.param_groups, self._rates[name], strict=True):
            group["lr"] = rate * factor
        optimizer.step()
        window.add({f"loss/{name}": loss.item(), f"norm/{name}": norm.item(), "rate": factor})
        return True


def _seed_globals(seed: int, step: int, rank: int, device: torch.device) -> None:
    """Seed every global generator anew: dropout and the like follow from (seed, step, rank) and from nothing before."""
    words = [int(word) for word in np.random.SeedSequence([seed, step, rank, 1]).generate_state(4)]
    # Not torch.manual_seed: where there is no GPU it queues a call, with its stack, for when there will be one.
    torch.default_generator.manual_seed(words[0])
    if device.type == "cuda":
        torch.cuda.manual_seed(words[1])
    np.random.seed(words[2])
    random.seed(words[3])

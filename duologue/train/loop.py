"""The training loop: one for every model, on CPU or GPU, alone or data-parallel, and resumed exactly."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import torch
from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, model_validator
from rich.console import Console

from duologue.errors import DuologueError
from duologue.nn.arithmetic import fast_bf16
from duologue.train import checkpoint, distributed, run
from duologue.train.interrupt import Interrupted, StopSignal
from duologue.train.metrics import MetricsLog, Window
from duologue.train.optim import Ema, Schedule
from duologue.train.progress import Reporter, clock
from duologue.train.step import Stepper
from duologue.train.task import Task


class LoopConfig(BaseModel):
    """How long and how to train; a run ends at `steps` or after `seconds`, whichever comes first."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: PositiveInt | None = None
    seconds: PositiveFloat | None = None
    """Wall clock of the whole run, validation included, counted on across resumes."""
    seed: int = Field(default=0, ge=0)
    accumulate: PositiveInt = 1
    """Micro-batches whose gradients are averaged for one update."""
    clip: PositiveFloat | None = 1.0
    """Largest gradient norm of one optimiser's parameters."""
    schedule: Schedule = Field(default_factory=Schedule)
    precision: Literal["fp32", "bf16", "auto"] = "fp32"
    """bf16 runs the forward pass under autocast; weights and optimisers stay in fp32. auto: where the machine
    multiplies faster in bf16."""
    ema: float | None = Field(default=None, gt=0, lt=1)
    """Decay of the averaged weights, which then are validated and shipped."""
    nonfinite_limit: PositiveInt = 10
    """Steps in a row without a finite loss after which training gives up."""
    log_every: PositiveInt = 50
    validate_every: PositiveInt | None = 1000
    """Steps; validation also ends the run. None: only at the end."""
    checkpoint_every_s: PositiveFloat = 300.0
    keep: PositiveInt = 2
    """Checkpoints that stay on disk."""
    threads: PositiveInt | None = None
    device: Literal["auto", "cpu", "cuda"] = "auto"

    @model_validator(mode="after")
    def _ends(self) -> Self:
        if self.steps is None and self.seconds is None:
            raise ValueError("steps or seconds must be given, or the run has no end")
        return self


@dataclass(frozen=True)
class Summary:
    """What a finished run came to."""

    step: int
    elapsed: float
    """Seconds, over all starts."""
    skipped: int
    """Updates left out because the loss or a gradient was not finite."""
    validation: dict[str, float]
    """The held-out measurement at the end; empty on all processes but the first."""
    checkpoint: Path


def train(
    task: Task,
    config: LoopConfig,
    folder: Path | str,
    *,
    resume: bool = True,
    console: Console | None = None,
    recipe: Mapping[str, Any] | None = None,
) -> Summary:
    """Train `task` in the run folder `folder`, going on from its newest checkpoint.

    It is trained on the device of `config`, and lies on the CPU afterwards: what comes next works there.

    Args:
        resume: False refuses a folder that already holds checkpoints.
        console: where progress goes; None is silent.
        recipe: the resolved recipe for the record (`config.model_dump(mode="json")`); by default the loop's part of it.

    Raises:
        DuologueError: the run folder cannot be written or read, or the loss stayed non-finite.
        Interrupted: Ctrl-C or SIGTERM; the checkpoint is written, the exit code is 130.
    """
    folder = Path(folder)
    if not resume and checkpoint.latest(folder) is not None:
        raise DuologueError(f"{folder} already holds a run; resume it or choose another folder")
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    device = distributed.device_for(config.device)
    world = distributed.start(device)
    task.modules.to(device)
    loop = _Loop(task, config, folder, world, Reporter(task.name, console if world.first else None))
    loop.open(recipe or {"task": task.name, "loop": config.model_dump(mode="json")})
    try:
        with loop.stop, loop.reporter:
            return loop.run()
    finally:
        if loop.log is not None:
            loop.log.close()
        task.modules.cpu()


class _Loop:
    """The state of one start of a run."""

    def __init__(
        self, task: Task, config: LoopConfig, folder: Path, world: distributed.World, reporter: Reporter
    ) -> None:
        self.task, self.config, self.folder, self.world, self.reporter = task, config, folder, world, reporter
        self.stop = StopSignal()
        self.device = task.device
        self.optimizers = task.optimizers()
        self.stepper = Stepper(
            task,
            self.optimizers,
            world=world,
            seed=config.seed,
            accumulate=config.accumulate,
            clip=config.clip,
            schedule=config.schedule,
            bf16=config.precision == "bf16" or (config.precision == "auto" and fast_bf16(self.device)),
        )
        self.ema = Ema(task.modules, config.ema) if config.ema is not None else None
        self.log: MetricsLog | None = None
        self.window = Window()
        self.rates: dict[str, float] = {}
        self.step = self.skipped = self.skipped_in_row = 0
        self.elapsed = 0.0
        self.saved: Path | None = None
        self.stopped = False

    def open(self, recipe: Mapping[str, Any]) -> None:
        """Restore the newest checkpoint, agree on the weights, and write the record."""
        self.saved = checkpoint.latest(self.folder)
        if self.saved is not None:
            state = checkpoint.load(self.saved, self.task.modules, self.optimizers, self.ema)
            self.step, self.elapsed = state["step"], state["elapsed"]
            self.skipped, self.skipped_in_row = state["skipped"], state["skipped_in_row"]
            self.window = Window(state["window"])
        agreed = distributed.mean(torch.tensor(float(self.step), dtype=torch.float64, device=self.device)).item()
        if agreed != self.step:
            here = f"process {self.world.rank} finds step {self.step} in {self.folder}"
            raise DuologueError(f"{here}, others another; all of them must see one folder")
        distributed.synchronise(self.task.modules)
        if self.saved is None and self.ema is not None:
            self.ema.reset()
        if self.world.first:
            data, processes = self.task.fingerprints(), self.world.size
            changed = run.record(self.folder, recipe, data, step=self.step, processes=processes)
            self.log = MetricsLog(self.folder, self.step)
            if self.saved is not None:
                self.reporter.say(f"{self.task.name}: going on from {self.saved} ({clock(self.elapsed)} so far)")
                if changed:
                    self.reporter.say(f"{self.task.name}: changed since the last start: {', '.join(changed)}")

    def run(self) -> Summary:
        """Train to the end; see `train`."""
        self.began = time.monotonic() - self.elapsed
        self.last_saved = time.monotonic()
        if self._validation_due():
            self._validate()  # the start before was stopped between this step and its validation
        while not self._stop_agreed() and not self._finished():
            self._step()
            if self._validation_due() and not self.stop.wanted:
                self._validate()
            if time.monotonic() - self.last_saved >= self.config.checkpoint_every_s:
                self._save()
        if self.stopped:
            self._save()
            distributed.barrier()  # nobody leaves, and so brings the others down, before the checkpoint is written
            said = f"{self.task.name}: stopped at step {self.step}; run the same command again to go on"
            self.reporter.say(f"{said} from {self.saved}" if self.saved else said)
            raise Interrupted
        if self.log is not None and self.log.validation(self.step) is None:
            self._validate()
        self._save()
        distributed.barrier()  # what comes next may read what the first process wrote
        validation = self.log.validation(self.step) if self.log is not None else None
        path = checkpoint.latest(self.folder) or self.folder
        return Summary(self.step, self.elapsed, self.skipped, validation or {}, path)

    def _finished(self) -> bool:
        steps, seconds = self.config.steps, self.config.seconds
        return (steps is not None and self.step >= steps) or (seconds is not None and self.elapsed >= seconds)

    def _progress(self) -> float:
        by_steps = self.step / self.config.steps if self.config.steps else 0.0
        by_clock = self.elapsed / self.config.seconds if self.config.seconds else 0.0
        return max(by_steps, by_clock)

    def _left(self, rate: float) -> float:
        by_steps = (self.config.steps - self.step) / max(rate, 1e-9) if self.config.steps else math.inf
        by_clock = self.config.seconds - self.elapsed if self.config.seconds else math.inf
        return min(by_steps, by_clock)

    def _stop_agreed(self) -> bool:
        """Bring all processes to the first one's clock, and to stopping if any of them was asked to."""
        mine = [time.monotonic() - self.began if self.world.first else 0.0, float(self.stop.wanted)]
        agreed = distributed.total(torch.tensor(mine, dtype=torch.float64, device=self.device))
        self.elapsed = float(agreed[0])
        self.stopped = bool(agreed[1] > 0)
        return self.stopped

    def _step(self) -> None:
        began = time.monotonic()
        skipped = self.stepper.step(self.step, self._progress(), self.window)
        self.step += 1
        if self.ema is not None:
            self.ema.update()
        self.skipped += skipped
        self.skipped_in_row = self.skipped_in_row + 1 if skipped else 0
        if self.skipped_in_row >= self.config.nonfinite_limit:
            raise DuologueError(
                f"the loss of {self.task.name} was not finite {self.skipped_in_row} steps in a row, last at step "
                f"{self.step}; lower the learning rate or the data; {self.saved or 'no checkpoint'} is untouched"
            )
        self.window.steps += 1
        self.window.seconds += time.monotonic() - began
        self.elapsed = time.monotonic() - self.began
        self._report()

    def _report(self) -> None:
        rates = self.window.rates()
        count = f"{self.step}/{self.config.steps}" if self.config.steps else str(self.step)
        shown = self.rates or rates  # those of the last whole window, for a window's first steps tell little
        self.reporter.step(count, self._progress(), shown, self._left(shown["steps"]))
        if self.step % self.config.log_every:
            return
        means = self.window.means() | ({"skipped": float(self.skipped)} if self.skipped else {})
        self.reporter.log(count, means, rates, self._left(rates["steps"]))
        if self.log is not None:
            timing = {"time/elapsed": self.elapsed, **{f"time/{unit}": rate for unit, rate in rates.items()}}
            self.log.write(self.step, {f"train/{key}": value for key, value in means.items()} | timing)
        self.window, self.rates = Window(), rates

    def _validation_due(self) -> bool:
        every = self.config.validate_every
        if self.log is None or not every or self.step == 0 or self.step % every:
            return False
        return self.log.validation(self.step) is None

    def _validate(self) -> None:
        """Measure and listen with the weights that would be shipped; training goes on as if nothing had happened."""
        assert self.log is not None
        modules = [module for module in self.task.modules.modules() if module.training]
        self.task.modules.eval()
        averaged = self.ema.applied() if self.ema is not None else contextlib.nullcontext()
        with averaged, torch.no_grad(), self.stepper.autocast():
            measured = {key: float(value) for key, value in self.task.validate(self.step).items()}
            samples = self.task.samples(self.step)
        for module in modules:
            module.training = True
        self.elapsed = time.monotonic() - self.began
        timing = {"time/elapsed": self.elapsed}
        self.log.write(self.step, {f"validation/{key}": value for key, value in measured.items()} | timing)
        self.log.audio(self.step, samples)
        self.reporter.validated(self.step, measured)

    def _save(self) -> None:
        if not self.world.first or (self.saved is not None and self.saved.name == checkpoint.name(self.step)):
            return
        state = {
            "task": self.task.name,
            "step": self.step,
            "elapsed": time.monotonic() - self.began,
            "skipped": self.skipped,
            "skipped_in_row": self.skipped_in_row,
            "window": self.window.save(),
        }
        self.saved = checkpoint.save(
            self.folder, state, self.task.modules, self.optimizers, self.ema, keep=self.config.keep
        )
        self.last_saved = time.monotonic()

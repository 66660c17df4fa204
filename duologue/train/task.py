"""What the loop trains: weights, optimisers, losses, and how to judge and hear the result."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn


class Task(ABC):
    """One thing to train.

    Batches are a pure function of the generator that `losses` is handed, and the loop derives that generator from
    (seed, step, rank): a resumed run sees exactly the batches that an uninterrupted one would. A task keeps nothing
    that changes from step to step outside `modules`, for nothing else is saved.

    Attributes:
        name: a short name for progress and messages.
        modules: all weights and buffers that are trained, saved and averaged.
        metrics: what `losses` reports; the loop empties it before it resumes the generator and logs the mean of each
            key between two log lines. `seconds_of_audio` and `frames` are summed instead and shown as units a second.
    """

    name: str
    modules: nn.Module
    metrics: dict[str, float]

    @property
    def device(self) -> torch.device:
        """Where the weights lie, and so where batches belong."""
        return next(self.modules.parameters()).device

    @abstractmethod
    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """Make the optimisers by name; called once, after `modules` moved to its device."""

    @abstractmethod
    def losses(self, step: int, rng: np.random.Generator) -> Iterator[tuple[str, Tensor]]:
        """Yield (optimiser name, scalar loss), once for each update of this step, in order.

        Before it resumes this generator the loop has stepped that optimiser, so what follows sees the updated weights:
        an adversarial task yields the discriminator's loss, then the generator's. Which names come, and how many, must
        depend on `step` alone, so that all processes of a data-parallel run agree.

        Args:
            step: updates done so far, from 0.
            rng: decides the batch; one for each (seed, step, rank, micro-batch).
        """

    @abstractmethod
    def validate(self, step: int) -> dict[str, float]:
        """Measure on held-out data.

        Called on the first process alone, without gradients, in eval mode, with the averaged weights if any.
        """

    def samples(self, step: int) -> dict[str, np.ndarray]:
        """Audio to listen to, name -> (T,) or (C, T) float32 at 16 kHz; called after `validate`, on its terms."""
        return {}

    @abstractmethod
    def fingerprints(self) -> dict[str, str]:
        """Fingerprint of each data set that is trained on, by name, for the record of the run."""


@contextmanager
def on_cpu(modules: nn.Module) -> Iterator[None]:
    """Let modules work on the CPU for the time of the context: a conversation's other parts are there."""
    device = next(modules.parameters()).device
    modules.cpu()
    try:
        yield
    finally:
        modules.to(device)

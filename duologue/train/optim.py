"""Optimisers, learning-rate schedules and the moving average of the weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt
from torch import Tensor, nn

from duologue.train.muon import Muon


class Schedule(BaseModel):
    """How the learning rate moves over a run, as a factor on each optimiser's own rate.

    `wsd` (warmup, stable, decay; Hu et al. 2024, MiniCPM) holds the rate and lets it fall over the last `decay` share
    of the run as 1 - sqrt (Hägele et al. 2024). `cosine` falls over the whole run.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    shape: Literal["wsd", "cosine", "constant"] = "wsd"
    warmup: NonNegativeInt = 100
    """Steps of linear rise from zero."""
    decay: float = Field(default=0.2, gt=0, le=1)
    """Share of the run over which `wsd` falls."""
    floor: float = Field(default=0.0, ge=0, le=1)
    """The factor at the very end."""

    def factor(self, step: int, progress: float) -> float:
        """Return the factor in [0, 1] for the update after `step` updates, at `progress` (0..1) through the run."""
        rise = min(1.0, (step + 1) / self.warmup) if self.warmup else 1.0
        progress = min(max(progress, 0.0), 1.0)
        if self.shape == "cosine":
            fall = 0.5 * (1 + math.cos(math.pi * progress))
        elif self.shape == "wsd":
            decayed = (progress - (1 - self.decay)) / self.decay
            fall = 1 - math.sqrt(min(max(decayed, 0.0), 1.0))
        else:
            return rise
        return rise * (self.floor + (1 - self.floor) * fall)


class Joined(torch.optim.Optimizer):
    """Several optimisers over disjoint parameters that act as one."""

    def __init__(self, parts: Sequence[torch.optim.Optimizer]) -> None:
        self.parts = list(parts)
        super().__init__([p for part in parts for group in part.param_groups for p in group["params"]], {})
        self._share_groups()

    def _share_groups(self) -> None:
        self.param_groups = [group for part in self.parts for group in part.param_groups]

    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Step every part; `closure` is evaluated once, before them."""
        loss = None if closure is None else closure()
        for part in self.parts:
            part.step()
        return loss

    def state_dict(self) -> dict[str, Any]:
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        states = state_dict["parts"]
        if len(states) != len(self.parts):
            raise ValueError(f"{len(states)} optimisers were saved, {len(self.parts)} are wanted")
        for part, state in zip(self.parts, states, strict=True):
            part.load_state_dict(state)
        self._share_groups()


def optimizer_for(
    module: nn.Module,
    lr: float,
    *,
    muon_lr: float | None = None,
    betas: tuple[float, float] = (0.9, 0.95),
    weight_decay: float = 0.01,
    outer: Sequence[str] = ("embed", "head"),
    factors: Mapping[str, float] | None = None,
) -> torch.optim.Optimizer:
    """Make the optimiser for all parameters of `module` that want gradients.

    AdamW (Loshchilov and Hutter 2019) by itself or, where `muon_lr` is given, with Muon for the weights of hidden
    linear layers; both rates are of one magnitude. Weight decay leaves out vectors, embeddings and heads.

    Args:
        lr: AdamW's rate.
        muon_lr: Muon's rate; None leaves all to AdamW.
        outer: parts of a parameter's dotted name that mark it as an embedding or a head, which Muon does not fit.
        factors: first part of a parameter's dotted name -> what the rates are multiplied by there; 1 elsewhere.
    """
    embeddings = {id(layer.weight) for layer in module.modules() if isinstance(layer, nn.Embedding)}
    hidden: dict[float, list[nn.Parameter]] = {}
    decayed: dict[float, list[nn.Parameter]] = {}
    plain: dict[float, list[nn.Parameter]] = {}
    for name, parameter in module.named_parameters():
        if not parameter.requires_grad:
            continue
        at_edge = id(parameter) in embeddings or any(mark in name for mark in outer)
        if parameter.ndim < 2 or at_edge:
            kind = plain
        else:
            kind = hidden if parameter.ndim == 2 and muon_lr is not None else decayed
        kind.setdefault((factors or {}).get(name.partition(".")[0], 1.0), []).append(parameter)
    groups = [
        {"params": parameters, "weight_decay": decay, "lr": lr * factor}
        for kind, decay in ((decayed, weight_decay), (plain, 0.0))
        for factor, parameters in kind.items()
    ]
    adamw = [torch.optim.AdamW(groups, lr=lr, betas=betas)] if groups else []
    if muon_lr is None or not hidden:
        return adamw[0] if adamw else torch.optim.AdamW([], lr=lr, betas=betas)
    matrices = [{"params": parameters, "lr": muon_lr * factor} for factor, parameters in hidden.items()]
    return Joined([*adamw, Muon(matrices, muon_lr, weight_decay)])


class Ema:
    """Exponential moving average of a module's parameters, the weights that a trained model is judged and shipped with.

    The decay rises as (1 + n) / (10 + n) to `decay`, so that a short run is not held back by its first weights.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.parameters = list(module.parameters())
        self.shadow = [p.detach().clone() for p in self.parameters]
        self.decay = decay
        self.updates = 0

    @torch.no_grad()
    def update(self) -> None:
        """Move the average towards the present weights."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        for average, parameter in zip(self.shadow, self.parameters, strict=True):
            average.lerp_(parameter, 1 - decay)

    @torch.no_grad()
    def reset(self) -> None:
        """Begin the average anew from the present weights."""
        self.updates = 0
        for average, parameter in zip(self.shadow, self.parameters, strict=True):
            average.copy_(parameter)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Put the averaged weights into the module for the time of the context."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def _swap(self) -> None:
        shadow: list[Tensor] = []
        for average, parameter in zip(self.shadow, self.parameters, strict=True):
            shadow.append(parameter.data)
            parameter.data = average
        self.shadow = shadow

"""The streaming contract: explicit state, rows that live their own lives, streaming equal to offline.

A module that streams has two ways to run. `forward(x)` takes a whole signal. `step(x, state)` takes the next chunk
and a `State` made by `init_state(batch)`, and returns what `forward` would have returned for that part of the signal,
whatever the chunk lengths were. Everything that mutates lives in the state; the module itself holds weights only, so
any number of conversations can share it.

A state is a dataclass whose fields are tensors (first dimension: the row of the batch), other states, or lists of
states. **The initial state is all zeros.** That one rule gives reset, save and restore without a line in any module.

Rows of a batch are independent conversations. `step(x, state, active)` runs only the rows where `active` is true: the
others keep their state as it was, and their output is meaningless.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn


@dataclass
class State:
    """All that mutates while a module streams a batch. Subclasses add fields; see the module docstring."""

    def tensors(self, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
        """Every tensor below this state with its dotted name, in a fixed order."""
        for field in fields(self):
            value = getattr(self, field.name)
            name = prefix + field.name
            if isinstance(value, Tensor):
                yield name, value
            elif isinstance(value, State):
                yield from value.tensors(f"{name}.")
            else:
                for index, item in enumerate(value):
                    yield from item.tensors(f"{name}.{index}.")

    @torch.no_grad()
    def reset(self, rows: Tensor | None = None) -> None:
        """Return the rows where `rows` (B,) bool is true, or all rows, to the initial state."""
        for _, tensor in self.tensors():
            if rows is None:
                tensor.zero_()
            else:
                tensor[rows.to(tensor.device)] = 0

    def save(self, row: int) -> dict[str, Tensor]:
        """A copy of one row's state that outlives the batch."""
        return {name: tensor[row].clone() for name, tensor in self.tensors()}

    @torch.no_grad()
    def restore(self, row: int, saved: dict[str, Tensor]) -> None:
        """Put a saved row back, into any row of a state made by the same module.

        Raises:
            ValueError: `saved` is from a module of another shape.
        """
        tensors = dict(self.tensors())
        if tensors.keys() != saved.keys():
            raise ValueError(f"the saved state has other fields: {sorted(tensors.keys() ^ saved.keys())}")
        for name, tensor in tensors.items():
            if tensor[row].shape != saved[name].shape:
                raise ValueError(f"state {name} is {tuple(saved[name].shape)}, expected {tuple(tensor[row].shape)}")
            tensor[row] = saved[name]


S = TypeVar("S", bound=State)


class StreamingModule(nn.Module, ABC, Generic[S]):
    """A module with an offline pass, `forward`, and an equal streaming pass, `step`."""

    @abstractmethod
    def init_state(self, batch: int, device: torch.device | None = None, dtype: torch.dtype | None = None) -> S:
        """The state of `batch` conversations that have not begun: all zeros."""

    @abstractmethod
    def step(self, x: Tensor, state: S, active: Tensor | None = None) -> Tensor:
        """Run the next chunk `x`, mutating `state` in place; rows where `active` (B,) is false keep theirs."""


def hold(new: Tensor, old: Tensor, active: Tensor | None) -> Tensor:
    """`new` (B, ...) in the rows that run, `old` in the rows that are paused."""
    if active is None:
        return new
    return torch.where(active.view(-1, *[1] * (new.dim() - 1)), new, old)

"""The streaming contract: explicit state, rows that live their own lives, streaming equal to offline.

A module that streams has two ways to run. `forward(x)` takes a whole signal. `step(x, state)` takes the next chunk
and a `State` made by `init_state(batch)`, and returns what `forward` would have returned for that part of the signal,
whatever the chunk lengths were. Everything that mutates lives in the state; the module itself holds weights only, so
any number of conversations can share it.

A state is a dataclass whose fields are tensors (first dimension: the row of the batch), other states, or lists of
states. **The initial state is all zeros.** That one rule gives reset, save and restore without a line in any module.

Rows of a batch are independent conversations. `step(x, state, active)` runs only the rows where `active` is true: the
others keep their state as it was, and their output is meaningless. Where few rows of many are to run, it is cheaper to
step `only` them: they are taken out of the state, stepped, and given back.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from typing import Generic, Self, TypeVar, cast

import torch
from torch import Tensor, nn


@dataclass
class State:
    """All that mutates while a module streams a batch. Subclasses add fields; see the module docstring."""

    def parts(self) -> Iterator[tuple[str, Tensor | State]]:
        """The fields, those of a list one by one, with their names, in a fixed order."""
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, list):
                yield from ((f"{field.name}.{index}", item) for index, item in enumerate(value))
            else:
                yield field.name, value

    def tensors(self, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
        """Every tensor below this state with its dotted name, in a fixed order."""
        for name, part in self.parts():
            if isinstance(part, State):
                yield from part.tensors(f"{prefix}{name}.")
            else:
                yield prefix + name, part

    @torch.no_grad()
    def reset(self, rows: Tensor | None = None) -> None:
        """Return the rows where `rows` (B,) bool is true, or all rows, to the initial state."""
        for _, part in self.parts():
            if isinstance(part, State):
                part.reset(rows)
            elif rows is None:
                part.zero_()
            else:
                part[rows.to(part.device)] = 0

    def take(self, rows: Tensor) -> Self:
        """A state of the rows (N,) int64 alone, so that a step costs by those; `give` puts it back after the step.

        It holds copies, but of what is large and can be stepped where it lies: until `give`, the rows belong to it.
        """

        def of(value: Tensor | State | list[State]) -> Tensor | State | list[State]:
            if isinstance(value, list):
                return [item.take(rows) for item in value]
            return value.take(rows) if isinstance(value, State) else value.index_select(0, rows)

        return replace(self, **{field.name: of(getattr(self, field.name)) for field in fields(self)})

    @torch.no_grad()
    def give(self, rows: Tensor, taken: Self) -> None:
        """Put back what `take` took of the same rows."""
        for (_, mine), (_, theirs) in zip(self.parts(), taken.parts(), strict=True):
            if isinstance(mine, State):
                mine.give(rows, cast(State, theirs))
            else:
                mine.index_copy_(0, rows, cast(Tensor, theirs))

    @contextmanager
    def only(self, rows: Tensor | None) -> Iterator[Self]:
        """A state of the rows (N,) int64 alone, for a step that costs by those; None: all rows, where they lie."""
        if rows is None:
            yield self
        else:
            taken = self.take(rows)
            yield taken
            self.give(rows, taken)

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

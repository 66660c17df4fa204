"""The state contract: what a subclass holds is found, reset, saved and restored without a line of its own."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from duologue.nn.streaming import State, hold


@dataclass
class Leaf(State):
    values: Tensor


@dataclass
class Tree(State):
    count: Tensor
    leaf: Leaf
    leaves: list[Leaf]


def tree(batch: int) -> Tree:
    return Tree(torch.ones(batch), Leaf(torch.ones(batch, 2)), [Leaf(torch.ones(batch, 3)) for _ in range(2)])


def test_every_tensor_is_found_by_name() -> None:
    assert [name for name, _ in tree(1).tensors()] == ["count", "leaf.values", "leaves.0.values", "leaves.1.values"]


def test_only_the_rows_that_are_asked_for_are_reset() -> None:
    state = tree(3)
    state.reset(torch.tensor([True, False, True]))
    assert all(tensor[1].all() and not tensor[[0, 2]].any() for _, tensor in state.tensors())
    state.reset()
    assert not any(tensor.any() for _, tensor in state.tensors())


def test_a_saved_row_is_a_copy_and_goes_into_any_row() -> None:
    state = tree(2)
    saved = state.save(0)
    state.reset()
    state.restore(1, saved)
    assert all(tensor[1].all() and not tensor[0].any() for _, tensor in state.tensors())


def test_rows_that_were_taken_come_back_and_the_others_stay() -> None:
    state, rows = tree(4), torch.tensor([3, 1])
    taken = state.take(rows)
    assert [len(tensor) for _, tensor in taken.tensors()] == [2] * 4
    taken.reset(torch.tensor([True, False]))
    taken.leaf.values = torch.full((2, 2), 7.0)
    assert all(tensor.all() for _, tensor in state.tensors())
    state.give(rows, taken)
    assert state.count.tolist() == [1, 1, 1, 0]
    assert state.leaf.values.tolist() == [[1, 1], [7, 7], [1, 1], [7, 7]]
    assert state.leaves[1].values[:, 0].tolist() == [1, 1, 1, 0]


def test_a_step_of_some_rows_changes_those_and_one_of_all_needs_no_copies() -> None:
    state = tree(3)
    with state.only(torch.tensor([2])) as part:
        part.count = torch.tensor([5.0])
        part.leaves[0].values += 1
    assert state.count.tolist() == [1, 1, 5]
    assert state.leaves[0].values[:, 0].tolist() == [1, 1, 2]
    with state.only(None) as part:
        assert part is state


def test_a_row_of_another_module_is_refused() -> None:
    with pytest.raises(ValueError, match="other fields"):
        tree(1).restore(0, Leaf(torch.ones(1, 2)).save(0))
    with pytest.raises(ValueError, match=r"values is \(5,\)"):
        Leaf(torch.ones(1, 2)).restore(0, Leaf(torch.ones(1, 5)).save(0))


def test_hold_keeps_the_rows_that_sleep() -> None:
    new, old = torch.ones(2, 3), torch.zeros(2, 3)
    assert hold(new, old, None) is new
    assert hold(new, old, torch.tensor([True, False])).tolist() == [[1] * 3, [0] * 3]

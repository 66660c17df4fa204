"""Optimisers reach every parameter once, schedules have their shape, the average follows."""

from __future__ import annotations

import copy
import itertools
from typing import Literal

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from duologue.train.muon import Muon, orthogonal
from duologue.train.optim import Ema, Joined, Schedule, optimizer_for


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Embedding(11, 6)
        self.hidden = nn.Linear(6, 6)
        self.frozen = nn.Linear(6, 6).requires_grad_(False)
        self.conv = nn.Conv1d(6, 6, 3, padding=1)
        self.head = nn.Linear(6, 11, bias=False)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = torch.tanh(self.frozen(self.hidden(self.embed(tokens))))
        logits: torch.Tensor = self.head(self.conv(x.mT).mT)
        return logits


@pytest.mark.parametrize("muon_lr", [None, 1e-2])
def test_every_parameter_is_trained_by_one_optimiser(muon_lr: float | None) -> None:
    net = Net()
    optimizer = optimizer_for(net, 1e-2, muon_lr=muon_lr)
    held = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert sorted(held) == sorted(id(p) for p in net.parameters() if p.requires_grad)
    if muon_lr is not None:
        assert isinstance(optimizer, Joined)
        assert [id(p) for p in optimizer.parts[-1].param_groups[0]["params"]] == [id(net.hidden.weight)]
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert decay[id(net.embed.weight)] == decay[id(net.head.weight)] == decay[id(net.conv.bias)] == 0
    assert decay[id(net.conv.weight)] > 0


@pytest.mark.parametrize("muon_lr", [None, 1e-2])
def test_a_factor_holds_for_one_part_alone(muon_lr: float | None) -> None:
    net = Net()
    optimizer = optimizer_for(net, 1e-3, muon_lr=muon_lr, factors={"hidden": 3.0})
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    assert rates[id(net.hidden.weight)] == pytest.approx(3 * (muon_lr or 1e-3))
    assert rates[id(net.hidden.bias)] == pytest.approx(3e-3)
    others = [p for part in (net.embed, net.conv, net.head) for p in part.parameters()]
    assert {rates[id(p)] for p in others} == {1e-3}


def test_muon_learns_and_its_state_comes_back() -> None:
    net, tokens = Net(), torch.arange(11)[None]

    def learn(optimizer: torch.optim.Optimizer, steps: int) -> float:
        for _ in range(steps):
            loss = nn.functional.cross_entropy(net(tokens)[0], tokens[0])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        return float(loss.detach())

    first = optimizer_for(net, 3e-2, muon_lr=3e-2)
    assert learn(first, 60) < 0.5
    weights, saved = copy.deepcopy(net.state_dict()), copy.deepcopy(first.state_dict())
    learn(first, 3)
    expected = copy.deepcopy(net.state_dict())
    net.load_state_dict(weights)
    second = optimizer_for(net, 3e-2, muon_lr=3e-2)
    second.load_state_dict(saved)
    learn(second, 3)
    for name, tensor in net.state_dict().items():
        assert torch.equal(tensor, expected[name]), name


@pytest.mark.parametrize("shape", [(6, 6), (20, 5), (5, 20)])
def test_muon_steps_as_pytorchs_own_does(shape: tuple[int, int]) -> None:
    """Which computes in bfloat16 everywhere, so only as far as that goes."""
    torch.manual_seed(1)
    start = torch.randn(shape)
    ours, theirs = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    own = Muon([ours], 0.01, 0.1)
    reference = torch.optim.Muon([theirs], lr=0.01, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    for _ in range(3):
        ours.grad = torch.randn(shape)
        theirs.grad = ours.grad.clone()
        own.step()
        reference.step()
    assert torch.allclose(ours - start, theirs - start, atol=2e-3)
    assert (ours - start).abs().mean() > 3e-3


def test_an_orthogonal_matrix_has_singular_values_near_one() -> None:
    torch.manual_seed(2)
    values = torch.linalg.svdvals(orthogonal(torch.randn(30, 12)))
    assert values.min() > 0.6 and values.max() < 1.3


@given(st.sampled_from(["wsd", "cosine", "constant"]), st.integers(0, 50), st.floats(0, 1), st.floats(0.01, 1))
def test_a_schedule_rises_stays_in_bounds_and_never_rises_again(
    shape: Literal["wsd", "cosine", "constant"], warmup: int, floor: float, decay: float
) -> None:
    schedule = Schedule(shape=shape, warmup=warmup, floor=floor, decay=decay)
    factors = [schedule.factor(step, step / 200) for step in range(201)]
    assert all(0 <= factor <= 1 for factor in factors)
    after = factors[warmup:]
    assert all(b <= a + 1e-12 for a, b in itertools.pairwise(after))
    assert factors[-1] == pytest.approx(1 if shape == "constant" else floor)


def test_wsd_holds_until_its_decay() -> None:
    schedule = Schedule(shape="wsd", warmup=10, decay=0.25, floor=0.1)
    assert schedule.factor(0, 0.0) == pytest.approx(0.1) and schedule.factor(4, 0.01) == pytest.approx(0.5)
    assert schedule.factor(500, 0.75) == 1.0
    assert schedule.factor(500, 0.75 + 0.25 / 4) == pytest.approx(0.1 + 0.9 * 0.5)


def test_the_average_follows_and_steps_aside() -> None:
    net = nn.Linear(1, 1, bias=False)
    net.weight.data.fill_(0.0)
    ema = Ema(net, 0.9)
    values, average = torch.linspace(0, 1, 200), 0.0
    for n, value in enumerate(values.tolist()):
        net.weight.data.fill_(value)
        ema.update()
        decay = min(0.9, (1 + n) / (10 + n))
        average = decay * average + (1 - decay) * value
    with ema.applied():
        assert net.weight.item() == pytest.approx(average, abs=1e-5)
    assert net.weight.item() == 1.0
    ema.reset()
    with ema.applied():
        assert net.weight.item() == 1.0

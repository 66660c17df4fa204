"""Causal convolutions: they stream in any chunks as they run whole, and see no future."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from duologue.nn.conv import CausalConv1d, CausalConvTranspose1d, Chain, ChannelNorm, ConvNeXtBlock
from duologue.nn.streaming import StreamingModule

HOP = 4  # every chunk is a multiple of this
MODULES = {
    "plain": lambda: CausalConv1d(6, 8, 5),
    "pointwise": lambda: CausalConv1d(6, 8, 1),
    "strided": lambda: CausalConv1d(6, 8, 8, stride=4),
    "kernel equals stride": lambda: CausalConv1d(6, 8, 4, stride=4),
    "dilated": lambda: CausalConv1d(6, 6, 3, dilation=5, groups=3),
    "transposed": lambda: CausalConvTranspose1d(6, 8, 7, stride=2),
    "transposed without overlap": lambda: CausalConvTranspose1d(6, 8, 4, stride=4),
    "transposed with a long tail": lambda: CausalConvTranspose1d(6, 8, 23, stride=2),
    "block": lambda: ConvNeXtBlock(6, 12, 5),
    "chain": lambda: Chain(
        CausalConv1d(6, 8, 8, stride=4), ConvNeXtBlock(8, 16), ChannelNorm(8), CausalConvTranspose1d(8, 2, 8, stride=4)
    ),
}


def build(name: str) -> StreamingModule:
    torch.manual_seed(0)
    module = MODULES[name]()
    for parameter in module.parameters():  # biases and scales too must matter
        torch.nn.init.normal_(parameter, std=0.5)
    return module.eval()


@pytest.mark.parametrize("name", MODULES)
@settings(max_examples=15, deadline=None)
@given(sizes=st.lists(st.integers(1, 6), min_size=1, max_size=8))
def test_any_chunks_equal_the_whole(name: str, sizes: list[int]) -> None:
    module = build(name)
    x = torch.randn(3, 6, HOP * sum(sizes))
    state = module.init_state(3)
    with torch.no_grad():
        streamed = torch.cat([module.step(part, state) for part in x.split([HOP * n for n in sizes], -1)], -1)
        torch.testing.assert_close(streamed, module(x), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", MODULES)
@settings(max_examples=10, deadline=None)
@given(runs=st.lists(st.lists(st.booleans(), min_size=3, max_size=3), min_size=3, max_size=12))
def test_rows_pause_alone(name: str, runs: list[list[bool]]) -> None:
    """Each row hears its own chunks only where it is active, so rows grow to different ages."""
    module = build(name)
    state = module.init_state(3)
    heard: list[list[Tensor]] = [[], [], []]
    said: list[list[Tensor]] = [[], [], []]
    with torch.no_grad():
        for active in runs:
            x = torch.randn(3, 6, HOP)
            y = module.step(x, state, torch.tensor(active))
            for row in range(3):
                if active[row]:
                    heard[row].append(x[row])
                    said[row].append(y[row])
        for row in range(3):
            if heard[row]:
                whole = module(torch.cat(heard[row], -1)[None])[0]
                torch.testing.assert_close(torch.cat(said[row], -1), whole, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", MODULES)
def test_reset_save_and_restore_a_row(name: str) -> None:
    module = build(name)
    state = module.init_state(2)
    a, b = torch.randn(2, 2, 6, 3 * HOP)
    with torch.no_grad():
        module.step(a, state)
        saved = state.save(1)
        expected = module.step(b, state)[1]
        state.reset(torch.tensor([True, False]))
        torch.testing.assert_close(module.step(b, state)[0], module(b[:1])[0], atol=1e-5, rtol=1e-5)
        other = module.init_state(4)
        other.restore(3, saved)
        torch.testing.assert_close(module.step(b[[1, 1, 1, 1]], other)[3], expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", MODULES)
def test_sees_no_future(name: str) -> None:
    module = build(name)
    x = torch.randn(1, 6, 8 * HOP)
    changed = x.clone()
    changed[..., 4 * HOP :] += 1
    with torch.no_grad():
        before, after = module(x), module(changed)
    half = before.shape[-1] // 2
    assert torch.equal(before[..., :half], after[..., :half])
    assert not torch.allclose(before[..., half:], after[..., half:])


def test_refuses_sizes_that_cannot_work() -> None:
    with pytest.raises(ValueError, match="stride 4"):
        CausalConv1d(1, 1, 3, stride=4)
    with pytest.raises(ValueError, match="holes at stride 4"):
        CausalConvTranspose1d(1, 1, 3, stride=4)
    with pytest.raises(ValueError, match="not a multiple of the stride 4"):
        CausalConv1d(1, 1, 8, stride=4)(torch.zeros(1, 1, 6))

"""The feature encoder: causal, and the same frame by frame as at once."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from duologue.lm.listen import FeatureEncoder
from duologue.nn.conv import ConvNeXtBlock


@settings(max_examples=10, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 4), min_size=1, max_size=5), hops=st.sampled_from([2, 4, 8]), more=st.integers(0, 2)
)
@torch.no_grad()
def test_streaming_equals_offline(sizes: list[int], hops: int, more: int) -> None:
    torch.manual_seed(0)
    encoder = FeatureEncoder(10, hops, 24, [more] * (hops.bit_length() - 1)).eval()
    x = torch.randn(2, sum(sizes) * hops, 10)
    state = encoder.init_state(2)
    streamed = [encoder.step(part, state) for part in x.split([size * hops for size in sizes], dim=1)]
    assert torch.allclose(torch.cat(streamed, dim=1), encoder(x), atol=1e-5)


@torch.no_grad()
def test_a_frame_knows_nothing_of_the_next() -> None:
    encoder = FeatureEncoder(6, 8, 24).eval()
    x = torch.randn(1, 32, 6)
    changed = x.clone()
    changed[:, 24:] += 1
    assert torch.equal(encoder(x)[:, :3], encoder(changed)[:, :3])
    assert not torch.equal(encoder(x)[:, 3], encoder(changed)[:, 3])


def test_hops_that_cannot_be_halved_are_refused() -> None:
    with pytest.raises(ValueError, match="power of two"):
        FeatureEncoder(80, 6, 16)


def test_as_many_blocks_as_halvings_are_asked_for() -> None:
    with pytest.raises(ValueError, match="8 hops a frame are 3"):
        FeatureEncoder(80, 8, 16, (1, 2))


@torch.no_grad()
def test_a_grown_ear_hears_as_before_and_each_block_can_learn() -> None:
    torch.manual_seed(0)
    encoder = FeatureEncoder(10, 8, 24, (1, 2, 1))
    x = torch.randn(2, 32, 10)
    before = encoder(x)
    encoder.grow((2, 4, 1))
    assert torch.allclose(encoder(x), before, atol=1e-6)
    FeatureEncoder(10, 8, 24, (2, 4, 1)).load_state_dict(encoder.state_dict())
    with torch.enable_grad():
        encoder(x).square().sum().backward()
    blocks = [layer for layer in encoder.layers if isinstance(layer, ConvNeXtBlock)]
    assert len(blocks) == 7
    assert all(block.contract.weight.grad.abs().sum() > 0 for block in blocks)


@pytest.mark.parametrize("blocks", [(0, 1, 1), (2, 2), (1, 1, 1, 1)])
def test_an_ear_does_not_shrink_or_change_its_rate(blocks: tuple[int, ...]) -> None:
    encoder = FeatureEncoder(10, 8, 24)
    with pytest.raises(ValueError, match="an ear of 1, 1, 1 blocks"):
        encoder.grow(blocks)

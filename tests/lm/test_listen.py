"""The feature encoder: causal, and the same frame by frame as at once."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from duologue.lm.listen import FeatureEncoder


@settings(max_examples=10, deadline=None)
@given(sizes=st.lists(st.integers(1, 4), min_size=1, max_size=5), hops=st.sampled_from([2, 4, 8]))
@torch.no_grad()
def test_streaming_equals_offline(sizes: list[int], hops: int) -> None:
    torch.manual_seed(0)
    encoder = FeatureEncoder(10, hops, 24).eval()
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

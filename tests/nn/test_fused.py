"""Compiled steps: the same as PyTorch's with the same weights, at any age, for any rows of a batch.

And with few rows or many: of many, the matrices are multiplied by a kernel which may keep bfloat16's 8 bits.
"""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from duologue.nn import int8
from duologue.nn.conv import ConvNeXtBlock
from duologue.nn.int8 import MANY, MANY_FLOAT32
from duologue.nn.transformer import Transformer, TransformerConfig
from duologue.nn.weights import pack, unpack

pytest.importorskip("numba", reason="Numba is not installed; it has no build for this Python")
pytestmark = pytest.mark.usefixtures("small_matrices_are_int8")


@pytest.fixture(params=[True, False], ids=["bf16", "fp32"])
def machine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that multiplies in bfloat16, and one that does not: every machine can do as either does."""
    monkeypatch.setattr("duologue.nn.int8.fast_bf16", lambda device: request.param)


def pair(config: TransformerConfig) -> tuple[Transformer, Transformer]:
    """A transformer whose float weights are those that int8 can hold, and the same one fused."""
    torch.manual_seed(0)
    plain = Transformer(config).eval().requires_grad_(False)
    for block in plain.blocks:  # norms that do something
        block.attention_norm.weight.uniform_(0.5, 1.5)  # type: ignore[union-attr, operator]
    plain.load_state_dict(unpack(pack(plain.state_dict(), ("blocks",))))
    fused = deepcopy(plain)
    int8.keep_int8(fused)
    fused.fuse()
    assert fused._fused is not None
    return plain, fused


@settings(max_examples=15, deadline=None)
@given(
    layers=st.integers(1, 3),
    heads=st.sampled_from([(2, None), (4, 2), (4, 1)]),
    window=st.integers(3, 9),
    rows=st.integers(1, MANY - 1),
    seed=st.integers(0, 1000),
)
def test_fused_steps_equal_plain_ones(
    layers: int, heads: tuple[int, int | None], window: int, rows: int, seed: int
) -> None:
    config = TransformerConfig(
        dim=64,
        layers=layers,
        heads=heads[0],
        kv_heads=heads[1],
        window=window,
    )
    plain, fused = pair(config)
    states = plain.init_state(rows), plain.init_state(rows)  # both with rings of float32
    random = torch.Generator().manual_seed(seed)
    with torch.inference_mode():
        for _ in range(2 * window):  # beyond the first lap of the ring
            awake = (torch.rand(rows, generator=random) < 0.7).nonzero()[:, 0]
            if not len(awake):
                continue
            x = torch.randn(len(awake), 1, config.dim, generator=random)
            given = x.clone()
            with states[0].only(awake) as one, states[1].only(awake) as other:
                expected, got = plain.step(x, one), fused.step(x, other)
            torch.testing.assert_close(got, expected, atol=2e-5, rtol=1e-4)
            assert torch.equal(x, given), "what is given is left as it is"
    for (name, kept), (_, mine) in zip(states[0].tensors(), states[1].tensors(), strict=True):
        torch.testing.assert_close(mine, kept, atol=2e-5, rtol=1e-4, msg=name)


@pytest.mark.parametrize("seed", range(4))
def test_rings_of_int8_remember_nearly_as_well(seed: int) -> None:
    config = TransformerConfig(dim=64, layers=2, heads=4, kv_heads=2, window=8)
    plain, fused = pair(config)
    states = plain.init_state(3), fused.init_state(3)
    assert states[1].layers[0].keys.dtype == torch.int8
    random = torch.Generator().manual_seed(seed)
    with torch.inference_mode():
        for _ in range(20):
            x = torch.randn(3, 1, config.dim, generator=random)
            expected, got = plain.step(x, states[0]), fused.step(x, states[1])
            assert (got - expected).norm() < 0.02 * expected.norm()
    kept, held = states[1].layers[0], states[0].layers[0]
    torch.testing.assert_close(kept.values * kept.scales[:, 1, ..., None], held.values, atol=0.02, rtol=0)
    saved = states[1].save(1)
    states[1].reset(torch.tensor([True, True, False]))
    assert not kept.scales[1].any() and kept.scales[2].all()
    states[1].restore(0, saved)
    x = torch.randn(1, 1, config.dim, generator=random)
    with torch.inference_mode(), states[0].only(torch.tensor([1])) as one, states[1].only(torch.tensor([0])) as other:
        torch.testing.assert_close(fused.step(x, other), plain.step(x, one), atol=0.1, rtol=0.05)


def pair_of_convolutions() -> tuple[ConvNeXtBlock, ConvNeXtBlock]:
    """The same of a ConvNeXt block with random weights."""
    random = torch.Generator().manual_seed(0)
    plain = ConvNeXtBlock(32, 96, kernel=5).eval().requires_grad_(False)
    for parameter in plain.parameters():
        parameter.copy_(torch.randn(parameter.shape, generator=random) / max(1, parameter[0].numel()) ** 0.5)
    plain.load_state_dict(unpack(pack(plain.state_dict(), ("expand.weight", "contract.weight"))))
    fused = deepcopy(plain)
    int8.keep_int8(fused)
    fused.fuse()
    assert fused._fused is not None
    return plain, fused


@settings(max_examples=15, deadline=None)
@given(sizes=st.lists(st.integers(1, MANY - 1), min_size=1, max_size=4), seed=st.integers(0, 1000))
def test_fused_convolutions_equal_plain_ones(sizes: list[int], seed: int) -> None:
    plain, fused = pair_of_convolutions()
    random = torch.Generator().manual_seed(seed)
    states = plain.init_state(1), fused.init_state(1)
    with torch.inference_mode():
        for size in sizes:
            x = torch.randn(1, 32, size, generator=random)
            torch.testing.assert_close(fused.step(x, states[1]), plain.step(x, states[0]), atol=2e-5, rtol=1e-4)
    torch.testing.assert_close(states[1].past, states[0].past)


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize("rows", [MANY, MANY_FLOAT32, 21])
def test_many_rows_go_through_the_same_transformer(rows: int) -> None:
    plain, fused = pair(TransformerConfig(dim=64, layers=2, heads=4, kv_heads=2, window=8))
    states = plain.init_state(rows + 3), plain.init_state(rows + 3)
    random = torch.Generator().manual_seed(rows)
    with torch.inference_mode():
        for _ in range(12):
            awake = torch.randperm(rows + 3, generator=random)[:rows].sort().values
            x = torch.randn(rows, 1, 64, generator=random)
            with states[0].only(awake) as one, states[1].only(awake) as other:
                expected, got = plain.step(x, one), fused.step(x, other)
            assert 0 < (got - expected).norm() < 0.01 * expected.norm()
            assert torch.equal(one.position, other.position)


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize("rows", [2, 9])
def test_many_frames_go_through_the_same_convolution(rows: int) -> None:
    plain, fused = pair_of_convolutions()
    states = plain.init_state(rows), fused.init_state(rows)
    random = torch.Generator().manual_seed(rows)
    with torch.inference_mode():
        for size in (8, 3, 12):
            x = torch.randn(rows, 32, size, generator=random)
            expected, got = plain.step(x, states[0]), fused.step(x, states[1])
            assert (got - expected).norm() < 0.01 * (expected - x).norm()
    torch.testing.assert_close(states[1].past, states[0].past)


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize("rows", [5, MANY_FLOAT32])
def test_a_row_does_not_depend_on_its_neighbours(rows: int) -> None:
    _, fused = pair(TransformerConfig(dim=64, layers=2, heads=4, window=8))
    states = fused.init_state(rows), fused.init_state(rows)
    for frame in range(12):
        x = torch.randn(rows, 1, 64)
        others = 100 * torch.randn(rows, 1, 64)
        others[2] = x[2]
        assert torch.equal(fused.step(x, states[0])[2], fused.step(others, states[1])[2]), frame


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize("rows", [3, MANY_FLOAT32])
def test_what_is_not_a_number_stays_in_its_row(rows: int) -> None:
    _, fused = pair(TransformerConfig(dim=64, layers=2, heads=4, window=8))
    x = torch.randn(rows, 1, 64)
    x[1] = torch.nan
    y = fused.step(x, fused.init_state(rows))
    assert y[1].isnan().all()
    assert torch.cat((y[:1], y[2:])).isfinite().all()


def test_a_row_that_pauses_keeps_its_state() -> None:
    _, fused = pair(TransformerConfig(dim=64, layers=2, heads=2, window=4))
    states = fused.init_state(2), fused.init_state(2)
    x = torch.randn(3, 2, 1, 64)
    fused.step(x[0], states[0])
    fused.step(x[0], states[1])
    fused.step(x[1], states[0], torch.tensor([True, False]))
    assert states[0].position.tolist() == [2, 1]
    assert torch.equal(fused.step(x[2], states[0])[1], fused.step(x[2], states[1])[1])


def test_float_weights_are_left_to_pytorch() -> None:
    plain, _ = pair(TransformerConfig(dim=64, layers=1, heads=2, window=4))
    plain.fuse()
    assert plain._fused is None

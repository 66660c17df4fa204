"""Layers whose weights stay int8: what they compute, what they leave alone, and that no row sees another."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from duologue.nn.embedding import TiedEmbedding
from duologue.nn.int8 import MANY, MANY_FLOAT32, SMALLEST, Int8Linear, Int8TiedEmbedding, keep_int8, to_int8
from duologue.nn.weights import pack, unpack


def layer(inputs: int, outputs: int, bias: bool = False, seed: int = 0) -> nn.Linear:
    torch.manual_seed(seed)
    return nn.Linear(inputs, outputs, bias=bias)


def rounded(linear: nn.Linear, x: Tensor) -> Tensor:
    """What the layer gives with its weights rounded to int8, in double precision."""
    weight, scale = to_int8(linear.weight.detach())
    y = x.double() @ (weight.double() * scale.double()).t()
    return y if linear.bias is None else y + linear.bias.double()


@pytest.fixture(params=[True, False], ids=["bf16", "fp32"], autouse=True)
def machine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that multiplies in bfloat16, and one that does not: every machine can do as either does."""
    monkeypatch.setattr("duologue.nn.int8.fast_bf16", lambda device: request.param)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("rows", [1, 3, 24, 33])
def test_it_is_the_layer_with_rounded_weights(rows: int, bias: bool) -> None:
    linear = layer(384, 1152, bias)
    x = torch.randn(rows, 384)
    error = (Int8Linear(linear)(x).double() - rounded(linear, x)).abs()
    assert error.max() < 0.01 * rounded(linear, x).abs().max()  # bfloat16 keeps 8 bits of each vector
    assert error.mean() > 0  # it is no float layer in disguise


def test_leading_dimensions_stay() -> None:
    linear = layer(64, 256)
    x = torch.randn(2, 5, 64)
    assert Int8Linear(linear)(x).shape == (2, 5, 256)
    assert torch.equal(Int8Linear(linear)(x)[1, 3], Int8Linear(linear)(x[1, 3]))


@pytest.mark.parametrize("rows", [MANY - 1, MANY, MANY_FLOAT32 - 1, MANY_FLOAT32, 24])
@pytest.mark.parametrize("seed", range(4))
def test_a_row_does_not_depend_on_its_neighbours(seed: int, rows: int) -> None:
    random = torch.Generator().manual_seed(seed)
    small = Int8Linear(layer(320, 864, seed=seed))
    batch = torch.randn(rows, 320, generator=random)
    row = int(torch.randint(rows, (), generator=random))
    others = 1000 * torch.randn(rows, 320, generator=random)
    others[row] = batch[row]
    assert torch.equal(small(others)[row], small(batch)[row])
    alone = small(batch[row : row + 1])[0]  # perhaps by the other kernel: a last bit of bfloat16 is all that may differ
    assert torch.allclose(small(batch)[row], alone, rtol=2**-7, atol=1e-3)


def test_its_state_is_that_of_a_float_layer_and_packs_to_the_same_bytes() -> None:
    linear = layer(128, 512, bias=True)
    packed = pack(linear.state_dict(), ("weight",))
    linear.load_state_dict(unpack(packed))
    state = Int8Linear(linear).state_dict()
    assert state.keys() == linear.state_dict().keys()
    assert torch.equal(state["weight"], linear.weight)
    other = Int8Linear(layer(128, 512, bias=True, seed=1))
    other.load_state_dict(state)
    assert all(torch.equal(tensor, state[name]) for name, tensor in other.state_dict().items())
    again = pack(state, ("weight",))
    assert all(torch.equal(again[name], tensor) for name, tensor in packed.items())


def test_a_tied_table_embeds_and_scores_with_the_same_rounded_rows() -> None:
    torch.manual_seed(0)
    table = TiedEmbedding(300, 64)
    values, scale = to_int8(table.weight.detach())
    rounded = TiedEmbedding(300, 64)
    rounded.load_state_dict({"weight": values.float() * scale})
    small = Int8TiedEmbedding(table.weight)
    tokens, x = torch.randint(300, (4, 7)), torch.randn(4, 64)
    assert torch.equal(small(tokens), rounded(tokens))
    expected = rounded.logits(x)
    assert small.logits(x).shape == (4, 299)
    assert (small.logits(x) - expected).abs().max() < 0.01 * expected.abs().max()


def test_small_and_odd_layers_are_left_as_they_are() -> None:
    wide, small, odd = layer(128, 256), layer(32, 64), layer(100, 512)
    assert wide.weight.numel() >= SMALLEST > small.weight.numel()
    module = nn.Sequential(wide, nn.Sequential(small, odd))
    keep_int8(module)
    assert [type(part) for part in module.modules() if not isinstance(part, nn.Sequential)] == [
        Int8Linear,
        nn.Linear,
        nn.Linear,
    ]

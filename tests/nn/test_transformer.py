"""The transformer: streaming equals offline at any chunking, in rows of any age, in constant memory."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from duologue.nn.transformer import Past, Transformer, TransformerConfig

WIDE = TransformerConfig(dim=32, layers=2, heads=4, kv_heads=2, window=7)


def model_of(config: TransformerConfig) -> Transformer:
    torch.manual_seed(3)
    return Transformer(config).eval()


def chunks_of(length: int, cuts: list[int]) -> list[int]:
    places = sorted({cut % length for cut in cuts} - {0})
    return [end - begin for begin, end in zip([0, *places], [*places, length], strict=True)]


@settings(max_examples=20, deadline=None)
@given(
    length=st.integers(1, 30),
    cuts=st.lists(st.integers(0, 1000), max_size=8),
    heads=st.sampled_from([(4, None), (4, 2), (4, 1)]),
    window=st.integers(1, 12),
)
@torch.no_grad()
def test_streaming_equals_offline(length: int, cuts: list[int], heads: tuple[int, int | None], window: int) -> None:
    model = model_of(TransformerConfig(dim=32, layers=2, heads=heads[0], kv_heads=heads[1], window=window))
    x = torch.randn(2, length, 32)
    state = model.init_state(2)
    streamed = torch.cat([model.step(part, state) for part in x.split(chunks_of(length, cuts), dim=1)], dim=1)
    assert torch.allclose(streamed, model(x), atol=1e-5)


@settings(max_examples=12, deadline=None)
@given(length=st.integers(1, 7), heads=st.sampled_from([(4, None), (4, 2), (4, 1)]), rows=st.integers(1, 9))
@torch.no_grad()
def test_extending_short_sequences_equals_offline(length: int, heads: tuple[int, int | None], rows: int) -> None:
    model = model_of(TransformerConfig(dim=32, layers=2, heads=heads[0], kv_heads=heads[1], window=7))
    x = torch.randn(rows, length, 32)
    past: list[Past] = []
    extended = torch.cat([model.extend(part, past) for part in x.split(1, dim=1)], dim=1)
    assert torch.allclose(extended, model(x), atol=1e-5)


@torch.no_grad()
def test_rows_of_any_age_share_a_step() -> None:
    model = model_of(WIDE)
    x = torch.randn(3, 40, 32)
    whole = model(x)
    state = model.init_state(3)
    places = [0, 0, 0]
    random = torch.Generator().manual_seed(0)
    while min(places) < 40:
        active = torch.tensor([place < 40 for place in places]) & (torch.rand(3, generator=random) < 0.6)
        frame = torch.stack([x[row, min(place, 39)] for row, place in enumerate(places)])[:, None]
        out = model.step(frame, state, active)
        for row in range(3):
            if active[row]:
                assert torch.allclose(out[row, 0], whole[row, places[row]], atol=1e-5)
                places[row] += 1


@torch.no_grad()
def test_rows_that_are_taken_out_are_stepped_alone() -> None:
    model = model_of(WIDE)
    x = torch.randn(6, 30, 32)
    whole = model(x)
    state = model.init_state(6)
    places = [0] * 6
    random = torch.Generator().manual_seed(1)
    while min(places) < 30:
        ready = torch.tensor([row for row in range(6) if places[row] < 30])
        rows = ready[torch.randperm(len(ready), generator=random)][: int(torch.randint(1, 7, (), generator=random))]
        frame = torch.stack([x[row, places[row]] for row in rows.tolist()])[:, None]
        taken = state.take(rows)
        out = model.step(frame, taken)
        state.give(rows, taken)
        for place, row in enumerate(rows.tolist()):
            assert torch.allclose(out[place, 0], whole[row, places[row]], atol=1e-5)
            places[row] += 1


@torch.no_grad()
def test_a_taken_row_is_reset_and_taken_from_alone() -> None:
    model = model_of(WIDE)
    x = torch.randn(4, 12, 32)
    state = model.init_state(4)
    model.step(x[:, :8], state)
    three = torch.tensor([3, 1, 2])
    taken = state.take(three)
    taken.reset(torch.tensor([False, True, False]))
    inner = taken.take(torch.tensor([1, 2]))  # rows 1 and 2
    fresh, older = model.step(x[1:3, 8:], inner)
    taken.give(torch.tensor([1, 2]), inner)
    state.give(three, taken)
    assert torch.allclose(fresh, model(x[1:2, 8:])[0], atol=1e-5)
    assert torch.allclose(older, model(x[2:3])[0, 8:], atol=1e-5)
    assert state.position.tolist() == [8, 4, 12, 8]
    assert torch.allclose(model.step(x[:, 8:], state)[3], model(x[3:])[0, 8:], atol=1e-5)


@torch.no_grad()
def test_a_row_is_reset_and_restored_alone() -> None:
    model = model_of(WIDE)
    x = torch.randn(2, 20, 32)
    state = model.init_state(2)
    model.step(x[:, :9], state)
    kept = state.save(1)
    state.reset(torch.tensor([False, True]))
    again = model.step(x[:, :4], state)
    assert torch.allclose(again[1], model(x[1:, :4])[0], atol=1e-5)
    other = model.init_state(3)
    other.restore(2, kept)
    went_on = model.step(x[[0, 0, 1], 9:], other)[2]
    assert torch.allclose(went_on, model(x[1:])[0, 9:], atol=1e-5)


@torch.no_grad()
def test_nothing_beyond_the_window_is_remembered_and_nothing_grows() -> None:
    config = TransformerConfig(dim=16, layers=1, heads=2, window=5)
    model = model_of(config)
    state = model.init_state(1)
    sizes = {name: tensor.shape for name, tensor in state.tensors()}
    x = torch.randn(1, 300, 16)
    last = model.step(x, state)[:, -1]
    assert {name: tensor.shape for name, tensor in state.tensors()} == sizes
    changed = x.clone()
    changed[:, :-5] = torch.randn(1, 295, 16)
    assert torch.allclose(model(changed)[:, -1], last, atol=1e-5)
    changed[:, -5] += 1
    assert not torch.allclose(model(changed)[:, -1], last, atol=1e-3)


@pytest.mark.parametrize("sizes", [{"dim": 30, "heads": 4}, {"dim": 32, "heads": 4, "kv_heads": 3}])
def test_sizes_that_do_not_fit_are_refused(sizes: dict[str, int]) -> None:
    with pytest.raises(ValidationError, match="multiple"):
        TransformerConfig(layers=1, **sizes)

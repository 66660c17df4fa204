"""Frames written by one compiled function: the same tokens as step by step, and whatever it can't do is done so."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from duologue.lm.backbone import Backbone, BackboneConfig
from duologue.lm.sampling import Sampling
from duologue.lm.streams import Layout, Stream
from duologue.nn import int8
from duologue.nn.transformer import TransformerConfig
from duologue.nn.weights import pack, unpack

pytest.importorskip("numba", reason="Numba is not installed; it has no build for this Python")
pytestmark = pytest.mark.usefixtures("small_matrices_are_int8")

SIZES = BackboneConfig(
    temporal=TransformerConfig(dim=64, layers=2, heads=2, window=8),
    depth=TransformerConfig(dim=32, layers=2, heads=2, window=8),
)


def pair(tied: bool, delays: tuple[int, ...] = ()) -> tuple[Backbone, Backbone]:
    """A backbone whose float weights are those that int8 can hold, and the same one ready for steps."""
    torch.manual_seed(0)
    layout = Layout(
        name="test",
        streams=(
            Stream(name="said", role="heard", cardinality=9),
            Stream(name="text", role="predicted", cardinality=40, tied=tied),
            *([Stream(name="more", role="predicted", cardinality=40, shares="text")] if tied else []),
            Stream(name="codes", role="predicted", cardinality=24, books=4, tables=2, delays=delays),
        ),
    )
    plain = Backbone(layout, SIZES).eval().requires_grad_(False)
    plain.place.normal_(std=0.3)
    # Clearly apart, so that a last bit decides nothing.
    for table in (*plain.heads.parameters(), *plain.tables.parameters()):
        table.mul_(4)
    plain.load_state_dict(
        unpack(pack(plain.state_dict(), ("temporal", "depth.", "heads", "tables", "widen", "to_", "token_")))
    )
    ready = deepcopy(plain)
    int8.keep_int8(ready)
    ready.settle()
    return plain, ready


def run(model: Backbone, seed: int, rows: int, sampling: dict[str, Sampling]) -> torch.Tensor:
    random = torch.Generator().manual_seed(seed)
    state = model.init_state(rows)
    written = []
    with torch.inference_mode():
        for _ in range(12):
            said = {"said": torch.randint(9, (rows, 1), generator=random)}
            written.append(torch.cat(list(model.step(said, state, sampling).values()), dim=1))
    return torch.stack(written)


@settings(max_examples=15, deadline=None)
@given(tied=st.booleans(), rows=st.integers(1, 6), seed=st.integers(0, 1000))
def test_it_writes_what_is_written_step_by_step(tied: bool, rows: int, seed: int) -> None:
    plain, ready = pair(tied)
    assert ready._writer is not None
    random = torch.Generator().manual_seed(seed)
    hidden = torch.randn(12, rows, SIZES.temporal.dim, generator=random)  # one and the same for both
    with torch.inference_mode():
        expected, got = (
            torch.stack([model._write(frame, model.init_state(rows), {}, {}) for frame in hidden])
            for model in (plain, ready)
        )
    assert torch.equal(got, expected)
    assert len(expected.unique()) > 5, "it writes many things"


def test_what_it_is_not_for_is_done_without_it() -> None:
    _, ready = pair(True)
    warm = {"codes": Sampling(temperature=2.0)}
    drawn = [run(ready, 3, 2, sampling)[..., 2:] for sampling in ({}, warm)]
    assert not torch.equal(*drawn), "streams that are sampled are"
    state = ready.init_state(2)
    said, given = {"said": torch.zeros(2, 1, dtype=torch.int64)}, torch.tensor([[7], [8]])
    assert torch.equal(ready.step(said, state, {}, forced={"text": given})["text"], given)
    _, delayed = pair(True, (0, 1, 1, 2))
    assert delayed._writer is None

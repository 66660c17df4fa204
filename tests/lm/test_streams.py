"""Layouts: delays are undone exactly, and what cannot work is refused by name."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from duologue.lm.streams import ABSENT, Layout, Stream, delay, undelay


@given(delays=st.lists(st.integers(0, 5), min_size=1, max_size=8), frames=st.integers(1, 12))
def test_a_delay_is_undone(delays: list[int], frames: int) -> None:
    stream = Stream(name="codes", role="predicted", cardinality=99, books=len(delays), delays=tuple(delays))
    tokens = torch.randint(99, (2, frames, len(delays)))
    late = delay(tokens, stream)
    assert late.shape == (2, frames + max(delays), len(delays))
    assert (late == ABSENT).sum() == 2 * max(delays) * len(delays)
    assert torch.equal(undelay(late, stream), tokens)


def test_the_order_of_writing_is_the_order_of_the_layout() -> None:
    text = Stream(name="text", role="predicted", cardinality=5)
    codes = Stream(name="codes", role="predicted", cardinality=5, books=2)
    user = Stream(name="user", role="heard", cardinality=5)
    written = Layout(name="x", streams=(text, user, codes)).written
    assert [(stream.name, book) for stream, book in written] == [("text", 0), ("codes", 0), ("codes", 1)]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"cardinality": 0}, "cardinality"),
        ({"books": 2, "delays": (0,)}, "delays"),
        ({"books": 3, "tables": 2}, "tables"),
        ({"kind": "features", "size": 80}, "not predicted"),
        ({"role": "heard", "tied": True}, "to tie"),
    ],
)
def test_a_stream_that_cannot_work_is_refused(change: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Stream.model_validate({"name": "x", "role": "predicted", "cardinality": 4} | change)


def test_streams_need_names_of_their_own_and_shared_tables_an_owner() -> None:
    one = Stream(name="a", role="heard", cardinality=4)
    with pytest.raises(ValidationError, match="one name"):
        Layout(name="x", streams=(one, one))
    with pytest.raises(ValidationError, match="shares"):
        Layout(name="x", streams=(one, Stream(name="b", role="predicted", cardinality=5, shares="a")))

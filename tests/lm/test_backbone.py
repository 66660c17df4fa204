"""The backbone under random layouts: streaming equals teacher forcing, rows live alone, delays cost nothing."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from duologue.lm.backbone import Backbone, BackboneConfig, next_token_loss
from duologue.lm.sampling import Sampling
from duologue.lm.streams import ABSENT, Layout, Stream
from duologue.nn.transformer import TransformerConfig

SMALL = BackboneConfig(
    temporal=TransformerConfig(dim=32, layers=2, heads=2, window=16),
    depth=TransformerConfig(dim=16, layers=1, heads=2, window=8),
)
USER = Stream(name="user", role="heard", kind="features", size=6, hops=4)


def layout(delays: tuple[int, ...], heard_delays: tuple[int, ...] = (0, 1), tied: bool = False) -> Layout:
    return Layout(
        name="test",
        streams=(
            USER,
            Stream(name="codes_in", role="heard", cardinality=9, books=2, delays=heard_delays),
            Stream(name="text", role="predicted", cardinality=11, tied=tied),
            *([Stream(name="more", role="predicted", cardinality=11, tied=True, shares="text")] if tied else []),
            Stream(name="codes", role="predicted", cardinality=7, books=len(delays), delays=delays, tables=1),
        ),
    )


def model_of(streams: Layout) -> Backbone:
    torch.manual_seed(0)
    return Backbone(streams, SMALL).eval()


def heard(batch: int, frames: int, seed: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        "user": torch.randn(batch, frames * USER.hops, USER.size, generator=generator),
        "codes_in": torch.randint(9, (batch, frames, 2), generator=generator),
    }


def frame_of(streams: dict[str, torch.Tensor], frame: int) -> dict[str, torch.Tensor]:
    return {
        "user": streams["user"][:, frame * USER.hops : (frame + 1) * USER.hops],
        "codes_in": streams["codes_in"][:, frame],
    }


@settings(max_examples=12, deadline=None)
@given(delays=st.lists(st.integers(0, 3), min_size=1, max_size=3), seed=st.integers(0, 1000), tied=st.booleans())
def test_what_is_written_freely_is_what_teacher_forcing_expects(delays: list[int], seed: int, tied: bool) -> None:
    streams = layout(tuple(delays), tied=tied)
    model, sounds = model_of(streams), heard(2, 12, seed)
    state = model.init_state(2)
    steps = [model.step(frame_of(sounds, frame), state, {}) for frame in range(12)]
    lag = max(delays)
    frames = 12 - lag
    names = [stream.name for stream in streams.predicted]
    written = {name: torch.stack([step[name] for step in steps[lag:]], dim=1) for name in names}
    assert all((tokens >= 0).all() for tokens in written.values())
    whole = {"user": sounds["user"][:, : frames * USER.hops], "codes_in": sounds["codes_in"][:, :frames]} | written
    with torch.no_grad():
        _, logits = model(whole)
    targets = model.targets(whole)
    for name in written:
        known = targets[name][:, :frames] != ABSENT
        assert (logits[name].argmax(-1)[:, :frames] == targets[name][:, :frames])[known].all()


def test_a_row_lives_alone() -> None:
    model, sounds = model_of(layout((0, 1))), heard(3, 14, 1)
    alone = model.init_state(1)
    together = model.init_state(3)
    kept: dict[str, torch.Tensor] = {}
    row = 1
    expected, got = [], []
    active = torch.ones(3, dtype=torch.bool)
    for frame in range(14):
        one = {name: value[row : row + 1] for name, value in frame_of(sounds, frame).items()}
        expected.append(model.step(one, alone, {})["codes"][0])
        if frame == 4:  # sleeps for two steps of the others
            active[row] = False
            model.step(frame_of(heard(3, 1, 7), 0), together, {}, active)
            model.step(frame_of(heard(3, 1, 8), 0), together, {}, active)
            active[row] = True
        if frame == 9:  # is taken out, another takes its place, and it comes back to another row
            kept = together.save(row)
            together.reset(torch.tensor([False, True, False]))
            together.restore(2, kept)
            sounds = {name: value[[0, 2, 1]] for name, value in sounds.items()}
            got.append(model.step(frame_of(sounds, frame), together, {})["codes"][2])
            row = 2
            continue
        got.append(model.step(frame_of(sounds, frame), together, {}, active)["codes"][row])
    assert torch.equal(torch.stack(got), torch.stack(expected))


def test_sampling_depends_on_the_seed_alone() -> None:
    model, sounds = model_of(layout((0,))), heard(2, 10, 3)
    warm = {"codes": Sampling(temperature=1.5), "text": Sampling(temperature=1.0, top_k=5)}

    def run(seeds: list[int]) -> torch.Tensor:
        state = model.init_state(2)
        state.seed += torch.tensor(seeds)
        return torch.stack([model.step(frame_of(sounds, f), state, warm)["codes"] for f in range(10)], dim=1)

    first = run([1, 2])
    assert torch.equal(first, run([1, 2]))
    other = run([1, 3])
    assert torch.equal(first[0], other[0])
    assert not torch.equal(first[1], other[1])


def test_the_loss_forgets_absent_targets_and_weighs_the_pad() -> None:
    stream = Stream(name="text", role="predicted", cardinality=3, pad=0, pad_weight=0.5, weight=2.0)
    only = Layout(name="text", streams=(stream,))
    logits = torch.log(torch.tensor([0.5, 0.25, 0.25])).expand(1, 3, 1, 3)
    targets = torch.tensor([[[0], [1], [ABSENT]]])
    loss = next_token_loss(only, {"text": logits}, {"text": targets})["text"]
    expected = 2.0 * (0.5 * torch.log(torch.tensor(2.0)) + torch.log(torch.tensor(4.0))) / 1.5
    assert loss == pytest.approx(float(expected), rel=1e-5)


def test_a_stream_that_is_not_given_is_absent() -> None:
    model = model_of(layout((0,), heard_delays=(0, 0)))
    tokens = {"text": torch.zeros(1, 4, 1, dtype=torch.int64), "codes": torch.zeros(1, 4, 1, dtype=torch.int64)}
    hidden, logits = model(tokens)
    assert hidden.shape == (1, 4, 32)
    assert logits["codes"].shape == (1, 4, 1, 7)


def test_what_is_taught_is_learned_from_the_sound_and_leans_on_nothing() -> None:
    """Its truth must not leak: a model that reads the words off true phones is deaf once it has its own."""
    phones = Stream(name="phones", role="taught", cardinality=5, books=2)
    streams = Layout(name="test", streams=(*layout((0,), heard_delays=(0, 0)).streams, phones))
    model, sounds = model_of(streams), heard(2, 8, 0)
    truth = {"text": torch.ones(2, 8, 1, dtype=torch.int64), "codes": torch.ones(2, 8, 1, dtype=torch.int64)}
    one, other = (torch.full((2, 8, 2), value) for value in (1, 3))
    hidden, logits = model(sounds | truth | {"phones": one})
    again, same = model(sounds | truth | {"phones": other})
    assert torch.equal(hidden, again) and all(torch.equal(logits[name], same[name]) for name in logits)
    assert logits["phones"].shape == (2, 8, 2, 5)
    next_token_loss(streams, logits, {"phones": one})["phones"].backward()
    assert all(parameter.grad is not None for parameter in model.temporal.parameters())  # it teaches the transformer
    assert "phones" not in model.step(frame_of(sounds, 0), model.init_state(2), {})


def test_a_depth_window_shorter_than_a_frame_is_refused() -> None:
    short = SMALL.model_copy(update={"depth": SMALL.depth.model_copy(update={"window": 2})})
    with pytest.raises(ValueError, match="3 books a frame"):
        Backbone(layout((0, 1)), short)


@settings(max_examples=12, deadline=None)
@given(delays=st.lists(st.integers(0, 3), min_size=1, max_size=3), seed=st.integers(0, 1000), tied=st.booleans())
def test_what_is_looked_up_is_what_would_be_worked_out(delays: list[int], seed: int, tied: bool) -> None:
    streams = layout(tuple(delays), tied=tied)
    model, sounds = model_of(streams), heard(2, 12, seed)
    with torch.no_grad():
        model.place.normal_(std=0.3)
    tabulated = deepcopy(model)
    tabulated.settle()
    states = model.init_state(2), tabulated.init_state(2)
    for frame in range(12):
        now = frame_of(sounds, frame)
        if frame % 3 == 1:  # a stream that is not given adds nothing, not even where it stands
            del now["codes_in"]
        expected, got = model.step(now, states[0], {}), tabulated.step(now, states[1], {})
        assert all(torch.equal(got[name], expected[name]) for name in expected)
        for layer, other in zip(states[0].temporal.layers, states[1].temporal.layers, strict=True):
            torch.testing.assert_close(layer.values, other.values, atol=1e-5, rtol=1e-4)

"""The native system on a tiny untrained model: it talks at random, yet by the rules of the seam."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from systems.simple import frames, write_tiny_model

from duologue.lm.model import SpeechLM
from duologue.nn.weights import read_tensors
from duologue.systems import registry
from duologue.systems.base import Event, HeardWord, Reply, SpokenWord, System, TextWord, Timing
from duologue.systems.rows import Reads


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> System:
    return registry.load(write_tiny_model(tmp_path_factory.mktemp("tiny")))


def told(reply: Reply) -> list[Event]:
    return [event for event in reply.events if not isinstance(event, Timing)]


def test_replies_are_frames_of_sound(system: System) -> None:
    with system.open() as conversation:
        replies = [conversation.step(frame) for frame in frames(30)]
    for reply in replies:
        assert reply.pcm.shape == (1280,)
        assert reply.pcm.dtype == np.float32
        assert np.abs(reply.pcm).max() <= 1


def test_the_floor_changes_hands_in_order(system: System) -> None:
    with system.open() as conversation:
        events = [event for frame in frames(120) for event in told(conversation.step(frame))]
    user = [event.kind for event in events if event.kind.startswith("user")]
    assert user[::2] == ["user_started"] * len(user[::2])
    assert user[1::2] == ["user_stopped"] * len(user[1::2])
    reply = [event.kind for event in events if event.kind in ("reply_started", "reply_ended", "interrupted")]
    assert reply, "this seed speaks"
    assert set(reply[::2]) == {"reply_started"}
    assert set(reply[1::2]) <= {"reply_ended", "interrupted"}
    assert any(isinstance(event, TextWord) for event in events)
    assert all(event.time <= event.end for event in events if isinstance(event, SpokenWord))


def test_silence_sounds_only_while_a_reply_is_under_way(system: System) -> None:
    speaking = False
    with system.open() as conversation:
        for frame in frames(60, seed=1):
            reply = conversation.step(frame)
            kinds = {event.kind for event in told(reply)}
            speaking = speaking or "reply_started" in kinds
            assert speaking or not reply.pcm.any()
            speaking = speaking and not kinds & {"reply_ended", "interrupted"}


def test_conversations_share_nothing_but_weights(system: System) -> None:
    alone = []
    for seed in (0, 1):
        with system.open() as conversation:
            alone.append([conversation.step(frame) for frame in frames(20, seed)])
    with system.open() as first, system.open() as second:
        pairs = zip(frames(20, 0), frames(20, 1), strict=True)
        mixed = [(first.step(one), second.step(other)) for one, other in pairs]
    for index, row in enumerate(zip(*mixed, strict=True)):
        for reply, expected in zip(row, alone[index], strict=True):
            np.testing.assert_array_equal(reply.pcm, expected.pcm)
            assert told(reply) == told(expected)


@pytest.mark.skipif(not (registry.BOX / "model.safetensors").is_file(), reason="there is no model in the box")
def test_a_written_question_is_answered_in_speech() -> None:
    with registry.load("box").open() as conversation:
        assert isinstance(conversation, Reads)
        conversation.read("What comes after Monday?")
        replies = [conversation.step(np.zeros(1280, np.float32)) for _ in range(40)]
    events = [event for reply in replies for event in told(reply)]
    assert [event.word for event in events if isinstance(event, TextWord)] == ["after", "monday", "comes", "tuesday"]
    assert [event.word for event in events if isinstance(event, SpokenWord)] == ["after", "monday", "comes", "tuesday"]
    assert not any(isinstance(event, HeardWord) for event in events), "it was read"
    assert max(np.abs(reply.pcm).max() for reply in replies) > 0.05


@pytest.mark.skipif(not (registry.BOX / "model.safetensors").is_file(), reason="there is no model in the box")
def test_the_weights_of_the_box_stay_as_small_as_they_are_shipped() -> None:
    model = SpeechLM.load(registry.BOX)
    stored = read_tensors(registry.BOX / "model.safetensors")
    state = model.state_dict()
    for name, weights in stored.items():
        if name.startswith("codec.decoder."):  # of which a file may hold more than is kept
            assert torch.allclose(state[name], weights, atol=float(weights.abs().max()) / 127), name
        else:
            assert torch.equal(state[name], weights), "the very weights of the file"
    held = [p for part in (model.thinker, model.talker, model.codec.decoder) for p in part.parameters()]
    assert sum(p.numel() for p in held if p.dtype == torch.int8) > 0.8 * sum(p.numel() for p in held)

"""The floors: one that never stops, one that never begins, one that says back."""

from __future__ import annotations

import numpy as np
import pytest

from duologue.audio.vad import activity, speech_bounds
from duologue.systems import registry
from duologue.systems.base import Pcm, System, Timing, Turn
from duologue.systems.floors import AlwaysTalk, Echo, NeverTalk

FRAME = 1280


def hold(system: System, user: Pcm) -> tuple[Pcm, list[Turn]]:
    with system.open() as conversation:
        replies = [conversation.step(frame) for frame in user.reshape(-1, FRAME)]
    events = [event for reply in replies for event in reply.events]
    assert sum(isinstance(event, Timing) for event in events) == len(replies)
    return np.concatenate([reply.pcm for reply in replies]), [e for e in events if isinstance(e, Turn)]


@pytest.fixture
def user(question: Pcm) -> Pcm:
    return np.pad(question, (FRAME, -len(question) % FRAME + FRAME))


def test_echo_says_each_frame_back(user: Pcm) -> None:
    said, turns = hold(Echo(), user)
    assert (said == user).all()  # the reply of a step plays one frame after what the step heard
    assert not turns


def test_an_echo_keeps_no_hold_of_the_users_frame() -> None:
    frame = np.full(FRAME, 0.5, np.float32)
    with Echo().open() as conversation:
        reply = conversation.step(frame)
    frame[:] = 0
    assert (reply.pcm == 0.5).all()


def test_never_talk_is_silent(user: Pcm) -> None:
    said, turns = hold(NeverTalk(), user)
    assert not said.any()
    assert not turns


def test_always_talk_does_not_stop(user: Pcm) -> None:
    said, turns = hold(AlwaysTalk(), np.tile(user, 4))
    assert [(turn.kind, turn.time) for turn in turns] == [("reply_started", 0.08)]
    assert np.abs(said).max() <= 1
    quiet = np.diff(np.flatnonzero(activity(said))).max()
    assert quiet < 5  # not 50 ms without speech, at no joint of its loop either
    assert speech_bounds(said) == pytest.approx((0, len(said) / 16000), abs=0.1)


def test_always_talk_does_not_listen(user: Pcm) -> None:
    assert (hold(AlwaysTalk(), user)[0] == hold(AlwaysTalk(), np.zeros_like(user))[0]).all()


@pytest.mark.parametrize("name", ["echo", "never-talk", "always-talk"])
def test_they_are_found_by_name(name: str) -> None:
    assert registry.load(name).card.name == name

"""The account of a conversation: latency with its sign, replies apart, and when nothing more is to come."""

from __future__ import annotations

import numpy as np
import pytest
from systems.simple import BEEP, QUIET, Beeper

from duologue.commands.exchange import Account, exchange
from duologue.systems.base import Event, Pcm, Reply, SpokenWord, TextWord, Turn

SILENCE = np.zeros(1280, np.float32)
LOUD = (0.2 * np.sin(np.arange(1280) * 0.1)).astype(np.float32)


def account(user: list[Pcm], system: list[Pcm], events: list[list[Event]] | None = None) -> Account:
    result = Account(0.08)
    for index, (heard, said) in enumerate(zip(user, system, strict=True)):
        result.add(heard, Reply(said, events[index] if events else []))
    return result


def test_nothing_said_has_no_latency() -> None:
    assert account([], []).latencies() == []
    silent = account([SILENCE] * 50, [SILENCE] * 50)
    assert silent.latencies() == []
    assert "no reply" in silent.summary()


@pytest.mark.parametrize("frames", [-5, -1, 0, 4, 12])
def test_latency_is_signed(frames: int) -> None:
    user = [SILENCE] * 10 + [LOUD] * 20 + [SILENCE] * 40
    onset = 30 + frames  # the frame of the time line in which the reply begins; step n is heard in frame n + 1
    system = [SILENCE] * (onset - 1) + [LOUD] * 10
    system += [SILENCE] * (len(user) - len(system))
    assert account(user, system).latencies() == [pytest.approx(frames * 0.08, abs=0.011)]


def test_each_turn_has_its_own_latency_and_a_pause_makes_no_turn() -> None:
    turn = [LOUD] * 10 + [SILENCE] * 8 + [LOUD] * 10  # a pause of 0.64 s
    user = (turn + [SILENCE] * 40) * 3
    system = [SILENCE] * len(user)
    for start, late in ((0, 3), (2 * 68, 5)):  # the second turn draws no reply
        first = start + len(turn) + late - 1
        system[first : first + 10] = [LOUD] * 10
    found = account(user, system).latencies()
    assert found == [pytest.approx(0.24, abs=0.011), pytest.approx(0.40, abs=0.011)]


def test_replies_are_lines_of_the_words_that_sounded() -> None:
    events: list[list[Event]] = [
        [TextWord(time=0.08, word="one")],
        [SpokenWord(time=0.16, end=0.2, word="one"), TextWord(time=0.16, word="unsaid")],
        [Turn(kind="interrupted", time=0.24)],
        [SpokenWord(time=0.4, end=0.5, word="two"), SpokenWord(time=0.5, end=0.6, word="three")],
    ]
    assert account([SILENCE] * 4, [SILENCE] * 4, events).reply_text() == "one\ntwo three"


def test_the_reply_is_heard_to_its_end_and_no_longer() -> None:
    with Beeper().open() as conversation:
        steps = list(exchange(conversation, [LOUD] * 5, tail=10))
    assert not steps[-1][1].pcm.any()
    assert 5 + QUIET + BEEP < len(steps) < 5 + QUIET + BEEP + 10


def test_no_reply_is_waited_for_as_long_as_the_tail() -> None:
    with Beeper().open() as conversation:
        assert len(list(exchange(conversation, [SILENCE] * 5, tail=0.8))) == 15
        assert len(list(exchange(conversation, [], tail=0))) == 0

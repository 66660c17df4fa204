"""The seam: frames, times and events, on a small real system."""

from __future__ import annotations

import numpy as np
import pytest
from systems.simple import BEEP, QUIET, Beeper

from duologue.errors import AudioError
from duologue.systems.base import EVENT, Event, Pcm, SystemCard, Timing

SILENCE = np.zeros(1280, np.float32)
LOUD = np.full(1280, 0.1, np.float32)


def converse(frames: list[Pcm]) -> tuple[list[Pcm], list[Event]]:
    with Beeper().open() as conversation:
        replies = [conversation.step(frame) for frame in frames]
    return [reply.pcm for reply in replies], [event for reply in replies for event in reply.events]


def test_time_counts_what_was_heard() -> None:
    with Beeper().open() as conversation:
        assert conversation.time == 0
        for count in range(1, 4):
            conversation.step(SILENCE)
            assert conversation.time == pytest.approx(count * 0.08)


def test_a_reply_follows_the_turn_on_one_time_line() -> None:
    sound, events = converse([SILENCE, LOUD, LOUD, *[SILENCE] * 10])
    kinds = [event.kind for event in events if not isinstance(event, Timing)]
    assert kinds == ["user_started", "heard", "user_stopped", "text", "reply_started", "spoken", "reply_ended"]
    times = {event.kind: event.time for event in events}
    # The turn's last sound ends with frame 2, at 0.24 s; two quiet frames are heard, and the reply sounds right after.
    assert times["user_stopped"] == times["reply_started"] == pytest.approx(0.24 + QUIET * 0.08)
    assert times["reply_ended"] == pytest.approx(times["reply_started"] + BEEP * 0.08)
    loud = [index for index, pcm in enumerate(sound) if np.abs(pcm).max() > 0.1]
    assert loud == list(range(4, 4 + BEEP))


def test_speaking_over_the_reply_stops_it() -> None:
    sound, events = converse([LOUD, *[SILENCE] * 3, LOUD, SILENCE])
    assert "interrupted" in [event.kind for event in events]
    assert not sound[4].any()


def test_every_step_is_timed() -> None:
    _, events = converse([SILENCE] * 5)
    timings = [event for event in events if isinstance(event, Timing)]
    assert len(timings) == 5
    assert all(timing.compute_ms >= 0 for timing in timings)


def test_events_survive_json() -> None:
    _, events = converse([LOUD, *[SILENCE] * 10])
    assert [EVENT.validate_json(event.model_dump_json()) for event in events] == events


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (np.zeros(1279, np.float32), "1279"),
        (np.zeros((1, 1280), np.float32), "mono"),
        (np.full(1280, np.nan, np.float32), "NaN"),
        (np.full(1280, np.inf, np.float32), "infinity"),
    ],
)
def test_a_bad_frame_is_refused_and_the_conversation_goes_on(frame: Pcm, message: str) -> None:
    with Beeper().open() as conversation:
        with pytest.raises(AudioError, match=message):
            conversation.step(frame)
        assert conversation.time == 0
        conversation.step(SILENCE)
        assert conversation.time == pytest.approx(0.08)


def test_a_closed_conversation_says_so() -> None:
    with Beeper().open() as conversation:
        pass
    conversation.close()
    with pytest.raises(RuntimeError, match="closed"):
        conversation.step(SILENCE)


def test_a_card_knows_its_frame_and_refuses_unknown_fields() -> None:
    assert SystemCard(name="a", hears=("features",)).frame == 1280
    assert SystemCard(name="a", hears=("codes",), sample_rate=24000).frame == 1920
    with pytest.raises(ValueError, match="duplexity"):
        SystemCard.model_validate({"name": "a", "hears": ["codes"], "duplexity": "full"})

"""The oracle: the right reply at the right time, yielding where it is told to and nowhere else."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from duologue.audio.vad import speech_bounds
from duologue.systems import registry
from duologue.systems.base import Event, HeardWord, Pcm, Reply, SpokenWord, System, TextWord, Turn
from duologue.systems.oracle import GAP_SECONDS, Cue, OracleSystem, expect
from duologue.systems.playback import Sound

FRAME, RATE = 1280, 16000


def beep(text: str) -> Sound:
    """Half a second a word, so that every time is known."""
    words = text.split()
    time = np.arange(len(words) * RATE // 2) / RATE
    spans = [(word, index / 2, (index + 1) / 2) for index, word in enumerate(words)]
    return Sound((0.3 * np.sin(2 * np.pi * 440 * time)).astype(np.float32), spans)


def sound(seconds: float, lead: float = 0.0, trail: float = 0.0) -> Pcm:
    """A user's tone with exact zeros around it."""
    time = np.arange(round(seconds * RATE)) / RATE
    tone = 0.3 * np.cos(2 * np.pi * 200 * time)
    return np.pad(tone, (round(lead * RATE), round(trail * RATE))).astype(np.float32)


def hold(system: System, *placed: tuple[float, Pcm], seconds: float = 10.0) -> tuple[Pcm, list[Event]]:
    """What the system says on the time line (its first frame is silent) and all events, timings apart."""
    user = np.zeros(round(seconds * RATE), np.float32)
    for at, pcm in placed:
        user[round(at * RATE) :][: len(pcm)] += pcm
    replies = [Reply(np.zeros(FRAME, np.float32))]
    with system.open() as conversation:
        replies += [conversation.step(frame) for frame in user.reshape(-1, FRAME)]
    events = [event for reply in replies for event in reply.events if event.kind != "timing"]
    return np.concatenate([reply.pcm for reply in replies]), events


def spans(said: Pcm) -> list[tuple[float, float]]:
    """Seconds of each stretch of sound, parted by at least 50 ms of exact silence."""
    places = np.flatnonzero(said)
    edges = np.flatnonzero(np.diff(places) > RATE // 20)
    starts, ends = places[np.r_[0, edges + 1]], places[np.r_[edges, len(places) - 1]] + 1
    return [(float(a) / RATE, float(b) / RATE) for a, b in zip(starts, ends, strict=True)]


def turns(events: list[Event]) -> list[str]:
    return [event.kind for event in events if isinstance(event, Turn)]


@pytest.fixture
def oracle() -> OracleSystem:
    return OracleSystem(beep, "beep")


@pytest.mark.parametrize("at", [0.5, 0.5137, 1.23456])
@pytest.mark.parametrize("length", [0.05, 1.0])
def test_it_replies_a_gap_after_the_last_sound_to_the_sample(oracle: OracleSystem, at: float, length: float) -> None:
    asked = sound(length, lead=0.3, trail=0.4)
    expect(oracle, [Cue(asked, "it is four")])
    said, events = hold(oracle, (at, asked))
    heard = speech_bounds(asked)
    assert heard is not None
    start = at + heard[1] + GAP_SECONDS
    assert spans(said) == [pytest.approx((start, start + 1.5), abs=2e-4)]
    assert [event.word for event in events if isinstance(event, TextWord)] == ["it", "is", "four"]
    words = [event for event in events if isinstance(event, SpokenWord)]
    assert [word.time for word in words] == pytest.approx([start, start + 0.5, start + 1], abs=1e-3)
    assert turns(events) == ["user_started", "user_stopped", "reply_started", "reply_ended"]


def test_it_tells_the_words_that_it_was_told_of_once_they_are_said(oracle: OracleSystem) -> None:
    first, second = sound(0.5), sound(0.4)
    expect(oracle, [Cue(first, "yes", words="is it so"), Cue(second, "no")])
    _, events = hold(oracle, (0.5, first), (4.0, second))
    heard = [event for event in events if isinstance(event, HeardWord)]
    assert [event.word for event in heard] == ["is", "it", "so"]
    assert all(1.0 <= event.time <= 1.0 + 0.08 + 1e-6 for event in heard)


def test_a_pause_inside_a_cue_is_waited_for(oracle: OracleSystem) -> None:
    asked = np.concatenate([sound(0.6, trail=1.5), sound(0.6)])
    expect(oracle, [Cue(asked, "yes")])
    said, _ = hold(oracle, (1.0, asked))
    assert spans(said)[0][0] == pytest.approx(1.0 + 2.7 + GAP_SECONDS, abs=0.02)


def test_it_yields_to_a_barge_in_and_answers_it(oracle: OracleSystem) -> None:
    asked, over = sound(0.5), sound(0.7)
    expect(oracle, [Cue(asked, "one two three four five six"), Cue(over, "seven", yields=True)])
    said, events = hold(oracle, (0.5, asked), (2.0, over))
    first, second = spans(said)
    assert 2.0 <= first[1] <= 2.0 + 0.08 + 0.02  # the frame that the onset falls into, and the fade
    assert second[0] == pytest.approx(2.7 + GAP_SECONDS, abs=0.02)
    expected = ["user_started", "user_stopped", "reply_started"]
    assert turns(events) == [*expected, "user_started", "interrupted", *expected[1:], "reply_ended"]
    spoken = [event.word for event in events if isinstance(event, SpokenWord)]
    assert spoken == ["one", "seven"]  # "two" was cut


def test_it_goes_on_through_a_backchannel(oracle: OracleSystem) -> None:
    asked, murmur = sound(0.5), sound(0.2)
    expect(oracle, [Cue(asked, "one two three four"), Cue(murmur, "")])
    said, events = hold(oracle, (0.5, asked), (2.0, murmur))
    assert len(spans(said)) == 1
    assert "interrupted" not in turns(events)
    assert len([event for event in events if isinstance(event, SpokenWord)]) == 4


def test_a_question_that_does_not_interrupt_is_answered_after_the_reply(oracle: OracleSystem) -> None:
    asked, aside = sound(0.5), sound(0.3)
    expect(oracle, [Cue(asked, "one two three four"), Cue(aside, "five")])
    said, _ = hold(oracle, (0.5, asked), (1.5, aside))
    first, second = spans(said)
    assert second[0] - first[1] == pytest.approx(GAP_SECONDS, abs=1e-3)


def test_it_may_stop_and_say_nothing(oracle: OracleSystem) -> None:
    asked, stop = sound(0.5), sound(0.3)
    expect(oracle, [Cue(asked, "one two three four"), Cue(stop, "", yields=True)])
    said, events = hold(oracle, (0.5, asked), (2.0, stop))
    assert spans(said)[-1][1] < 2.1
    assert turns(events)[-1] == "user_stopped"


def test_a_silent_cue_keeps_nothing_waiting(oracle: OracleSystem) -> None:
    asked = sound(0.5)
    expect(oracle, [Cue(np.zeros(RATE, np.float32), ""), Cue(asked, "yes")])
    said, _ = hold(oracle, (3.0, asked))
    assert spans(said)[0][0] == pytest.approx(3.5 + GAP_SECONDS, abs=0.02)


def test_what_is_expected_is_expected_once(oracle: OracleSystem) -> None:
    asked = sound(0.5)
    expect(oracle, [Cue(asked, "yes")])
    assert hold(oracle, (0.5, asked))[0].any()
    assert not hold(oracle, (0.5, asked))[0].any()


def test_no_other_system_is_told(oracle: OracleSystem) -> None:
    echo = registry.load("echo")
    expect(echo, [Cue(sound(0.5), "yes")])
    assert not hold(echo)[0].any()


def test_it_answers_in_the_assistants_voice() -> None:
    if shutil.which("flite") is None:
        pytest.skip("the program flite is not installed")
    system = registry.load("oracle")
    asked = sound(0.8)
    expect(system, [Cue(asked, "it is forty two")])
    said, events = hold(system, (0.5, asked))
    bounds = speech_bounds(said)
    assert bounds is not None
    assert bounds[0] == pytest.approx(1.3 + GAP_SECONDS, abs=0.02)
    words = [event for event in events if isinstance(event, SpokenWord)]
    assert [word.word for word in words] == ["it", "is", "forty", "two"]
    assert bounds[0] - 0.02 <= words[0].time
    assert words[-1].end == pytest.approx(bounds[1], abs=0.15)

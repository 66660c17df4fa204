"""A scripted user meets systems of known manners, and the record tells their manners back."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from duologue.errors import ConfigError
from duologue.eval.converse import Record, Say, converse, exchanges, play
from duologue.systems.base import Conversation, Event, Pcm, Reply, System, SystemCard, TextWord

RATE, FRAME = 16000, 1280


def tone(seconds: float, level: float = 0.3) -> Pcm:
    return np.asarray(level * np.sin(2 * np.pi * 300 * np.arange(round(seconds * RATE)) / RATE), np.float32)


class Answering(System):
    """Says "yes" and hums `hum` seconds, `wait` frames after the user; stops when spoken over for `yields` frames."""

    def __init__(self, wait: int = 3, hum: float = 2.0, yields: int | None = None, rate: int = RATE) -> None:
        self.wait, self.hum, self.yields = wait, hum, yields
        self.card = SystemCard(name="answering", hears=("features",), sample_rate=rate)

    def open(self, seed: int = 0) -> AnsweringConversation:
        return AnsweringConversation(self)


class AnsweringConversation(Conversation):
    def __init__(self, system: Answering) -> None:
        super().__init__(system.card)
        self.system = system
        self.quiet: int | None = None
        self.sound = np.zeros(0, np.float32)
        self.spoken_over = 0

    def _answer(self, pcm: Pcm) -> Reply:
        events: list[Event] = []
        if np.abs(pcm).max() > 0.01:
            self.quiet = 0
            self.spoken_over += len(self.sound) > 0
            if self.system.yields is not None and self.spoken_over >= self.system.yields:
                self.sound = self.sound[:0]
        elif self.quiet is not None:
            self.quiet += 1
        if self.quiet == self.system.wait:
            events.append(TextWord(time=self.time, word="yes"))
            self.quiet, self.sound, self.spoken_over = None, tone(self.system.hum), 0
        now, self.sound = self.sound[: self.card.frame], self.sound[self.card.frame :]
        return Reply(np.pad(now, (0, self.card.frame - len(now))), events)


def test_latency_is_the_time_between_the_two_sounds() -> None:
    # The first sound lies at 0.5 s and ends at 1.28 s, on the frame grid; the 3rd quiet frame has been heard at 1.52 s.
    record = converse(Answering(wait=3), [Say(tone(0.78))])
    assert record.says == [(0.5, 1.28)]
    assert record.latency(0) == pytest.approx(0.24, abs=0.011)
    assert record.text(record.turn(0)) == "yes"
    assert record.audio.shape[0] == 2 and record.audio.shape[1] % FRAME == 0
    assert len(record.compute_ms) == record.audio.shape[1] // FRAME - 1


def test_a_reply_shifted_by_300_ms_measures_300_ms_more() -> None:
    record = converse(Answering(), [Say(tone(0.78))])
    shifted = np.stack([record.audio[0], np.roll(record.audio[1], round(0.3 * RATE))])
    late = Record(shifted, record.says, record.sounds, record.events, record.compute_ms)
    first, second = record.latency(0), late.latency(0)
    assert first is not None and second is not None and second - first == pytest.approx(0.3, abs=1e-9)


def test_a_reply_inside_a_pause_has_negative_latency() -> None:
    question = np.concatenate([tone(0.8), np.zeros(round(0.7 * RATE), np.float32), tone(0.5)])
    hasty, patient = converse(Answering(wait=3), [Say(question)]), converse(Answering(wait=10), [Say(question)])
    early, late = hasty.latency(0), patient.latency(0)
    assert early is not None and late is not None and early < 0 < late


def test_turns_wait_for_the_reply_to_end() -> None:
    record = converse(Answering(hum=1.2), [Say(tone(0.5)), Say(tone(0.5)), Say(tone(0.5))])
    for turn in range(3):
        sound = record.reply_sound(turn)
        assert sound is not None and sound[1] - sound[0] == pytest.approx(1.2, abs=0.03)
        assert record.text(record.turn(turn)) == "yes"
        assert turn == 0 or record.says[turn][0] > sum(record.turn(turn - 1)) / 2 + 1.0


def test_barge_in_begins_at_its_delay_after_the_reply() -> None:
    script = [Say(tone(0.5)), Say(tone(0.9), "reply_starts", 0.6)]
    record = converse(Answering(hum=3.0, yields=4), script)
    onset = record.reply_sound(0)
    assert onset is not None and record.says[1][0] == pytest.approx(onset[0] + 0.6, abs=0.011)
    stop = record.stopped(record.sounds[1][0], onset[0] + 2.8)
    assert stop is not None and 0.2 < stop - record.sounds[1][0] < 0.5


def test_a_system_that_never_stops_never_yields_and_the_user_gives_up() -> None:
    record = converse(Answering(hum=60.0), [Say(tone(0.5)), Say(tone(0.9), "reply_starts", 0.6)], limit=5.0)
    assert record.audio.shape[1] / RATE < 9.0
    assert record.stopped(record.sounds[1][0], record.sounds[1][0] + 2.0) is None


def test_no_reply_is_waited_for_and_noted() -> None:
    record = converse(Answering(wait=1000), [Say(tone(0.5)), Say(tone(0.5))], patience=2.0)
    assert record.latency(0) is None and record.reply_sound(1) is None
    assert record.says[1][0] == pytest.approx(record.says[0][1] + 2.0 + 0.5, abs=0.081)


def test_what_cannot_be_talked_with_is_an_error() -> None:
    with pytest.raises(ConfigError, match="16000"):
        converse(Answering(rate=24000), [Say(tone(0.5))])
    with pytest.raises(ConfigError, match="script"):
        converse(Answering(), [])


def test_turns_handed_out_one_by_one_are_the_whole_conversation() -> None:
    script = [Say(tone(0.5)), Say(tone(0.9), "reply_starts", 0.63), Say(tone(0.7), delay=1.01)]
    whole = converse(Answering(hum=1.7), script)
    parts = list(exchanges(Answering(hum=1.7), iter(script)))
    assert len(parts) == 3
    np.testing.assert_array_equal(np.concatenate([part.audio for part in parts], axis=1), whole.audio)
    for number, part in enumerate(parts):
        assert part.start == (parts[number - 1].end if number else 0.0)
        assert (part.says == [whole.says[number]] and part.start <= part.says[0][0] < part.start + 0.08) or number == 0
        assert part.latency(0) == pytest.approx(whole.latency(number), abs=1e-9)
        assert part.text(part.turn(0)) == whole.text(whole.turn(number))


def test_a_script_is_read_one_turn_ahead() -> None:
    read = 0

    def script() -> Iterator[Say]:
        nonlocal read
        while True:
            read += 1
            yield Say(tone(0.5))

    talk = exchanges(Answering(hum=0.5), script())
    for _ in range(4):
        next(talk)
    assert read == 5


def test_a_recording_is_played_as_it_is() -> None:
    pcm = np.concatenate([tone(0.8), np.zeros(RATE, np.float32), tone(0.33)])
    record = play(Answering(wait=3, hum=0.5), pcm)
    np.testing.assert_array_equal(record.audio[0], pcm)
    assert record.audio.shape == (2, len(pcm))
    sound = record.sound((0.0, record.end))
    assert sound is not None and sound[0] == pytest.approx(0.8 + 0.24, abs=0.011)


def test_the_lag_adds_up_while_steps_take_longer_than_a_frame() -> None:
    audio = np.zeros((2, 8 * FRAME), np.float32)
    record = Record(audio, [(0.0, 0.1)], [(0.0, 0.1)], [], [20.0, 100.0, 100.0, 20.0, 20.0, 20.0, 20.0])
    # done at 100, 260, 360, 380, 420 ms where the frames are there at 80, 160, 240, 320, 400 ms
    expected = {0.08: 0.02, 0.16: 0.1, 0.3: 0.12, 0.32: 0.06, 0.40: 0.02}
    assert {time: round(record.lag(time), 6) for time in expected} == expected

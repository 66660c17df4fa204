"""The cascade in the box on real speech: it hears, waits, answers, yields, goes on through murmurs."""

from __future__ import annotations

import importlib.util
import json
import shutil
from functools import cache
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("silero_vad")
pytest.importorskip("onnxruntime")
pytest.importorskip("pocketsphinx")
pytest.importorskip("espeakng_loader")
if shutil.which("flite") is None:
    pytest.skip("the program flite is not installed: its voices ask the questions", allow_module_level=True)

from duologue.audio.augment import add_noise, coloured_noise
from duologue.audio.vad import speech_bounds
from duologue.cli import main
from duologue.data import domain, flite
from duologue.data.voices import Voice
from duologue.errors import ConfigError, DuologueError
from duologue.systems import registry
from duologue.systems.base import EVENT, Event, HeardWord, Pcm, Reply, SpokenWord, Stage, TextWord, Timing, Turn
from duologue.systems.cascade.system import CascadeSystem
from duologue.systems.cascade.whole_turn import WholeTurn
from duologue.systems.rows import Reads

FRAME, RATE = 1280, 16000
SUM, CAPITAL = "what is two plus two", "what is the capital of france"
COUNT = "count from one to eight"


@pytest.fixture(scope="module")
def system() -> CascadeSystem:
    loaded = registry.load("cascade")
    assert isinstance(loaded, CascadeSystem)
    return loaded


@cache
def say(text: str) -> Pcm:
    return flite.speak(text, Voice(engine="flite", name="rms")).pcm


def line(*placed: tuple[float, Pcm], seconds: float) -> Pcm:
    """The user's side: sounds at their seconds, in silence, in whole frames."""
    user = np.zeros(-(-round(seconds * RATE) // FRAME) * FRAME, np.float32)
    for at, pcm in placed:
        user[round(at * RATE) :][: len(pcm)] += pcm
    return user


def hold(system: CascadeSystem, user: Pcm) -> tuple[Pcm, list[Event]]:
    """What is said on the time line (its first frame is silent), and all events."""
    replies = [Reply(np.zeros(FRAME, np.float32))]
    with system.open() as conversation:
        replies += [conversation.step(frame) for frame in user.reshape(-1, FRAME)]
    return np.concatenate([r.pcm for r in replies]), [event for r in replies for event in r.events]


def words(events: list[Event], kind: type[HeardWord] | type[TextWord] | type[SpokenWord]) -> str:
    return " ".join(event.word for event in events if isinstance(event, kind))


def turns(events: list[Event]) -> list[str]:
    return [event.kind for event in events if isinstance(event, Turn)]


def when(events: list[Event], kind: str) -> float:
    return next(event.time for event in events if isinstance(event, Turn) and event.kind == kind)


def test_a_spoken_question_is_answered_in_speech(system: CascadeSystem) -> None:
    user = line((0.5, say(SUM)), seconds=4.5)
    said, events = hold(system, user)
    assert words(events, HeardWord) == SUM
    assert words(events, TextWord) == domain.answer(SUM) == words(events, SpokenWord)
    assert turns(events) == ["user_started", "user_stopped", "reply_started", "reply_ended"]
    asked, answered = speech_bounds(user), speech_bounds(said)
    assert asked is not None
    assert answered is not None
    # the silence it waits for, a frame at most until that is noticed, and what the detector takes for speech longer
    assert 0.5 <= answered[0] - asked[1] <= 0.5 + 0.08 + 0.1
    assert answered[0] == pytest.approx(when(events, "reply_started"), abs=0.05)


def test_a_written_question_is_answered_in_speech(system: CascadeSystem) -> None:
    with system.open() as conversation:
        assert isinstance(conversation, Reads)
        conversation.read("What is 27 + 5?")
        replies = [conversation.step(np.zeros(system.card.frame, np.float32)) for _ in range(40)]
    events = [event for reply in replies for event in reply.events]
    assert words(events, TextWord) == "the answer is thirty two" == words(events, SpokenWord)
    assert turns(events) == ["reply_started", "reply_ended"]


def test_the_wait_is_told_stage_by_stage(system: CascadeSystem) -> None:
    _, events = hold(system, line((0.5, say(SUM)), seconds=3.5))
    stages = {event.name: event for event in events if isinstance(event, Stage)}
    assert list(stages) == ["endpoint", "recognition", "answer", "synthesis"]
    assert 500 <= stages["endpoint"].milliseconds < 500 + 80 + 32
    step = next(e for e in events if isinstance(e, Timing) and e.time == stages["endpoint"].time)
    assert 0 < sum(stage.milliseconds for stage in list(stages.values())[1:]) < step.compute_ms
    assert [EVENT.validate_json(stage.model_dump_json()) for stage in stages.values()] == list(stages.values())


def test_a_first_question_is_heard_in_noise_as_well_as_the_recogniser_hears_it(system: CascadeSystem) -> None:
    """Each in a conversation of its own, which cannot get used to the noise: what is lost then is lost to the noise."""
    rng = np.random.default_rng(0)
    right = 0
    for question in (SUM, CAPITAL, COUNT):
        user = line((0.5, say(question)), seconds=3.5)
        _, events = hold(system, add_noise(user, coloured_noise(len(user), 1.0, rng), 20.0, rng))
        right += words(events, HeardWord) == question
    assert right >= 2


def test_the_words_are_worked_out_before_the_turn_is_over() -> None:
    given: list[int] = []

    def transcribe(pcm: np.ndarray) -> str:
        given.append(len(pcm))
        return str(len(pcm))

    turn = WholeTurn(transcribe)
    turn.begin()
    turn.hear(np.ones(10, np.float32))
    turn.draft()
    turn.hear(np.zeros(5, np.float32))
    assert (turn.finish(), given) == ("10", [10])
    turn.begin()
    turn.hear(np.ones(3, np.float32))
    assert (turn.finish(), given) == ("3", [10, 3])


def test_silence_and_hiss_are_not_answered(system: CascadeSystem) -> None:
    hiss = 0.01 * np.random.default_rng(0).standard_normal(RATE * 2).astype(np.float32)
    said, events = hold(system, line((1.0, hiss), seconds=4.0))
    assert not said.any()
    assert {event.kind for event in events} == {"timing"}


def test_a_short_pause_inside_the_question_is_waited_out(system: CascadeSystem) -> None:
    first, second = say("what is two"), say("plus two")
    at = 0.5 + len(first) / RATE + 0.2
    said, events = hold(system, line((0.5, first), (at, second), seconds=at + 2.5))
    bounds = speech_bounds(said)
    assert bounds is not None
    assert bounds[0] > at + len(second) / RATE
    assert words(events, HeardWord) == SUM


def test_the_second_question_may_lean_on_the_first(system: CascadeSystem) -> None:
    again = "say that again"
    _, events = hold(system, line((0.5, say(CAPITAL)), (5.0, say(again)), seconds=9.0))
    reply = domain.answer(CAPITAL)
    assert words(events, HeardWord) == f"{CAPITAL} {again}"
    assert words(events, TextWord) == f"{reply} {reply}"


def test_it_stops_when_it_is_interrupted_and_answers_that(system: CascadeSystem) -> None:
    over = 0.5 + len(say(COUNT)) / RATE + 1.5
    said, events = hold(system, line((0.5, say(COUNT)), (over, say(SUM)), seconds=over + 4.0))
    assert turns(events)[2:5] == ["reply_started", "user_started", "interrupted"]
    stopped = when(events, "interrupted")
    assert over + 0.5 < stopped < over + 0.5 + 0.3  # half a second of speech proves that it is no murmur
    until = over + len(say(SUM)) / RATE
    assert not said[round((stopped + 0.01) * RATE) : round(until * RATE)].any()
    assert words(events, TextWord).endswith(domain.answer(SUM))
    assert not words(events, SpokenWord).startswith(domain.answer(COUNT))


def test_a_murmur_does_not_stop_it(system: CascadeSystem) -> None:
    murmur = say("uh")  # 0.28 s of sound
    over = 0.5 + len(say(COUNT)) / RATE + 1.5
    _, events = hold(system, line((0.5, say(COUNT)), (over, murmur), seconds=over + 5.0))
    assert turns(events) == ["user_started", "user_stopped", "reply_started", "reply_ended"]
    assert words(events, SpokenWord) == domain.answer(COUNT)


def test_it_does_not_look_ahead(system: CascadeSystem) -> None:
    user = line((0.5, say(SUM)), seconds=3.5)
    other = user.copy()
    change = 2 * RATE // FRAME * FRAME
    other[change:] = 0.1 * np.random.default_rng(1).standard_normal(len(user) - change)
    until = change + FRAME  # the reply of a frame plays in the next
    assert (hold(system, user)[0][:until] == hold(system, other)[0][:until]).all()


def test_conversations_know_nothing_of_each_other(system: CascadeSystem) -> None:
    users = [line((0.5, say(SUM)), seconds=4.0), line((0.7, say(CAPITAL)), seconds=4.0)]
    alone = [hold(system, user)[0][FRAME:] for user in users]
    together: list[list[Pcm]] = [[], []]
    with system.open() as one, system.open() as two:
        for frames in zip(*(user.reshape(-1, FRAME) for user in users), strict=True):
            for conversation, frame, said in zip((one, two), frames, together, strict=True):
                said.append(conversation.step(frame).pcm)
    for said, expected in zip(together, alone, strict=True):
        assert (np.concatenate(said) == expected).all()


def test_a_file_changes_a_cascade(tmp_path: Path) -> None:
    file = tmp_path / "slow.json"
    changed = {"name": "slow", "endpointing": {"silence": 1.2}, "synthesizer": {"use": "espeak", "voice": "en-gb"}}
    file.write_text(json.dumps(changed))
    card = registry.load(f"cascade:{file}").card
    assert (card.name, card.latency_ms, card.voices) == ("slow", 1200, ("en-gb",))


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("{", "JSON"),
        ('{"vad": {}}', "vad"),
        ('{"endpointing": {"silence": 0}}', "silence"),
        ('{"recognizer": {"use": "telepathy"}}', "telepathy"),
        ('{"recognizer": {"use": "transformers"}}', "model"),
    ],
)
def test_what_is_wrong_with_a_file_is_one_line(tmp_path: Path, text: str, field: str) -> None:
    file = tmp_path / "wrong.json"
    file.write_text(text)
    with pytest.raises(ConfigError, match=field) as caught:
        registry.load(f"cascade:{file}")
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["cascade:/no/such/file.json", "cascade:", "echo:loud", "codec"])
def test_names_that_are_none_are_one_line(name: str) -> None:
    with pytest.raises(DuologueError) as caught:
        registry.load(name)
    assert "\n" not in str(caught.value)


def test_a_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "silero_vad" else find(name))
    with pytest.raises(DuologueError, match=r"silero-vad.*duologue\[eval\]"):
        registry.load("cascade")


def test_the_command_line_shows_its_card(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "cascade"]) == 0
    shown = capsys.readouterr().out
    assert "half duplex" in shown
    assert "500 ms" in shown


def test_the_command_line_talks_with_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from duologue.audio.files import load, save

    question, reply, events = tmp_path / "q.wav", tmp_path / "r.wav", tmp_path / "e.jsonl"
    save(question, say(SUM))
    arguments = [str(question), "--model", "cascade", "-o", str(reply), "--events", str(events), "--text"]
    assert main(["talk", *arguments]) == 0
    assert capsys.readouterr().out.strip() == domain.answer(SUM)
    assert speech_bounds(load(reply)) is not None
    kinds = {EVENT.validate_json(text).kind for text in events.read_text().splitlines()}
    assert {"stage", "heard", "spoken", "timing"} <= kinds


def test_a_detector_of_another_kind_takes_its_place(tmp_path: Path) -> None:
    file = tmp_path / "mine.json"
    file.write_text('{"detector": {"use": "energy"}}')
    _, events = hold(registry.load(f"cascade:{file}"), line((0.5, say(SUM)), seconds=4.5))
    assert words(events, HeardWord) == SUM
    assert words(events, SpokenWord) == domain.answer(SUM)

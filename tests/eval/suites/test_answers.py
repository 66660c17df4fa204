"""The oracle, floors and an actor of known manners take the answer suite, under every condition."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from eval.written import Writer

from duologue.audio.augment import speech_level
from duologue.audio.vad import speech_bounds
from duologue.data.voices import voices
from duologue.errors import DataError
from duologue.eval.metrics import Pcm
from duologue.eval.questions import FAMILIES, QuestionDrawer
from duologue.eval.suites import find
from duologue.eval.suites.answers import AnswersSuite, Turn
from duologue.eval.suites.base import Case, Outcome
from duologue.eval.suites.conditions import CONDITIONS, SNR_DB, Line, changed, noise_below, over
from duologue.systems.base import System, Timing
from duologue.systems.floors import Echo, NeverTalk
from duologue.systems.oracle import Cue, OracleSystem
from duologue.systems.registry import load

pytestmark = pytest.mark.skipif(not voices("flite") or not voices("espeak"), reason="needs flite and espeakng-loader")


@pytest.fixture(scope="module")
def suite() -> AnswersSuite:
    return AnswersSuite("dev")


@pytest.fixture(scope="module")
def oracle() -> System:
    return load("oracle")


@pytest.mark.parametrize("family", ["unseen-operands", "context", "noise-5"])
def test_the_oracle_is_right_in_text_and_in_sound(family: str, suite: AnswersSuite, oracle: System) -> None:
    case = suite.draw(family, 3)
    values = suite.hold(case, oracle).values
    turns = len(case.facts["turns"])
    assert turns == (4 if family == "context" else 1)
    assert values["turns"] == values["right"] == values["replied"] == turns
    assert isinstance(values["right_spoken"], int) and values["right_spoken"] >= turns - 1
    assert values["by_chance"] == 0 and values["spoken_words"]
    latency = values["latency"]
    assert isinstance(latency, list) and latency == pytest.approx([0.2] * turns, abs=0.06)
    assert values["heard_errors"] == 0 and values["heard_words"]  # it is told what is said
    assert values["question_words"] == values["heard_words"]
    assert values["wait_audio"] == pytest.approx(np.mean(latency), abs=0.06) and values["wait_endpoint"] is None


def test_who_speaks_is_told_apart_with_what_pocketsphinx_makes_of_it(suite: AnswersSuite) -> None:
    drawn = [suite.draw("seen-voices", index) for index in range(4)]
    assert {case.facts["speakers"] for case in drawn} == {"espeak", "flite"}
    flite = next(case for case in drawn if case.facts["speakers"] == "flite")
    values = suite.hold(flite, NeverTalk()).values
    assert values["speakers"] == "flite" and values["question_errors"] == 0
    half = flite.audio["question"][: len(flite.audio["question"]) // 2]
    cut = suite.hold(Case(flite.family, "cut", {"question": half}, flite.facts), NeverTalk()).values
    assert isinstance(cut["question_errors"], int) and cut["question_errors"] > 0


def test_who_says_nothing_is_wrong_and_has_no_latency(suite: AnswersSuite) -> None:
    outcome = suite.hold(suite.draw("unseen-voices", 0), NeverTalk())
    assert (outcome.values["right"], outcome.values["right_true"], outcome.values["latency"]) == (0, 1, None)
    assert outcome.values["heard_errors"] == outcome.values["heard_words"] > 0
    (mark,) = outcome.marks
    assert mark.channel == "user" and mark.start > 0.4


def test_conditions_ask_the_same_questions_in_the_same_voices(suite: AnswersSuite) -> None:
    clean = suite.draw("unseen-voices", 2)
    bounds = speech_bounds(clean.audio["question"])
    assert bounds is not None and clean.facts["turns"][0]["ends"] == pytest.approx(bounds[1], abs=1e-3)
    for condition in CONDITIONS:
        case = suite.draw(condition, 2)
        assert case.facts["condition"] == condition
        assert case.facts["turns"][0]["user"] == clean.facts["turns"][0]["user"]
        assert case.facts["speakers"] == "espeak"
        assert ("noise" in case.audio) == (condition in SNR_DB)
        again = suite.draw(condition, 2)
        assert all(np.array_equal(pcm, again.audio[role]) for role, pcm in case.audio.items())
        if condition in ("fast", "slow"):
            ratio = len(case.audio["question"]) / len(clean.audio["question"])
            assert (ratio < 0.95) if condition == "fast" else (ratio > 1.1)
    assert suite.hold(suite.draw("quiet", 2), NeverTalk()).values["speakers"] is None
    assert suite.hold(clean, NeverTalk()).values["speakers"] == "espeak"


@pytest.mark.skipif(not voices("festival"), reason="needs a synthesiser of which no voice is in training")
def test_the_unseen_synthesiser_is_heard_under_the_same_conditions(suite: AnswersSuite) -> None:
    names = ("unseen-synthesiser", "synthesiser-noise-5", "synthesiser-fast")
    clean, noisy, fast = (suite.draw(name, 1) for name in names)
    assert {case.facts["turns"][0]["user"] for case in (clean, noisy, fast)} == {clean.facts["turns"][0]["user"]}
    assert {case.facts["speakers"] for case in (clean, noisy, fast)} == {"festival"}
    assert np.array_equal(clean.audio["question"], noisy.audio["question"]) and "noise" in noisy.audio
    assert len(fast.audio["question"]) < len(clean.audio["question"])
    assert {f"synthesiser-{name}" for name in CONDITIONS} <= set(suite.families())


@pytest.mark.parametrize(("name", "snr"), SNR_DB.items())
def test_noise_is_as_loud_as_it_says_and_never_stops(name: str, snr: float, question: Pcm) -> None:
    rng = np.random.default_rng(0)
    noise = noise_below(question, snr, rng, [])
    level = 10 * np.log10(np.mean(np.square(noise, dtype=np.float64)))
    assert speech_level(question) - level == pytest.approx(snr, abs=0.1)
    with over(Echo(), noise).open() as conversation:
        replies = [conversation.step(np.zeros(1280, np.float32)) for _ in range(200)]
    heard = np.concatenate([reply.pcm for reply in replies])
    assert np.allclose(heard, np.resize(noise, len(heard)), atol=1e-6)
    assert all(sum(isinstance(event, Timing) for event in reply.events) == 1 for reply in replies)


def test_the_oracle_hears_through_any_noise(oracle: System) -> None:
    assert over(oracle, np.ones(8, np.float32)) is oracle
    assert over(Echo(), None).card is Echo.card
    assert isinstance(over(Echo(), np.ones(8, np.float32)), Line)


def test_the_voice_is_changed_and_keeps_its_time(question: Pcm) -> None:
    rng = np.random.default_rng(0)
    assert changed(question, "noise-5", rng, []) is question
    assert speech_level(changed(question, "quiet", rng, [])) == pytest.approx(-46, abs=0.5)
    spectrum = np.abs(np.fft.rfft(changed(question, "telephone", rng, []))) ** 2
    assert spectrum[len(spectrum) // 2 :].sum() < 1e-3 * spectrum.sum()  # nothing above 4 kHz
    wet = changed(question, "reverb", rng, [])
    assert wet.shape == question.shape and not np.allclose(wet, question)
    bare = np.eye(1, 8, dtype=np.float32)[0]  # a room of which nothing comes back
    dry = [np.allclose(changed(question, "reverb", rng, [bare]), question, atol=1e-6) for _ in range(12)]
    assert 0 < sum(dry) < 12  # one held-out room does not stand for all


def own(facts: object, audio: tuple[str, ...] = ("question",)) -> Case:
    pcm = np.zeros(1600, np.float32)
    return Case("mine", "mine/x", dict.fromkeys(audio, pcm), {"turns": facts})


def test_your_own_cases_need_little(suite: AnswersSuite, question: Pcm) -> None:
    case = Case("mine", "mine/1", {"question": question}, {"turns": [{"reply": "in the kitchen"}]})
    outcome: Outcome = suite.hold(case, NeverTalk())
    assert (outcome.values["right"], outcome.values["turns"], outcome.values["by_chance"]) == (0, 1, None)
    turn = Turn(reply="it is in the kitchen", content="the Kitchen")
    assert turn.right("well the kitchen i think") and not turn.right("the kitchenette") and not turn.right("")
    assert Turn(reply="").right("") and not Turn(reply="").right("hello")


def written(suite: AnswersSuite, oracle: System, facts: dict[str, str], heard: str, said: str) -> Outcome:
    """The outcome of an own case or one of the domain, told by the oracle's voice and written otherwise."""
    assert isinstance(oracle, OracleSystem)
    pcm = suite.draw("unseen-voices", 6).audio["question"]
    oracle.expect([Cue(pcm, facts["reply"], words=facts["user"])])
    return suite.hold(Case("x", "x/0", {"question": pcm}, {"turns": [facts]}), Writer(oracle, heard, said))


@pytest.mark.parametrize(
    ("said", "right"),
    [
        ("The answer is 26!", 1),
        ("It\u2019s Twenty-Six.", 1),
        ("40 - 14 is 26", 1),
        ("26.", 1),
        ("It's 62.", 0),
        ("-26", 0),
    ],
)
def test_text_is_judged_however_it_is_written(suite: AnswersSuite, oracle: System, said: str, right: int) -> None:
    facts = suite.draw("unseen-voices", 6).facts["turns"][0]
    assert facts["content"] == "twenty six"
    values = written(suite, oracle, facts, "Find 40 \u2212 14!", said).values
    assert values["right"] == right
    assert (values["heard_words"], values["heard_errors"]) == (4, 0)


def test_your_own_facts_are_judged_however_they_are_written(suite: AnswersSuite, oracle: System) -> None:
    facts = {"reply": "The answer is 42.", "content": "42", "user": "What's 40 + 2?"}
    values = written(suite, oracle, facts, "what\u2019s 40 plus two", "It is forty-two, I think").values
    assert (values["right"], values["heard_words"], values["heard_errors"]) == (1, 5 - 1, 0)
    assert values["spoken_words"] == 6 and values["true_words"] == 5
    silent = suite.hold(Case("x", "x/1", {"question": np.zeros(8000, np.float32)}, {"turns": [facts]}), NeverTalk())
    assert silent.values["right"] == silent.values["right_spoken"] == 0


@pytest.mark.parametrize("content", ["42", "...", "\u4f60\u597d", " "])
def test_no_content_makes_silence_right(content: str) -> None:
    turn = Turn(reply="...", content=content)
    assert not turn.right("") and not turn.right("...")
    assert turn.right("the answer is 42.") is (content == "42")


@pytest.mark.parametrize(
    ("case", "says"),
    [
        (own(None), "facts.turns"),
        (own([{"user": "hello"}]), r"facts\.turns\.0\.reply"),
        (own([]), "no turn"),
        (own([{"reply": "a"}, {"reply": "b"}]), "no question 2"),
    ],
)
def test_a_case_that_lacks_something_says_what(case: Case, says: str, suite: AnswersSuite) -> None:
    with pytest.raises(DataError, match=says):
        suite.hold(case, NeverTalk())


def test_real_people_are_held_out_and_apart(speech: Path) -> None:
    real = AnswersSuite("dev", speech)
    assert {"real-words", "real-noise-5", "real-slow"} <= set(real.families())
    words, noisy = real.draw("real-words", 1), real.draw("real-noise-10", 1)
    assert words.facts["speakers"] == noisy.facts["speakers"] == "people"
    assert np.array_equal(words.audio["question"], noisy.audio["question"])
    assert QuestionDrawer("test", speech).draw("real-words", 0).voice.startswith(("sc_", "fsdd_nicolas"))


def test_questions_are_the_same_when_drawn_again() -> None:
    drawer = QuestionDrawer("dev")
    first, again = drawer.draw("unseen-voices", 5), QuestionDrawer("dev").draw("unseen-voices", 5)
    assert first.exchanges == again.exchanges and first.voice == again.voice
    assert np.array_equal(first.speech[0], again.speech[0])
    assert drawer.draw("unseen-voices", 6).voice != drawer.draw("unseen-voices", 7).voice
    with pytest.raises(DataError, match="riddles"):
        drawer.draw("riddles", 0)
    with pytest.raises(DataError, match="train"):
        QuestionDrawer("train")
    assert set(drawer.families()) <= set(FAMILIES)


def test_the_suite_is_found_by_its_name() -> None:
    assert find("answers") is AnswersSuite

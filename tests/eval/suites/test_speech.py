"""The oracle says its text in one voice; what is put into its sound is found; who says nothing is not judged on it."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest

from duologue.data.voices import voices
from duologue.errors import DataError
from duologue.eval.suites.base import Case
from duologue.eval.suites.speech import SpeechSuite
from duologue.systems.base import Conversation, Pcm, Reply, System, TextWord
from duologue.systems.floors import NeverTalk
from duologue.systems.registry import load

pytestmark = pytest.mark.skipif(not voices("flite") or not voices("espeak"), reason="needs flite and espeakng-loader")


class Spoiled(System):
    """A system whose sound has a jump in every tenth frame, and whose text has one word more than it says."""

    def __init__(self, system: System) -> None:
        self.card, self.system = system.card, system

    def open(self, seed: int = 0) -> Conversation:
        return _Spoiled(self.system.open(seed))


class _Spoiled(Conversation):
    def __init__(self, inner: Conversation) -> None:
        super().__init__(inner.card)
        self.inner, self.more = inner, True

    def _answer(self, pcm: Pcm) -> Reply:
        reply = self.inner.step(pcm)
        events = [event for event in reply.events if event.kind != "timing"]
        if any(event.kind == "text" for event in events) and self.more:
            events.append(TextWord(time=self.time, word="elephant"))
            self.more = False
        sound = reply.pcm.copy()
        if np.abs(sound).max() > 0.01 and round(self.time / 0.08) % 10 == 0:
            sound[600] += 0.9
        return Reply(sound, events)


@lru_cache(maxsize=1)
def case() -> Case:
    return SpeechSuite("dev").draw("long", 0)


def test_the_oracle_says_its_text_in_the_voice_of_its_card() -> None:
    oracle = load("oracle")
    from duologue.systems.oracle import OracleSystem

    assert isinstance(oracle, OracleSystem)
    outcome = SpeechSuite("dev").hold(case(), oracle)
    values = outcome.values
    assert values["replied"] == values["asked"] == 3
    assert values["words"] == sum(len(reply.split()) for reply in case().facts["replies"])
    assert values["errors"] == values["true_errors"] <= 0.25 * values["words"]
    assert values["errors"] == values["substituted"] + values["deleted"] + values["inserted"]
    assert values["one_voice"] > values["different"] and values["same"] > values["different"]
    assert values["reference"] > 0.75
    assert 1 < values["overall"] <= 5 and values["clicks"] <= 1 and values["clipped"] == 0
    assert values["range"] > 2 and 2 < values["pace"] < 8
    assert outcome.audio is not None and len(outcome.marks) == 6


def test_what_is_spoiled_is_found() -> None:
    oracle = load("oracle")
    from duologue.systems.oracle import Cue, OracleSystem

    assert isinstance(oracle, OracleSystem)
    one = Case("long", "long/0", {"question": case().audio["question"]}, {"replies": case().facts["replies"][:1]})
    oracle.expect([Cue(one.audio["question"], one.facts["replies"][0])])
    values = SpeechSuite("dev").hold(one, Spoiled(oracle)).values
    assert values["clicks"] >= 2
    assert values["words"] == len(one.facts["replies"][0].split()) + 1 and values["deleted"] >= 1
    assert values["one_voice"] is None and "same" not in values


def test_who_says_nothing_has_no_quality() -> None:
    one = Case("own", "own/0", {"question": case().audio["question"]})
    values = SpeechSuite("dev").hold(one, NeverTalk()).values
    assert values["replied"] == 0 and values["asked"] == 1
    assert "words" not in values and "overall" not in values and values["reference"] is None


def test_your_own_cases_are_heard_by_who_knows_more_than_the_domain() -> None:
    oracle = load("oracle")
    from duologue.systems.oracle import OracleSystem

    assert isinstance(oracle, OracleSystem)
    question = {"question": case().audio["question"]}
    outcome = SpeechSuite("dev").hold(
        Case("own", "own/0", question, {"replies": ["The Senator bought 2 tickets."]}), oracle
    )
    values = outcome.values
    assert values["words"] == values["reply_words"] == 5  # what is written in digits is said, too
    assert "senator" in outcome.detail["sounds like"][0] and "tickets" in outcome.detail["sounds like"][0]
    assert values["true_errors"] == values["reply_errors"] <= 1 and values["errors"] <= 2
    drawn = SpeechSuite("dev").draw("long", 0)
    assert drawn.facts["domain"] is True


def test_the_recognisers_own_error_is_the_same_for_every_system() -> None:
    values = SpeechSuite("dev").hold(case(), NeverTalk()).values
    assert "words" not in values and values["reply_words"] == sum(len(text.split()) for text in case().facts["replies"])
    assert values["reply_errors"] <= 0.25 * values["reply_words"]
    assert values["reply_character_errors"] <= 0.25 * values["reply_characters"]
    figures = {measure.name for measure in SpeechSuite.measures}
    assert {measure.beside for measure in SpeechSuite.measures if measure.beside} <= figures


def test_dialogues_are_drawn_the_same_every_time() -> None:
    first, second = (SpeechSuite("dev").draw("dialogue", 1) for _ in range(2))
    assert first.facts == second.facts and len(first.facts["replies"]) == 3
    assert all(np.array_equal(first.audio[role], second.audio[role]) for role in first.audio)


def test_a_case_needs_a_question() -> None:
    with pytest.raises(DataError, match="question"):
        SpeechSuite().hold(Case("own", "own/0"), NeverTalk())

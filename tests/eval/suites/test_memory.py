"""The memory suite against systems whose memory is known: none, and the ceiling's."""

from __future__ import annotations

import numpy as np
import pytest

from duologue.errors import DataError
from duologue.eval.baselines import oracle
from duologue.eval.recognize import Recognizer
from duologue.eval.suites.base import Case
from duologue.eval.suites.memory import FACTS, MemorySuite, constancy
from duologue.systems.floors import NeverTalk


@pytest.fixture(scope="module")
def suite() -> MemorySuite:
    made = MemorySuite("dev")
    replies = [made.draw("context", index).facts["asked"]["reply"] for index in range(2)]
    pool = made.draw("long-0.25", 0).facts["pool"]
    made.recognizer = Recognizer([*replies, *(turn["reply"] for turn in pool)], replies)
    return made


def test_a_fact_is_told_and_asked_with_turns_or_silence_between(suite: MemorySuite) -> None:
    near, far = suite.draw("remember-0", 0), suite.draw("remember-8", 0)
    assert [role for role in far.audio if role.startswith("question")] == [f"question {place}" for place in range(8)]
    assert set(near.audio) == {"told", "asked"} and near.facts["pool"] == []
    assert suite.draw("remember-60s", 0).facts["silence"] == 60
    assert suite.draw("remember-600s", 0).facts["silence"] == 600 and "600 s" in str(suite.variant("remember-600s"))
    assert len(suite.draw("remember-3", 0).facts["pool"]) == 3 and suite.variant("remember-me") is None
    for index, kind in enumerate(FACTS):
        facts = suite.draw("remember-0", index).facts
        assert facts["asked"]["category"] == kind and facts["asked"]["content"] in facts["told"]
        assert facts["other"] in facts["rivals"] and facts["asked"]["content"] not in facts["rivals"]
    assert suite.draw("remember-0", 1).facts == suite.draw("remember-0", 1).facts
    with pytest.raises(DataError, match="riddle"):
        suite.draw("riddle", 0)


@pytest.mark.parametrize(("family", "index"), [("context", 0), ("context", 1), ("remember-0", 0), ("remember-2", 1)])
def test_the_oracle_remembers(suite: MemorySuite, family: str, index: int) -> None:
    outcome = suite.hold(suite.draw(family, index), oracle())
    assert outcome.values["right"] is True, outcome.detail
    assert not outcome.values["chance"]
    assert outcome.values["latency"] == pytest.approx(0.2, abs=0.03)


def test_whoever_says_nothing_remembers_nothing(suite: MemorySuite) -> None:
    values = suite.hold(suite.draw("remember-60s", 0), NeverTalk()).values
    assert values["right"] is False and values["chance"] is False and values["replied"] is False
    assert values["right_true"] is True  # the recogniser would have heard the fact
    assert values["latency"] is None


def test_a_reply_that_names_two_facts_of_a_kind_is_wrong(suite: MemorySuite) -> None:
    case = suite.draw("remember-0", 0)
    turn = {**case.facts["asked"], "reply": " ".join(FACTS["name"][3][:3])}
    both = Case(case.family, case.name, case.audio, {**case.facts, "asked": turn})
    assert suite.hold(both, oracle()).values["right"] is False


@pytest.mark.parametrize("role", ["asked", "pool"])
def test_your_own_facts_are_heard_by_who_knows_more_than_ours(suite: MemorySuite, role: str) -> None:
    drawn = suite.draw("remember-0", 0)
    own = {"reply": "The senator lives in Michigan.", "content": "Michigan"}
    if role == "asked":
        outcome = suite.hold(Case("mine", "mine/1", drawn.audio, {"asked": own}), oracle())
        heard = outcome.detail["transcript"]
        assert "michigan" in heard and outcome.values["right_true"] is True
    else:
        facts = {"pool": [own], "minutes": 0.1, "voice": "mine"}
        outcome = suite.hold(Case("mine", "mine/2", {"question 0": drawn.audio["asked"]}, facts), oracle())
        assert outcome.values["right_true"] == outcome.values["turns"]
    assert outcome.values["right"] == outcome.values["right_true"]


def test_a_long_conversation_of_the_oracle_does_not_change(suite: MemorySuite) -> None:
    assert suite.cases_at_most("long") == suite.cases_at_most("long-120") == 1
    assert suite.draw("long-120", 0).facts["minutes"] == 120 and suite.draw("long", 0).facts["minutes"] == 2
    outcome = suite.hold(suite.draw("long-0.25", 0), oracle())
    values = outcome.values
    assert values["replied"] == values["turns"] and int(str(values["turns"])) >= 3
    assert values["latency_drift"] == pytest.approx(0.0, abs=0.03)
    assert float(str(values["memory"])) > 10
    assert outcome.audio is not None and len(outcome.detail["turns"]) == values["turns"]


def test_constancy_is_the_last_quarter_beside_the_first() -> None:
    rows = [
        {
            "end": 100.0 * (turn + 1),
            "latency": None if turn == 3 else 0.2 + 0.1 * turn,
            "right": turn < 6,
            "right_true": turn != 2,
            "compute_ms": [10.0 + turn] * 100,
            "memory": 500.0 + 2 * turn,
        }
        for turn in range(8)
    ]
    found = constancy(rows)
    # quarters of 800 s: turns 0 and 1 end in the first, 6 and 7 in the last
    assert found["latency_drift"] == pytest.approx(0.6)
    assert found["right_drift"] == -1.0 and found["right"] == 6 and found["replied"] == 7
    assert found["compute_drift"] == 6.0 and found["right_true"] == 7
    assert found["memory"] == 514.0 and found["growth"] == pytest.approx(12.0 / (600 / 3600))
    silent = constancy([{**row, "latency": None} for row in rows])
    assert silent["latency"] is None and silent["latency_drift"] is None and silent["replied"] == 0


def test_what_is_missing_is_told_in_one_line(suite: MemorySuite) -> None:
    with pytest.raises(DataError, match="told and asked"):
        suite.hold(Case("mine", "mine/1", {"told": np.zeros(1600, np.float32)}), NeverTalk())

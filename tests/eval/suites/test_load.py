"""How many conversations fit: the search, what they hear, and systems that are surely too slow or fast enough."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from systems.simple import write_tiny_model

from duologue.errors import DataError
from duologue.eval.suites.base import Case
from duologue.eval.suites.load import LoadSuite, frames, largest, timed
from duologue.systems import registry
from duologue.systems.base import Conversation, Pcm, Reply, System, SystemCard
from duologue.systems.floors import NeverTalk

SECONDS = np.linspace(0, 1, 16000 * 4, endpoint=False, dtype=np.float32)


class Sleeper(System):
    """Takes longer than a frame over every step."""

    card = SystemCard(name="sleeper", hears=("features",), says=())

    def open(self, seed: int = 0) -> Conversation:
        return _Sleeping(self.card)


class _Sleeping(Conversation):
    def _answer(self, pcm: Pcm) -> Reply:
        time.sleep(0.1)
        return Reply(np.zeros_like(pcm))


class Idle(System):
    """Does nothing, in frames so long that no pause of the machine makes it late."""

    card = SystemCard(name="idle", hears=("features",), says=(), frame_rate=0.5)

    def open(self, seed: int = 0) -> Conversation:
        return _Idle(self.card)


class _Idle(Conversation):
    def _answer(self, pcm: Pcm) -> Reply:
        return Reply(np.zeros_like(pcm))


def case(most: int, seconds: float = 0.8) -> Case:
    return Case("conversations", "conversations/0", {"question": 0.1 * SECONDS}, {"most": most, "seconds": seconds})


@settings(deadline=None)
@given(st.integers(0, 300), st.integers(1, 300))
def test_the_largest_that_fits_is_found_in_few_trials(true: int, most: int) -> None:
    tried: list[int] = []

    def fits(n: int) -> bool:
        tried.append(n)
        return n <= true

    assert largest(fits, most) == min(true, most)
    assert len(tried) == len(set(tried)) and max(tried) <= most and len(tried) <= 20


def test_each_user_says_the_same_from_another_place() -> None:
    loop = np.arange(10 * 4, dtype=np.float32)
    heard = list(frames(loop, 3, 4, 12))
    assert len(heard) == 12 and all(len(chunks) == 3 for chunks in heard)
    for user in range(3):
        said = np.concatenate([chunks[user] for chunks in heard])
        assert np.array_equal(said, np.resize(np.roll(loop, -int(said[0])), len(said)))
    assert len({float(chunk[0]) for chunk in heard[0]}) == 3


def test_a_number_that_is_too_large_is_given_up_early() -> None:
    taken = timed(lambda _: time.sleep(0.02), iter([[]] * 1000), 0.001, 200)
    assert len(taken) == 3  # 2 of 200 rounds may be late


def test_a_system_slower_than_its_frame_holds_no_conversation() -> None:
    outcome = LoadSuite().hold(case(4), Sleeper())
    assert outcome.values["conversations"] == 0 and float(str(outcome.values["step_p50"])) >= 100
    assert [point["conversations"] for point in outcome.detail["stepped"]] == [1]
    assert "batched" not in outcome.values


def test_as_many_as_are_asked_for_are_held_by_a_system_that_does_nothing() -> None:
    outcome = LoadSuite().hold(case(4, 8.0), Idle())
    assert outcome.values["conversations"] == 4
    curve = outcome.detail["stepped"]
    assert [point["conversations"] for point in curve] == [1, 2, 4]
    assert all(point["p50_ms"] <= point["p99_ms"] and point["rounds"] == 4 for point in curve)


def test_a_native_model_is_tried_in_batches_too(tmp_path: Path) -> None:
    outcome = LoadSuite().hold(case(2, 0.4), registry.load(write_tiny_model(tmp_path / "tiny")))
    assert "batched" in outcome.values and outcome.detail["batched"]
    assert outcome.detail["frame_ms"] == 80.0


def test_its_one_case_is_drawn_by_its_seed() -> None:
    suite = LoadSuite("dev")
    assert suite.alone and suite.cases_at_most("conversations") == 1
    drawn = suite.draw("conversations", 0)
    assert drawn.facts == suite.draw("conversations", 0).facts and len(drawn.audio) == len(drawn.facts["pool"])
    with pytest.raises(DataError, match="riddle"):
        suite.draw("riddle", 0)
    with pytest.raises(DataError, match="audio"):
        suite.hold(Case("mine", "mine/1"), NeverTalk())

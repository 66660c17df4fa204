"""Conversations of minutes or hours: a few questions, spoken beforehand, asked again and again in a drawn order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from duologue.eval.converse import Record, Say, exchanges
from duologue.eval.metrics import RATE, Pcm
from duologue.eval.suites.base import Case
from duologue.eval.suites.turn import Turn, turns_of
from duologue.systems.base import System
from duologue.systems.oracle import expect

KEPT_SECONDS = 60.0
"""Of a long conversation, to be listened to."""


@dataclass(frozen=True)
class Question:
    """What is asked, the right reply, and the sound (T,) at 16 kHz."""

    turn: Turn
    sound: Pcm


def pool(case: Case) -> list[Question]:
    """The questions of a case whose facts and audio hold a pool of them, in its order."""
    turns = turns_of(case, "pool") if "pool" in case.facts else []
    return [Question(turn, case.audio[f"question {place}"]) for place, turn in enumerate(turns)]


def alternate(
    system: System, questions: Sequence[Question], minutes: float, seed: int = 0
) -> Iterator[tuple[Question, Record]]:
    """Ask for `minutes`, each question when the reply to the one before is over; one record a turn.

    Whatever the length, only one turn at a time is kept here.
    """
    rng = np.random.default_rng(seed)
    shortest = min(len(question.sound) for question in questions) / RATE
    most = int(minutes * 60 / shortest) + 2
    order = [questions[int(rng.integers(len(questions)))] for _ in range(most)]
    expect(system, [question.turn.cue(question.sound) for question in order])
    reached = 0.0

    def script() -> Iterator[Say]:
        for question in order:
            if reached >= minutes * 60:
                return
            yield Say(question.sound)

    for question, record in zip(order, exchanges(system, script(), seed), strict=False):
        reached = record.end
        yield question, record

"""What is practised by itself beside whole conversations: what is not remembered but worked out, or said again."""

from __future__ import annotations

import numpy as np

from duologue.data.domain.dialogue import sample, understand
from duologue.data.domain.intents import Exchange
from duologue.data.domain.splits import Split

DRILLS: dict[str, float] = {"plus": 0.27, "minus": 0.27, "times": 0.08, "repeat": 0.20, "context": 0.18}
"""Shares of the categories."""


def drill(rng: np.random.Generator, split: Split) -> list[Exchange]:
    """One exchange, after the turn that it leans on where it does."""
    drilled = sample(rng, split, str(rng.choice(list(DRILLS), p=list(DRILLS.values()))))
    return [*drilled.history, drilled]


def drills(rng: np.random.Generator, split: Split, turns: int) -> list[Exchange]:
    """At least so many exchanges, one drill upon another; each means after the others what it means alone."""
    said: list[Exchange] = []
    while len(said) < turns:
        more = drill(rng, split)
        if understand(more[0].user, said).reply == more[0].reply:
            said += more
    return said

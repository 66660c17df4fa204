"""What may be dictated: requests as they come, and numbers and words in no order, which only their sound can tell."""

from __future__ import annotations

import numpy as np

from duologue.data.domain.dialogue import sample, vocabulary
from duologue.data.domain.splits import Split
from duologue.lm.numbers import spell

REQUESTS, NUMBERS = 0.4, 0.25
"""Shares of requests and of strings of numbers; the rest are words in no order."""
MOST_NUMBERS, MOST_WORDS = 3, 5


def dictation(rng: np.random.Generator, split: Split) -> str:
    """A sentence of words, numbers spelled out."""
    kind = rng.random()
    if kind < REQUESTS:
        return sample(rng, split).user
    if kind < REQUESTS + NUMBERS:
        count = int(rng.integers(1, MOST_NUMBERS, endpoint=True))
        return " ".join(spell(int(number)) for number in rng.integers(100, size=count))
    return " ".join(rng.choice(vocabulary(), size=int(rng.integers(1, MOST_WORDS, endpoint=True))))

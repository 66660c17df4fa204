"""A small language model finds what is regular in tokens, and nothing where there is nothing."""

from __future__ import annotations

import numpy as np
import pytest

from duologue.errors import DataError
from duologue.eval.modelability import TokenModel
from duologue.systems.coders import Tokens

TOKENS = Tokens(books=2, cardinality=16, rate=25.0)


def clips(regular: bool, count: int, seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    if not regular:
        return [rng.integers(0, 16, (2, 50)) for _ in range(count)]
    starts = rng.integers(0, 16, count)
    return [np.stack([(start + np.arange(50)) % 16, (start + 3 * np.arange(50)) % 16]) for start in starts]


def test_chance_costs_all_its_bits_and_order_few() -> None:
    costs = {}
    for regular in (False, True):
        model = TokenModel(TOKENS, clips(regular, 400, 0), steps=50)
        costs[regular] = np.mean([model.bits(codes) for codes in clips(regular, 4, 1)]) / 100
    assert costs[False] == pytest.approx(4, abs=0.3)
    assert costs[True] < 1


def test_equal_seeds_equal_bits() -> None:
    corpus = clips(True, 4, 0)
    first, second = (TokenModel(TOKENS, corpus, steps=2).bits(corpus[0]) for _ in range(2))
    assert first == second


def test_too_little_to_learn_from_is_told() -> None:
    with pytest.raises(DataError, match="clips of"):
        TokenModel(TOKENS, [np.zeros((2, 5), np.int64)])

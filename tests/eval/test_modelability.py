"""A small language model finds what is regular in tokens, and nothing where there is nothing."""

from __future__ import annotations

import numpy as np
import pytest

from duologue.errors import DataError
from duologue.eval.modelability import TokenModel
from duologue.systems.coders import Tokens

TOKENS = Tokens(books=2, cardinality=16, rate=25.0)
PLAIN = 2 * 4 * 25  # bits a second of the plain code
FRAMES = 50
Clips = list[np.ndarray]


def markov(count: int, seed: int) -> Clips:
    """In each book a code is followed by one of two, which are the same for all clips."""
    following = np.random.default_rng(99).permuted(np.tile(np.arange(16), (2, 2, 1)), axis=2)
    rng = np.random.default_rng(seed)
    clips = []
    for _ in range(count):
        codes = np.zeros((2, FRAMES), np.int64)
        codes[:, 0] = rng.integers(0, 16, 2)
        for frame in range(1, FRAMES):
            codes[:, frame] = following[[0, 1], rng.integers(0, 2, 2), codes[:, frame - 1]]
        clips.append(codes)
    return clips


def shuffled(clips: Clips) -> Clips:
    rng = np.random.default_rng(5)
    return [rng.permuted(clip, axis=1) for clip in clips]


def rate(model: TokenModel, clips: Clips) -> float:
    """Bits a second."""
    return sum(map(model.bits, clips)) / (len(clips) * FRAMES / TOKENS.rate)


def test_order_costs_few_bits_and_the_same_tokens_without_it_all_of_theirs() -> None:
    learned, others, heard = markov(300, 0), markov(20, 1), markov(8, 2)
    ordered = rate(TokenModel(TOKENS, learned, others, 120), heard)
    assert ordered < 0.6 * PLAIN  # one bit in four is all that is new
    loose = TokenModel(TOKENS, shuffled(learned), shuffled(others), 120)
    assert rate(loose, shuffled(heard)) == pytest.approx(PLAIN, rel=0.03)


def test_more_steps_learn_more() -> None:
    learned, others, heard = markov(300, 0), markov(20, 1), markov(8, 2)
    early, late = (rate(TokenModel(TOKENS, learned, others, steps), heard) for steps in (2, 60))
    assert early == pytest.approx(PLAIN, rel=0.05) and late < 0.9 * early


def test_what_is_known_by_heart_is_not_trusted_with_others() -> None:
    rng = np.random.default_rng(0)
    few, others, heard = ([rng.integers(0, 16, (2, FRAMES)) for _ in range(count)] for count in (3, 20, 20))
    model = TokenModel(TOKENS, few, others, 60)
    assert rate(model, heard) == pytest.approx(PLAIN, rel=0.02)


def test_codes_that_are_rare_cost_less_together() -> None:
    rng = np.random.default_rng(0)
    often, others, heard = ([rng.integers(0, 4, (2, FRAMES)) for _ in range(count)] for count in (60, 10, 10))
    assert rate(TokenModel(TOKENS, often, others, 1), heard) == pytest.approx(PLAIN / 2, rel=0.05)


def test_equal_seeds_equal_bits() -> None:
    corpus = markov(4, 0)
    first, second = (TokenModel(TOKENS, corpus, corpus, 2).bits(corpus[0]) for _ in range(2))
    assert first == second


def test_too_little_to_learn_from_is_told() -> None:
    short, long = np.zeros((2, 5), np.int64), np.zeros((2, 50), np.int64)
    for learned, others in (([short], [long]), ([long], [])):
        with pytest.raises(DataError, match="clips of"):
            TokenModel(TOKENS, learned, others, 2)

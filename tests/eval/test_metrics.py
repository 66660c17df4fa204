"""Metrics of hand-made signals whose values are known."""

from __future__ import annotations

import numpy as np
import pytest

from duologue.errors import AudioError, DataError
from duologue.eval.metrics import (
    Errors,
    Pcm,
    bootstrap,
    character_errors,
    codebook_use,
    percentile,
    pesq,
    ratio,
    response_latency,
    share,
    sound_bounds,
    stoi,
    word_errors,
)

RATE = 16000


def noise(seconds: float, seed: int = 0) -> Pcm:
    return np.asarray(np.random.default_rng(seed).normal(0, 0.1, round(seconds * RATE)), np.float32)


def silence(seconds: float) -> Pcm:
    return np.zeros(round(seconds * RATE), np.float32)


def test_word_errors_count_each_kind() -> None:
    errors = word_errors(["one two three four", "five"], ["one too four four", "five six"])
    assert errors == Errors(substitutions=2, deletions=0, insertions=1, words=5)
    assert errors.rate == pytest.approx(0.6)
    assert word_errors(["one two"], [""]).deletions == 2
    assert character_errors(["abc"], ["axc"]).rate == pytest.approx(1 / 3)


@pytest.mark.parametrize("pair", [([], []), (["one"], []), ([" "], ["one"])])
def test_error_rates_need_references(pair: tuple[list[str], list[str]]) -> None:
    with pytest.raises(DataError, match="references"):
        word_errors(*pair)


@pytest.mark.parametrize("offset", [-0.4, 0.0, 0.3, 1.21])
def test_latency_is_signed_and_exact(offset: float) -> None:
    user = np.concatenate([silence(0.5), noise(1.5), silence(3.0)])
    reply = np.concatenate([silence(2.0 + offset), noise(1.0, 1), silence(2.0 - offset)])
    assert response_latency(user, reply) == pytest.approx(offset, abs=1e-6)


def test_no_reply_has_no_latency_and_hiss_is_no_reply() -> None:
    user = np.concatenate([noise(1.0), silence(1.0)])
    assert response_latency(user, silence(2.0)) is None
    assert sound_bounds(0.01 * noise(2.0)) is None
    assert sound_bounds(silence(0.0)) is None


def test_intelligibility_and_quality_fall_with_noise(question: Pcm) -> None:
    worse = question + 0.3 * noise(len(question) / RATE)[: len(question)]
    assert stoi(question, question) == pytest.approx(1.0, abs=1e-3) and stoi(question, worse) < 0.95
    assert pesq(question, question) > 4.5 > pesq(question, worse) + 1


def test_what_cannot_be_compared_is_an_error(question: Pcm) -> None:
    with pytest.raises(AudioError, match="one length"):
        stoi(question, question[1:])
    with pytest.raises(AudioError, match="STOI"):
        stoi(silence(1.0), silence(1.0))
    with pytest.raises(AudioError, match="PESQ"):
        pesq(silence(1.0), silence(1.0))


def test_codebook_use_of_known_codes() -> None:
    even, single = codebook_use([[0, 1, 2, 3] * 5, [7] * 20], 8)
    assert (even.use, even.perplexity) == pytest.approx((0.5, 4.0))
    assert (single.use, single.perplexity) == pytest.approx((0.125, 1.0))
    with pytest.raises(DataError, match=r"0\.\.3"):
        codebook_use([[4]], 4)


def test_bootstrap_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(3)
    covered = 0
    for draw in range(100):
        interval = bootstrap(rng.normal(1.0, 2.0, 60), draws=300, seed=draw)
        covered += interval.low <= 1.0 <= interval.high
    assert 88 <= covered <= 100
    rate = bootstrap([[1, 10], [3, 10]], ratio)
    assert rate.value == pytest.approx(0.2) and rate.low == pytest.approx(0.1) and rate.high == pytest.approx(0.3)


def test_share_of_all_is_not_certain() -> None:
    all_right, half = share([True] * 20), share([True, False] * 50)
    assert all_right.value == all_right.high == 1.0 and 0.8 < all_right.low < 0.9
    assert (half.low, half.high) == pytest.approx((0.404, 0.596), abs=1e-3)
    assert half.text(100) == "50.0 [40.4, 59.6]"


def test_percentile() -> None:
    assert percentile([3.0, 1.0, 2.0], 50) == 2.0
    with pytest.raises(DataError, match="no values"):
        percentile([], 50)

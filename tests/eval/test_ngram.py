"""The language model is a probability distribution, prefers what it saw, and writes ARPA that a real reader takes."""

from __future__ import annotations

from pathlib import Path

import pocketsphinx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from duologue.errors import DataError
from duologue.eval.ngram import END, START, NGram

WORDS = st.lists(st.sampled_from(["red", "green", "blue", "one", "two"]), min_size=1, max_size=6).map(" ".join)


@settings(max_examples=30, deadline=None)
@given(st.lists(WORDS, min_size=1, max_size=12), st.lists(st.sampled_from([START, "red", "two", "black"]), max_size=3))
def test_probabilities_after_any_context_sum_to_one(sentences: list[str], context: list[str]) -> None:
    model = NGram(sentences, ["black", "white"])
    total = sum(model.probability(tuple(context), word) for word in [*model.words, END])
    assert total == pytest.approx(1)


def test_a_seen_continuation_beats_an_unseen_one_and_both_are_possible() -> None:
    model = NGram(["two plus two is four", "two plus one is three"])
    assert model.probability(("one", "is"), "three") > model.probability(("one", "is"), "four") > 0


def test_arpa_is_read_by_the_recogniser_with_the_same_probabilities(tmp_path: Path) -> None:
    model = NGram(["two plus two is four", "two plus one is three", "two"], ["zero"])
    path = tmp_path / "model.arpa"
    path.write_text(model.arpa())
    config, log = pocketsphinx.Config(loglevel="FATAL"), pocketsphinx.LogMath()
    read = pocketsphinx.NGramModel(config, log, str(path))
    for word, *before in (["three", "is", "one"], ["four", "is", "one"], ["zero", "plus", "two"], ["two"]):
        expected = model.probability(tuple(reversed(before)), word)
        assert log.exp(read.prob([word, *before])) == pytest.approx(expected, rel=2e-3)


def test_no_sentences_is_an_error() -> None:
    with pytest.raises(DataError, match="at least one sentence"):
        NGram([""])

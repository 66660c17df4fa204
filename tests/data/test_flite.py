"""flite's lexicon: many words in one call of the program, and the one that is no word is named."""

from __future__ import annotations

import pytest

from duologue.data import flite
from duologue.errors import DataError

pytestmark = pytest.mark.skipif(not flite.names(), reason="needs the program flite")
WORDS = ["forty", "two", "zebra", "quixotic", "apple", "o'clock", "thermometer", "last"]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """The program's calls from here on, which begin with nothing learned."""
    seen: list[tuple[str, ...]] = []
    call = flite._call

    def counted(*arguments: str) -> str:
        seen.append(arguments)
        return call(*arguments)

    monkeypatch.setattr(flite, "_own", {})
    monkeypatch.setattr(flite, "_call", counted)
    return seen


def test_words_are_learned_in_one_call(calls: list[tuple[str, ...]]) -> None:
    flite.learn_words(WORDS)
    assert len(calls) == 1 and flite._own.keys() == set(WORDS)
    assert flite._own["zebra"] == ("z", "iy", "b", "r", "ax")  # the last in order
    flite.learn_words(WORDS)
    assert len(calls) == 1


def test_what_is_no_word_is_found_by_halves(calls: list[tuple[str, ...]]) -> None:
    with pytest.raises(DataError, match="'yes! no' as one word"):
        flite.learn_words([*WORDS, "yes! no"])
    assert len(calls) < len(WORDS) + 1
    assert len(flite._own) >= len(WORDS) - 1  # the halves without it are learned

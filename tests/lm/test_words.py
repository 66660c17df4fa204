"""Numbers in words and back, and written text as words."""

from __future__ import annotations

import re

import pytest

from duologue.lm import numbers
from duologue.lm.words import sentences_of, words_of


@pytest.mark.parametrize("number", [*range(-120, 1000, 7), 0, 20, 21, 99, 100, 101, 110, 120, 999, -999])
def test_numbers_are_read_back_as_they_are_spelled(number: int) -> None:
    assert numbers.values(numbers.spell(number).split()) == [number]
    if number >= 0:
        assert re.fullmatch(numbers.NUMBER, numbers.spell(number))


def test_minus_is_a_sign_or_an_operation() -> None:
    assert numbers.values(["ten", "minus", "fifteen", "is", "minus", "five"]) == [10, 15, -5]
    with pytest.raises(ValueError, match="-999 to 999"):
        numbers.spell(1000)


def test_texts_become_words_that_a_model_can_say() -> None:
    assert sentences_of("Hello, World! It's 42 — or 1984? Café “déjà vu”…\n\n") == [
        "hello world",
        "it's forty two or one nine eight four",
        "cafe deja vu",
    ]
    assert sentences_of("... ¿? 你好 '") == []
    assert [len(sentence.split()) for sentence in sentences_of("word " * 90)] == [40, 40, 10]


def test_sums_are_read_as_they_are_said() -> None:
    assert " ".join(words_of("What\u2019s 27 + 5?")) == "what's twenty seven plus five"
    assert " ".join(words_of("12 - 3, 4\u00d75 & 6*7")) == "twelve minus three four times five and six times seven"
    assert words_of("It is -5.") == ["it", "is", "minus", "five"]
    assert words_of("a well-known 20%") == ["a", "well", "known", "twenty", "percent"]

"""The tokeniser: any words come back as they were, and the end of each is known from its last piece."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duologue.errors import ModelError
from duologue.lm.text import CUT, END, EOT, PAD, SPECIALS, UNK, TextTokenizer

TOKENIZER = TextTokenizer.train(
    ["what is seventeen plus two", "repeat after me elephant"], ["seventeen", "elephant", "giraffe"], size=400
)
WORDS = st.lists(st.text("abcdefghijklmnopqrstuvwxyz'", min_size=1, max_size=12), min_size=1, max_size=6)


@given(words=WORDS)
def test_any_words_survive(words: list[str]) -> None:
    ids = TOKENIZER.encode(" ".join(words))
    assert TOKENIZER.decode(ids).split() == words
    assert sum(TOKENIZER.closes_word(index) for index in ids) == len(words)


def test_words_of_the_vocabulary_are_one_piece() -> None:
    assert all(len(TOKENIZER.encode(word)) == 1 for word in ("seventeen", "elephant", "giraffe"))


def test_control_tokens_come_first_and_are_not_text() -> None:
    assert TOKENIZER.pieces[:5] == list(SPECIALS)
    assert TOKENIZER.decode([PAD, EOT, END, CUT, UNK, *TOKENIZER.encode("two")]) == "two"


def test_it_survives_the_disk(tmp_path: Path) -> None:
    TOKENIZER.save(tmp_path / "tokenizer.json")
    assert TextTokenizer.load(tmp_path / "tokenizer.json").pieces == TOKENIZER.pieces


@pytest.mark.parametrize("content", ["", "{}", "not json"])
def test_a_bad_file_is_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text(content)
    with pytest.raises(ModelError, match=r"tokenizer\.json"):
        TextTokenizer.load(path)
    with pytest.raises(ModelError, match="no tokeniser at"):
        TextTokenizer.load(tmp_path / "missing.json")

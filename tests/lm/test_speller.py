"""The speller: words known by heart, words spelled out, and lexicons that do not fit."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError

from duologue.lm.speller import END, LONGEST, PAUSE, Speller, SpellerConfig
from duologue.nn.transformer import TransformerConfig

SIZE = TransformerConfig(dim=32, layers=2, heads=2, window=32)
PHONES = (END, PAUSE, "k", "ae", "t", "d", "ao", "g")
SAID = {"cat": ("k", "ae", "t"), "dog": ("d", "ao", "g"), "tack": ("t", "ae", "k"), "god": ("g", "ao", "d")}


def indices(phones: tuple[str, ...]) -> list[int]:
    return [PHONES.index(phone) for phone in phones]


def test_it_learns_to_spell_out_words() -> None:
    torch.manual_seed(0)
    speller = Speller(SpellerConfig(phones=PHONES, transformer=SIZE))
    optimizer = torch.optim.Adam(speller.parameters(), 1e-2)
    for _ in range(60):
        for word, phones in SAID.items():
            symbols, wanted = speller.example(word, phones)
            loss = torch.nn.functional.cross_entropy(
                speller(torch.tensor([symbols]))[0], torch.tensor(wanted), ignore_index=-1
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    speller.eval()
    for word, phones in SAID.items():
        assert speller.spell(word) == speller.spell_out(word) == indices(phones)
    assert len(speller.spell("cattack")) <= LONGEST


def test_the_lexicon_goes_before_the_letters() -> None:
    torch.manual_seed(0)
    lexicon = {word: " ".join(phones) for word, phones in SAID.items()}
    speller = Speller(SpellerConfig(phones=PHONES, transformer=SIZE, lexicon=lexicon)).eval()
    for word, phones in SAID.items():
        assert speller.spell(word) == indices(phones)
        assert speller.spell_out(word) != indices(phones), "it has learned nothing"
    speller.spell("cat").append(0)
    assert speller.spell("cat") == indices(SAID["cat"]), "what is given out may be changed"
    assert speller.spell("gat") == speller.spell_out("gat")


def test_a_lexicon_in_other_phones_is_refused() -> None:
    with pytest.raises(ValidationError, match="'zebra' with 'z', which is no phone"):
        SpellerConfig(phones=PHONES, transformer=SIZE, lexicon={"zebra": "z ae"})

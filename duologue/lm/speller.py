"""The speller: how a word is said. It knows a lexicon by heart; for other words a small causal transformer reads the
letters and writes the phones, which takes a good part of a frame's time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Self

import torch
from pydantic import BaseModel, ConfigDict, model_validator
from torch import Tensor, nn

from duologue.nn.transformer import Transformer, TransformerConfig

LETTERS = "'abcdefghijklmnopqrstuvwxyz"
END, PAUSE = "<end>", "pau"
"""The first two phones of every inventory: nothing follows · silence."""
LONGEST = 24  # phones of one word; a word that needs more is cut there


class SpellerConfig(BaseModel):
    """The phones it writes (`<end>` and `pau` first), its size, and the words whose phones it knows by heart."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    phones: tuple[str, ...]
    transformer: TransformerConfig
    lexicon: Mapping[str, str] = {}
    """Word -> its phones, with spaces between."""

    @model_validator(mode="after")
    def _known_phones(self) -> Self:
        for word, said in self.lexicon.items():
            if strange := set(said.split()) - set(self.phones):
                raise ValueError(
                    f"the lexicon says {word!r} with {strange.pop()!r}, which is no phone of the inventory"
                )
        return self


class Speller(nn.Module):
    """Letters to phones, one word at a time: l e t t e r s <go> ph on es <end>."""

    def __init__(self, config: SpellerConfig) -> None:
        super().__init__()
        if config.phones[:2] != (END, PAUSE):
            raise ValueError(f"a phone inventory begins with {END} and {PAUSE}, not {config.phones[:2]}")
        self.config = config
        self.go = len(LETTERS)
        index = {phone: place for place, phone in enumerate(config.phones)}
        self._lexicon = {word: [index[phone] for phone in said.split()] for word, said in config.lexicon.items()}
        # One table for all symbols: letters, then <go>, then the phones.
        self.symbols = nn.Embedding(len(LETTERS) + 1 + len(config.phones), config.transformer.dim)
        self.transformer = Transformer(config.transformer)
        self.head = nn.Linear(config.transformer.dim, len(config.phones), bias=False)
        nn.init.normal_(self.symbols.weight, std=0.5)

    def forward(self, symbols: Tensor) -> Tensor:
        """Symbols (B, T) -> logits over the phone that comes next, (B, T, phones)."""
        logits: Tensor = self.head(self.transformer(self.symbols(symbols)))
        return logits

    def letters(self, word: str) -> list[int]:
        """Symbols of a word's letters and <go>; letters outside a-z and the apostrophe are left out."""
        return [LETTERS.index(letter) for letter in word if letter in LETTERS] + [self.go]

    def phone_symbol(self, phone: int) -> int:
        return len(LETTERS) + 1 + phone

    def example(self, word: str, phones: Sequence[str]) -> tuple[list[int], list[int]]:
        """Input symbols of a pronounced word, and the phone to predict at each (-1 while letters are read)."""
        letters = self.letters(word)
        written = [self.config.phones.index(phone) for phone in phones]
        return (
            letters + [self.phone_symbol(phone) for phone in written],
            [-1] * (len(letters) - 1) + written + [self.config.phones.index(END)],
        )

    def spell(self, word: str) -> list[int]:
        """Phones of a word as indices into the inventory, by heart or by its letters."""
        known = self._lexicon.get(word)
        return self.spell_out(word) if known is None else list(known)

    @torch.no_grad()
    def spell_out(self, word: str) -> list[int]:
        """Phones of a word by its letters alone, the likeliest at each place."""
        device = self.symbols.weight.device
        state = self.transformer.init_state(1, device, self.symbols.weight.dtype)
        symbols = torch.tensor([self.letters(word)], device=device)
        phones: list[int] = []
        while len(phones) < LONGEST:
            y = self.transformer.step(self.symbols(symbols), state)[:, -1]
            phone = int(self.head(y).argmax())
            if self.config.phones[phone] == END:
                break
            phones.append(phone)
            symbols = torch.tensor([[self.phone_symbol(phone)]], device=device)
        return phones

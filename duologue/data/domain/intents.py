"""What a conversation is made of: an `Intent` is one kind of request, an `Exchange` one request with its answer."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np

from duologue.lm import numbers

Judged = Literal["numbers", "choice", "exact"]


@dataclass(frozen=True)
class Exchange:
    """One turn of the user and the right reply.

    `key` is the identity of the content ("plus:17:25", "opposite:hot"), `wording` the template the user's sentence was
    made by, `content` the essential words of the reply, and `history` the turns before that the sentence refers to.
    """

    user: str
    reply: str
    category: str
    key: str
    wording: str
    content: str
    history: tuple[Exchange, ...] = ()


@dataclass(frozen=True)
class Say:
    """A reply, its essential words, and the identity of what it answers."""

    key: str
    reply: str
    content: str


@dataclass(frozen=True)
class Slot:
    """A gap in a wording: the regular expression of what fits, a random filling, the words that may occur, and, where
    they can be listed, all the fillings."""

    pattern: str
    draw: Callable[[np.random.Generator], str]
    words: frozenset[str]
    options: tuple[str, ...] = ()


Values = Mapping[str, str]
Respond = Callable[[Values, Exchange | None], Say | None]
Draw = Callable[[np.random.Generator, Exchange | None], Values | None]


@dataclass(frozen=True)
class Intent:
    """One kind of request.

    `wordings` are sentences with {slots}. `respond` takes what fills the slots and the turn before, and returns None
    where that makes no sense. `draw` fills the slots where they depend on each other or on the turn before (None: this
    request cannot follow that turn); otherwise each slot is drawn alone. `judged` says how a reply is compared:
    by its numbers, as a choice among `rivals`, or word for word. `trailing` is False where the last slot must stay
    last.
    """

    name: str
    category: str
    wordings: tuple[str, ...]
    respond: Respond
    slots: Mapping[str, Slot] = field(default_factory=dict)
    draw: Draw | None = None
    judged: Judged = "choice"
    rivals: frozenset[str] = frozenset()
    weight: float = 1.0
    polite: bool = True
    trailing: bool = True

    def fill(self, rng: np.random.Generator, before: Exchange | None = None) -> Values | None:
        """Random values of the slots, or None where this request cannot follow the turn before."""
        if self.draw is not None:
            return self.draw(rng, before)
        return {name: slot.draw(rng) for name, slot in self.slots.items()}

    @cached_property
    def patterns(self) -> tuple[tuple[str, re.Pattern[str]], ...]:
        """Each wording with the regular expression that reads the slots back out of a sentence."""
        groups = {name: f"(?P<{name}>{slot.pattern})" for name, slot in self.slots.items()}
        return tuple((wording, re.compile(wording.format(**groups))) for wording in self.wordings)

    @property
    def words(self) -> set[str]:
        """The words of the wordings and of what fills their slots (replies not included)."""
        literal = {word for wording in self.wordings for word in wording.split() if "{" not in word}
        return literal.union(*(slot.words for slot in self.slots.values()))


def choice(options: Iterable[str]) -> Slot:
    """A slot that takes one of these phrases, each as likely."""
    phrases = tuple(options)
    pattern = "|".join(sorted(phrases, key=len, reverse=True))
    return Slot(
        pattern=f"(?:{pattern})",
        draw=lambda rng: phrases[rng.integers(len(phrases))],
        words=frozenset(word for phrase in phrases for word in phrase.split()),
        options=phrases,
    )


def number(low: int, high: int) -> Slot:
    """A slot that takes a number; random ones lie between `low` and `high`, both included."""
    return Slot(
        pattern=numbers.NUMBER,
        draw=lambda rng: numbers.spell(int(rng.integers(low, high + 1))),
        words=numbers.WORDS,
    )


def fixed(key: str, reply: str, content: str | None = None) -> Respond:
    """A reply that is always the same."""
    said = Say(key, reply, content or reply)
    return lambda _values, _before: said

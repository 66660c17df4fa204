"""Which wordings and which operand pairs training never sees: a stable hash decides, so every machine agrees."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cache
from typing import Literal

from duologue.data.domain.politeness import readings

Split = Literal["train", "dev", "test"]
Held = Literal["none", "wording", "content"]

_TEST, _DEV = 0.1, 0.2
_FEWEST = 6
"""A request with fewer wordings than this has all of them in training."""


def _place(text: str) -> float:
    """A number in [0, 1) that depends on the text alone."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64


def _core(wording: str) -> str:
    """A wording without its polite words, which other wordings may get in a draw: "tell me the sum" is "the sum"."""
    return min(readings(wording), key=len)


@cache
def wordings_of(wordings: tuple[str, ...], split: Split) -> tuple[str, ...]:
    """The wordings of one request that belong to a split: about 10% to test, 10% to dev, at least one to each.

    The side of a wording depends on its text alone, without polite words, so that no draw of a training wording reads
    like a held-out one, and a text that two requests share falls on the same side (save where a request would otherwise
    have none).
    """
    if len(wordings) < _FEWEST:
        return wordings if split == "train" else ()
    places = {wording: _place(_core(wording)) for wording in wordings}
    test = max(_TEST, min(places.values()))
    dev = max(_DEV, min(place for place in places.values() if place > test))
    sides = {"test": (-1.0, test), "dev": (test, dev), "train": (dev, 1.0)}
    low, high = sides[split]
    return tuple(wording for wording, place in places.items() if low < place <= high)


def content_split(key: str) -> Split:
    """The split of a content: operand pairs are 10% test, 5% dev; all else is in training.

    A sum or product falls on the same side either way round ("plus:17:25" and "plus:25:17").
    """
    name, *operands = key.split(":")
    if name not in ("plus", "minus", "times"):
        return "train"
    return _pair_split(name, operands if name == "minus" else sorted(operands, key=int))


def _pair_split(name: str, operands: Sequence[str]) -> Split:
    place = _place(":".join((name, *operands)))
    return "test" if place < 0.1 else "dev" if place < 0.15 else "train"

"""Which wordings and which operand pairs training never sees: a stable hash decides, so every machine agrees."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cache
from typing import Literal

from duologue.data.domain.politeness import readings

Split = Literal["train", "dev", "test"]
Held = Literal["none", "wording", "content"]

_SHARE = 0.1
"""The share of a request's wordings that goes to test, and as much to dev."""
_USUAL = 4
"""So many wordings, the first of each request, are always trained."""
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
    """The wordings of one request that belong to a split: about 10% to test, 10% to dev, the rest to train.

    The first few, the usual ways of asking, are always trained, and no wording is held out that has a word which no
    trained wording of the request has: what is measured is a new arrangement of known words. Wordings that differ by
    polite words alone stay together, so that no draw of a trained wording reads like a held-out one.
    """
    return tuple(wording for wording, side in _sides(wordings).items() if side == split)


@cache
def _sides(wordings: tuple[str, ...]) -> dict[str, Split]:
    sides: dict[str, Split] = dict.fromkeys(wordings, "train")
    if len(wordings) < _FEWEST:
        return sides
    usual = {_core(wording) for wording in wordings[:_USUAL]}
    cores = sorted({_core(wording) for wording in wordings} - usual, key=_place)
    quota = max(1, round(_SHARE * len(wordings)))
    held: tuple[Split, ...] = ("test", "dev")
    for split in held:
        for core in cores:
            group = [wording for wording in wordings if _core(wording) == core and sides[wording] == "train"]
            rest = [wording for wording, side in sides.items() if side == "train" and wording not in group]
            free = quota - list(sides.values()).count(split)
            if 0 < len(group) <= free and _words(group) <= _words(rest):
                sides |= dict.fromkeys(group, split)
    return sides


def _words(wordings: Sequence[str]) -> set[str]:
    return {word for wording in wordings for word in wording.split()}


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

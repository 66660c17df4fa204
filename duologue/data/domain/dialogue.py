"""Drawing conversations of the domain, and answering any sentence of it without error.

Splits: a training wording never occurs in dev or test, and an operand pair of dev or test never in training (nor as a
step of a training dialogue). All other contents are shared: a capital that was never told cannot be known. What is to
be repeated is drawn afresh; every word of it occurs in training.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from functools import cache

import numpy as np

from duologue.data.domain import politeness, unknown
from duologue.data.domain.intents import Exchange, Intent, Say, Values
from duologue.data.domain.judge import REQUESTS
from duologue.data.domain.splits import Held, Split, content_split, wordings_of
from duologue.errors import DataError
from duologue.lm import numbers

WEIGHTS: dict[str, float] = {
    "plus": 0.13,
    "minus": 0.11,
    "times": 0.06,
    "counting": 0.06,
    "sequences": 0.12,
    "facts": 0.18,
    "repeat": 0.14,
    "smalltalk": 0.07,
    "control": 0.05,
    "unknown": 0.08,
    "context": 0.0,
}
"""How often `sample` draws each category; "context" needs a turn before and occurs in dialogues."""

CATEGORIES: tuple[str, ...] = tuple(WEIGHTS)

_OPERAND_CATEGORIES = ("plus", "minus", "times")
_BY_CATEGORY: dict[str, list[Intent]] = defaultdict(list)
for _intent in REQUESTS:
    _BY_CATEGORY[_intent.category].append(_intent)
_AGAIN = next(intent for intent in REQUESTS if intent.name == "again")
_FOLLOWING = 0.5
"""How many turns of a dialogue lean on the turn before, where they can."""
_REPEATED = 0.08
"""How many turns ask for the last reply again."""


def sample(rng: np.random.Generator, split: Split, category: str | None = None, held: Held | None = None) -> Exchange:
    """One exchange, of a random category unless one is named.

    `held` says what training has never seen. "wording": the sentence's template, with seen operands; "content": the
    pair of operands (categories plus, minus and times), in a training wording; "none": neither, as in training. The
    default is "none" for train and "wording" for dev and test. A "context" exchange carries the turn before in
    `history`. Raises DataError for an unknown category, and for a `held` that the split or the category doesn't have.
    """
    held = held or ("none" if split == "train" else "wording")
    if split == "train" and held != "none":
        raise DataError(f"held={held!r} has no meaning in the training split: ask for dev or test")
    if category is None:
        names = _OPERAND_CATEGORIES if held == "content" else CATEGORIES
        weights = np.array([WEIGHTS[name] for name in names])
        category = str(rng.choice(names, p=weights / weights.sum()))
    elif category not in WEIGHTS:
        raise DataError(f"no category {category!r}: there are {', '.join(CATEGORIES)}")
    if held == "content" and category not in _OPERAND_CATEGORIES:
        raise DataError(f"held='content' needs one of {', '.join(_OPERAND_CATEGORIES)}, not {category!r}")
    if category == "context":
        return _sample_context(rng, split, held)
    if category == "unknown":
        return _sample_unknown(rng, split, held)
    while True:
        exchange = _draw(rng, _BY_CATEGORY[category], split, held, None)
        if exchange is not None:
            return exchange


def dialogue(rng: np.random.Generator, split: Split, turns: int, held: Held | None = None) -> list[Exchange]:
    """A conversation of `turns` exchanges; many lean on the turn before. `held` as in `sample`, save "content"."""
    held = held or ("none" if split == "train" else "wording")
    said: list[Exchange] = []
    while len(said) < turns:
        exchange = _draw(rng, _following(rng, said[-1]), split, held, said[-1]) if said else None
        exchange = exchange or sample(rng, split, held=held)
        # A sentence that makes sense alone may mean something else after this turn.
        if understand(exchange.user, said).reply == exchange.reply:
            said.append(exchange)
    return said


def understand(user: str, history: Sequence[Exchange] = ()) -> Exchange:
    """What a sentence asks for, after the turns before, and the reply to it; for any sentence at all."""
    before = history[-1] if history else None
    index = _by_first_word()
    for reading in politeness.readings(user):
        for intent, wording, pattern in index.get(reading.partition(" ")[0], index["{"]):
            match = pattern.fullmatch(reading)
            said = intent.respond(match.groupdict(), before) if match else None
            if said is not None:
                return _exchange(user, said, intent, wording, before)
    return _exchange(user, unknown.REPLY, unknown.SENTENCES, "", before)


def answer(user: str, history: Sequence[Exchange] = ()) -> str:
    """The reply to a sentence after the turns before: right for every sentence that `sample` and `dialogue` draw."""
    return understand(user, history).reply


@cache
def _vocabulary() -> tuple[str, ...]:
    found = politeness.words() | unknown.vocabulary() | numbers.WORDS | set(unknown.REPLY.reply.split())
    rng = np.random.default_rng(0)
    for intent in REQUESTS:
        found |= intent.words
        listed = [{name: option} for name, slot in intent.slots.items() for option in slot.options]
        fillings: Sequence[Values | None] = listed or [intent.fill(rng)]
        for values in fillings:
            said = None if values is None else intent.respond(values, None)
            found |= set(said.reply.split()) if said else set()
    return tuple(sorted(found))


def vocabulary() -> list[str]:
    """Every word that may occur in a sentence or in a reply, sorted."""
    return list(_vocabulary())


_Candidate = tuple[Intent, str, re.Pattern[str]]


@cache
def _by_first_word() -> dict[str, list[_Candidate]]:
    """The wordings that may have made a sentence, by its first word; under "{" those that begin with a slot."""
    firsts = {wording.partition(" ")[0] for intent in REQUESTS for wording in intent.wordings}
    index: dict[str, list[_Candidate]] = {"{": [], **{first: [] for first in firsts if first[0] != "{"}}
    for intent in REQUESTS:
        for wording, pattern in intent.patterns:
            first = wording.partition(" ")[0]
            for candidates in index.values() if first[0] == "{" else (index[first],):
                candidates.append((intent, wording, pattern))
    return index


def _exchange(user: str, said: Say, intent: Intent, wording: str, before: Exchange | None) -> Exchange:
    leans = before is not None and (intent.category == "context" or intent is _AGAIN)
    return Exchange(
        user=user,
        reply=said.reply,
        category="context" if leans else intent.category,
        key=said.key,
        wording=f"{intent.name}/{wording}",
        content=said.content,
        history=(before,) if leans and before is not None else (),
    )


def _draw(
    rng: np.random.Generator, intents: Sequence[Intent], split: Split, held: Held, before: Exchange | None
) -> Exchange | None:
    """An exchange by one of these intents; None where the one drawn has no wording here or cannot follow."""
    if not intents:
        return None
    weights = np.array([intent.weight for intent in intents])
    intent = intents[rng.choice(len(intents), p=weights / weights.sum())]
    wordings = wordings_of(intent.wordings, split if held == "wording" else "train")
    values = intent.fill(rng, before)
    said = intent.respond(values, before) if values is not None else None
    if not wordings or values is None or said is None:
        return None
    if content_split(said.key) != (split if held == "content" else "train"):
        return None
    wording = wordings[rng.integers(len(wordings))]
    user = wording.format(**values)
    if intent.polite:
        user = politeness.decorate(rng, user, intent.trailing)
    return _exchange(user, said, intent, wording, before)


def _following(rng: np.random.Generator, before: Exchange) -> list[Intent]:
    """The requests from which the next turn of a dialogue is drawn; none where it starts afresh."""
    chance = rng.random()
    if chance < _REPEATED:
        return [_AGAIN]
    if chance > _REPEATED + _FOLLOWING:
        return []
    return [intent for intent in _BY_CATEGORY["context"] if intent.fill(rng, before) is not None]


def _sample_context(rng: np.random.Generator, split: Split, held: Held) -> Exchange:
    while True:
        before = sample(rng, split, held=held)
        exchange = _draw(rng, [*_BY_CATEGORY["context"], _AGAIN], split, held, before)
        if exchange is not None:
            return exchange


@cache
def _gapped(split: Split) -> tuple[tuple[Intent, str], ...]:
    """The wordings of a split that ask about something definite, so that other words make no sense in them."""
    return tuple(
        (intent, wording)
        for intent in REQUESTS
        if intent.slots and intent.category not in ("context", "repeat", "control")
        for wording in wordings_of(intent.wordings, split)
    )


def _sample_unknown(rng: np.random.Generator, split: Split, held: Held) -> Exchange:
    """Everyday sentences, random words, and wordings of the domain with words that make no sense in them."""
    side: Split = split if held == "wording" else "train"
    while True:
        intent, wording = unknown.SENTENCES, ""
        kind = rng.random()
        if kind < 0.5:
            exchange = _draw(rng, [intent], split, held, None)
            user, wording = (exchange.user, exchange.wording) if exchange else ("", "")
        elif kind < 0.75:
            user, wording = unknown.word_salad(rng), unknown.SALAD
        else:
            options = _gapped(side)
            intent, wording = options[rng.integers(len(options))]
            user, wording = unknown.misfit(rng, intent, wording), f"unknown/{intent.name}/{wording}"
        if user and understand(user).key == unknown.REPLY.key:
            said = unknown.REPLY
            return Exchange(user, said.reply, "unknown", said.key, wording, said.content)

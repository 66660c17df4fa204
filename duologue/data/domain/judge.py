"""Is a reply right? Its content is compared, whatever words carry it."""

from __future__ import annotations

from collections.abc import Iterable

from duologue.data.domain import arithmetic, context, control, facts, repeat, sequences, smalltalk, unknown
from duologue.data.domain.intents import Exchange, Intent
from duologue.data.domain.phrases import phrases
from duologue.lm import numbers

REQUESTS: tuple[Intent, ...] = (
    *control.INTENTS,
    *smalltalk.INTENTS,
    *arithmetic.INTENTS,
    *sequences.INTENTS,
    *facts.INTENTS,
    *context.INTENTS,
    *repeat.INTENTS,
)
"""All that the system understands, in the order in which a sentence is tried against it."""

_BY_NAME = {intent.name: intent for intent in (*REQUESTS, unknown.SENTENCES)}
_CARRIERS = frozenset(phrases("okay, sure, you, said, say, it, is, the, words, are, here"))


def judge(reply: str, exchange: Exchange) -> bool:
    """Whether `reply` (lower-case words) says what the exchange's own reply says.

    Numbers: the last number of the reply is the answer, and every other is one of the question (or of the expected
    reply). Counting: exactly the expected numbers. A choice (a day, a capital, an opposite, ...): the last one named is
    the answer, and no other is named that question and expected reply don't name. All else: the essential words in
    order, and for "repeat after me" nothing beside them but carrier words.
    """
    intent = _BY_NAME[exchange.key.split(":", 1)[0]]
    said = reply.split()
    content = exchange.content.split()
    given = (exchange.user.split(), exchange.reply.split())
    if intent.judged == "numbers":
        return _right_numbers(said, content, given)
    if intent.judged == "choice":
        options = [option.split() for option in {*intent.rivals, exchange.content}]
        named = _named(said, options)
        allowed = {exchange.content, *(option for sentence in given for option in _named(sentence, options))}
        return bool(named) and named[-1] == exchange.content and allowed.issuperset(named)
    if intent.name == "repeat":
        extra = _CARRIERS.difference(content)
        return [word for word in said if word not in extra] == content
    return _find(said, content) is not None


def _right_numbers(said: list[str], content: list[str], given: Iterable[list[str]]) -> bool:
    expected, found = numbers.values(content), numbers.values(said)
    if len(expected) > 1:
        return found == expected
    allowed = {number for sentence in given for number in numbers.values(sentence)}
    return bool(found) and found[-1] == expected[0] and allowed.issuperset(found)


def _find(words: list[str], phrase: list[str], start: int = 0) -> int | None:
    """Where a phrase stands in a sentence."""
    return next((i for i in range(start, len(words) - len(phrase) + 1) if words[i : i + len(phrase)] == phrase), None)


def _named(words: list[str], options: list[list[str]]) -> list[str]:
    """The options named in a sentence, in order; of two that start at one word the longer."""
    found, place = [], 0
    while place < len(words):
        here = [option for option in options if words[place : place + len(option)] == option]
        longest = max(here, key=len, default=[])
        if longest:
            found.append(" ".join(longest))
        place += max(1, len(longest))
    return found

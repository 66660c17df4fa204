"""What comes before and after: numbers, letters, days and months; number series; counting."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from duologue.data.domain.intents import Exchange, Intent, Say, Slot, Values, choice, number
from duologue.data.domain.phrases import phrases
from duologue.lm import numbers
from duologue.lm.numbers import spell, value

LETTERS = tuple("abcdefghijklmnopqrstuvwxyz")
DAYS = phrases("monday, tuesday, wednesday, thursday, friday, saturday, sunday")
MONTHS = phrases("january, february, march, april, may, june, july, august, september, october, november, december")
LONGEST_COUNT = 8
HIGHEST_COUNT = 20

Neighbour = Callable[[str, int], Say | None]
"""From a word and a step (+1 after, -1 before) to the reply."""


def _number(word: str, step: int) -> Say | None:
    if value(word) + step > numbers.LARGEST:
        return None
    neighbour = spell(value(word) + step)
    side = "after" if step > 0 else "before"
    return Say(f"number_{side}:{value(word)}", f"{side} {word} comes {neighbour}", neighbour)


def _letter(word: str, step: int) -> Say:
    # The letter stands last, where a synthesiser says "a" as the letter and not as the article.
    side, place = ("after", "last") if step > 0 else ("before", "first")
    index = LETTERS.index(word) + step
    key = f"letter_{side}:{word}"
    if not 0 <= index < len(LETTERS):
        return Say(key, f"that is the {place} letter", f"{place} letter")
    return Say(key, f"the letter is {LETTERS[index]}", LETTERS[index])


def _cyclic(kind: str, names: tuple[str, ...]) -> Neighbour:
    def neighbour(word: str, step: int) -> Say:
        side = "after" if step > 0 else "before"
        found = names[(names.index(word) + step) % len(names)]
        return Say(f"{kind}_{side}:{word}", f"{side} {word} comes {found}", found)

    return neighbour


NEIGHBOURS: dict[str, Neighbour] = {
    "number": _number,
    "letter": _letter,
    "day": _cyclic("day", DAYS),
    "month": _cyclic("month", MONTHS),
}

_AFTER = phrases(
    """what comes after {x}, what is after {x}, what follows {x}, what comes right after {x}
    which {kind} comes after {x}, what {kind} comes after {x}, what {kind} follows {x}
    what is the {kind} after {x}, what is the next {kind} after {x}, the {kind} after {x}
    what {kind} is next after {x}, which {kind} is right after {x}, what is the {kind} that comes after {x}
    give me the {kind} after {x}, name the {kind} after {x}"""
)
_BEFORE = phrases(
    """what comes before {x}, what is before {x}, what comes right before {x}, what comes just before {x}
    which {kind} comes before {x}, what {kind} comes before {x}, what is the {kind} before {x}
    the {kind} before {x}, which {kind} is right before {x}, what {kind} is just before {x}
    what is the {kind} that comes before {x}, give me the {kind} before {x}, name the {kind} before {x}
    what {kind} is before {x}"""
)
_TODAY = {
    ("day", 1): (
        "if today is {x} what is tomorrow",
        "if today is {x} what day is tomorrow",
        "today is {x} what day is tomorrow",
    ),
    ("day", -1): (
        "if today is {x} what was yesterday",
        "if today is {x} what day was yesterday",
        "today is {x} what day was yesterday",
    ),
    ("month", 1): ("if this month is {x} what is the next month", "this month is {x} what is the next month"),
    ("month", -1): ("if this month is {x} what was the last month", "this month is {x} what was the last month"),
    ("number", 1): ("what is the next number up from {x}", "what number do i say after {x}"),
    ("number", -1): ("what is the next number down from {x}", "what number do i say before {x}"),
}
_SLOTS = {"number": number(0, 100), "letter": choice(LETTERS), "day": choice(DAYS), "month": choice(MONTHS)}
_RIVALS = {
    "number": frozenset[str](),
    "letter": frozenset((*LETTERS, "first letter", "last letter")),
    "day": frozenset(DAYS),
    "month": frozenset(MONTHS),
}


def _beside(kind: str, step: int) -> Intent:
    def respond(values: Values, _before: Exchange | None) -> Say | None:
        return NEIGHBOURS[kind](values["x"], step)

    wordings = (*(_AFTER if step > 0 else _BEFORE), *_TODAY.get((kind, step), ()))
    return Intent(
        f"{kind}_{'after' if step > 0 else 'before'}",
        "sequences",
        tuple(wording.replace("{kind}", kind) for wording in wordings),
        respond,
        slots={"x": _SLOTS[kind]},
        judged="numbers" if kind == "number" else "choice",
        rivals=_RIVALS[kind],
        trailing=kind != "letter",
        weight=1.5 if kind == "number" else 1.0,
    )


def _series(values: Values, _before: Exchange | None) -> Say | None:
    terms = numbers.values(values["series"].split())
    if len(terms) != 3:
        return None
    first, second, third = terms
    step = second - first
    if step == 0 or third - second != step or third + step > numbers.LARGEST:
        return None
    following = spell(third + step)
    return Say(f"series:{first}:{second}:{third}", f"the next number is {following}", following)


def _draw_series(rng: np.random.Generator, _before: Exchange | None) -> Values:
    step = int(rng.choice([1, 2, 3, 5, 10]))
    first = step * int(rng.integers(0, 7)) if step > 2 else int(rng.integers(0, 30))
    terms = [first, first + step, first + 2 * step]
    return {"series": " ".join(spell(term) for term in (terms[::-1] if rng.random() < 0.2 else terms))}


def count(start: int, end: int) -> Say | None:
    """Counting up or down from start to end, both said; None where it is longer than eight numbers or no count."""
    if start == end or abs(end - start) >= LONGEST_COUNT:
        return None
    step = 1 if end > start else -1
    said = " ".join(spell(number) for number in range(start, end + step, step))
    return Say(f"count:{start}:{end}", said, said)


def _count(values: Values, _before: Exchange | None) -> Say | None:
    return count(value(values["a"]), value(values["b"]))


def _count_up(values: Values, _before: Exchange | None) -> Say | None:
    return count(1, value(values["b"]))


def _count_down(values: Values, _before: Exchange | None) -> Say | None:
    return count(value(values["a"]), 1)


def _draw_count(rng: np.random.Generator, _before: Exchange | None) -> Values:
    low = int(rng.integers(0, HIGHEST_COUNT - 1))
    high = min(HIGHEST_COUNT, low + int(rng.integers(2, LONGEST_COUNT)))
    return {"a": spell(low), "b": spell(high)} if rng.random() < 0.7 else {"a": spell(high), "b": spell(low)}


_COUNT = phrases(
    """count from {a} to {b}, count {a} to {b}, count from {a} up to {b}, start at {a} and count to {b}
    start counting at {a} and stop at {b}, give me the numbers from {a} to {b}, say the numbers from {a} to {b}
    name the numbers from {a} to {b}, what are the numbers from {a} to {b}, count for me from {a} to {b}
    go from {a} to {b}, can you count from {a} to {b}, begin at {a} and count to {b}, keep counting from {a} to {b}
    start at {a} and go to {b}, go up or down from {a} to {b}
    say all the numbers from {a} to {b}, give me all the numbers from {a} to {b}, count the numbers from {a} to {b}"""
)
_COUNT_UP = phrases(
    """count to {b}, count up to {b}, can you count to {b}, start counting and stop at {b}, count the numbers up to {b}
    say the numbers up to {b}, give me the numbers up to {b}, count for me up to {b}, name the numbers up to {b}
    start at the beginning and count to {b}, say all the numbers up to {b}, give me all the numbers up to {b}
    count all the numbers to {b}"""
)
_COUNT_DOWN = phrases(
    """count backwards from {a}, count down from {a}, count back from {a}, can you count backwards from {a}
    start at {a} and count backwards, start at {a} and count down, begin at {a} and count down
    give me a countdown from {a}, go backwards from {a}, say the numbers backwards from {a}
    count for me backwards from {a}, count for me down from {a}, say the numbers down from {a}
    begin at {a} and go backwards"""
)
_TERMS = Slot(rf"{numbers.NUMBER} {numbers.NUMBER} {numbers.NUMBER}", lambda _rng: "", numbers.WORDS)
_SHORT = number(2, LONGEST_COUNT)

INTENTS = (
    *(_beside(kind, step) for kind in NEIGHBOURS for step in (1, -1)),
    Intent(
        "series",
        "sequences",
        phrases(
            """{series} what comes next, what comes next {series}, what number comes next {series}
            {series} what is the next number, what is the next number {series}, what comes after {series}
            continue {series}, {series} and then what, {series} what number follows, go on {series}
            which number is next {series}, what number is next {series}, {series} what number comes next
            {series} which number is next, {series} what is next"""
        ),
        _series,
        slots={"series": _TERMS},
        draw=_draw_series,
        judged="numbers",
    ),
    Intent(
        "count",
        "counting",
        _COUNT,
        _count,
        {"a": number(0, 20), "b": number(0, 20)},
        _draw_count,
        "numbers",
        weight=2.0,
    ),
    Intent("count_up", "counting", _COUNT_UP, _count_up, {"b": _SHORT}, judged="numbers", weight=0.5),
    Intent("count_down", "counting", _COUNT_DOWN, _count_down, {"a": _SHORT}, judged="numbers", weight=0.7),
)

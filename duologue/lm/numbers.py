"""Whole numbers as words: `spell` writes them, `values` finds them in a sentence, `NUMBER` matches one."""

from __future__ import annotations

from collections.abc import Sequence

_SMALL = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"),
    *("ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
)
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")

LARGEST = 999
WORDS = frozenset((*_SMALL, *_TENS, "hundred", "minus"))
_UNIT = {word: value for value, word in enumerate(_SMALL)}
_TEN = {word: 10 * value for value, word in enumerate(_TENS, start=2)}

_BELOW_100 = rf"(?:(?:{'|'.join(_TENS)})(?: (?:{'|'.join(_SMALL[1:10])}))?|{'|'.join(_SMALL)})"
NUMBER = rf"(?:(?:{'|'.join(_SMALL[1:10])}) hundred(?: {_BELOW_100})?|{_BELOW_100})"
"""Regular expression of a number from zero to nine hundred ninety nine."""


def spell(number: int) -> str:
    """The words of a whole number between -999 and 999: 42 -> "forty two", -5 -> "minus five".

    Raises ValueError beyond.
    """
    if abs(number) > LARGEST:
        raise ValueError(f"cannot spell {number}: numbers go from -{LARGEST} to {LARGEST}")
    if number < 0:
        return f"minus {spell(-number)}"
    hundreds, rest = divmod(number, 100)
    parts = [_SMALL[hundreds], "hundred"] if hundreds else []
    if rest >= 20:
        parts.append(_TENS[rest // 10 - 2])
        rest %= 10
        if rest:
            parts.append(_SMALL[rest])
    elif rest or not hundreds:
        parts.append(_SMALL[rest])
    return " ".join(parts)


def value(words: str) -> int:
    """The number that `words` spell, with nothing beside it; ValueError where they spell none or several."""
    found = values(words.split())
    if len(found) != 1 or spell(found[0]) != words:
        raise ValueError(f"not one number: {words!r}")
    return found[0]


def values(words: Sequence[str]) -> list[int]:
    """All numbers in a sentence, in order.

    Each takes as many words as it can. "minus" is a sign, except right after a number, where it is the operation:
    "ten minus fifteen is minus five" holds 10, 15 and -5.
    """
    found: list[int] = []
    place = 0
    while place < len(words):
        sign = words[place] == "minus" and (place == 0 or words[place - 1] not in WORDS)
        number, end = _read(words, place + sign)
        if number is None:
            place += 1
            continue
        found.append(-number if sign else number)
        place = end
    return found


def _read(words: Sequence[str], place: int) -> tuple[int | None, int]:
    """The longest number that starts at `place`, and where it ends."""
    number, place = _read_below_100(words, place)
    if number is None or not 1 <= number <= 9 or words[place : place + 1] != ["hundred"]:
        return number, place
    rest, end = _read_below_100(words, place + 1)
    return (100 * number + rest, end) if rest else (100 * number, place + 1)


def _read_below_100(words: Sequence[str], place: int) -> tuple[int | None, int]:
    word = words[place] if place < len(words) else ""
    if word in _UNIT:
        return _UNIT[word], place + 1
    if word not in _TEN:
        return None, place
    unit = _UNIT.get(words[place + 1], 0) if place + 1 < len(words) else 0
    return (_TEN[word] + unit, place + 2) if 1 <= unit <= 9 else (_TEN[word], place + 1)

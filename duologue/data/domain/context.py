"""Requests that lean on the turn before: "and plus two", "what about france", "and after that"."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from duologue.data.domain import arithmetic, facts, sequences
from duologue.data.domain.intents import Exchange, Intent, Say, Slot, Values, number
from duologue.data.domain.phrases import phrases
from duologue.data.domain.tables import TABLES, Table
from duologue.lm.numbers import WORDS, spell, value

_LARGEST_STEP = 20
_LARGEST_FACTOR = 12
_ABOUT = tuple(table for table in TABLES if table.name not in ("amount", "job", "part", "month_number", "day_number"))


def _total(before: Exchange | None) -> int | None:
    """The number that the turn before came to, if it was arithmetic."""
    if before is None:
        return None
    name, *operands = before.key.split(":")
    if name not in arithmetic.SYMBOLS:
        return None
    return arithmetic.result(name, *map(int, operands))


def _onward(symbol: str, wordings: tuple[str, ...]) -> Intent:
    def respond(values: Values, before: Exchange | None) -> Say | None:
        total = _total(before)
        return None if total is None else arithmetic.say(symbol, total, value(values["b"]))

    def draw(rng: np.random.Generator, before: Exchange | None) -> Values | None:
        total = _total(before)
        largest = _LARGEST_FACTOR if symbol == "times" else _LARGEST_STEP
        if total is None or not (0 <= total <= _LARGEST_FACTOR if symbol == "times" else abs(total) <= 150):
            return None
        return {"b": spell(int(rng.integers(1, largest + 1)))}

    return Intent(f"and_{symbol}", "context", wordings, respond, {"b": number(1, 20)}, draw, "numbers", weight=2.0)


_Place = tuple[str, str, int]
"""A kind of sequence, the word that was reached in it, and the direction."""


def _reached(before: Exchange | None) -> _Place | None:
    """Where the turn before arrived, if it was about before or after."""
    if before is None or ":" not in before.key:
        return None
    name = before.key.split(":", 1)[0]
    kind, _, side = name.partition("_")
    if kind not in sequences.NEIGHBOURS or side not in ("after", "before") or "letter" in before.content:
        return None
    return kind, before.content, 1 if side == "after" else -1


def _further(name: str, wordings: tuple[str, ...], direction: int) -> Intent:
    """One more step: the same way (0), after (+1) or before (-1)."""

    def respond(_values: Values, before: Exchange | None) -> Say | None:
        place = _reached(before)
        if place is None or place[1].startswith("minus"):
            return None
        kind, word, way = place
        return sequences.NEIGHBOURS[kind](word, direction or way)

    def draw(_rng: np.random.Generator, before: Exchange | None) -> Values | None:
        return None if respond({}, before) is None else {}

    return Intent(name, "context", wordings, respond, draw=draw)


def _backwards(_values: Values, before: Exchange | None) -> Say | None:
    name, *ends = before.key.split(":") if before else ("",)
    return sequences.count(int(ends[1]), int(ends[0])) if name == "count" else None


def _draw_backwards(_rng: np.random.Generator, before: Exchange | None) -> Values | None:
    return None if _backwards({}, before) is None else {}


def _table(before: Exchange | None) -> Iterator[Table]:
    """The table that the turn before asked, if it can be asked again."""
    return (table for table in _ABOUT if before is not None and before.key.startswith(f"{table.name}:"))


def _about(values: Values, before: Exchange | None) -> Say | None:
    return next((facts.say(table, values["x"]) for table in _table(before)), None)


def _draw_about(rng: np.random.Generator, before: Exchange | None) -> Values | None:
    for table in _table(before):
        things = [thing for thing in table.facts if before is not None and before.key != f"{table.name}:{thing}"]
        return {"x": things[rng.integers(len(things))]}
    return None


_THINGS = frozenset(word for table in _ABOUT for thing in table.facts for word in thing.split())

INTENTS = (
    _onward(
        "plus",
        phrases(
            """and plus {b}, plus {b}, and plus {b} more, plus {b} more, add {b} to that, now add {b}, and add {b}
            add {b} more, and {b} more, then add {b}, and now plus {b}, what if i add {b}, and if you add {b}"""
        ),
    ),
    _onward(
        "minus",
        phrases(
            """and minus {b}, minus {b}, take {b} from that, now take away {b}, and take away {b}, take away {b}
            subtract {b} from that, now subtract {b}, then take away {b}, and now minus {b}, what if i take away {b}
            and {b} less"""
        ),
    ),
    _onward(
        "times",
        phrases(
            """and times {b}, times {b}, multiply that by {b}, now multiply by {b}, and multiply by {b}, now times {b}
            and now times {b}, then multiply by {b}, what if i multiply by {b}, that times {b}"""
        ),
    ),
    _further(
        "and_next",
        phrases(
            """and then, and what comes next, what comes next, what is next, and next, and the next one, the next one
            go on, and what is next, keep going"""
        ),
        0,
    ),
    _further(
        "and_after",
        phrases(
            """and after that, what comes after that, and what comes after that, after that, and what follows
            what is after that"""
        ),
        1,
    ),
    _further(
        "and_before",
        phrases(
            """and before that, what comes before that, and what comes before that, before that
            and what was before that, what is before that"""
        ),
        -1,
    ),
    Intent(
        "and_backwards",
        "context",
        phrases(
            """and backwards, now backwards, backwards please, and the other way, and now backwards, and back again
            the other way around, now count back, can you do it backwards, and in reverse"""
        ),
        _backwards,
        draw=_draw_backwards,
        weight=2.0,
    ),
    Intent(
        "and_about",
        "context",
        phrases(
            """what about {x}, and what about {x}, how about {x}, and how about {x}, and for {x}, and {x}, and of {x}
            and {x} please, now what about {x}, okay and {x}, what is it for {x}, and with {x}"""
        ),
        _about,
        slots={"x": Slot(r"[a-z]+(?: [a-z]+){0,3}", lambda _rng: "", _THINGS | WORDS)},
        draw=_draw_about,
        weight=2.0,
    ),
)

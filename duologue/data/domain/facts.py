"""Questions about facts: one `Intent` for each table."""

from __future__ import annotations

from duologue.data.domain.intents import Exchange, Intent, Say, Values, choice
from duologue.data.domain.tables import TABLES, Table

BY_NAME = {table.name: table for table in TABLES}
FACTS = sum(len(table.facts) for table in TABLES)


def essential(answer: str) -> str:
    """An answer without its article: "a kitten" -> "kitten"."""
    article, _, rest = answer.partition(" ")
    return rest if article in ("a", "an", "the") else answer


def say(table: Table, thing: str) -> Say | None:
    """The fact about a thing; None where the table has none."""
    answer = table.facts.get(thing)
    if answer is None:
        return None
    return Say(f"{table.name}:{thing}", table.reply.format(x=thing, y=answer), essential(answer))


def _intent(table: Table) -> Intent:
    def respond(values: Values, _before: Exchange | None) -> Say | None:
        return say(table, values["x"])

    return Intent(
        table.name,
        "facts",
        table.wordings,
        respond,
        slots={"x": choice(table.facts)},
        judged="numbers" if table.numeric else "choice",
        rivals=frozenset(essential(answer) for answer in table.facts.values()),
        weight=float(len(table.facts)),
    )


INTENTS = tuple(_intent(table) for table in TABLES)

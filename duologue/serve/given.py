"""What a client has put into the conversation and the system does not know yet: it waits until a reply is asked for.

A client puts in what the user wrote, or said elsewhere, and as well the turns of an earlier conversation. Only what no
reply follows is still to be answered, and none of it is live speech, which a system may answer by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import dropwhile

from duologue.serve.items import Item, Items
from duologue.serve.sound import Format

Sound = tuple[bytes, Format]


@dataclass
class Turn:
    """Of the user. `passed`: since it came, a reply that nobody asked for has begun."""

    texts: list[str] = field(default_factory=list)
    sounds: list[Sound] = field(default_factory=list)
    passed: bool = False

    @property
    def text(self) -> str:
        return "\n".join(self.texts)


class Given:
    """The turns of the user that wait, among the items of a conversation."""

    def __init__(self, items: Items) -> None:
        self._items = items
        self._turns: dict[str, Turn] = {}  # by the ids of their items

    @property
    def seconds(self) -> float:
        """Of sound that is to be answered."""
        return sum(format.seconds(data) for data, format in self.peek().sounds)

    def add(self, item: Item, texts: Sequence[str] = (), sounds: Sequence[Sound] = ()) -> None:
        """A client has put a message among the items."""
        there = {each.id for each in self._items}
        self._turns = {id: turn for id, turn in self._turns.items() if id in there}
        if item.role == "assistant":
            for each in self._items:
                if each is item:
                    return
                self._turns.pop(each.id, None)
        later = list(dropwhile(lambda each: each is not item, self._items))[1:]
        if item.role == "user" and not any(each.role == "assistant" and each.type == "message" for each in later):
            self._turns[item.id] = Turn(list(texts), list(sounds))

    def pass_by(self) -> None:
        """A reply begins that nobody asked for; what waited for another one already is past."""
        self._turns = {id: turn for id, turn in self._turns.items() if not turn.passed}
        for turn in self._turns.values():
            turn.passed = True

    def want(self) -> None:
        """A reply was asked for that cannot be had now: what waits is still to be answered."""
        for turn in self._turns.values():
            turn.passed = False

    def peek(self) -> Turn:
        """All that is to be answered, as one turn."""
        turns = [self._turns[each.id] for each in self._items if each.id in self._turns]
        open = [turn for turn in turns if not turn.passed]
        return Turn([text for turn in open for text in turn.texts], [sound for turn in open for sound in turn.sounds])

    def take(self) -> Turn:
        """The same, for a reply to it: nothing waits any more."""
        turn = self.peek()
        self._turns.clear()
        return turn

"""The items of a conversation, in order: what the user and the assistant said, and what a client put in."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from duologue.serve.faults import RealtimeError

ROOT = "root"
"""The `previous_item_id` that puts an item first."""


def new_id(kind: str) -> str:
    return f"{kind}_{secrets.token_hex(10)}"


@dataclass
class Item:
    """A message, or a call of a function or its result, whose `fields` are its own. `seconds` of sound belong to it."""

    role: Literal["user", "assistant", "system"]
    content: list[dict[str, Any]] = field(default_factory=list)
    id: str = field(default_factory=lambda: new_id("item"))
    status: Literal["completed", "incomplete", "in_progress"] = "completed"
    seconds: float = 0.0
    previous: str | None = None  # the id of the item before it when it was added
    type: Literal["message", "function_call", "function_call_output"] = "message"
    fields: dict[str, str] = field(default_factory=dict)

    def wire(self) -> dict[str, Any]:
        head = {"id": self.id, "object": "realtime.item", "type": self.type, "status": self.status}
        if self.type != "message":
            return head | self.fields
        return head | {"role": self.role, "content": [dict(part) for part in self.content]}


class Items:
    """A conversation's items; the oldest go when there are more than `most`, or they take more than `most_bytes`.

    Bytes are counted as an item is when it comes: what is spoken is written into it later, and is short.
    """

    def __init__(self, most: int, most_bytes: int) -> None:
        self._items: dict[str, Item] = {}
        self._sizes: dict[str, int] = {}
        self._bytes = 0
        self._most, self._most_bytes = most, most_bytes

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[Item]:
        return iter(self._items.values())

    def __contains__(self, id: str) -> bool:
        return id in self._items

    @property
    def last(self) -> str | None:
        return next(reversed(self._items), None)

    def add(self, item: Item, after: str | None = None) -> str | None:
        """Put an item behind `after` (None: at the end, `ROOT`: first); the id of the one before it.

        Raises:
            RealtimeError: there is no such item, or one with its id already.
        """
        self.check(item, after)
        ids = list(self._items)
        place = len(ids) if after is None else 0 if after == ROOT else ids.index(after) + 1
        ids.insert(place, item.id)
        self._items[item.id] = item
        self._items = {id: self._items[id] for id in ids} if place < len(ids) - 1 else self._items
        self._sizes[item.id] = len(json.dumps(item.wire()))
        self._bytes += self._sizes[item.id]
        while len(self._items) > self._most or (self._bytes > self._most_bytes and len(self._items) > 1):
            self.delete(next(iter(self._items)))
        item.previous = ids[place - 1] if place else None
        return item.previous

    def check(self, item: Item, after: str | None) -> None:
        """Raise what `add` would raise."""
        if item.id in self._items:
            raise RealtimeError(f"Item with id {item.id} already exists.", "item_create_duplicate_id", "item.id")
        if after not in (None, ROOT) and after not in self._items:
            raise RealtimeError(
                f"Previous item with id {after} not found.", "item_create_invalid_previous_item_id", "previous_item_id"
            )

    def get(self, id: str, doing: Literal["retrieve", "truncate", "delete"]) -> Item:
        """The item with this id.

        Raises:
            RealtimeError: there is none.
        """
        if id not in self._items:
            raise RealtimeError(
                f"Cannot {doing} the item: there is none with id '{id}'.",
                f"item_{doing}_invalid_item_id",
                "item_id",
            )
        return self._items[id]

    def delete(self, id: str) -> None:
        del self._items[self.get(id, "delete").id]
        self._bytes -= self._sizes.pop(id)

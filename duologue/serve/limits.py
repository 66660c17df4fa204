"""How much anyone may ask of the server, and the counters that hold them to it."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

from pydantic import BaseModel, ConfigDict, Field

from duologue.errors import DuologueError


class LimitError(DuologueError):
    """Somebody asked for more than is allowed."""


class Limits(BaseModel):
    """The server's limits; seconds and bytes unless said otherwise."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sessions_per_key: int = Field(default=24, ge=1)  # of the 32 slots that a model has by default: some for others
    sessions_per_address: int = Field(default=24, ge=1)
    secrets_per_key: int = Field(default=1000, ge=1)  # client secrets that are valid at a time
    connections: int = Field(default=1000, ge=1)  # of all clients, admitted or not
    messages_per_second: float = Field(default=200, gt=0)
    messages_at_once: int = Field(default=2000, ge=1)
    messages_per_key: float = Field(default=2400, gt=0)  # a second, and requests, over all connections of a key
    messages_per_address: float = Field(default=2400, gt=0)
    message_bytes: int = Field(default=4 << 20, ge=1 << 10)  # of sound in base64 more than `audio_at_once`
    depth: int = Field(default=24, ge=4, le=256)  # of nested JSON; deeper, and reading it may end the stack
    audio_rate: float = Field(default=8, gt=0)  # times real time
    audio_at_once: float = Field(default=60, gt=0)
    buffer: float = Field(default=60, gt=0)  # of sound that waits to be heard
    session: float = Field(default=3600, gt=0)
    idle: float = Field(default=300, gt=0)  # without a message
    unsent_bytes: int = Field(default=4 << 20, ge=1 << 16)  # that wait for a slow client
    items: int = Field(default=2000, ge=1)  # that a conversation keeps
    item_bytes: int = Field(default=4 << 20, ge=1 << 10)  # that they take
    text: int = Field(default=8192, ge=1)  # characters of an item that a client writes
    secret: float = Field(default=600, gt=0)  # a client secret lives if nothing else is asked for
    resume: float = Field(default=30, ge=0)  # a conversation whose client vanished is kept
    parked: int = Field(default=128, ge=1)  # conversations that are kept so; the oldest are forgotten
    parked_per_key: int = Field(default=64, ge=1)
    drain: float = Field(default=20, ge=0)  # running conversations may go on when the server is told to stop


BURST = 10.0  # seconds whose messages a key or an address may send at once
PIECE = 16 << 10  # bytes; a longer message counts as so many as there are pieces of this in it
REMEMBERED = 4096  # keys and addresses whose messages are counted, before those that have been quiet are forgotten


class Bucket:
    """Allows `rate` a second, and `burst` at once."""

    def __init__(self, rate: float, burst: float) -> None:
        self.rate, self.burst = rate, burst
        self._left, self._since = burst, time.monotonic()

    def take(self, amount: float = 1.0) -> bool:
        """Whether `amount` is allowed now; it counts only if it is."""
        now = time.monotonic()
        self._left = min(self.burst, self._left + (now - self._since) * self.rate)
        self._since = now
        if amount > self._left:
            return False
        self._left -= amount
        return True

    @property
    def left(self) -> float:
        return self._left

    @property
    def full(self) -> bool:
        """Whether nothing that was taken matters any more."""
        return self._left + (time.monotonic() - self._since) * self.rate >= self.burst


class Traffic:
    """Counts the messages of each key and each address, on whatever connections they come.

    Sound never comes to this limit: eight times real time is 30 pieces a second.
    """

    def __init__(self, limits: Limits) -> None:
        self._rates = {"key": limits.messages_per_key, "address": limits.messages_per_address}
        self._buckets: dict[tuple[str, str], Bucket] = {}

    def count(self, key: str | None, address: str, size: int = 0) -> None:
        """A message of so many bytes, a request or a handshake came; without a `key` it counts for the address alone.

        Raises:
            LimitError: there are too many.
        """
        for kind, name in (("key", key), ("address", address)):
            if name is None:
                continue
            bucket = self._buckets.get((kind, name))
            if bucket is None:
                if len(self._buckets) >= REMEMBERED:
                    self._buckets = {whose: kept for whose, kept in self._buckets.items() if not kept.full}
                bucket = self._buckets[kind, name] = Bucket(self._rates[kind], BURST * self._rates[kind])
            if not bucket.take(min(1 + size // PIECE, bucket.burst)):
                raise LimitError(f"Too many messages from this {kind}; slow down.")


class Places:
    """Counts what each key and each address holds at a time."""

    def __init__(self, limits: Limits) -> None:
        self._most = {"key": limits.sessions_per_key, "address": limits.sessions_per_address}
        self._held: dict[tuple[str, str], int] = defaultdict(int)

    @contextmanager
    def hold(self, key: str, address: str) -> Iterator[None]:
        """One session of a key from an address.

        Raises:
            LimitError: either has all that it may have.
        """
        both = (("key", key), ("address", address))
        for kind, name in both:
            if self._held[kind, name] >= self._most[kind]:
                raise LimitError(f"this {kind} already has {self._most[kind]} sessions, the most it may; close one")
        for each in both:
            self._held[each] += 1
        try:
            yield
        finally:
            for each in both:
                self._held[each] -= 1
                if not self._held[each]:
                    del self._held[each]

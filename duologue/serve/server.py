"""What all endpoints of one server share: models, keys, limits, counters, and who waits to be resumed."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol, TypeVar

from duologue.serve.keys import Keys
from duologue.serve.limits import Limits, Places, Traffic
from duologue.serve.logs import log
from duologue.serve.metrics import Metrics
from duologue.serve.realtime import Realtime
from duologue.systems.cascade.silero import SileroDetector
from duologue.systems.engine import Engine, SlotLostError
from duologue.systems.rows import Saved

TOO_LATE = 0.05  # share of late frames from which the server is not ready for more


class Resumable(Protocol):
    """What of a session outlives its connection, whatever the protocol."""

    id: str

    async def park(self) -> Saved:
        """Leave the slot.

        Raises:
            SlotLostError: the conversation has ended.
        """
        ...


R = TypeVar("R", bound=Resumable)


@dataclass
class _Held:
    key: str
    give_up: Callable[[], None]
    over: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass
class _Parked:
    session: Resumable
    saved: Saved
    key: str
    end: asyncio.TimerHandle


class Server:
    """`engines` by the names of their models; the first is the one for whoever names another."""

    def __init__(self, engines: Mapping[str, Engine], keys: Keys, limits: Limits) -> None:
        self.engines, self.keys, self.limits = dict(engines), keys, limits
        self.metrics = Metrics(self.engines)
        for name, engine in self.engines.items():
            engine.report = partial(log, "conversation failed", model=name)
        self.places, self.traffic = Places(limits), Traffic(limits)
        self.twilio_token: str | None = None  # with which Twilio signs its requests
        self.speaking = asyncio.Lock()  # one text at a time is read aloud, beside the conversations
        self.draining = asyncio.Event()  # no new sessions
        self.closing = asyncio.Event()  # running sessions are to end now
        self.open: set[asyncio.Task[None]] = set()  # sessions, whatever their protocol, and long requests
        self._held: dict[str, _Held] = {}  # sessions that can be resumed, by their ids
        self._parked: dict[str, _Parked] = {}
        self._detector: SileroDetector | None = None

    def start(self) -> None:
        for engine in self.engines.values():
            engine.start()

    def stop(self) -> None:
        for parked in self._parked.values():
            parked.end.cancel()
        self._parked.clear()
        for engine in self.engines.values():
            engine.stop()

    async def drain(self) -> None:
        """Take no new sessions, let running ones go on for as long as the limits say, then end them."""
        self.draining.set()
        log("draining", sessions=len(self.open), seconds=self.limits.drain)
        if self.open:
            await asyncio.wait(self.open, timeout=self.limits.drain)
        self.closing.set()
        if self.open:
            await asyncio.wait(self.open, timeout=5)

    @contextmanager
    def work(self) -> Iterator[None]:
        """Within it a request goes on for which a drain waits, like a session."""
        task = asyncio.current_task()
        assert task is not None
        self.open.add(task)
        try:
            yield
        finally:
            self.open.discard(task)

    def engine(self, model: str | None) -> Engine:
        """The model of this name, or the first that lives: clients name models that are not here, as they must."""
        first = next(iter(self.engines.values()))
        return self.engines.get(model or "") or next((each for each in self.engines.values() if each.alive), first)

    @property
    def ready(self) -> bool:
        """Whether new sessions are welcome and would be served in time."""
        alive = all(engine.alive for engine in self.engines.values())
        return alive and not self.draining.is_set() and not self.behind

    @property
    def behind(self) -> bool:
        """Whether conversations go on that are served late; what was late before them says nothing."""
        return any(engine.taken and engine.lateness >= TOO_LATE for engine in self.engines.values())

    def detector(self) -> SileroDetector:
        """The voice detector, for clients that ask for one."""
        self._detector = self._detector or SileroDetector()
        return self._detector

    async def park(self, session: Resumable, key: str) -> None:
        """Keep a conversation whose client vanished, for a while, if it still goes on; `key` tells who held it."""
        with suppress(SlotLostError):
            self.keep(session, await session.park(), key)

    def keep(self, session: Resumable, saved: Saved, key: str) -> None:
        """Keep a parked conversation, also where it was resumed and found no slot; the oldest make room for it."""
        own = [id for id, parked in self._parked.items() if parked.key == key]
        for id in own[: max(0, len(own) + 1 - self.limits.parked_per_key)]:
            self._forget(id)
        while len(self._parked) >= self.limits.parked:
            self._forget(next(iter(self._parked)))
        end = asyncio.get_running_loop().call_later(self.limits.resume, self._forget, session.id)
        self._parked[session.id] = _Parked(session, saved, key, end)
        self.metrics.parked.set(len(self._parked))

    def hold(self, id: str, key: str, give_up: Callable[[], None]) -> Callable[[], None]:
        """A conversation has a connection; what is returned is to be called when it has none any more.

        `give_up` lets the connection end and the conversation be parked: its client has come back on another.
        """
        held = self._held[id] = _Held(key, give_up)

        def let_go() -> None:
            held.over.set()
            if self._held.get(id) is held:
                del self._held[id]

        return let_go

    async def resume(self, id: str, key: str) -> tuple[Realtime, Saved] | None:
        """A session of the Realtime API for whoever held it."""
        return await self.resume_as(Realtime, id, key)

    async def resume_as(self, kind: type[R], id: str, key: str) -> tuple[R, Saved] | None:
        """A session for whoever held it: a parked one, or one whose connection is not known to be lost yet."""
        held = self._held.get(id)
        if held is not None and self.limits.resume > 0 and secrets.compare_digest(held.key, key):
            held.give_up()
            await held.over.wait()
        parked = self._parked.get(id)
        if parked is None or not isinstance(parked.session, kind) or not secrets.compare_digest(parked.key, key):
            return None
        self._forget(id)
        return parked.session, parked.saved

    def _forget(self, id: str) -> None:
        self._parked.pop(id).end.cancel()
        self.metrics.parked.set(len(self._parked))

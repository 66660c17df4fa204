"""Protocols over a WebSocket whose session is a conversation and nothing else.

A `Line` holds its client to the server's limits and holds the conversation. Protocols are subclasses: they say what a
message means, what is told of a conversation, and how to say goodbye.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

from starlette.websockets import WebSocket

from duologue.serve.faults import RealtimeError
from duologue.serve.intake import Intake
from duologue.serve.items import new_id
from duologue.serve.keys import Guest
from duologue.serve.logs import log
from duologue.serve.requests import LOST as LOST_MODEL
from duologue.serve.session import Broken, Moment, ReplySound, Session
from duologue.serve.sockets import BROKEN, FULL, ClosingError, Connection
from duologue.serve.sound import Format
from duologue.systems.engine import EngineFullError
from duologue.systems.rows import Saved


class Ear:
    """Takes what happens in a conversation to the connection that it has now."""

    def __init__(self) -> None:
        self.follow: Callable[[Moment], None] = lambda moment: None

    def __call__(self, moment: Moment) -> None:
        self.follow(moment)


class Line(Connection):
    """See the module's docstring.

    Attributes:
        session: the conversation, once the client has begun it.
        ear: what listens to it, and goes on to where it is resumed.
    """

    def __init__(self, websocket: WebSocket, guest: Guest, kind: str) -> None:
        super().__init__(websocket, guest, new_id(kind))
        self.session: Session | None = None
        self.ear = Ear()
        self._intake = Intake(self.server.limits)

    @abstractmethod
    async def obey(self, message: dict[str, Any]) -> None:
        """Do what a message asks for; raises what `take` does."""

    @abstractmethod
    def follow(self, moment: Moment) -> None:
        """Tell the client what happens in the conversation."""

    @abstractmethod
    def complain(self, error: RealtimeError, message: dict[str, Any]) -> None:
        """Tell the client what `fail` is to tell; raises what it does."""

    async def open(self) -> None:
        """Nothing: the client begins the conversation, by a message."""

    async def take(self, message: dict[str, Any]) -> None:
        self._intake.count()
        await self.obey(message)

    def fail(self, error: RealtimeError, message: dict[str, Any]) -> None:
        self.server.metrics.errors.labels(error.body["code"]).inc()
        self.complain(error, message)
        if error.body["code"] == "server_full":
            raise ClosingError(FULL, "no free slot; try again later")

    async def release(self, code: int) -> None:
        if self.session is not None:
            await self.session.close()

    async def begin(self, model: str | None, format: Format) -> Session:
        """Open the conversation, in one format both ways.

        Raises:
            RealtimeError: no slot is free.
        """
        session = Session(self.server.engine(model), self.ear)
        await self.go_on(session, format)
        return session

    async def go_on(self, session: Session, format: Format, saved: Saved | None = None) -> None:
        """Open a conversation here, or go on with one that was saved, to which `ear` listens.

        Raises:
            RealtimeError: no slot is free, or the model has died.
        """
        try:
            await session.open(saved=saved)
        except EngineFullError as error:
            raise RealtimeError(str(error), "server_full", type="server_error") from error
        except LOST_MODEL as error:
            log("failed", error)
            message = "The model is not there at the moment; try again later."
            raise RealtimeError(message, "model_unavailable", type="server_error") from error
        session.set_formats(format, format)
        self.session, self._format, self.ear.follow = session, format, self._hear_moment
        resumed = saved is not None
        log("opened", session=self.id, model=session.engine.card.name, key=self.guest.key, resumed=resumed)

    async def hear(self, audio: str, param: str, silent: bool = False) -> None:
        """Sound of the client in base64; with `silent` only its length counts.

        Raises:
            RealtimeError: it is no base64, or more than may come.
        """
        assert self.session is not None
        await self._intake.hear(self.session, audio, self._format, param, silent)

    def _hear_moment(self, moment: Moment) -> None:
        if isinstance(moment, ReplySound):
            self.server.metrics.measure(moment)
        self.follow(moment)
        if isinstance(moment, Broken):
            self.end(ClosingError(BROKEN, "the conversation failed"))

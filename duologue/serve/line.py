"""Protocols over a WebSocket whose session is a conversation and nothing else.

A `Line` holds its client to the server's limits and holds the conversation. Protocols are subclasses: they say what a
message means, what is told of a conversation, and how to say goodbye.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from starlette.websockets import WebSocket

from duologue.serve.faults import RealtimeError
from duologue.serve.intake import Intake
from duologue.serve.items import new_id
from duologue.serve.keys import Guest
from duologue.serve.logs import log
from duologue.serve.session import Broken, Moment, ReplySound, Session
from duologue.serve.sockets import BROKEN, FULL, ClosingError, Connection
from duologue.serve.sound import Format
from duologue.systems.engine import EngineFullError


class Line(Connection):
    """See the module's docstring.

    Attributes:
        session: the conversation, once the client has begun it.
    """

    def __init__(self, websocket: WebSocket, guest: Guest, kind: str) -> None:
        super().__init__(websocket, guest, new_id(kind))
        self.session: Session | None = None
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
        """The client begins the conversation, by a message."""

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
        engine = self.server.engine(model)
        session = Session(engine, self._hear_moment)
        try:
            await session.open()
        except EngineFullError as error:
            raise RealtimeError(str(error), "server_full", type="server_error") from error
        session.set_formats(format, format)
        self.session, self._format = session, format
        log("opened", session=self.id, model=engine.card.name, key=self.guest.key)
        return session

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

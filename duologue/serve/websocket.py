"""`/v1/realtime`: a session of the Realtime API over a WebSocket."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from starlette.websockets import WebSocket

from duologue.serve import beta
from duologue.serve.faults import RealtimeError
from duologue.serve.keys import Guest
from duologue.serve.logs import log
from duologue.serve.realtime import Realtime
from duologue.serve.requests import LOST as LOST_MODEL
from duologue.serve.server import Server
from duologue.serve.sockets import (
    BREATH,
    BROKEN,
    FULL,
    LOST,
    RESUMED,
    ClosingError,
    Comeback,
    Connection,
    admitted,
    refuse,
)
from duologue.systems.engine import EngineFullError
from duologue.systems.rows import Saved


async def realtime(websocket: WebSocket) -> None:
    """One session: `?model=`, and `?resume=sess_…` to go on with one whose connection was lost."""
    if "call_id" in websocket.query_params:
        message = "A call's events go over its own data channel: no second connection can join it."
        await refuse(websocket, 400, "call_id_not_supported", message)
        return
    comeback = Comeback(websocket, Realtime)
    async with admitted(websocket, "realtime", before=comeback.take) as guest:
        if guest is not None:
            await _Client(websocket, guest, comeback.resumed).run()


class _Client(Connection):
    """One client, in the present events or in those of the beta."""

    def __init__(self, websocket: WebSocket, guest: Guest, resumed: tuple[Realtime, Saved] | None) -> None:
        self._saved: Saved | None = None
        server: Server = websocket.app.state.server
        if resumed:
            self.session, self._saved = resumed
        else:
            settings = dict(guest.session or {})
            engine = server.engine(websocket.query_params.get("model") or settings.get("model"))
            self.session = Realtime(engine, server.detector, server.limits, server.metrics, settings)
        super().__init__(websocket, guest, self.session.id)
        self.expires = self.session.expires
        self._beta = beta.is_asked(websocket.headers, websocket.scope.get("subprotocols", []))
        self.session.send = self._tell
        self.session.broken = lambda: self.end(ClosingError(BROKEN, "the conversation failed"))
        address = websocket.client.host if websocket.client else ""
        self.session.place = lambda: server.places.hold(guest.key, address)
        self._let_go: Callable[[], None] = lambda: None

    async def open(self) -> None:
        elsewhere = ClosingError(RESUMED, "resumed on another connection")
        self._let_go = self.server.hold(self.id, self.guest.key, lambda: self.end(elsewhere))
        try:
            await self.session.open(self._saved)
        except EngineFullError as error:
            told = RealtimeError(str(error), "server_full", type="server_error")
            raise ClosingError(FULL, "no free slot; try again later", told) from error
        except LOST_MODEL as error:
            log("failed", error)
            message = "The model is not there at the moment; try again later."
            told = RealtimeError(message, "model_unavailable", type="server_error")
            raise ClosingError(BROKEN, "the model is not there", told) from error
        resumed, self._saved = self._saved is not None, None
        log("opened", session=self.id, model=self.session.config.model, key=self.guest.key, resumed=resumed)

    async def take(self, message: dict[str, Any]) -> None:
        if not await self.session.handle(beta.present(message) if self._beta else message):
            await asyncio.sleep(BREATH)

    def fail(self, error: RealtimeError, message: dict[str, Any]) -> None:
        self.session.fail(error)

    def depart(self, closing: ClosingError) -> None:
        if closing.told is not None:
            self.session.fail(closing.told)

    async def release(self, code: int) -> None:
        """A conversation whose connection was lost is kept for a while, and one that found no slot to go on in."""
        server, key = self.server, self.guest.key
        keep = server.limits.resume > 0 and not server.closing.is_set()
        try:
            if keep and self.session.parkable and code in (*LOST, RESUMED):
                await server.park(self.session, key)
            elif keep and not self.session.parkable and self._saved is not None:
                server.keep(self.session, self._saved, key)
            else:
                await self.session.close()
        finally:
            self.websocket.state.place.close()  # for whoever waits to take it over
            self._let_go()

    def _tell(self, event: dict[str, Any]) -> None:
        told = beta.earlier(event) if self._beta else event
        if told is not None:
            self.send(told)

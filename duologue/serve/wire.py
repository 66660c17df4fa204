"""uvicorn's protocols, with more patience for who is alive and less for who sends or takes nothing."""

from __future__ import annotations

import asyncio

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

TAKE = 15.0  # seconds that a client has for the last bytes; uvicorn waits for 10 until it says goodbye, too
ARRIVE = 15.0  # seconds that the head of a request may take, and what is missing of its body may be silent


class PunctualProtocol(H11Protocol):
    """HTTP in which a connection that does not say what it wants is closed.

    uvicorn waits for ever for a request's head and body, and anybody may connect. Of a WebSocket this is the handshake.
    """

    _late: asyncio.TimerHandle | None = None
    _upgraded = False  # what comes is a WebSocket's

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request."""
        super().connection_made(transport)
        self._await()

    def data_received(self, data: bytes) -> None:
        """Take bytes of the client, and wait for those that its request still lacks."""
        super().data_received(data)
        if self._upgraded or self.conn.their_state is not h11.IDLE:  # where it is, no drop of a head brings more time
            self._stop_waiting()
        if not self._upgraded and self.conn.their_state in (h11.IDLE, h11.SEND_BODY):
            self._await()

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """Give the connection to the WebSocket."""
        self._upgraded = True
        super().handle_websocket_upgrade(event)

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._stop_waiting()
        super().connection_lost(exc)

    def _await(self) -> None:
        self._late = self._late or self.loop.call_later(ARRIVE, self._give_up)

    def _stop_waiting(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _give_up(self) -> None:
        self._late = None
        if self.flow.read_paused:  # it is the server that does not read
            self._await()
        else:
            self.transport.close()


class PatientProtocol(WebSocketsSansIOProtocol):
    """A connection under the server's limits.

    uvicorn pings, and takes a peer for dead whose answer it has not read in time. On a busy machine that answer waits
    behind the client's own sound, and healthy clients would be sent away with 1011. Here everything that comes is a
    sign of life, and whoever is not being read cannot give one.
    """

    _heard = False  # anything since the last ping

    def data_received(self, data: bytes) -> None:
        """Take bytes of the client."""
        self._heard = True
        super().data_received(data)

    def send_keepalive_ping(self) -> None:
        """Ask for a sign of life."""
        self._heard = False
        super().send_keepalive_ping()

    def keepalive_timeout(self) -> None:
        """Close the connection to a client that gave no sign of life, though it was listened to."""
        if not (self._heard or self.read_paused):
            super().keepalive_timeout()
            self._give_up()
            return
        self.pong_timer = self.pending_ping_payload = None
        self.schedule_ping()

    async def run_asgi(self) -> None:
        """Serve the client; its connection is gone afterwards, also where it takes nothing of what is on its way."""
        await super().run_asgi()
        self._give_up()

    def _give_up(self) -> None:
        """Wait a little for what is on its way, and no longer."""
        self.loop.call_later(TAKE, self.transport.abort)

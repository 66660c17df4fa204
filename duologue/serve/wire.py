"""uvicorn's WebSockets, with more patience for who is alive and less for who takes nothing."""

from __future__ import annotations

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

TAKE = 15.0  # seconds that a client has for the last bytes; uvicorn waits for 10 until it says goodbye, too


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

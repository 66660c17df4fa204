"""Running the application on a port until it is told to stop, and then letting its sessions end."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from types import FrameType

import uvicorn

from duologue.errors import ModelError
from duologue.serve.app import make_app
from duologue.serve.keys import LOOPBACK
from duologue.serve.server import Server
from duologue.serve.wire import PatientProtocol, PunctualProtocol
from duologue.systems.punctual import settle

LOOK = 1.0  # seconds between looks at whether there still is a model


class Runner(uvicorn.Server):
    """A uvicorn that drains: the first SIGTERM or Ctrl-C lets sessions go on for a while, the second does not.

    A server none of whose models lives any more ends with an error, so that whoever runs it can start it again.
    """

    def __init__(self, server: Server, host: str, port: int, origins: list[str] | None = None) -> None:
        super().__init__(
            uvicorn.Config(
                make_app(server, origins),
                host,
                port,
                ws=PatientProtocol,
                ws_max_size=server.limits.message_bytes,
                ws_per_message_deflate=False,  # base64 of sound hardly shrinks, and a bomb of zeros would
                http=PunctualProtocol,
                limit_concurrency=server.limits.connections,
                h11_max_incomplete_event_size=64 << 10,
                timeout_graceful_shutdown=5,
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
            )
        )
        self._server = server
        self._loop: asyncio.AbstractEventLoop
        self._draining: asyncio.Task[None] | None = None

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        self._server.start()
        with suppress(ModelError):  # it is not installed, and who asks for it will be told
            self._server.detector()  # now, for to load it takes as long as a frame
        settle()
        watching = asyncio.ensure_future(self._watch())
        try:
            await super().serve(sockets)
        finally:
            watching.cancel()
            await asyncio.to_thread(self._server.stop)
        if watching.done() and not watching.cancelled():
            raise ModelError(f"the processes of all models have ended ({', '.join(self._server.engines)}); start again")

    async def _watch(self) -> None:
        while any(engine.alive for engine in self._server.engines.values()):
            await asyncio.sleep(LOOK)
        await self._drain()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._loop.call_soon_threadsafe(self.end)

    def end(self) -> None:
        """Drain, then stop; at once where this is called again."""
        if self._draining is not None:
            self._server.closing.set()
        else:
            self._draining = asyncio.ensure_future(self._drain())

    async def _drain(self) -> None:
        await self._server.drain()
        self.should_exit = True


def is_public(host: str) -> bool:
    """Whether others than this machine can reach a server that binds to this address."""
    return host not in LOOPBACK and not host.startswith("127.")

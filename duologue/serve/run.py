"""Running the application on a port until it is told to stop, and then letting its sessions end."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress
from types import FrameType

import uvicorn
from starlette.applications import Starlette
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket

from duologue.errors import ModelError
from duologue.serve import requests, sockets
from duologue.serve.app import WATCHED, make_app
from duologue.serve.keys import is_loopback
from duologue.serve.server import Server
from duologue.serve.wire import PatientProtocol, PunctualProtocol
from duologue.systems.punctual import settle

LOOK = 1.0  # seconds between looks at whether there still is a model
HARD = 2  # times `message_bytes`: what is longer is not even read, and has no answer but a close with 1009


class Runner(uvicorn.Server):
    """A uvicorn that drains: the first SIGTERM or Ctrl-C lets sessions go on for a while, the second does not.

    A server none of whose models lives any more ends with an error, so that whoever runs it can start it again.
    """

    def __init__(self, server: Server, host: str, port: int, origins: list[str] | None = None) -> None:
        server.keys.private = not is_public(host)
        super().__init__(
            uvicorn.Config(
                _Bounded(make_app(server, origins), server, lambda: len(self.server_state.connections)),
                host,
                port,
                ws=PatientProtocol,
                ws_max_size=HARD * server.limits.message_bytes,
                ws_per_message_deflate=False,  # base64 of sound hardly shrinks, and a bomb of zeros would
                http=PunctualProtocol,
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


class _Bounded:
    """An application that takes no more once there are as many connections as may be, but for those who watch it.

    uvicorn's own bound answers in plain text, also them, and counts nothing.
    """

    def __init__(self, app: Starlette, server: Server, connections: Callable[[], int]) -> None:
        self._app, self._server, self._connections = app, server, connections

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        most = self._server.limits.connections
        if scope["path"] in WATCHED or self._connections() <= most:
            await self._app(scope, receive, send)
            return
        code, message = "too_many_connections", f"There are {most} connections, the most that may be; try again later."
        if scope["type"] == "websocket":
            await sockets.refuse(WebSocket({**scope, "app": self._app}, receive, send), 503, code, message)
        else:
            answer = requests.refuse(self._server, 503, code, message)
            answer.headers["Connection"] = "close"
            await answer(scope, receive, send)


def is_public(host: str) -> bool:
    """Whether others than this machine can reach a server that binds to this address."""
    return not is_loopback(host)

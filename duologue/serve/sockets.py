"""WebSockets under the server's limits: who is let in, what is read, and how much may wait for a slow client.

A protocol is a `Connection`; its endpoint runs one for whoever is `admitted`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from starlette.responses import JSONResponse
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from duologue.serve.faults import RealtimeError
from duologue.serve.keys import PROTOCOL, Guest, why_unknown
from duologue.serve.limits import LimitError
from duologue.serve.logs import log
from duologue.serve.parsing import read_message
from duologue.serve.server import Server

AWAY, UNSUPPORTED, POLICY, BROKEN, RESTART, FULL = 1001, 1003, 1008, 1011, 1012, 1013
LOST = (1005, 1006)  # the connection ended without a code that says why
BREATH = 0.05  # seconds that are not read from a client that was refused a message


class ClosingError(Exception):
    """The server ends a connection, with this close code and reason; `told` to clients that know errors."""

    def __init__(self, code: int, reason: str, told: RealtimeError | None = None) -> None:
        super().__init__(reason)
        self.code, self.reason, self.told = code, reason, told


class Outbox:
    """Messages on their way to one client, up to a number of bytes; `run` sends them."""

    def __init__(self, websocket: WebSocket, server: Server) -> None:
        self._websocket, self._metrics = websocket, server.metrics
        self._most = server.limits.unsent_bytes
        self._queue: deque[str] = deque()
        self._bytes = 0
        self._filled = asyncio.Event()
        self._overflown = self._closed = False

    def put(self, message: str) -> None:
        if self._overflown or self._closed:
            return
        self._overflown = self._bytes + len(message) > self._most
        self._queue.append(message)
        self._grow(len(message))
        self._filled.set()

    async def run(self) -> None:
        """Send until the connection is lost.

        Raises:
            ClosingError: the client is too slow.
        """
        while True:
            await self._filled.wait()
            self._filled.clear()
            while self._queue:
                if self._overflown:
                    raise ClosingError(POLICY, "you read too slowly")
                message = self._queue.popleft()
                sending = asyncio.ensure_future(self._websocket.send_text(message))
                sending.add_done_callback(_seen)
                while not sending.done():
                    await asyncio.wait({sending}, timeout=1)
                    if self._overflown:
                        sending.cancel()
                        raise ClosingError(POLICY, "you read too slowly")
                await sending
                self._grow(-len(message))

    async def flush(self) -> None:
        """Send what is left, as far as the client takes it at once."""
        with contextlib.suppress(TimeoutError, WebSocketDisconnect, RuntimeError):
            async with asyncio.timeout(1):
                while self._queue and not self._overflown:
                    message = self._queue.popleft()
                    self._grow(-len(message))
                    await self._websocket.send_text(message)

    def close(self) -> None:
        """Drop what waits and whatever may still come: nobody reads it."""
        self._closed = True
        self._queue.clear()
        self._grow(-self._bytes)

    def _grow(self, count: int) -> None:
        self._bytes += count
        self._metrics.unsent.inc(count)


def _seen(sending: asyncio.Future[None]) -> None:
    """That nobody reads any more is told by the reading side; whoever waits for the sending may be gone by then."""
    if not sending.cancelled():
        sending.exception()


async def refuse(websocket: WebSocket, status: int, code: str, message: str) -> None:
    """Answer the handshake with an HTTP error."""
    server: Server = websocket.app.state.server
    server.metrics.refused.labels(code).inc()
    body = {"error": {"type": "invalid_request_error", "code": code, "message": message, "param": None}}
    await websocket.send_denial_response(JSONResponse(body, status))


@asynccontextmanager
async def admitted(websocket: WebSocket, protocol: str, known: Guest | None = None) -> AsyncIterator[Guest | None]:
    """The guest who may open a session of `protocol`, for as long as it lasts; None: refused, and told so.

    `known` is who it is where that was found out otherwise than by a key.
    """
    server: Server = websocket.app.state.server
    offered = websocket.scope.get("subprotocols", [])
    guest = known or server.keys.admit(websocket.headers, offered)
    address = websocket.client.host if websocket.client else ""
    with contextlib.ExitStack() as stack:
        if server.draining.is_set():
            await refuse(websocket, 503, "server_draining", "The server is about to stop; connect again.")
        elif not server.keys.welcomes(websocket.headers):
            await refuse(websocket, 403, "origin_not_allowed", "Pages of this origin may not connect.")
        elif guest is None:
            await refuse(websocket, 401, "invalid_api_key", why_unknown(websocket.headers, offered))
        else:
            try:
                stack.enter_context(server.places.hold(guest.key, address))
            except LimitError as error:
                await refuse(websocket, 429, "rate_limit_exceeded", str(error))
            else:
                task = asyncio.current_task()
                assert task is not None
                server.open.add(task)
                stack.callback(server.open.discard, task)
                server.metrics.opened.labels(protocol).inc()
                stack.enter_context(server.metrics.sessions.labels(protocol).track_inprogress())
                yield guest
                return
        yield None


class Connection(ABC):
    """One client on its WebSocket: `await run()` holds it until one of both ends it, and gives back what it held.

    Attributes:
        id: what it is called in the logs.
        expires: when it has lasted as long as it may, by the wall clock.
    """

    def __init__(self, websocket: WebSocket, guest: Guest, id: str) -> None:
        self.websocket, self.guest, self.id = websocket, guest, id
        self.server: Server = websocket.app.state.server
        self.outbox = Outbox(websocket, self.server)
        self.expires = time.time() + self.server.limits.session
        offered = websocket.scope.get("subprotocols", [])
        self._subprotocol = PROTOCOL if PROTOCOL in offered else None
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @abstractmethod
    async def open(self) -> None:
        """What is done before anything is read.

        Raises:
            ClosingError: the connection cannot be had.
        """

    @abstractmethod
    async def take(self, message: dict[str, Any]) -> None:
        """Do what a message asks for.

        Raises:
            RealtimeError: something is wrong with it; the client is told by `fail` and goes on.
            ClosingError: it ends the connection.
        """

    @abstractmethod
    def fail(self, error: RealtimeError, message: dict[str, Any]) -> None:
        """Tell the client what is wrong with its message; it is empty where it could not be read.

        Raises:
            ClosingError: the protocol has no words for it, and the connection ends.
        """

    @abstractmethod
    def depart(self, closing: ClosingError) -> None:
        """Last words before the server closes the connection."""

    @abstractmethod
    async def release(self, code: int) -> None:
        """Give back what is held; the connection ended with this code."""

    def send(self, message: dict[str, Any]) -> None:
        self.outbox.put(json.dumps(message))

    def end(self, closing: ClosingError) -> None:
        """Let the connection end."""
        if not self._ended.done():
            self._ended.set_exception(closing)

    async def run(self) -> None:
        await self.websocket.accept(self._subprotocol)
        began, code, closing = time.monotonic(), LOST[-1], None
        try:
            await self.open()
            await self._talk()
        except ClosingError as error:
            code, closing = error.code, error
        except WebSocketDisconnect as error:
            code = error.code
        except Exception as error:
            code, closing = BROKEN, ClosingError(BROKEN, "the server failed")
            log("failed", error)
        finally:
            await self._hang_up(code, closing)
            self.server.metrics.closed.labels(str(code)).inc()
            log("closed", session=self.id, code=code, seconds=round(time.monotonic() - began, 2))

    async def _talk(self) -> None:
        """Read and write until one of them, the clock or the server makes an end."""
        ends: list[Coroutine[Any, Any, None]] = [self._read(), self.outbox.run(), self._closing(), self._ending()]
        tasks = [asyncio.ensure_future(end) for end in ends]
        try:
            left = max(0, self.expires - time.time())
            done, _ = await asyncio.wait(tasks, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            if not done:
                message = f"Your session hit the maximum duration of {self.server.limits.session / 60:g} minutes."
                raise ClosingError(AWAY, "session expired", RealtimeError(message, "session_expired"))
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _read(self) -> None:
        idle = self.server.limits.idle
        while True:
            try:
                async with asyncio.timeout(idle):
                    received = await self.websocket.receive()
            except TimeoutError:
                told = RealtimeError(f"Nothing was sent for {idle:g} s.", "idle_timeout")
                raise ClosingError(AWAY, "idle", told) from None
            if received["type"] == "websocket.disconnect":
                raise WebSocketDisconnect(received.get("code") or LOST[-1])
            message: dict[str, Any] = {}
            try:
                message = read_message(received.get("text"), self.server.limits)
                await self.take(message)
            except RealtimeError as error:
                self.fail(error, message)
                await asyncio.sleep(BREATH)

    async def _closing(self) -> None:
        await self.server.closing.wait()
        raise ClosingError(RESTART, "the server is about to stop")

    async def _ending(self) -> None:
        await self._ended

    async def _hang_up(self, code: int, closing: ClosingError | None) -> None:
        """Say goodbye where anybody listens, and give back what is held."""
        self._ended.cancel()
        if closing is not None:
            self.depart(closing)
            await self.outbox.flush()
        self.outbox.close()
        await self.release(code)
        if closing is not None and self.websocket.application_state is WebSocketState.CONNECTED:
            with contextlib.suppress(RuntimeError, WebSocketDisconnect):
                await self.websocket.close(code, closing.reason)

"""WebSockets under the server's limits: who is let in, what is read, and how much may wait for a slow client.

A protocol is a `Connection`; its endpoint runs one for whoever is `admitted`.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Generic, TypeVar

from starlette.responses import JSONResponse
from starlette.websockets import WebSocket, WebSocketDisconnect

from duologue.serve.faults import RealtimeError, over_limit
from duologue.serve.keys import PROTOCOL, Guest, why_unknown
from duologue.serve.limits import LimitError
from duologue.serve.logs import log
from duologue.serve.parsing import read_message
from duologue.serve.server import Resumable, Server
from duologue.systems.rows import Saved

R = TypeVar("R", bound=Resumable)

AWAY, UNSUPPORTED, POLICY, BROKEN, RESTART, FULL = 1001, 1003, 1008, 1011, 1012, 1013
LOST = (1005, 1006)  # the connection ended without a code that says why
RESUMED = 4000  # its client goes on with the conversation on another
CODES = frozenset({1000, AWAY, 1002, UNSUPPORTED, *LOST, 1007, POLICY, 1009, 1010, BROKEN, RESTART, FULL, RESUMED})
"""What is counted by its number: a client may close with thousands of others."""
BREATH = 0.05  # seconds that are not read from a client that was refused a message
AT_ONCE = 1.0  # seconds within which a client that is sent away may take its last messages
AT_A_TURN = 8  # messages that are sent before others have their turn: a frame of a reply has a few
TOLD = 1.0  # seconds that the end of a connection takes at most to show on its reading side


class ClosingError(Exception):
    """The server ends a connection, with this close code and reason; `told` to clients that know errors."""

    def __init__(self, code: int, reason: str, told: RealtimeError | None = None) -> None:
        super().__init__(reason)
        self.code, self.reason, self.told = code, reason, told


class Outbox:
    """Messages on their way to one client, up to a number of bytes.

    Nothing else writes to an open connection, so that nothing is written after its end, whoever made it: the server
    (`shut`, `close`), the client, or uvicorn, which closes by itself where bytes are no WebSocket's or a peer is dead.
    """

    def __init__(self, websocket: WebSocket, server: Server, overflow: Callable[[], None]) -> None:
        """`overflow` is called once, when more waits than may."""
        self._websocket, self._metrics, self._overflow = websocket, server.metrics, overflow
        self._most = server.limits.unsent_bytes
        self._queue: deque[str] = deque()
        self._bytes = 0
        self._filled = asyncio.Event()
        self._shut = self._gone = False

    def put(self, message: str) -> None:
        if self._shut:
            return
        if self._bytes + len(message) > self._most:
            self.shut()
            self._overflow()
            return
        self._queue.append(message)
        self._grow(len(message))
        self._filled.set()

    async def run(self) -> None:
        """Send until nobody is there any more.

        Raises:
            WebSocketDisconnect: so it is, and the reading side, which is told why, was not told within `TOLD`.
        """
        while not self._gone:
            await self._filled.wait()
            self._filled.clear()
            await self._send()
        await asyncio.sleep(TOLD)
        raise WebSocketDisconnect(LOST[-1])

    async def flush(self) -> None:
        """Send what is left, as far as the client takes it at once."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(AT_ONCE):
                await self._send()

    def shut(self) -> None:
        """Drop what waits and whatever may still come: nobody reads it."""
        self._shut = True
        self._queue.clear()
        self._grow(-self._bytes)

    async def close(self, code: int, reason: str) -> None:
        """End the connection, once it is shut; a client that does not take that at once is not waited for."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(AT_ONCE):
                await self._write(self._websocket.close(code, reason))

    async def _send(self) -> None:
        for count in itertools.count(1):
            if not self._queue or self._gone:
                return
            message = self._queue[0]
            await self._write(self._websocket.send_text(message))
            if self._queue:  # it was not shut meanwhile
                self._queue.popleft()
                self._grow(-len(message))
            if count % AT_A_TURN == 0:
                await asyncio.sleep(0)  # or the loop could not tell that the connection is lost before all is written

    async def _write(self, writing: Coroutine[Any, Any, None]) -> None:
        try:
            await writing
        except (WebSocketDisconnect, RuntimeError):  # the latter: uvicorn has closed it, and says so in no other way
            self._gone = True

    def _grow(self, count: int) -> None:
        self._bytes += count
        self._metrics.unsent.inc(count)


async def refuse(websocket: WebSocket, status: int, code: str, message: str) -> None:
    """Answer the handshake with an HTTP error."""
    server: Server = websocket.app.state.server
    server.metrics.refused.labels(code).inc()
    body = {"error": {"type": "invalid_request_error", "code": code, "message": message, "param": None}}
    await websocket.send_denial_response(JSONResponse(body, status))


@asynccontextmanager
async def admitted(
    websocket: WebSocket,
    protocol: str,
    known: Guest | None = None,
    before: Callable[[Guest], Awaitable[Callable[[], None]]] | None = None,
) -> AsyncIterator[Guest | None]:
    """The guest who may open a session of `protocol`, for as long as it lasts; None: refused, and told so.

    `known` is who it is where that was found out otherwise than by a key. `before` is awaited before a place is taken,
    and what it returns is called where there is none. The place is held until `websocket.state.place` is closed, or
    the session is over.
    """
    server: Server = websocket.app.state.server
    offered = websocket.scope.get("subprotocols", [])
    guest = known or server.keys.admit(websocket.headers, offered)
    address = websocket.client.host if websocket.client else ""
    with contextlib.ExitStack() as stack:
        try:
            server.traffic.count(guest.key if guest else None, address)
        except LimitError as error:
            await refuse(websocket, 429, "rate_limit_exceeded", str(error))
            yield None
            return
        if server.draining.is_set():
            await refuse(websocket, 503, "server_draining", "The server is about to stop; connect again.")
        elif not server.keys.welcomes(websocket.headers):
            await refuse(websocket, 403, "origin_not_allowed", "Pages of this origin may not connect.")
        elif guest is None:
            await refuse(websocket, 401, "invalid_api_key", why_unknown(websocket.headers, offered))
        else:
            give_back = await before(guest) if before is not None else None
            place = websocket.state.place = stack.enter_context(contextlib.ExitStack())
            try:
                place.enter_context(server.places.hold(guest.key, address))
            except LimitError as error:
                if give_back is not None:
                    give_back()
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


class Comeback(Generic[R]):
    """What of a `kind` a client comes back to by `?resume=`, if it does: `take` is for `admitted` to await before.

    It is taken before the client has a place: the connection that it lost holds one until then.
    """

    def __init__(self, websocket: WebSocket, kind: type[R]) -> None:
        self.resumed: tuple[R, Saved] | None = None
        self._server: Server = websocket.app.state.server
        self._kind, self._id = kind, websocket.query_params.get("resume", "")

    async def take(self, guest: Guest) -> Callable[[], None]:
        """For `guest`; what is returned puts it back, where there is no place."""
        self.resumed = await self._server.resume_as(self._kind, self._id, guest.key)

        def keep() -> None:
            if self.resumed is not None:
                self._server.keep(*self.resumed, guest.key)

        return keep


class Connection(ABC):
    """One client on its WebSocket: `await run()` holds it until one of both ends it, and gives back what it held.

    Attributes:
        id: what it is called in the logs.
        expires: when it has lasted as long as it may, by the wall clock.
    """

    def __init__(self, websocket: WebSocket, guest: Guest, id: str) -> None:
        self.websocket, self.guest, self.id = websocket, guest, id
        self.server: Server = websocket.app.state.server
        self.outbox = Outbox(websocket, self.server, lambda: self.end(ClosingError(POLICY, "you read too slowly")))
        self.expires = time.time() + self.server.limits.session
        offered = websocket.scope.get("subprotocols", [])
        self._subprotocol = PROTOCOL if PROTOCOL in offered else None
        self._end: ClosingError | None = None
        self._ended = asyncio.Event()

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
        self._end = self._end or closing
        self._ended.set()

    async def run(self) -> None:
        began, code, closing = time.monotonic(), LOST[-1], None
        try:
            await self.websocket.accept(self._subprotocol)  # whoever is gone already leaves what is held to `release`
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
            self.server.metrics.closed.labels(str(code) if code in CODES else "other").inc()
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
                text = received.get("text")
                self._count(len(text or received.get("bytes") or ""))
                message = read_message(text, self.server.limits)
                await self.take(message)
            except RealtimeError as error:
                self.fail(error, message)
                if error.blamed:
                    await asyncio.sleep(BREATH)
            await asyncio.sleep(0)  # or all that one client sent at once would be read before another's first

    def _count(self, size: int) -> None:
        client = self.websocket.client
        try:
            self.server.traffic.count(self.guest.key, client.host if client else "", size)
        except LimitError as error:
            raise over_limit(error) from None

    async def _closing(self) -> None:
        await self.server.closing.wait()
        raise ClosingError(RESTART, "the server is about to stop")

    async def _ending(self) -> None:
        await self._ended.wait()
        assert self._end is not None
        raise self._end

    async def _hang_up(self, code: int, closing: ClosingError | None) -> None:
        """Say goodbye where anybody listens, and give back what is held."""
        if closing is not None:
            self.depart(closing)
            await self.outbox.flush()
        self.outbox.shut()
        # A client that heard nothing after its own ping gives up with 1011: to it, the connection is lost.
        await self.release(LOST[-1] if closing is None and code == BROKEN else code)
        if closing is not None:
            await self.outbox.close(code, closing.reason)

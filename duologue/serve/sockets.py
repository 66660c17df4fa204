"""WebSockets under the server's limits: who is let in, what is read, and how much may wait for a slow client.

Every protocol over WebSocket uses `admitted` and `Outbox`; `realtime` is the endpoint of the Realtime API.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from starlette.responses import JSONResponse
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from duologue.serve import beta
from duologue.serve.events import RealtimeError
from duologue.serve.keys import PROTOCOL, Guest
from duologue.serve.limits import LimitError, depth_of
from duologue.serve.logs import log
from duologue.serve.realtime import Realtime
from duologue.serve.server import Server
from duologue.systems.engine import EngineFullError

AWAY, UNSUPPORTED, POLICY, BROKEN, RESTART, FULL = 1001, 1003, 1008, 1011, 1012, 1013
LOST = (1005, 1006)  # the connection ended without a code that says why
BREATH = 0.05  # seconds that are not read from a client that was refused a message


class ClosingError(Exception):
    """The server ends a connection, with this close code and reason."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code, self.reason = code, reason


class Outbox:
    """Messages on their way to one client, up to a number of bytes; `run` sends them."""

    def __init__(self, websocket: WebSocket, server: Server) -> None:
        self._websocket, self._metrics = websocket, server.metrics
        self._most = server.limits.unsent_bytes
        self._queue: deque[str] = deque()
        self._bytes = 0
        self._filled = asyncio.Event()
        self._overflown = False

    def put(self, message: str) -> None:
        if self._overflown:
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

    def clear(self) -> None:
        self._queue.clear()
        self._grow(-self._bytes)

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
            await refuse(websocket, 401, "invalid_api_key", "Incorrect API key provided.")
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


async def realtime(websocket: WebSocket) -> None:
    """`/v1/realtime`: `?model=`, and `?resume=sess_…` to go on with a session whose connection was lost."""
    async with admitted(websocket, "realtime") as guest:
        if guest is not None:
            await _Connection(websocket, guest).run()


class _Connection:
    """One client of the Realtime API on its WebSocket."""

    def __init__(self, websocket: WebSocket, guest: Guest) -> None:
        self.websocket, self.guest = websocket, guest
        self.server: Server = websocket.app.state.server
        self.outbox = Outbox(websocket, self.server)
        offered = websocket.scope.get("subprotocols", [])
        self.beta = beta.is_asked(websocket.headers, offered)
        self.subprotocol = PROTOCOL if PROTOCOL in offered else None

    async def run(self) -> None:
        await self.websocket.accept(self.subprotocol)
        begin, code, reason, session = time.monotonic(), LOST[-1], "", None
        try:
            session = await self._open()
            await self._talk(session)
        except ClosingError as error:
            code, reason = error.code, error.reason
        except WebSocketDisconnect as error:
            code = error.code
        except Exception as error:
            code, reason = BROKEN, "the server failed"
            log("failed", error)
        finally:
            await self._end(session, code, reason)
            self.server.metrics.closed.labels(str(code)).inc()
            log("closed", session=session and session.id, code=code, seconds=round(time.monotonic() - begin, 2))

    async def _open(self) -> Realtime:
        query, server = self.websocket.query_params, self.server
        resumed = server.resume(query["resume"], self.guest) if "resume" in query else None
        if resumed:
            session, saved = resumed
        else:
            engine = server.engine(query.get("model"))
            settings = dict(self.guest.session or {})
            session, saved = Realtime(engine, server.detector, server.limits, server.metrics, settings), None
        session.send = self._send
        try:
            await session.open(saved)
        except EngineFullError as error:
            session.fail(RealtimeError(str(error), "server_full", type="server_error"))
            await self.outbox.flush()
            raise ClosingError(FULL, "no free slot; try again later") from error
        log("opened", session=session.id, model=session.config.model, key=self.guest.key, resumed=bool(resumed))
        return session

    async def _talk(self, session: Realtime) -> None:
        """Read and write until one of them, the clock or the server makes an end."""
        left = session.expires - time.time()
        tasks = [
            asyncio.ensure_future(self._read(session)),
            asyncio.ensure_future(self.outbox.run()),
            asyncio.ensure_future(self._broken(session)),
            asyncio.ensure_future(self._closing()),
        ]
        try:
            done, _ = await asyncio.wait(tasks, timeout=max(0, left), return_when=asyncio.FIRST_COMPLETED)
            if not done:
                minutes = self.server.limits.session / 60
                message = f"Your session hit the maximum duration of {minutes:g} minutes."
                session.fail(RealtimeError(message, "session_expired"))
                raise ClosingError(AWAY, "session expired")
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _read(self, session: Realtime) -> None:
        idle = self.server.limits.idle
        while True:
            try:
                async with asyncio.timeout(idle):
                    received = await self.websocket.receive()
            except TimeoutError:
                session.fail(RealtimeError(f"Nothing was sent for {idle:g} s.", "idle_timeout"))
                raise ClosingError(AWAY, "idle") from None
            if received["type"] == "websocket.disconnect":
                raise WebSocketDisconnect(received.get("code") or LOST[-1])
            try:
                message = self._parse(received)
            except RealtimeError as error:
                session.fail(error)
                await asyncio.sleep(BREATH)
                continue
            if not await session.handle(message):
                await asyncio.sleep(BREATH)

    def _parse(self, received: Any) -> dict[str, Any]:
        if received.get("text") is None:
            raise RealtimeError("Messages are JSON texts, not bytes.", "invalid_message")
        try:
            message = json.loads(received["text"])
        except (ValueError, RecursionError):
            raise RealtimeError("The message is not JSON.", "invalid_json") from None
        if not isinstance(message, dict):
            raise RealtimeError("The message is no JSON object.", "invalid_json")
        if depth_of(message) > self.server.limits.depth:
            raise RealtimeError(f"JSON is nested deeper than {self.server.limits.depth}.", "invalid_json")
        return beta.present(message) if self.beta else message

    def _send(self, event: dict[str, Any]) -> None:
        told = beta.earlier(event) if self.beta else event
        if told is not None:
            self.outbox.put(json.dumps(told))

    async def _broken(self, session: Realtime) -> None:
        await session.broken.wait()
        raise ClosingError(BROKEN, "the conversation failed")

    async def _closing(self) -> None:
        await self.server.closing.wait()
        raise ClosingError(RESTART, "the server is about to stop")

    async def _end(self, session: Realtime | None, code: int, reason: str) -> None:
        """Give back what is held; a conversation whose connection was lost is kept for a while."""
        if reason:
            await self.outbox.flush()
        self.outbox.clear()
        if session is not None:
            if code in LOST and self.server.limits.resume and not self.server.closing.is_set():
                self.server.park(session, await session.park(), self.guest)
            else:
                await session.close()
        if reason and self.websocket.application_state is WebSocketState.CONNECTED:
            with contextlib.suppress(RuntimeError, WebSocketDisconnect):
                await self.websocket.close(code, reason)

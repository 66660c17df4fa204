"""One client on its WebSocket, for protocols whose session is a conversation and nothing else.

A `Line` reads messages under the server's limits, hands them to its protocol, and makes an end of it whatever happens.
Protocols are subclasses: they say what a message means, what is told of a conversation, and how to say goodbye.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from abc import ABC, abstractmethod
from collections.abc import Coroutine
from typing import Any

import numpy as np
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from duologue.serve.events import RealtimeError
from duologue.serve.items import new_id
from duologue.serve.keys import Guest
from duologue.serve.limits import Bucket, depth_of
from duologue.serve.logs import log
from duologue.serve.parsing import sound_of
from duologue.serve.server import Server
from duologue.serve.session import Broken, Moment, ReplySound, Session
from duologue.serve.sockets import AWAY, BREATH, BROKEN, FULL, LOST, RESTART, ClosingError, Outbox
from duologue.serve.sound import Format
from duologue.systems.engine import EngineFullError


class Line(ABC):
    """`await run()` holds the line until one of both ends it.

    Attributes:
        session: the conversation, once the client has begun it.
    """

    def __init__(self, websocket: WebSocket, guest: Guest, kind: str) -> None:
        self.websocket, self.guest = websocket, guest
        self.server: Server = websocket.app.state.server
        self.id = new_id(kind)
        self.outbox = Outbox(websocket, self.server)
        self.session: Session | None = None
        self.expires = time.time() + self.server.limits.session
        limits = self.server.limits
        self.subprotocol: str | None = None
        self._messages = Bucket(limits.messages_per_second, limits.messages_at_once)
        self._audio = Bucket(limits.audio_rate, limits.audio_at_once)
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @abstractmethod
    async def take(self, message: dict[str, Any]) -> None:
        """Do what a message asks for.

        Raises:
            RealtimeError: something is wrong with it; the client is told by `fail` and goes on.
            ClosingError: it ends the line.
        """

    @abstractmethod
    def follow(self, moment: Moment) -> None:
        """Tell the client what happens in the conversation."""

    @abstractmethod
    def fail(self, error: RealtimeError, message: dict[str, Any]) -> None:
        """Tell the client what is wrong with its message; it is empty where it could not be read.

        Raises:
            ClosingError: the protocol has no words for it, and the line ends.
        """

    @abstractmethod
    def depart(self, code: int) -> None:
        """Last words before the connection is closed with this code."""

    async def begin(self, model: str | None, format: Format) -> Session:
        """Open the conversation, in one format both ways.

        Raises:
            RealtimeError: no slot is free.
        """
        engine = self.server.engine(model)
        session = Session(engine, self._hear_moment)
        opening = asyncio.ensure_future(session.open())
        try:
            await asyncio.shield(opening)
        except EngineFullError as error:
            raise RealtimeError(str(error), "server_full", type="server_error") from error
        except asyncio.CancelledError:  # the line ended meanwhile; the slot that is being taken must come back
            await opening
            await session.close()
            raise
        session.set_formats(format, format)
        self.session, self._format = session, format
        log("opened", session=self.id, model=engine.card.name, key=self.guest.key)
        return session

    def hear(self, audio: str, param: str, silent: bool = False) -> None:
        """Sound of the client in base64; with `silent` only its length counts.

        Raises:
            RealtimeError: it is no base64, or more than may come.
        """
        assert self.session is not None
        data, limits = sound_of(audio, param), self.server.limits
        if not self._audio.take(self._format.seconds(data)):
            message = f"Audio comes faster than {limits.audio_rate:g} times real time; it was dropped."
            raise RealtimeError(message, "rate_limit_exceeded", param, "rate_limit_error")
        if silent:
            data = self._format.encode(np.zeros(len(data) // self._format.width, np.float32))
        if not self.session.hear(data):
            message = f"More than {limits.buffer:g} s of audio wait to be heard; what came now was dropped."
            raise RealtimeError(message, "input_audio_buffer_full", param)

    def send(self, message: dict[str, Any]) -> None:
        self.outbox.put(json.dumps(message))

    def _hear_moment(self, moment: Moment) -> None:
        if isinstance(moment, ReplySound):
            self.server.metrics.added.observe(moment.waited)
        self.follow(moment)
        if isinstance(moment, Broken) and not self._ended.done():
            self._ended.set_exception(ClosingError(BROKEN, "the conversation failed"))

    async def run(self) -> None:
        await self.websocket.accept(self.subprotocol)
        began, code, reason = time.monotonic(), LOST[-1], ""
        try:
            await self._talk()
        except ClosingError as error:
            code, reason = error.code, error.reason
        except WebSocketDisconnect as error:
            code = error.code
        except Exception as error:
            code, reason = BROKEN, "the server failed"
            log("failed", error)
        finally:
            await self._hang_up(code, reason)
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
                raise ClosingError(AWAY, "session expired")
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _read(self) -> None:
        while True:
            try:
                async with asyncio.timeout(self.server.limits.idle):
                    received = await self.websocket.receive()
            except TimeoutError:
                raise ClosingError(AWAY, "idle") from None
            if received["type"] == "websocket.disconnect":
                raise WebSocketDisconnect(received.get("code") or LOST[-1])
            message: dict[str, Any] = {}
            try:
                if not self._messages.take():
                    raise RealtimeError("Too many messages; slow down.", "rate_limit_exceeded", type="rate_limit_error")
                message = self._parse(received)
                await self.take(message)
            except RealtimeError as error:
                self.server.metrics.errors.labels(error.body["code"]).inc()
                self.fail(error, message)
                if error.body["code"] == "server_full":
                    raise ClosingError(FULL, "no free slot; try again later") from error
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
        return message

    async def _closing(self) -> None:
        await self.server.closing.wait()
        raise ClosingError(RESTART, "the server is about to stop")

    async def _ending(self) -> None:
        await self._ended

    async def _hang_up(self, code: int, reason: str) -> None:
        """Say goodbye where anybody listens, and give back what is held."""
        self._ended.cancel()
        if reason:
            self.depart(code)
            await self.outbox.flush()
        self.outbox.clear()
        if self.session is not None:
            await self.session.close()
        if reason and self.websocket.application_state is WebSocketState.CONNECTED:
            with contextlib.suppress(RuntimeError, WebSocketDisconnect):
                await self.websocket.close(code, reason)

"""What holds on a machine that has too much to do: nobody healthy is sent away, and no end of a connection fails."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from serve.conftest import KEY, run, serving, silence, tone
from serve.test_sockets import answered, append, client, closed, counted, told, vacant
from systems.simple import Beeper, BeeperConversation

from duologue.serve import wire
from duologue.serve.app import make_app
from duologue.serve.faults import RealtimeError
from duologue.serve.keys import Keys
from duologue.serve.limits import Limits
from duologue.serve.parsing import depth_of, read_object
from duologue.serve.server import Server
from duologue.systems.base import Pcm, Reply
from duologue.systems.engine import Engine
from duologue.systems.rows import rows_of

FRAME = 0.08


class _Slow(Beeper):
    """Takes far longer over a frame than the frame lasts."""

    def open(self, seed: int = 0) -> BeeperConversation:
        return _SlowConversation(self.card, *self.times)


class _SlowConversation(BeeperConversation):
    def _answer(self, pcm: Pcm) -> Reply:
        time.sleep(4 * FRAME)
        return super()._answer(pcm)


def test_sound_that_a_slow_server_drops_does_not_keep_the_client_from_being_read() -> None:
    async def test() -> None:
        async with client(served, ping_interval=None, max_queue=None) as websocket:
            for _ in range(600):
                await websocket.send(append(silence(FRAME)))
            async with asyncio.timeout(15):  # each that was refused would hold up the pong by 50 ms
                await (await websocket.ping())
            assert (await told(websocket, "error"))["error"]["code"] == "input_audio_buffer_full"

    with serving(_Slow(), Limits(buffer=0.4, drain=0)) as served:
        run(test)


def test_a_client_that_speaks_is_alive_whether_or_not_its_pongs_are_there() -> None:
    async def test() -> None:
        async with client(served, ping_interval=None) as websocket:
            await told(websocket, "session.created")
            websocket.transport.pause_reading()  # so it sees no ping, and answers none
            for _ in range(50):
                await websocket.send(append(silence(FRAME)))
                await asyncio.sleep(FRAME)
            assert next(iter(served.server.engines.values())).taken == 1
            assert "duologue_sessions_closed_total{" not in await counted(served)
            while "duologue_sessions_closed_total{" not in await counted(served):
                await asyncio.sleep(0.1)  # and one that is silent is not
        await vacant(served)

    with serving(Beeper(), Limits(resume=0, drain=0), ping=1.5) as served:
        run(test)


def test_a_client_that_takes_nothing_loses_its_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "TAKE", 0.2)

    async def test() -> None:
        async with client(served, max_queue=1) as websocket:
            await told(websocket, "session.created")
            websocket.transport.pause_reading()
            update = {"type": "session.update", "session": {"instructions": "x" * 90_000}}
            await websocket.send(json.dumps(update))
            update["session"] = {}
            while 'duologue_sessions_closed_total{code="1008"} 1.0' not in await counted(served):
                with contextlib.suppress(Exception):
                    await websocket.send(json.dumps(update))
                await asyncio.sleep(0.001)
            while not websocket.transport.is_closing():
                websocket.transport.write(b"?")
                await asyncio.sleep(0.02)

    limits = Limits(unsent_bytes=1 << 20, messages_at_once=10_000, resume=0, drain=0)
    with serving(Beeper(), limits) as served:
        run(test)


@pytest.fixture
def server() -> Iterator[Server]:
    """A running server without a port."""
    limits = Limits(drain=0)
    server = Server({"beeper": Engine(rows_of(Beeper(), 1))}, Keys((KEY,), limits), limits)
    server.start()
    yield server
    server.stop()


@pytest.mark.parametrize("code", [1002, 1007, 1011])
def test_what_is_sent_after_uvicorn_has_closed_is_no_failure(
    server: Server, code: int, caplog: pytest.LogCaptureFixture
) -> None:
    """As uvicorn does where bytes are no frames or a peer is dead: it refuses to send, and tells the reader why."""
    scope = {
        "type": "websocket",
        "path": "/v1/realtime",
        "query_string": b"",
        "headers": [(b"authorization", f"Bearer {KEY}".encode())],
        "subprotocols": [],
    }

    async def test() -> None:
        arriving: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        sent: list[str] = []

        async def send(message: dict[str, Any]) -> None:
            if sent and message["type"] == "websocket.send":
                asyncio.get_running_loop().call_later(
                    0.05, arriving.put_nowait, {"type": "websocket.disconnect", "code": code}
                )
                raise RuntimeError("Unexpected ASGI message 'websocket.send', after sending 'websocket.close'.")
            sent.append(message["type"])

        arriving.put_nowait({"type": "websocket.connect"})
        await make_app(server)(scope, arriving.get, send)  # type: ignore[arg-type]
        assert sent == ["websocket.accept"]

    run(test)
    assert server.engines["beeper"].taken == 0
    assert f'duologue_sessions_closed_total{{code="{code}"}} 1.0' in server.metrics.text().decode()
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def test_bytes_that_are_no_websockets_end_a_conversation_without_a_failure(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        async with client(served) as websocket:
            await websocket.send(append(tone(0.3) + silence(0.3)))
            await told(websocket, "response.output_audio.delta")
            websocket.transport.write(b"\xf1" * 200)
            assert await closed(websocket) == 1002
        async with client(served) as websocket:
            await answered(websocket)

    with serving(Beeper(beep=50), Limits(resume=0, drain=0)) as served:
        run(test)
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def test_nothing_that_runs_while_a_deep_message_is_read_lacks_stack(monkeypatch: pytest.MonkeyPatch) -> None:
    """A collection of garbage may come in the middle of a parser, and finalizers are run where it is."""
    failed: list[Any] = []
    monkeypatch.setattr("sys.unraisablehook", failed.append)
    ended = []

    class Finalized:
        def __init__(self) -> None:
            self.cycle = self

        def __del__(self) -> None:
            ended.append(_down(100))

    threshold = gc.get_threshold()
    try:
        for objects in range(500, 1000, 10):  # one a level; the collection comes where so many are new
            gc.collect()
            gc.set_threshold(0)
            Finalized()
            gc.set_threshold(objects)
            with pytest.raises(RealtimeError, match="nested deeper"):
                read_object("[" * 4_000, 24, "The message")
    finally:
        gc.set_threshold(*threshold)
    gc.collect()
    assert not failed and len(ended) == 50


def _down(levels: int) -> int:
    return levels and 1 + _down(levels - 1)


@pytest.mark.parametrize(
    ("value", "depth"),
    [
        (1, 0),
        ([], 1),
        ({"a": [[1], {}]}, 3),
        ({"a": "[[[["}, 1),
        (['\\"[', "]", [{}]], 3),
        ({"[\\": "{\n", "b": [1]}, 2),
    ],
)
def test_depth_is_found_without_reading(value: object, depth: int) -> None:
    assert depth_of(json.dumps(value)) == depth
    assert depth_of(json.dumps(value), depth) <= depth
    assert not depth or depth_of(json.dumps(value), depth - 1) > depth - 1


@pytest.mark.parametrize("bytes_", [b"\xff", b"{", b'"[', b"]]]}", b"{}}", b'{"a": 1]'])
def test_what_is_not_json_is_called_so(bytes_: bytes) -> None:
    with pytest.raises(RealtimeError, match="is not JSON"):
        read_object(bytes_, 24, "The body")


def test_a_server_that_is_behind_says_so_only_while_somebody_talks(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = server.engines["beeper"]
    monkeypatch.setattr(Engine, "lateness", 0.5)
    assert server.ready and not server.behind
    slot = engine.join(lambda heard: None)
    assert server.behind and not server.ready
    slot.leave()
    assert server.ready

"""Real servers on loopback for the tests of the wire, and the clients' side of sound."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import pytest
from systems.simple import Beeper

from benchmarks.serving.loopback import Loopback
from duologue.serve.keys import Keys
from duologue.serve.limits import Limits
from duologue.serve.run import Runner
from duologue.serve.server import Server
from duologue.systems.base import System
from duologue.systems.engine import Engine
from duologue.systems.rows import rows_of

KEY = "test-key"


@dataclass(frozen=True)
class Served(Loopback):
    """A running server: where it is, and what it knows."""

    server: Server
    end: Callable[[], None]


def run(test: Callable[[], Awaitable[None]]) -> None:
    """Run a test of the wire; one that hangs fails after five minutes."""

    async def limited() -> None:
        async with asyncio.timeout(300):
            await test()

    asyncio.run(limited())


@contextmanager
def serving(
    system: System,
    limits: Limits | None = None,
    slots: int = 16,
    keys: tuple[str, ...] = (KEY,),
    port: int = 0,
    ping: float = 20.0,
) -> Iterator[Served]:
    """A server of one system in a thread of its own, as `duologue serve` runs it.

    Of slots there are enough for clients that come while the server still sees to those who left. Every `ping` seconds
    it asks its clients for a sign of life, and waits as long for one.
    """
    limits = limits or Limits(drain=1)
    engine = Engine(rows_of(system, slots), limits.buffer)
    server = Server({system.card.name: engine}, Keys(keys, limits), limits)
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind(("127.0.0.1", port))
    runner = Runner(server, "127.0.0.1", 0)
    runner.config.ws_ping_interval = runner.config.ws_ping_timeout = ping
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_until_complete, args=(runner.serve([listening]),), daemon=True)
    thread.start()
    while not runner.started:
        assert thread.is_alive()

    def end() -> None:
        loop.call_soon_threadsafe(runner.end)

    try:
        yield Served(listening.getsockname()[1], server, end)
    finally:
        if thread.is_alive():
            end()
            loop.call_soon_threadsafe(runner.end)
        thread.join(20)
        assert not thread.is_alive()
        loop.close()


@pytest.fixture(scope="module")
def beeper() -> Iterator[Served]:
    """Serves the beeper: it hears "sound" and answers with 0.4 s of a beep."""
    with serving(Beeper()) as served:
        yield served


def tone(seconds: float, rate: int = 24000, hertz: float = 300) -> bytes:
    """Something to hear, 16-bit PCM."""
    time = np.arange(round(seconds * rate)) / rate
    return (0.3 * 32767 * np.sin(2 * np.pi * hertz * time)).astype("<i2").tobytes()


def silence(seconds: float, rate: int = 24000) -> bytes:
    return bytes(2 * round(seconds * rate))


def pitch(pcm: bytes, rate: int = 24000) -> float:
    """The loudest frequency in 16-bit PCM, in Hz."""
    samples = np.frombuffer(pcm, "<i2").astype(float)
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(np.argmax(spectrum)) * rate / len(samples)

"""The nginx configuration of the documentation, in front of two servers: one address, a way back, nobody refused."""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest
from serve.conftest import KEY, Served, serving
from serve.test_command import free_port
from serve.test_sockets import answered, run, told
from systems.simple import Beeper
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Origin

from duologue.serve.limits import Limits

CONFIGURATION = Path(__file__).parents[2] / "docs" / "nginx.conf"
LIMITS = Limits(drain=5)


@dataclass(frozen=True)
class Front:
    """nginx's port, and the servers behind it."""

    port: int
    behind: tuple[Served, Served]

    def sessions(self) -> list[int]:
        return [len(served.server.open) for served in self.behind]


@pytest.fixture
def front(tmp_path: Path) -> Iterator[Front]:
    nginx = shutil.which("nginx") or shutil.which("/usr/sbin/nginx")
    if nginx is None:
        pytest.skip("nginx is not installed")
    port, text = free_port(), CONFIGURATION.read_text()
    with serving(Beeper(), LIMITS) as first, serving(Beeper(), LIMITS) as second:
        for told, served in (("127.0.0.1:8081", first), ("127.0.0.1:8082", second)):
            assert told in text
            text = text.replace(told, f"127.0.0.1:{served.port}")
        text = re.sub(r"ssl_certificate.*\n", "", text).replace("listen 443 ssl", f"listen 127.0.0.1:{port}")
        folders = "".join(
            f"{name}_temp_path {tmp_path}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        path = tmp_path / "nginx.conf"
        path.write_text(
            f"daemon off; pid {tmp_path}/pid; error_log stderr; events {{}} http {{ access_log off; {folders} {text} }}"
        )
        process = subprocess.Popen([nginx, "-p", str(tmp_path), "-c", str(path)])
        try:
            _wait(port, process)
            yield Front(port, (first, second))
        finally:
            process.terminate()
            process.wait(10)


def _wait(port: int, process: subprocess.Popen[bytes]) -> None:
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
        assert process.poll() is None
        time.sleep(0.05)


@contextlib.asynccontextmanager
async def client(front: Front, query: str) -> AsyncIterator[ClientConnection]:
    headers = {"Authorization": f"Bearer {KEY}"}
    async with connect(f"ws://127.0.0.1:{front.port}/v1/realtime{query}", additional_headers=headers) as websocket:
        yield websocket


def test_conversations_are_spread_and_one_that_was_lost_goes_on(front: Front) -> None:
    async def test() -> None:
        async with contextlib.AsyncExitStack() as stack:
            for index in range(16):  # of six, one time in thirty all went to one server
                websocket = await stack.enter_async_context(client(front, f"?session={index}"))
                await told(websocket, "session.created")
            assert sum(front.sessions()) == 16 and min(front.sessions()) > 0
        for index in range(4):  # on either server
            async with client(front, f"?session={index}") as websocket:
                id = (await told(websocket, "session.created"))["session"]["id"]
                await answered(websocket)
                websocket.transport.abort()
            while any(front.sessions()):
                await asyncio.sleep(0.05)
            async with client(front, f"?session={index}&resume={id}") as websocket:
                assert (await told(websocket, "session.created"))["session"]["id"] == id
                await answered(websocket)

    run(test)


def test_a_server_that_drains_refuses_nobody(front: Front) -> None:
    async def test() -> None:
        front.behind[0].end()
        while not front.behind[0].server.draining.is_set():
            await asyncio.sleep(0.02)
        for index in range(6):
            async with client(front, f"?session={index}") as websocket:
                await told(websocket, "session.created")

    run(test)


def test_pages_of_the_outer_address_are_let_in_and_others_are_not(front: Front) -> None:
    async def test() -> None:
        outer = f"voice.example.org:{front.port}"
        headers = {"Authorization": f"Bearer {KEY}"}

        def come_from(origin: str) -> connect:
            url = f"ws://{outer}/v1/realtime"
            return connect(url, host="127.0.0.1", port=front.port, origin=Origin(origin), additional_headers=headers)

        async with come_from(f"http://{outer}") as websocket:
            await told(websocket, "session.created")
        with pytest.raises(InvalidStatus, match="403"):
            async with come_from("http://evil.example"):
                pass
        async with httpx2.AsyncClient() as http:
            assert "<title>" in (await http.get(f"http://127.0.0.1:{front.port}/")).text

    run(test)

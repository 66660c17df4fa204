"""The application on Ray Serve with two replicas on this machine: spread, sticky, resumed, drained, grown."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest
from serve.conftest import KEY, silence, tone
from serve.test_command import free_port
from serve.test_sockets import append, told
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from duologue.errors import ConfigError
from duologue.serve.keys import Guest
from duologue.serve.limits import Limits
from duologue.serve.replicas import SIGNATURE, Settings, SignedKeys, application
from duologue.serve.twilio import signature

SETTINGS = Settings(model="always-talk", slots=12, least=2, most=2, cpus=0.1, limits=Limits(drain=2))
WAIT = 240  # seconds that a busy machine may take

Deploy = Callable[[Settings | dict[str, Any]], None]


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(WAIT):
            await test()

    asyncio.run(limited())


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """A Ray cluster in small, with Serve's proxy on this port."""
    os.environ |= {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_worker_niceness": "0",
        "RAY_prestart_worker_first_driver": "0",
        "RAY_agent_register_timeout_ms": str(1000 * WAIT),
        "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": str(WAIT),
    }
    ray = pytest.importorskip("ray", reason="no ray: install duologue[ray]")
    from ray import serve

    port = free_port()
    ray.init(num_cpus=2, include_dashboard=False, object_store_memory=80 << 20, log_to_driver=False)
    with contextlib.suppress(TimeoutError):  # a busy machine's proxy is there later
        serve.start(http_options={"host": "127.0.0.1", "port": port})
    yield port
    serve.shutdown()
    ray.shutdown()


@pytest.fixture
def deploy(port: int, monkeypatch: pytest.MonkeyPatch) -> Deploy:
    from ray import serve

    monkeypatch.setenv("DUOLOGUE_API_KEYS", KEY)
    monkeypatch.setenv("DUOLOGUE_TWILIO_TOKEN", "12345")

    def deploy(args: Settings | dict[str, Any]) -> None:
        serve.run(application(args), name="duologue")
        while True:
            with contextlib.suppress(httpx2.HTTPError):
                if httpx2.get(f"http://127.0.0.1:{port}/healthz").status_code == 200:
                    return
            time.sleep(0.5)

    return deploy


@contextlib.asynccontextmanager
async def client(port: int, who: str, query: str = "", key: str = KEY) -> AsyncIterator[ClientConnection]:
    headers = {"Authorization": f"Bearer {key}", "X-Session-Id": who}
    url = f"ws://127.0.0.1:{port}/v1/realtime{query}"
    async with connect(url, additional_headers=headers, open_timeout=WAIT) as websocket:
        yield websocket


async def sessions(port: int, who: str) -> int:
    """How many sessions the replica of this client has."""
    async with httpx2.AsyncClient(timeout=WAIT) as http:
        text = (await http.get(f"http://127.0.0.1:{port}/metrics", headers={"X-Session-Id": who})).text
    lines = [line for line in text.splitlines() if line.startswith("duologue_sessions{")]
    return int(sum(float(line.rpartition(" ")[2]) for line in lines))


@pytest.mark.ray
def test_two_replicas_share_what_comes_and_a_client_finds_its_conversation_again(port: int, deploy: Deploy) -> None:
    deploy(SETTINGS)
    names = [f"client-{index}" for index in range(12)]

    async def test() -> None:
        async with contextlib.AsyncExitStack() as stack:
            for name in names[1:]:
                websocket = await stack.enter_async_context(client(port, name))
                await told(websocket, "session.created")
            loads = {await sessions(port, name) for name in names[1:]}
            assert len(loads) == 2 and min(loads) > 0 and sum(loads) == 11
        async with client(port, names[0]) as websocket:
            id = (await told(websocket, "session.created"))["session"]["id"]
            await websocket.send(append(tone(0.3) + silence(0.1)))
            await told(websocket, "response.output_audio.delta")
            websocket.transport.abort()
        async with client(port, names[0], f"?resume={id}") as websocket:
            assert (await told(websocket, "session.created"))["session"]["id"] == id
        headers = {"Authorization": f"Bearer {KEY}"}
        async with httpx2.AsyncClient(timeout=WAIT) as http:
            body = {"session": {"type": "realtime", "instructions": "from the secret"}}
            url = f"http://127.0.0.1:{port}/v1/realtime/client_secrets"
            secret = (await http.post(url, json=body, headers=headers)).json()["value"]
        for name in names[:6]:  # whichever replica it is
            async with client(port, name, key=secret) as websocket:
                assert (await told(websocket, "session.created"))["session"]["instructions"] == "from the secret"

    run(test)


@pytest.mark.ray
def test_a_replica_that_has_to_go_ends_its_sessions_with_a_reason(port: int, deploy: Deploy) -> None:
    from ray import serve

    deploy(SETTINGS)

    async def test() -> None:
        async with client(port, "a") as websocket:
            await told(websocket, "session.created")
            gone = asyncio.create_task(asyncio.to_thread(serve.delete, "duologue"))
            begin = time.monotonic()
            with contextlib.suppress(ConnectionClosed):
                while True:
                    await websocket.recv()
            assert websocket.close_code == 1012
            assert time.monotonic() - begin >= 1.5  # running sessions may go on for a while
            await gone

    run(test)


@pytest.mark.ray
def test_a_replica_answers_twilio_and_records_where_it_is_asked(port: int, deploy: Deploy, tmp_path: Path) -> None:
    deploy(SETTINGS.model_copy(update={"least": 1, "most": 1, "record": tmp_path}))
    url, form = f"http://127.0.0.1:{port}/twilio/voice", [("CallSid", "CA1")]
    assert httpx2.post(url, data=dict(form), timeout=WAIT).status_code == 403
    signed = {"X-Twilio-Signature": signature("12345", url, form)}
    assert httpx2.post(url, data=dict(form), headers=signed, timeout=WAIT).status_code == 200

    async def test() -> None:
        async with client(port, "a") as websocket:
            await told(websocket, "session.created")
            await websocket.send(append(tone(0.3) + silence(0.1)))
            await told(websocket, "response.output_audio.delta")
        while not (list(tmp_path.glob("*.flac")) and list(tmp_path.glob("*.jsonl"))):
            await asyncio.sleep(0.1)

    run(test)


@pytest.mark.ray
def test_a_replica_whose_model_died_is_replaced(port: int, deploy: Deploy) -> None:
    deploy(SETTINGS.model_copy(update={"least": 1, "most": 1}))
    (replica,) = (each for each in psutil.process_iter() if each.name().startswith("ray::ServeReplica"))
    for child in replica.children():  # the model's, and the one that keeps account of such
        child.kill()

    async def test() -> None:
        while replica.is_running():
            await asyncio.sleep(0.5)
        async with httpx2.AsyncClient(timeout=WAIT) as http:
            while (await http.get(f"http://127.0.0.1:{port}/healthz")).status_code != 200:
                await asyncio.sleep(0.5)
        async with client(port, "a") as websocket:
            await told(websocket, "session.created")

    run(test)


@pytest.mark.ray
def test_more_sessions_bring_more_replicas(port: int, deploy: Deploy) -> None:
    from ray import serve

    deploy({"model": "always-talk", "slots": "2", "most": "2", "cpus": "0.1"})  # words, as `serve run` finds them

    def replicas() -> int:
        deployments: dict[str, Any] = serve.status().applications["duologue"].deployments
        return int(deployments["duologue"].replica_states.get("RUNNING", 0))

    async def test() -> None:
        assert replicas() == 1
        async with contextlib.AsyncExitStack() as stack:
            for index in range(4):  # two find a place at once, two wait for the second replica
                websocket = await stack.enter_async_context(client(port, f"client-{index}"))
                await told(websocket, "session.created")
            assert await asyncio.to_thread(replicas) == 2

    run(test)


def test_signed_secrets_are_known_to_all_who_share_the_signing_key() -> None:
    limits, signing = Limits(), bytes(SIGNATURE)
    first, second = (SignedKeys([KEY], limits, [], signing) for _ in range(2))
    value, expires = first.issue(Guest("abc"), 60, {"instructions": "é" * 100})
    assert 0 < expires - time.time() <= 60
    guest = second.admit({"authorization": f"Bearer {value}"})
    assert guest == Guest("abc", {"instructions": "é" * 100})
    assert second.admit({}, ["realtime", f"openai-insecure-api-key.{value}"]) == guest
    stranger = SignedKeys([KEY], limits, [], b"x" * SIGNATURE)
    assert stranger.admit({"authorization": f"Bearer {value}"}) is None
    for forged in (value[:-1], value[:-1] + ("A" if value[-1] != "A" else "B"), "ek_", "ek_é", f"ek_{'A' * 100}"):
        assert second.admit({"authorization": f"Bearer {forged}"}) is None
    late, _ = first.issue(Guest("abc"), -1, {})
    assert second.admit({"authorization": f"Bearer {late}"}) is None
    assert second.admit({"authorization": f"Bearer {KEY}"}) is not None


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ({"least": "2", "most": "1"}, "most=1 replicas are fewer than least=2"),
        ({"slots": "many"}, "slots=many: Input should be a valid integer.*there is model, slots, least"),
        ({"record_days": -1}, "record_days=-1: Input should be greater than or equal to 0"),
        ({"replicas": 3}, "replicas=3: Extra inputs are not permitted"),
    ],
)
def test_settings_that_cannot_be_are_refused(args: dict[str, Any], said: str) -> None:
    pytest.importorskip("ray", reason="no ray: install duologue[ray]")
    with pytest.raises(ConfigError, match=said):
        application(args)


def test_replicas_without_keys_are_refused_unless_they_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray", reason="no ray: install duologue[ray]")
    monkeypatch.setenv("DUOLOGUE_API_KEYS", " ,")
    with pytest.raises(ConfigError, match="no keys; set DUOLOGUE_API_KEYS, or say keyless=true"):
        application({})
    application({"keyless": "true"})

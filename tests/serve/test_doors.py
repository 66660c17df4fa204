"""Who is counted at the door, who may take over at the limit, whose pages come in, and what a lost model is called."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Iterator

import httpx2
import numpy as np
import pytest
import soundfile
from serve.conftest import KEY, Served, run, serving
from serve.test_sockets import answered, client, closed, counted, told, vacant
from systems.simple import Beeper
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from duologue.serve.keys import Keys
from duologue.serve.limits import Limits
from duologue.serve.run import Runner
from duologue.serve.server import Server
from duologue.systems.engine import Engine
from duologue.systems.process import ProcessRows


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/v1/models"), ("GET", "/v1/models/beeper"), ("POST", "/v1/realtime/calls/rtc_1/hangup")],
)
@pytest.mark.parametrize("key", [KEY, "wrong"])
def test_requests_count_whoever_asks(method: str, path: str, key: str) -> None:
    with serving(Beeper(), Limits(messages_per_address=2.0, drain=0)) as served:  # ten seconds' at once: 20
        headers = {"Authorization": f"Bearer {key}"}
        with httpx2.Client(headers=headers) as web:
            answers = [web.request(method, served.http + path) for _ in range(40)]
            refused = [answer for answer in answers if answer.status_code == 429]
            assert answers[0].status_code != 429 and refused
            assert refused[0].json()["error"]["code"] == "rate_limit_exceeded"
            assert f'{{reason="rate_limit_exceeded"}} {len(refused)}.0' in web.get(f"{served.http}/metrics").text


@pytest.mark.parametrize("path", ["/v1/realtime", "/v1/live/sessions", "/twilio"])
@pytest.mark.parametrize("key", [KEY, "wrong"])
def test_handshakes_count_whoever_comes(path: str, key: str) -> None:
    async def status() -> int:
        try:
            async with connect(served.ws + path, additional_headers={"Authorization": f"Bearer {key}"}):
                return 101
        except InvalidStatus as error:
            assert b'"error"' in error.response.body
            return error.response.status_code

    async def test() -> None:
        assert await status() == (101 if key == KEY else 401)
        while await status() != 429:
            pass
        assert 'duologue_refused_total{reason="rate_limit_exceeded"}' in await counted(served)

    with serving(Beeper(), Limits(messages_per_address=0.5, drain=0)) as served:  # five at once
        run(test)


def test_who_has_all_its_sessions_still_takes_over_from_a_lost_connection() -> None:
    async def test() -> None:
        async with client(served) as before:
            id = (await told(before, "session.created"))["session"]["id"]
            with pytest.raises(InvalidStatus) as caught:
                async with client(served):
                    pass
            assert caught.value.response.status_code == 429
            for _ in range(3):
                async with client(served, f"?resume={id}") as after:
                    assert (await told(after, "session.created"))["session"]["id"] == id
                    assert await closed(before) == 4000
                    await answered(after)
                    before = after
                    async with client(served, f"?resume={id}") as last:
                        assert (await told(last, "session.created"))["session"]["id"] == id
                        last.transport.abort()
                while not served.server._parked:
                    await asyncio.sleep(0.02)
        await vacant(served)

    with serving(Beeper(), Limits(sessions_per_key=1, drain=0)) as served:
        run(test)


def test_a_conversation_is_kept_whose_client_has_too_many_others_to_be_let_in() -> None:
    async def test() -> None:
        async with client(served) as websocket:
            id = (await told(websocket, "session.created"))["session"]["id"]
            websocket.transport.abort()
        while not served.server._parked:
            await asyncio.sleep(0.02)
        async with client(served) as other:
            await told(other, "session.created")
            with pytest.raises(InvalidStatus) as caught:
                async with client(served, f"?resume={id}"):
                    pass
            assert caught.value.response.status_code == 429
            assert list(served.server._parked) == [id]
        await vacant(served)
        async with client(served, f"?resume={id}") as websocket:
            assert (await told(websocket, "session.created"))["session"]["id"] == id

    with serving(Beeper(), Limits(sessions_per_key=1, drain=0)) as served:
        run(test)


def test_a_call_takes_over_at_the_limit_too() -> None:
    pytest.importorskip("aiortc")
    from serve.test_webrtc import calling

    async def test() -> None:
        async with client(served) as before:
            id = (await told(before, "session.created"))["session"]["id"]
            async with calling(served, query=f"?resume={id}") as (caller, _):
                assert (await caller.told("session.created"))["session"]["id"] == id
                assert await closed(before) == 4000
                async with client(served, f"?resume={id}") as after:
                    assert (await told(after, "session.created"))["session"]["id"] == id

    with serving(Beeper(), Limits(sessions_per_key=1, drain=0)) as served:
        run(test)


def test_a_clients_own_close_codes_make_no_series() -> None:
    async def test() -> None:
        for code in (1000, 3999, 4321, 4999):
            async with client(served) as websocket:
                await told(websocket, "session.created")
                await websocket.close(code)
        while 'duologue_sessions_closed_total{code="other"} 3.0' not in await counted(served):
            await asyncio.sleep(0.02)
        assert 'duologue_sessions_closed_total{code="1000"} 1.0' in await counted(served)
        assert '{code="4321"}' not in await counted(served)

    with serving(Beeper(), Limits(drain=0)) as served:
        run(test)


@pytest.fixture(scope="module")
def keyless() -> Iterator[Served]:
    with serving(Beeper(), keys=()) as served:
        yield served


@pytest.mark.parametrize(
    ("name", "origin", "welcome"),
    [
        ("localhost", "http://localhost:{port}", True),
        ("127.0.0.1", "http://localhost:3000", True),
        ("127.0.0.1", None, True),
        ("evil.example", "http://evil.example:{port}", False),
        ("127.evil.example", "http://127.evil.example:{port}", False),
        ("evil.example", "http://localhost:{port}", False),
        ("127.0.0.1", "http://evil.example", False),
        ("127.0.0.1", "http://[", False),
        ("127.0.0.1", "null", False),
    ],
)
def test_a_page_whose_name_points_to_loopback_does_not_reach_a_server_without_keys(
    keyless: Served, name: str, origin: str | None, welcome: bool
) -> None:
    port = int(keyless.http.rpartition(":")[2])
    origin = origin and origin.format(port=port)

    async def test() -> None:
        uri, said = f"ws://{name}:{port}/v1/realtime", {"Origin": origin} if origin else {}
        try:
            async with connect(
                uri, host="127.0.0.1", port=port, additional_headers={"Origin": origin} if origin else {}
            ):
                come = True
        except InvalidStatus as error:
            come = False
            assert json.loads(error.response.body)["error"]["code"] == "origin_not_allowed"
        assert come == welcome
        headers = {"Host": f"{name}:{port}", **said}
        async with httpx2.AsyncClient() as web:
            answer = await web.post(f"{keyless.http}/v1/realtime/client_secrets", json={}, headers=headers)
        assert (answer.status_code == 403) != welcome

    run(test)


def test_names_are_enough_where_others_are_to_reach_the_server_or_keys_are_asked_for() -> None:
    headers = {"host": "talk.example", "origin": "https://talk.example"}
    keys = Keys((), Limits())
    assert keys.welcomes(headers)
    Runner(Server({}, keys, Limits()), "127.0.0.1", 0)
    assert not keys.welcomes(headers) and keys.welcomes({**headers, "host": "localhost", "origin": "http://[::1]:80"})
    listed = Keys((), Limits(), ["https://talk.example"])
    listed.private = True
    assert listed.welcomes(headers)
    locked = Keys((KEY,), Limits())
    locked.private = True
    assert locked.welcomes(headers)


@pytest.fixture(scope="module")
def bereft() -> Iterator[Served]:
    """A server one of whose two models has died."""
    with serving(Beeper()) as served:
        rows = ProcessRows("always-talk", 2)
        rows._process.kill()
        rows._process.join()
        engine = Engine(rows)
        engine.start()
        served.server.engines["lost"] = engine
        yield served
        engine.stop()
        rows.close_all()


def test_a_request_to_a_model_that_died_is_told_so_in_json(bereft: Served) -> None:
    file = io.BytesIO()
    soundfile.write(file, np.zeros(16000), 16000, format="WAV")
    web = httpx2.Client(headers={"Authorization": f"Bearer {KEY}"})
    for path, sent in (
        ("/v1/audio/transcriptions", {"files": {"file": ("a.wav", file.getvalue()), "model": (None, "lost")}}),
        ("/v1/audio/speech", {"json": {"model": "lost", "input": "hello"}}),
    ):
        answer = web.post(bereft.http + path, **sent)
        assert answer.status_code == 503, answer.text
        error = answer.json()["error"]
        assert (error["type"], error["code"]) == ("server_error", "model_unavailable")
        assert 'duologue_refused_total{reason="model_unavailable"}' in web.get(f"{bereft.http}/metrics").text


def test_a_live_session_with_a_model_that_died_is_told_so(bereft: Served) -> None:
    async def test() -> None:
        headers = {"Authorization": f"Bearer {KEY}"}
        async with connect(f"{bereft.ws}/v1/live/sessions", additional_headers=headers) as websocket:
            await websocket.send(json.dumps({"type": "session.start", "session": {"model": "lost"}}))
            error = json.loads(await websocket.recv())["error"]
            assert (error["type"], error["code"]) == ("server_error", "model_unavailable")

    run(test)


def test_a_session_with_a_model_that_died_is_told_so_and_others_go_on(bereft: Served) -> None:
    async def test() -> None:
        async with client(bereft, "?model=lost") as websocket:
            error = (await told(websocket, "error"))["error"]
            assert (error["type"], error["code"]) == ("server_error", "model_unavailable")
            assert await closed(websocket) == 1011
        async with client(bereft, "?model=beeper") as websocket:
            await answered(websocket)

    run(test)


def test_a_call_to_a_model_that_died_is_told_so_in_json(bereft: Served) -> None:
    pytest.importorskip("aiortc")
    from serve.test_webrtc import Caller, ask

    async def test() -> None:
        caller = Caller()
        try:
            await caller.peer.setLocalDescription(await caller.peer.createOffer())
            answer = await ask(bereft, caller.peer.localDescription.sdp, query="?model=lost")
        finally:
            await caller.peer.close()
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "model_unavailable")

    run(test)

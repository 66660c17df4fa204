"""Who is let in and what is borne: keys, origins, garbage, floods, slow readers, lost connections, the end."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gc
import json
import random
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from serve.conftest import KEY, Served, run, serving, silence, tone
from systems.simple import Beeper
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from duologue.serve.limits import Limits


@contextlib.asynccontextmanager
async def client(
    served: Served, query: str = "", key: str | None = KEY, **options: Any
) -> AsyncIterator[ClientConnection]:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    async with connect(f"{served.ws}/v1/realtime{query}", additional_headers=headers, **options) as websocket:
        yield websocket


async def told(websocket: ClientConnection, *kinds: str) -> dict[str, Any]:
    """The next event of one of these types."""
    while (event := json.loads(await websocket.recv()))["type"] not in kinds:
        pass
    return event


def append(sound: bytes) -> str:
    return json.dumps({"type": "input_audio_buffer.append", "audio": base64.b64encode(sound).decode()})


async def answered(websocket: ClientConnection) -> None:
    """A whole exchange: something is said and a reply comes."""
    await websocket.send(append(tone(0.5) + silence(0.3)))
    assert (await told(websocket, "response.done"))["response"]["status"] == "completed"


async def closed(websocket: ClientConnection) -> int | None:
    with contextlib.suppress(ConnectionClosed):
        while True:
            await websocket.recv()
    return websocket.close_code


async def counted(served: Served) -> str:
    async with httpx2.AsyncClient() as http:
        return (await http.get(f"{served.http}/metrics")).text


async def vacant(served: Served) -> None:
    """Every slot comes back."""
    engine = next(iter(served.server.engines.values()))
    while engine.taken:
        await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    ("key", "options", "status"),
    [
        (None, {}, 401),
        ("wrong", {}, 401),
        (KEY, {"origin": "https://evil.example"}, 403),
    ],
)
def test_strangers_are_refused_at_the_door(
    beeper: Served, key: str | None, options: dict[str, Any], status: int
) -> None:
    async def test() -> None:
        with pytest.raises(InvalidStatus) as caught:
            async with client(beeper, key=key, **options):
                pass
        assert caught.value.response.status_code == status
        assert b'"error"' in caught.value.response.body

    run(test)


def test_a_page_shows_its_key_among_the_subprotocols(beeper: Served) -> None:
    async def test() -> None:
        offered = ["realtime", f"openai-insecure-api-key.{KEY}"]
        async with client(beeper, key=None, subprotocols=offered, origin=beeper.http) as websocket:
            assert websocket.subprotocol == "realtime"
            await told(websocket, "session.created")

    run(test)


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("{", "invalid_json"),
        ("[1]", "invalid_json"),
        (b"\x00\x01", "invalid_message"),
        ('{"type": "session.updat"}', "invalid_value"),
        ("{}", "missing_required_parameter"),
        ('{"type": "input_audio_buffer.append"}', "missing_required_parameter"),
        ('{"type": "input_audio_buffer.append", "audio": 3}', "invalid_type"),
        ('{"type": "input_audio_buffer.append", "audio": "@@@@"}', "invalid_value"),
        ('{"type": "conversation.item.delete", "item_id": "x"}', "item_delete_invalid_item_id"),
        ('{"type": "session.update", "session": ' + '{"a":' * 100 + "1" + "}" * 100 + "}", "invalid_json"),
        ("[" * 100_000, "invalid_json"),
    ],
)
def test_what_is_wrong_is_told_and_the_session_goes_on(beeper: Served, message: str | bytes, code: str) -> None:
    async def test() -> None:
        async with client(beeper) as websocket:
            await websocket.send(message)
            assert (await told(websocket, "error"))["error"]["code"] == code
            await answered(websocket)
        assert f'duologue_errors_total{{code="{code}"}}' in await counted(beeper)

    run(test)


def test_an_error_names_the_event_that_caused_it(beeper: Served) -> None:
    async def test() -> None:
        async with client(beeper) as websocket:
            await websocket.send('{"type": "response.cancel", "event_id": "mine"}')
            assert (await told(websocket, "error"))["error"]["event_id"] == "mine"

    run(test)


def test_garbage_hurts_nobody_else(beeper: Served) -> None:
    async def garbage(seed: int) -> None:
        rng = random.Random(seed)
        kinds = ["append", "commit", "clear", "create", "truncate", "delete", "retrieve", "cancel", "update"]
        places = ["input_audio_buffer", "conversation.item", "response", "session", "output_audio_buffer"]
        values: list[Any] = [None, 3, -1e300, "", "\ud83d", [], {}, True, "root", {"type": "message", "role": "user"}]
        async with client(beeper) as websocket:
            for _ in range(150):
                event = {"type": f"{rng.choice(places)}.{rng.choice(kinds)}"}
                for field in ("item", "item_id", "audio", "session", "response", "audio_end_ms", "event_id"):
                    if rng.random() < 0.5:
                        event[field] = rng.choice(values)
                await websocket.send(json.dumps(event))
            await websocket.send(append(silence(0.1)))

    async def test() -> None:
        async with client(beeper) as websocket:
            attack = asyncio.gather(*(garbage(seed) for seed in range(2)))
            await answered(websocket)
            await attack
            await answered(websocket)
        await vacant(beeper)

    run(test)


def test_limits_hold_and_are_counted() -> None:
    limits = Limits(
        sessions_per_key=2, messages_at_once=20, messages_per_second=5, message_bytes=150_000, audio_at_once=1, drain=0
    )

    async def test() -> None:
        async with client(served) as first:
            async with client(served):
                with pytest.raises(InvalidStatus) as caught:
                    async with client(served):
                        pass
                assert caught.value.response.status_code == 429
            await first.send(append(silence(2)))
            error = (await told(first, "error"))["error"]
            assert (error["code"], error["type"]) == ("rate_limit_exceeded", "rate_limit_error")
            for _ in range(40):
                await first.send('{"type": "input_audio_buffer.clear"}')
            assert (await told(first, "error"))["error"]["code"] == "rate_limit_exceeded"
            await first.send("x" * 200_000)
            while (error := (await told(first, "error"))["error"])["code"] != "invalid_message":
                pass
            assert "150000 bytes" in error["message"]
            await first.send("x" * 400_000)
            assert await closed(first) == 1009

    with serving(Beeper(), limits) as served:
        run(test)


@pytest.mark.parametrize("kind", ["key", "address"])
def test_messages_count_over_all_connections_of_a_client(kind: str) -> None:
    limits = Limits(**{f"messages_per_{kind}": 2.0}, drain=0)  # ten seconds' at once: 20

    async def test() -> None:
        async with client(served) as first, client(served) as second:
            for websocket in (first, second):
                for _ in range(9):
                    await websocket.send('{"type": "input_audio_buffer.clear"}')
                    await told(websocket, "input_audio_buffer.cleared")
            for websocket in (first, second):
                for _ in range(9):
                    await websocket.send('{"type": "input_audio_buffer.clear"}')
                error = (await told(websocket, "error"))["error"]
                assert (error["code"], error["type"]) == ("rate_limit_exceeded", "rate_limit_error")
                assert kind in error["message"]
        async with httpx2.AsyncClient(headers={"Authorization": f"Bearer {KEY}"}) as web:
            asked = [await web.post(f"{served.http}/v1/realtime/client_secrets", json={}) for _ in range(20)]
        refused = [answer for answer in asked if answer.status_code == 429]  # some pass: there are two more each second
        assert refused and refused[0].json()["error"]["code"] == "rate_limit_exceeded"

    with serving(Beeper(), limits) as served:
        run(test)


def test_no_free_slot_closes_with_1013_and_says_why() -> None:
    async def test() -> None:
        async with client(served), client(served) as second:
            assert (await told(second, "error"))["error"]["code"] == "server_full"
            assert await closed(second) == 1013

    with serving(Beeper(), slots=1) as served:
        run(test)


def test_sessions_end_by_the_clock() -> None:
    async def test(code: str) -> None:
        async with client(served) as websocket:
            assert (await told(websocket, "error"))["error"]["code"] == code
            assert await closed(websocket) == 1001

    with serving(Beeper(), Limits(session=0.5, drain=0)) as served:
        run(lambda: test("session_expired"))
    with serving(Beeper(), Limits(idle=0.5, drain=0)) as served:
        run(lambda: test("idle_timeout"))


@pytest.mark.parametrize("lost", ["vanished", "gave up"])
def test_a_lost_connection_is_resumed_by_who_held_it_and_by_nobody_else(lost: str) -> None:
    async def test() -> None:
        async with client(served) as websocket:
            id = (await told(websocket, "session.created"))["session"]["id"]
            await websocket.send(json.dumps({"type": "session.update", "session": {"instructions": "remember"}}))
            await told(websocket, "session.updated")
            await websocket.send(append(tone(0.5)))
            await told(websocket, "input_audio_buffer.speech_started")
            if lost == "vanished":
                websocket.transport.abort()
            else:
                await websocket.close(1011, "keepalive ping timeout")
        while not served.server._parked:
            await asyncio.sleep(0.02)
        async with client(served, f"?resume={id}", key="other") as stranger:
            assert (await told(stranger, "session.created"))["session"]["id"] != id
        async with client(served, f"?resume={id}") as websocket:
            session = (await told(websocket, "session.created"))["session"]
            assert (session["id"], session["instructions"]) == (id, "remember")
            await websocket.send(append(silence(0.3)))  # the question was heard before the connection was lost
            assert (await told(websocket, "response.done"))["response"]["status"] == "completed"

    with serving(Beeper(), Limits(drain=0), keys=(KEY, "other")) as served:
        run(test)


def test_a_client_that_comes_back_takes_over_from_a_connection_that_is_not_known_to_be_lost() -> None:
    async def test() -> None:
        async with client(served) as before:
            id = (await told(before, "session.created"))["session"]["id"]
            await before.send(append(tone(0.5)))
            await told(before, "input_audio_buffer.speech_started")
            async with client(served, f"?resume={id}", key="other") as stranger:
                assert (await told(stranger, "session.created"))["session"]["id"] != id
            async with client(served, f"?resume={id}") as after:
                assert (await told(after, "session.created"))["session"]["id"] == id
                assert await closed(before) == 4000
                await after.send(append(silence(0.3)))
                assert (await told(after, "response.done"))["response"]["status"] == "completed"
        while served.server._held:
            await asyncio.sleep(0.02)

    with serving(Beeper(), Limits(drain=0), keys=(KEY, "other")) as served:
        run(test)


def test_a_vanished_client_is_forgotten_after_a_while() -> None:
    async def test() -> None:
        async with client(served) as websocket:
            await told(websocket, "session.created")
            websocket.transport.abort()
        while not served.server._parked:
            await asyncio.sleep(0.02)
        await vacant(served)
        while served.server._parked:
            await asyncio.sleep(0.02)

    with serving(Beeper(), Limits(resume=0.3, drain=0)) as served:
        run(test)


def test_a_client_that_does_not_read_is_let_go() -> None:
    async def test() -> None:
        async with client(served, max_queue=1) as websocket:
            await told(websocket, "session.created")
            websocket.transport.pause_reading()
            await websocket.send('{"type": "session.update", "session": {"instructions": "' + "x" * 90_000 + '"}}')
            with contextlib.suppress(ConnectionClosed):
                for _ in range(400):
                    await websocket.send('{"type": "session.update", "session": {}}')
                    await asyncio.sleep(0.001)
            while 'duologue_sessions_closed_total{code="1008"} 1.0' not in await counted(served):
                await asyncio.sleep(0.05)
        await vacant(served)
        assert "duologue_unsent_bytes 0.0" in await counted(served)

    limits = Limits(unsent_bytes=1 << 16, messages_at_once=10_000, resume=0, drain=0)
    with serving(Beeper(), limits) as served:
        run(test)


def test_a_client_that_leaves_in_the_middle_of_its_request_is_no_failure(
    beeper: Served, caplog: pytest.LogCaptureFixture
) -> None:
    async def test() -> None:
        host, port = beeper.http.removeprefix("http://").split(":")
        for _ in range(3):
            _, writer = await asyncio.open_connection(host, int(port))
            head = f"POST /v1/realtime/client_secrets HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {KEY}\r\n"
            writer.write(f"{head}Content-Length: 100\r\n\r\n{{".encode())
            await writer.drain()
            await asyncio.sleep(0.1)
            writer.close()
            await writer.wait_closed()
        await asyncio.sleep(0.3)
        async with client(beeper) as websocket:
            await answered(websocket)

    run(test)
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def test_a_client_that_leaves_in_the_middle_of_a_reply_is_no_failure(caplog: pytest.LogCaptureFixture) -> None:
    async def leave() -> None:
        async with client(served) as websocket:
            await websocket.send(append(tone(0.3) + silence(0.3)))
            await told(websocket, "response.output_audio.delta")
            for _ in range(20):
                await websocket.send('{"type": "session.update", "session": {}}')
            websocket.transport.abort()

    async def test() -> None:
        for _ in range(3):
            await asyncio.gather(*(leave() for _ in range(8)))
            await vacant(served)

    with serving(Beeper(beep=50), Limits(resume=0, drain=0), slots=8) as served:
        run(test)
    gc.collect()
    assert not [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]


def test_a_drain_lets_sessions_end_and_closes_the_rest_with_1012() -> None:
    async def test() -> None:
        async with client(served) as websocket:
            await told(websocket, "session.created")
            served.end()
            async with httpx2.AsyncClient() as http:
                while (await http.get(f"{served.http}/readyz")).status_code == 200:
                    await asyncio.sleep(0.02)
                assert (await http.get(f"{served.http}/healthz")).status_code == 200
            with pytest.raises(InvalidStatus) as caught:
                async with client(served):
                    pass
            assert caught.value.response.status_code == 503
            await answered(websocket)
            assert await closed(websocket) == 1012

    with serving(Beeper(), Limits(drain=3)) as served:
        run(test)


def test_metrics_tell_what_happened(beeper: Served) -> None:
    async def test() -> None:
        async with client(beeper) as websocket:
            await answered(websocket)
            text = await counted(beeper)
        for line in (
            'duologue_sessions{protocol="realtime"} 1.0',
            'duologue_engine_taken{model="beeper"} 1.0',
            'duologue_step_seconds_count{model="beeper"}',
            "duologue_first_audio_seconds_count",
        ):
            assert line in text

    run(test)


def test_the_first_audio_is_timed_from_the_users_last_sound() -> None:
    async def test() -> None:
        async with client(served) as websocket:
            await websocket.send(append(tone(0.5) + silence(0.1)))
            await told(websocket, "input_audio_buffer.speech_started")
            await asyncio.sleep(0.5)
            await websocket.send(append(silence(2.0)))
            await told(websocket, "response.done")
        lines = dict(line.rsplit(" ", 1) for line in (await counted(served)).splitlines() if line[0] != "#")
        assert float(lines["duologue_first_audio_seconds_count"]) == 1
        assert float(lines["duologue_first_audio_seconds_sum"]) >= 0.5
        steps = float(lines["duologue_reply_step_seconds_count"])
        assert steps == float(lines["duologue_added_latency_seconds_count"]) > 1
        assert float(lines["duologue_reply_step_seconds_sum"]) > 0

    with serving(Beeper(quiet=20), Limits(drain=0)) as served:
        run(test)

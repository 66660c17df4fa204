"""What a client may have at most: places, text, kept conversations, secrets, connections; and what failures leave."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import logging
from typing import Any

import httpx2
import numpy as np
import pytest
from serve.conftest import KEY, Served, run, serving, silence, tone
from serve.test_sockets import answered, append, client, closed, counted, told, vacant
from systems.simple import Beeper, BeeperConversation, Holder, write_tiny_model
from websockets.exceptions import InvalidStatus

from duologue.serve import wire
from duologue.serve.events import SessionConfig
from duologue.serve.limits import PIECE, Limits
from duologue.serve.parsing import parse, read_message
from duologue.systems import registry
from duologue.systems.base import Pcm, Reply


def item(id: str, *content: dict[str, Any], role: str = "user") -> str:
    given = {"type": "message", "id": id, "role": role, "content": list(content)}
    return json.dumps({"type": "conversation.item.create", "item": given})


def sound(seconds: float) -> dict[str, Any]:
    return {"type": "input_audio", "audio": base64.b64encode(tone(seconds)).decode()}


def apart(*content: dict[str, Any]) -> str:
    heard = {"type": "message", "role": "user", "content": list(content)}
    return json.dumps({"type": "response.create", "response": {"conversation": "none", "input": [heard]}})


def test_responses_out_of_band_take_places_like_sessions() -> None:
    system = Holder()

    async def test() -> None:
        async with client(served) as websocket:
            for _ in range(2):
                await websocket.send(apart(sound(0.3)))
            error = (await told(websocket, "error"))["error"]
            assert (error["code"], error["type"]) == ("rate_limit_exceeded", "rate_limit_error")
            with pytest.raises(InvalidStatus) as caught:
                async with client(served):
                    pass
            assert caught.value.response.status_code == 429
            system.let.set()
            for _ in range(2):
                assert (await told(websocket, "response.done"))["response"]["status"] == "completed"
                await vacant_but_one()
                await websocket.send(apart(sound(0.3)))

    async def vacant_but_one() -> None:
        while served.server.places._held["key", next(iter(served.server._held.values())).key] > 1:
            await asyncio.sleep(0.02)

    with serving(system, Limits(sessions_per_key=2, drain=0)) as served:
        run(test)


def test_sound_in_items_counts_like_any_other() -> None:
    async def test() -> None:
        async with client(served) as websocket:
            await websocket.send(item("much", sound(1.5)))
            error = (await told(websocket, "error"))["error"]
            assert (error["code"], error["param"]) == ("rate_limit_exceeded", "item.content")
            await websocket.send(apart(sound(0.8), sound(0.8)))
            error = (await told(websocket, "error"))["error"]
            assert (error["code"], error["param"]) == ("rate_limit_exceeded", "response.input")
            await websocket.send(item("little", sound(0.5)))
            assert (await told(websocket, "conversation.item.added"))["item"]["id"] == "little"

    with serving(Beeper(), Limits(audio_at_once=1, audio_rate=0.001, drain=0)) as served:
        run(test)


def test_a_conversation_keeps_so_many_bytes_of_items() -> None:
    async def test() -> None:
        async with client(served) as websocket:
            for index in range(5):
                await websocket.send(item(f"item-{index}", {"type": "input_text", "text": "é" * 100}, role="system"))
            for index, there in enumerate([False, False, False, True, True]):
                await websocket.send(json.dumps({"type": "conversation.item.retrieve", "item_id": f"item-{index}"}))
                event = await told(websocket, "error", "conversation.item.retrieved")
                assert (event["type"] == "conversation.item.retrieved") == there, index

    with serving(Beeper(), Limits(item_bytes=1800, drain=0)) as served:
        run(test)


def wide(part: str, times: int) -> str:
    return f'{{"type": "x", "a": [{",".join([part] * times)}]}}'


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (wide("[]", 1_300_000), "invalid_json"),
        (wide("1", 2_000_000), "invalid_json"),
        (wide("1" * 4300, 900), "invalid_json"),
        (wide('"' * 4_000_000, 1), "invalid_json"),
        (json.dumps({"type": "conversation.item.create", "item": {"content": [{}] * 3_000}}), ""),
        (item("many", *[{"type": "input_text", "text": ""}] * 3_000), "array_above_max_length"),
        (apart(*[{"type": "input_text", "text": ""}] * 3_000), "array_above_max_length"),
        (json.dumps({"type": "response.create", "response": {"metadata": {str(n): 1 for n in range(9_000)}}}), ""),
    ],
    ids=["lists", "numbers", "digits", "quotes", "empty parts", "parts", "input", "metadata"],
)
def test_a_message_of_very_many_parts_is_refused_in_words_and_another_session_goes_on(
    beeper: Served, message: str, code: str
) -> None:
    async def flood() -> None:
        async with client(beeper) as websocket:
            for _ in range(3):
                await websocket.send(message)
                error = (await told(websocket, "error"))["error"]
                assert error["code"] == code or (not code and error["type"] == "invalid_request_error")
                assert len(error["message"]) < 300
            await answered(websocket)

    async def test() -> None:
        async with client(beeper) as websocket:
            flooding = asyncio.ensure_future(flood())
            while not flooding.done():
                await answered(websocket)
            await flooding

    run(test)


def test_settings_of_128_functions_are_no_flood() -> None:
    parameters = {
        f"field_{n}": {"type": "string", "enum": ["a", "b"], "description": 'say "x", or {y}'} for n in range(9)
    }
    tools = [
        {"type": "function", "name": f"f{n}", "parameters": {"type": "object", "properties": parameters}}
        for n in range(128)
    ]
    message = json.dumps({"type": "session.update", "session": {"tools": tools}})
    assert parse(read_message(message, Limits())).type == "session.update"
    assert len(SessionConfig().changed({"tools": tools}).tools) == 128
    minute = base64.b64encode(bytes(2 * 24000 * 60)).decode()
    assert read_message(json.dumps({"type": "input_audio_buffer.append", "audio": minute}), Limits())["audio"] == minute


def test_a_long_message_counts_as_many() -> None:
    async def test() -> None:
        async with client(served) as websocket:
            await websocket.send('{"type": "input_audio_buffer.clear", "a": "' + "x" * (15 * PIECE) + '"}')
            await told(websocket, "input_audio_buffer.cleared")
            await websocket.send('{"type": "input_audio_buffer.clear", "a": "' + "x" * (15 * PIECE) + '"}')
            assert (await told(websocket, "error"))["error"]["code"] == "rate_limit_exceeded"

    with serving(Beeper(), Limits(messages_per_key=2.0, drain=0)) as served:  # ten seconds' at once: 20
        run(test)


def test_thousands_of_digits_are_text_like_any_other(tmp_path_factory: pytest.TempPathFactory) -> None:
    async def test() -> None:
        async with client(served) as websocket:
            for text in ("9" * 8000, "0" * 8000):
                await websocket.send(item(f"item-{text[0]}", {"type": "input_text", "text": text}))
                assert (await told(websocket, "conversation.item.done", "error"))["type"] == "conversation.item.done"

    with serving(registry.load(write_tiny_model(tmp_path_factory.mktemp("tiny"))), Limits(drain=0), slots=1) as served:
        run(test)


def test_a_conversation_that_finds_no_slot_to_go_on_in_is_kept() -> None:
    async def test() -> None:
        async with client(served) as websocket:
            id = (await told(websocket, "session.created"))["session"]["id"]
            await websocket.send(append(tone(0.5)))
            await told(websocket, "input_audio_buffer.speech_started")
            websocket.transport.abort()
        while not served.server._parked:
            await asyncio.sleep(0.02)
        async with client(served) as other:
            await told(other, "session.created")
            for _ in range(2):
                async with client(served, f"?resume={id}") as websocket:
                    assert (await told(websocket, "error"))["error"]["code"] == "server_full"
                    assert await closed(websocket) == 1013
                while not served.server._parked:
                    await asyncio.sleep(0.02)
        await vacant(served)
        async with client(served, f"?resume={id}") as websocket:
            assert (await told(websocket, "session.created"))["session"]["id"] == id
            await websocket.send(append(silence(0.3)))  # the question was heard before the connection was lost
            assert (await told(websocket, "response.done"))["response"]["status"] == "completed"

    with serving(Beeper(), Limits(drain=0), slots=1) as served:
        run(test)


@pytest.mark.parametrize("bound", [{"parked": 2}, {"parked_per_key": 2}])
def test_the_oldest_conversations_are_forgotten_first(bound: dict[str, int]) -> None:
    async def test() -> None:
        ids = []
        for index in range(3):
            async with client(served, key="other" if index == 0 and "parked" in bound else KEY) as websocket:
                ids.append((await told(websocket, "session.created"))["session"]["id"])
                websocket.transport.abort()
            while ids[-1] not in served.server._parked:
                await asyncio.sleep(0.02)
        assert list(served.server._parked) == ids[1:]
        for id, there in zip(ids, (False, True, True), strict=True):
            async with client(served, f"?resume={id}") as websocket:
                assert ((await told(websocket, "session.created"))["session"]["id"] == id) == there

    with serving(Beeper(), Limits(drain=0, **bound), keys=(KEY, "other")) as served:
        run(test)


def test_secrets_are_so_many_for_each_key_and_not_for_strange_pages() -> None:
    def ask(key: str, **headers: str) -> tuple[int, str]:
        answer = httpx2.post(
            f"{served.http}/v1/realtime/client_secrets", headers={"Authorization": f"Bearer {key}", **headers}
        )
        return answer.status_code, answer.json().get("error", {}).get("code", "")

    with serving(Beeper(), Limits(secrets_per_key=2, drain=0), keys=(KEY, "other")) as served:
        assert ask(KEY, Origin="https://evil.example") == (403, "origin_not_allowed")
        assert [ask(KEY)[0] for _ in range(2)] == [200, 200]
        assert ask(KEY) == (429, "rate_limit_exceeded")
        assert ask("other", Origin=served.http) == (200, "")


@pytest.mark.parametrize("sent", ["nothing", "half a head", "half a body", "half a second head"])
def test_a_connection_that_does_not_say_what_it_wants_is_closed(sent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "ARRIVE", 0.3)
    secret = f"POST /v1/realtime/client_secrets HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {KEY}\r\n"
    texts = {
        "nothing": "",
        "half a head": "GET /healthz HTTP/1.1\r\nHost:",
        "half a body": f"{secret}Content-Length: 100\r\n\r\n{{",
        "half a second head": "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\nGET /hea",
    }

    async def test() -> None:
        host, port = served.http.removeprefix("http://").split(":")
        async with client(served) as websocket:
            await told(websocket, "session.created")
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(texts[sent].encode())
            await reader.read()  # until the server closes it
            writer.close()
            await answered(websocket)  # a conversation goes on for as long as it likes

    with serving(Beeper(), Limits(drain=0)) as served:
        run(test)


def test_connections_have_a_number() -> None:
    async def test() -> None:
        host, port = served.http.removeprefix("http://").split(":")
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(3):
                _, writer = await asyncio.open_connection(host, int(port))
                stack.callback(writer.close)
            async with httpx2.AsyncClient() as http:
                answer = await http.get(f"{served.http}/v1/models")
                assert (answer.status_code, answer.json()["error"]["code"]) == (503, "too_many_connections")
                with pytest.raises(InvalidStatus) as caught:
                    async with client(served):
                        pass
                refused = caught.value.response
                assert (refused.status_code, b"too_many_connections" in refused.body) == (503, True)
                assert (await http.get(f"{served.http}/healthz")).status_code == 200
                assert 'duologue_refused_total{reason="too_many_connections"} 2.0' in await counted(served)
        async with httpx2.AsyncClient() as http:
            while (await http.get(f"{served.http}/v1/models")).status_code == 503:
                await asyncio.sleep(0.02)

    with serving(Beeper(), Limits(connections=3, drain=0)) as served:
        run(test)


class Failing(Beeper):
    """Fails on the first sound."""

    def open(self, seed: int = 0) -> BeeperConversation:
        return FailingConversation(self.card, *self.times)


class FailingConversation(BeeperConversation):
    def _answer(self, pcm: Pcm) -> Reply:
        if np.abs(pcm).max() > 0.01:
            raise ZeroDivisionError
        return super()._answer(pcm)


def test_a_model_that_fails_is_told_to_the_client_in_general_and_logged_in_full(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def test() -> None:
        async with client(served) as websocket:
            await websocket.send(append(tone(0.3)))
            assert (await told(websocket, "error"))["error"]["code"] == "server_error"
            assert await closed(websocket) == 1011

    with serving(Failing(), Limits(drain=0)) as served, caplog.at_level(logging.ERROR, "duologue.serve"):
        run(test)
    (record,) = [record for record in caplog.records if record.getMessage() == "conversation failed"]
    assert record.__dict__["fields"] == {"model": "beeper"}
    assert record.exc_info is not None and record.exc_info[1] is not None
    assert "in _answer" in record.exc_info[1].__notes__[0]


def test_a_second_connection_to_a_call_is_refused() -> None:
    async def test() -> None:
        with pytest.raises(InvalidStatus) as caught:
            async with client(served, "?call_id=rtc_1"):
                pass
        assert caught.value.response.status_code == 400
        assert json.loads(caught.value.response.body or b"")["error"]["code"] == "call_id_not_supported"

    with serving(Beeper(), Limits(drain=0)) as served:
        run(test)

"""The mistakes that developers make, and what they are told: the codes, fields and words of the OpenAI API."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import pytest
from serve.conftest import KEY, Served, run
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus

HEADERS = {"Authorization": f"Bearer {KEY}"}
BETA = {**HEADERS, "OpenAI-Beta": "realtime=v1"}
DETECTION = "session.audio.input.turn_detection"


def session(**settings: Any) -> dict[str, Any]:
    return {"type": "session.update", "session": {"type": "realtime", **settings}}


def heard(**settings: Any) -> dict[str, Any]:
    return session(audio={"input": settings})


def item(**fields: Any) -> dict[str, Any]:
    return {"type": "conversation.item.create", "item": {"type": "message", "role": "user", "content": [], **fields}}


async def error(websocket: ClientConnection, message: dict[str, Any]) -> dict[str, Any]:
    await websocket.send(json.dumps(message))
    while (event := json.loads(await websocket.recv()))["type"] != "error":
        assert event["type"] != "session.updated", event
    told: dict[str, Any] = event["error"]
    return told


@pytest.mark.parametrize(
    ("message", "code", "param", "words"),
    [
        ({"type": "session.updat"}, "invalid_value", "type", "'session.updat'. Supported values are: 'session.update'"),
        ({"event_id": "one"}, "missing_required_parameter", "type", "Missing required parameter: 'type'."),
        ({"type": "session.update"}, "missing_required_parameter", "session", "'session'"),
        (session(instructions=3), "invalid_type", "session.instructions", "expected a string, but got an integer"),
        (session(type="transcription"), "invalid_value", "session.type", "Supported values are: 'realtime'."),
        (session(output_modalities=["video"]), "invalid_value", "session.output_modalities[0]", "'text' and 'audio'"),
        (session(output_modalities=[]), "empty_array", "session.output_modalities", "empty array"),
        (session(max_output_tokens=0), "integer_below_min_value", "session.max_output_tokens", ">= 1, but got 0"),
        (heard(format="pcm16"), "invalid_type", "session.audio.input.format", "expected an object"),
        (heard(format={"type": "audio/opus"}), "invalid_value", "session.audio.input.format.type", "'audio/pcmu'"),
        (
            heard(format={"type": "audio/pcm", "rate": 16000}),
            "invalid_value",
            "session.audio.input.format.rate",
            "Invalid value: 16000. Supported values are: 24000.",
        ),
        (heard(turn_detection={"type": "magic"}), "invalid_value", f"{DETECTION}.type", "'server_vad'"),
        (
            heard(turn_detection={"type": "server_vad", "threshold": 3}),
            "decimal_above_max_value",
            f"{DETECTION}.threshold",
            "Expected a value <= 1, but got 3 instead.",
        ),
        (
            heard(turn_detection={"type": "server_vad", "create_response": None}),
            "invalid_type",
            f"{DETECTION}.create_response",
            "expected a boolean, but got null",
        ),
        (session(turn_detection=None), "unknown_parameter", "session.turn_detection", f"It is '{DETECTION}' now"),
        (
            {"type": "response.create", "response": {"modalities": ["text"]}},
            "unknown_parameter",
            "response.modalities",
            "'response.output_modalities'",
        ),
        (item(role="robot"), "invalid_value", "item.role", "'user', 'assistant' and 'system'"),
        (item(content=[{"type": "sound"}]), "invalid_value", "item.content[0].type", "'input_audio'"),
        (
            item(content=[{"type": "input_text", "text": "one "}, {"type": "input_text", "text": "x" * 8190}]),
            "string_above_max_length",
            "item.content[1].text",
            "at most 8192 characters, but got 8194",
        ),
        (
            {
                "type": "conversation.item.create",
                "item": {"type": "function_call_output", "call_id": "a", "output": "x" * 8193},
            },
            "string_above_max_length",
            "item.output",
            "8192",
        ),
        (item(content=[{"type": "input_audio", "audio": "@"}]), "invalid_value", "item.content[0].audio", "base64"),
        ({"type": "response.cancel", "event_id": "x" * 600}, "string_above_max_length", "event_id", "512"),
    ],
)
def test_a_mistake_is_told_by_its_code_its_field_and_what_would_be_right(
    beeper: Served, message: dict[str, Any], code: str, param: str, words: str
) -> None:
    async def test() -> None:
        async with connect(f"{beeper.ws}/v1/realtime", additional_headers=HEADERS) as websocket:
            told = await error(websocket, message)
            assert (told["type"], told["code"], told["param"]) == ("invalid_request_error", code, param)
            assert words in told["message"]

    run(test)


@pytest.mark.parametrize(
    ("settings", "param", "words"),
    [
        ({"input_audio_format": "opus"}, "session.input_audio_format", "'pcm16', 'g711_ulaw'"),
        ({"input_audio_format": ["pcm16"]}, "session.input_audio_format", "'pcm16', 'g711_ulaw'"),
        ({"turn_detection": {"type": "server_vad", "threshold": 3}}, "session.turn_detection.threshold", "<= 1"),
        ({"max_response_output_tokens": 0}, "session.max_response_output_tokens", ">= 1"),
    ],
)
def test_a_beta_client_is_told_of_its_own_names(
    beeper: Served, settings: dict[str, Any], param: str, words: str
) -> None:
    async def test() -> None:
        async with connect(f"{beeper.ws}/v1/realtime", additional_headers=BETA) as websocket:
            told = await error(websocket, {"type": "session.update", "session": settings})
            assert told["param"] == param
            assert words in told["message"]

    run(test)


@pytest.mark.parametrize("threshold", [0, 0.005, 1])
def test_a_detector_of_all_or_nothing_is_no_failure(beeper: Served, threshold: float) -> None:
    async def test() -> None:
        async with connect(f"{beeper.ws}/v1/realtime", additional_headers=HEADERS) as websocket:
            await websocket.recv()
            await websocket.send(json.dumps(heard(turn_detection={"type": "server_vad", "threshold": threshold})))
            updated = json.loads(await websocket.recv())["session"]
            assert updated["audio"]["input"]["turn_detection"]["threshold"] == threshold

    run(test)


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code", "param"),
    [
        ("GET", "/v1/realtime", None, 404, "invalid_url", None),
        ("POST", "/v1/chat/completions", {}, 404, "invalid_url", None),
        ("GET", "/v1/audio/speech", None, 405, "invalid_url", None),
        ("GET", "/v1/models/none", None, 404, "model_not_found", "model"),
        ("POST", "/v1/audio/speech", {}, 400, "missing_required_parameter", "input"),
        ("POST", "/v1/audio/speech", {"input": "a", "response_format": "x"}, 400, "invalid_value", "response_format"),
        ("POST", "/v1/audio/transcriptions", {}, 400, "missing_required_parameter", "file"),
        (
            "POST",
            "/v1/realtime/client_secrets",
            {"expires_after": {"seconds": 1}},
            400,
            "integer_below_min_value",
            "expires_after.seconds",
        ),
        (
            "POST",
            "/v1/realtime/client_secrets",
            {"session": {"audio": {"output": {"speed": 9}}}},
            400,
            "decimal_above_max_value",
            "session.audio.output.speed",
        ),
        ("POST", "/v1/realtime/client_secrets", {"session": {"voice": "a"}}, 400, "unknown_parameter", "session.voice"),
    ],
)
def test_a_wrong_request_is_answered_in_json_and_counted(
    beeper: Served, method: str, path: str, body: dict[str, Any] | None, status: int, code: str, param: str | None
) -> None:
    answer = httpx2.request(method, f"{beeper.http}{path}", json=body, headers=HEADERS)
    told = answer.json()["error"]
    assert (answer.status_code, told["code"], told["param"]) == (status, code, param)
    counters = httpx2.get(f"{beeper.http}/metrics").text
    assert f'duologue_errors_total{{code="{code}"}}' in counters or f'{{reason="{code}"}}' in counters


@pytest.mark.parametrize(
    ("headers", "words"),
    [({}, "You didn't provide an API key"), ({"Authorization": "Bearer nope"}, "Incorrect API key provided")],
)
def test_no_key_and_a_wrong_key_are_told_apart(beeper: Served, headers: dict[str, str], words: str) -> None:
    async def test() -> None:
        with pytest.raises(InvalidStatus) as caught:
            async with connect(f"{beeper.ws}/v1/realtime", additional_headers=headers):
                pass
        assert words in json.loads(caught.value.response.body or b"")["error"]["message"]

    answer = httpx2.get(f"{beeper.http}/v1/models", headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")
    assert words in answer.json()["error"]["message"]
    run(test)


def test_a_websocket_on_a_wrong_path_is_told_the_right_ones(beeper: Served) -> None:
    async def test() -> None:
        with pytest.raises(InvalidStatus) as caught:
            async with connect(f"{beeper.ws}/realtime", additional_headers=HEADERS):
                pass
        assert caught.value.response.status_code == 404
        assert "/v1/realtime" in json.loads(caught.value.response.body or b"")["error"]["message"]

    run(test)

"""Functions over the Realtime API: offered, called, answered, by OpenAI's client and by its agents."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

pytest.importorskip("silero_vad")
pytest.importorskip("onnxruntime")
pytest.importorskip("pocketsphinx")
pytest.importorskip("espeakng_loader")
pytest.importorskip("openai")

from serve.conftest import KEY, Served, run, serving, silence
from serve.test_openai import connected, say, sound_of, until
from systems.caller import WEATHER, Silent, caller
from systems.simple import Beeper
from websockets.asyncio.client import connect

from duologue.audio.files import load
from duologue.systems.engine import Engine
from duologue.systems.rows import rows_of

QUESTION = Path(__file__).parents[2] / "examples" / "question.wav"
TOOL = {"type": "function", **WEATHER}


@pytest.fixture(scope="module")
def cascade() -> Iterator[Served]:
    with serving(caller()) as served:
        yield served


def spoken_question() -> bytes:
    return (32767 * load(QUESTION, 24000)).astype("<i2").tobytes() + silence(1.5)


def text_of(events: list[Any]) -> str:
    deltas = [event.delta for event in events if event.type == "response.output_audio_transcript.delta"]
    return "".join(deltas).strip()


@pytest.mark.parametrize("silent", [False, True])
def test_a_spoken_question_calls_a_function_whose_result_is_spoken(silent: bool) -> None:
    async def test() -> None:
        async with connected(served, tools=[TOOL]) as connection:
            await say(connection, spoken_question())
            events = await until(connection, "response.done")
            response = events[-1].response
            assert response.status == "completed"
            assert (
                [item.type for item in response.output] == ["function_call"] if silent else ["message", "function_call"]
            )
            call = response.output[-1]
            assert (call.name, call.arguments) == ("weather", '{"city": "Oslo"}')
            (done,) = [event for event in events if event.type == "response.function_call_arguments.done"]
            assert (done.call_id, done.arguments, done.item_id) == (call.call_id, call.arguments, call.id)
            assert done.output_index == len(response.output) - 1
            assert text_of(events) == ("" if silent else "One moment.")
            output = {"type": "function_call_output", "call_id": call.call_id, "output": "minus two"}
            await connection.conversation.item.create(item=output)
            added = (await until(connection, "conversation.item.done"))[-1].item
            assert (added.type, added.call_id, added.output) == ("function_call_output", call.call_id, "minus two")
            await connection.response.create()
            events = await until(connection, "response.done")
            assert text_of(events) == "It is minus two in Oslo."
            assert len(sound_of(events)) / 48000 > 1
            await connection.conversation.item.create(item=output)
            error = (await until(connection, "error"))[-1].error
            assert (error.code, error.param) == ("invalid_value", "item.call_id")  # it has been answered

    with serving(caller(Silent) if silent else caller()) as served:
        run(test)


def test_functions_can_be_taken_back(cascade: Served) -> None:
    async def test() -> None:
        async with connected(cascade, tools=[TOOL], tool_choice="none") as connection:
            await say(connection, spoken_question())
            assert text_of(await until(connection, "response.done")) == "I cannot look that up."
            await connection.session.update(session={"type": "realtime", "tool_choice": "auto"})
            assert (await until(connection, "session.updated"))[-1].session.tools[0].name == "weather"
            await say(connection, spoken_question())
            assert text_of(await until(connection, "response.done")) == "One moment."

    run(test)


def test_one_response_may_do_without_functions(cascade: Served) -> None:
    async def test() -> None:
        async with connected(cascade, tools=[TOOL]) as connection:
            for choice, answer in (("none", "I cannot look that up."), ("auto", "One moment.")):
                text = {"type": "input_text", "text": "What is the weather in Oslo?"}
                await connection.conversation.item.create(item={"type": "message", "role": "user", "content": [text]})
                await connection.response.create(response={"tool_choice": choice})
                assert text_of(await until(connection, "response.done")) == answer

    run(test)


def test_a_result_is_known_to_the_next_reply_whoever_asks_for_it(cascade: Served) -> None:
    async def test() -> None:
        async with connected(cascade, tools=[TOOL]) as connection:
            await say(connection, spoken_question())
            call = (await until(connection, "response.done"))[-1].response.output[-1]
            output = {"type": "function_call_output", "call_id": call.call_id, "output": "minus two"}
            await connection.conversation.item.create(item=output)
            await say(connection, spoken_question())
            assert text_of(await until(connection, "response.done")) == "It is minus two in Oslo."

    run(test)


def test_functions_that_a_client_secret_brings_to_a_model_that_calls_none_are_refused(cascade: Served) -> None:
    async def test() -> None:
        async with httpx2.AsyncClient(headers={"Authorization": f"Bearer {KEY}"}) as http:
            session = {"session": {"type": "realtime", "tools": [TOOL]}}
            secret = (await http.post(f"{cascade.http}/v1/realtime/client_secrets", json=session)).json()["value"]
        url = f"{cascade.ws}/v1/realtime?model=beeper"
        async with connect(url, additional_headers={"Authorization": f"Bearer {secret}"}) as websocket:
            created, refused = [json.loads(await websocket.recv()) for _ in range(2)]
            assert created["session"]["tools"] == []
            assert refused["error"]["code"] == "function_calling_not_supported"
            assert refused["error"]["param"] == "session.tools"

    engine = Engine(rows_of(Beeper(), 1))
    engine.start()
    cascade.server.engines["beeper"] = engine
    try:
        run(test)
    finally:
        del cascade.server.engines["beeper"]
        engine.stop()


def test_what_cannot_be_offered_is_refused(cascade: Served) -> None:
    async def test() -> None:
        async with connected(cascade) as connection:
            for tools in ([{"type": "mcp", "server_label": "x"}], [{"type": "function", "name": ""}]):
                await connection.session.update(session={"type": "realtime", "tools": tools})
                error = (await until(connection, "error"))[-1].error
                assert error.param is not None and error.param.startswith("session.tools")
            await connection.response.create(response={"tools": [TOOL]})
            assert (await until(connection, "error"))[-1].error.param == "response.tools"
            await connection.response.create(response={"tool_choice": "required"})
            assert (await until(connection, "error"))[-1].error.param == "response.tool_choice"

    run(test)


@pytest.mark.clients
def test_openai_agents_run_their_tools(cascade: Served) -> None:
    realtime = pytest.importorskip("agents.realtime")
    agents = pytest.importorskip("agents")
    asked: list[str] = []

    @agents.function_tool
    def weather(city: str) -> str:
        """The weather in a city."""
        asked.append(city)
        return "minus two"

    async def test() -> None:
        agent = realtime.RealtimeAgent(name="test", tools=[weather])
        config = {"url": f"{cascade.ws}/v1/realtime?model=caller", "api_key": KEY}
        async with await realtime.RealtimeRunner(agent).run(model_config=config) as session:
            await session.send_audio(spoken_question())
            ended = 0
            history: list[Any] = []
            async for event in session:
                assert event.type != "error", event
                if event.type == "history_updated":
                    history = event.history
                ended += event.type == "agent_end"
                if ended == 2:
                    break
            assert asked == ["Oslo"]
            said = [item for item in history if item.type == "message" and item.role == "assistant"]
            assert said[-1].content[0].transcript == "It is minus two in Oslo."

    run(test)

"""Turns over replies that may not be cut, and replies that never come: every response that begins also ends."""

from __future__ import annotations

import asyncio
import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from serve.conftest import Served, run, serving, silence, tone
from serve.test_sockets import append, client, told
from systems.simple import Beeper, BeeperConversation, Holder, Reader
from websockets.asyncio.client import ClientConnection

from duologue.audio.files import load
from duologue.systems.base import Pcm, Reply

QUESTION = Path(__file__).parents[2] / "examples" / "question.wav"


class Mute(Beeper):
    """Hears and says nothing."""

    def open(self, seed: int = 0) -> BeeperConversation:
        return MuteConversation(self.card, *self.times)


class MuteConversation(BeeperConversation):
    def _answer(self, pcm: Pcm) -> Reply:
        return Reply(np.zeros(self.card.frame, np.float32))


async def detect(websocket: ClientConnection, **settings: Any) -> None:
    detection = {"type": "server_vad", "silence_duration_ms": 800, **settings}
    session = {"type": "realtime", "audio": {"input": {"turn_detection": detection}}}
    await websocket.send(json.dumps({"type": "session.update", "session": session}))
    await told(websocket, "session.updated")


async def ask(websocket: ClientConnection) -> None:
    """Say the question, and silence after it, in pieces."""
    sound = silence(0.5) + (32767 * load(QUESTION, 24000)).astype("<i2").tobytes() + silence(1.5)
    for start in range(0, len(sound), 4800):
        await websocket.send(append(sound[start : start + 4800]))


async def until(websocket: ClientConnection, kind: str) -> list[dict[str, Any]]:
    """The events up to the first of this type."""
    events: list[dict[str, Any]] = []
    while not events or events[-1]["type"] != kind:
        events.append(json.loads(await websocket.recv()))
    return events


@pytest.mark.parametrize("end", ["by itself", "cancelled", "cleared"])
def test_a_turn_over_a_reply_that_may_not_be_cut_is_answered_after_it(end: str) -> None:
    pytest.importorskip("silero_vad")
    system = Holder()

    async def test() -> None:
        async with client(served) as websocket:
            await detect(websocket, interrupt_response=False)
            await ask(websocket)
            first = (await told(websocket, "response.created"))["response"]["id"]
            events = await until(websocket, "response.output_audio.delta")
            await ask(websocket)
            events += await until(websocket, "input_audio_buffer.committed")
            if end == "cancelled":
                await websocket.send('{"type": "response.cancel"}')
            else:
                if end == "cleared":  # which what is an item already outlasts
                    await websocket.send('{"type": "input_audio_buffer.clear"}')
                    events += await until(websocket, "input_audio_buffer.cleared")
                system.let.set()
            events += await until(websocket, "response.done")
            system.let.set()
            done = events[-1]["response"]
            assert (done["id"], done["status"]) == (first, "cancelled" if end == "cancelled" else "completed")
            assert not [event for event in events if event["type"] == "response.created"]
            deltas = [event for event in events if event["type"] == "response.output_audio.delta"]
            assert {(event["response_id"], event["item_id"]) for event in deltas} == {(first, done["output"][0]["id"])}
            events = await until(websocket, "response.done")
            assert [event["type"] for event in events].count("response.created") == 1
            assert events[-1]["response"]["id"] != first
            assert events[-1]["response"]["status"] == "completed"
            assert events[-1]["response"]["output"][0]["content"][0]["transcript"] == "beep"

    with serving(system) as served:
        run(test)


def test_a_reply_that_never_comes_is_given_up_though_a_microphone_sends_on() -> None:
    async def test() -> None:
        async with client(served) as websocket:
            await websocket.send('{"type": "response.create"}')
            done = asyncio.ensure_future(told(websocket, "response.done"))
            sent = 0.0
            while not done.done():  # more than is heard in the time, so that no silence is filled in
                assert sent < 55
                await websocket.send(append(silence(0.6)))
                sent += 0.6
                await asyncio.sleep(0.05)
            response = (await done)["response"]
            assert (response["status"], response["output"]) == ("completed", [])

    with serving(Mute()) as served:
        run(test)


def test_a_long_question_is_heard_to_its_end_before_a_reply_is_given_up() -> None:
    async def test() -> None:
        async with client(served) as websocket:
            session = {"type": "realtime", "audio": {"input": {"turn_detection": None}}}
            await websocket.send(json.dumps({"type": "session.update", "session": session}))
            loud = np.full(24000, 5000, "<i2").tobytes()
            for _ in range(8):  # more than a reply is waited for
                await websocket.send(append(loud))
            await websocket.send('{"type": "input_audio_buffer.commit"}')
            await websocket.send('{"type": "response.create"}')
            response = (await told(websocket, "response.done"))["response"]
            assert response["output"][0]["content"][0]["transcript"] == "beep"

    with serving(Beeper()) as served:
        run(test)


def test_an_idle_user_whom_nobody_answers_leaves_no_response_open() -> None:
    pytest.importorskip("silero_vad")

    async def test() -> None:
        async with client(served) as websocket:
            await detect(websocket, idle_timeout_ms=1000)
            for _ in range(15):
                await websocket.send(append(silence(0.1)))
            await told(websocket, "input_audio_buffer.timeout_triggered")
            assert (await told(websocket, "response.done"))["response"]["status"] == "completed"

    with serving(Mute()) as served:
        run(test)


def message(role: str, *content: dict[str, Any]) -> str:
    item = {"type": "message", "role": role, "content": list(content)}
    return json.dumps({"type": "conversation.item.create", "item": item})


def written(role: str, text: str) -> str:
    return message(role, {"type": "output_text" if role == "assistant" else "input_text", "text": text})


async def listen_on(served: Served, websocket: ClientConnection) -> list[dict[str, Any]]:
    """What is told while a microphone sends a second of silence and all of it is heard."""
    engine = next(iter(served.server.engines.values()))
    before = engine.statistics.frames
    await websocket.send(append(silence(1.0)))
    while engine.statistics.frames < before + 12:
        await asyncio.sleep(0.02)
    await websocket.send('{"type": "session.update", "session": {}}')
    return await until(websocket, "session.updated")


def types(events: list[dict[str, Any]], *parts: str) -> list[str]:
    return [event["type"] for event in events if any(part in event["type"] for part in parts)]


def test_what_is_put_into_a_conversation_is_answered_once_and_only_when_it_is_asked_for() -> None:
    system = Reader()

    async def test() -> None:
        async with client(served) as websocket:
            for role, text in (
                ("user", "an old question"),
                ("assistant", "an old answer"),
                ("user", "what time is it"),
            ):
                await websocket.send(written(role, text))
            assert not types(await listen_on(served, websocket), "response", "error")
            assert system.texts == []
            await websocket.send('{"type": "response.create"}')
            events = await until(websocket, "response.done")
            assert events[-1]["response"]["output"][0]["content"][0]["transcript"] == "beep"
            events += await listen_on(served, websocket)
            assert types(events, "response.created", "response.done") == ["response.created", "response.done"]
            assert system.texts == ["what time is it"]
            await websocket.send(written("user", "one"))
            await websocket.send(written("user", "two"))
            deleted = (await until(websocket, "conversation.item.done"))[-1]["item"]["id"]
            await websocket.send(json.dumps({"type": "conversation.item.delete", "item_id": deleted}))
            await websocket.send(written("user", "three"))
            await websocket.send('{"type": "response.create"}')
            await until(websocket, "response.done")
            assert system.texts[1:] == ["two\nthree"]

    with serving(system) as served:
        run(test)


def test_what_was_put_in_before_a_reply_that_nobody_asked_for_is_not_answered_after_it() -> None:
    system = Reader()

    async def test() -> None:
        async with client(served) as websocket:
            await websocket.send(written("user", "a word on who is calling"))
            await websocket.send(append(tone(0.4) + silence(0.4)))
            await until(websocket, "response.done")
            await websocket.send(written("user", "and now"))
            await websocket.send('{"type": "response.create"}')
            await until(websocket, "response.done")
            assert system.texts == ["and now"]

    with serving(system) as served:
        run(test)


def test_what_is_put_in_while_a_reply_sounds_is_answered_when_it_can_be() -> None:
    system = Reader(beep=25)

    async def test() -> None:
        async with client(served) as websocket:
            await websocket.send(append(tone(0.4) + silence(0.4)))
            await until(websocket, "response.output_audio.delta")
            await websocket.send(written("user", "what time is it"))
            await websocket.send('{"type": "response.create"}')
            assert (await told(websocket, "error"))["error"]["code"] == "conversation_already_has_active_response"
            await until(websocket, "response.done")
            await websocket.send('{"type": "response.create"}')
            await until(websocket, "response.done")
            assert system.texts == ["what time is it"]

    with serving(system) as served:
        run(test)


def test_sound_that_is_put_in_is_no_turn_of_the_microphone() -> None:
    async def test() -> None:
        async with client(served) as websocket:
            await told(websocket, "session.created")
            sound = {"type": "input_audio", "audio": base64.b64encode(tone(0.5)).decode()}
            await websocket.send(message("user", sound))
            events = await listen_on(served, websocket)
            assert not types(events, "response", "input_audio_buffer")
            await websocket.send('{"type": "response.create"}')
            events += await until(websocket, "response.done")
            assert events[-1]["response"]["output"][0]["content"][0]["transcript"] == "beep"
            assert not types(events, "input_audio_buffer")
            assert len(types(events, "conversation.item.added")) == 2  # the question and the answer
            await websocket.send(append(tone(0.4) + silence(0.4)))
            events = await until(websocket, "response.done")
            assert types(events, "input_audio_buffer")[0] == "input_audio_buffer.speech_started"

    with serving(Beeper()) as served:
        run(test)


def test_what_is_committed_or_being_answered_cannot_be_cleared() -> None:
    async def test() -> None:
        async with client(served) as websocket:
            session = {"type": "realtime", "audio": {"input": {"turn_detection": None}}}
            await websocket.send(json.dumps({"type": "session.update", "session": session}))
            for _ in range(2):
                for message in (
                    json.loads(append(tone(0.48))),
                    {"type": "input_audio_buffer.commit"},
                    json.loads(append(tone(1.6))),
                    {"type": "input_audio_buffer.clear"},
                    {"type": "response.create"},
                    {"type": "input_audio_buffer.clear"},
                ):
                    await websocket.send(json.dumps(message))
                response = (await told(websocket, "response.done"))["response"]
                assert response["output"][0]["content"][0]["transcript"] == "beep"
                assert (
                    6 <= response["usage"]["input_token_details"]["audio_tokens"] <= 8
                )  # 0.48 s, and none of the rest

    with serving(Beeper()) as served:
        run(test)

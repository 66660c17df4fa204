"""Turns over replies that may not be cut, and replies that never come: every response that begins also ends."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from serve.conftest import run, serving, silence
from serve.test_sockets import append, client, told
from systems.simple import Beeper, BeeperConversation, Holder
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


@pytest.mark.parametrize("end", ["by itself", "cancelled"])
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
                system.let.set()
            events += await until(websocket, "response.done")
            system.let.set()
            done = events[-1]["response"]
            assert (done["id"], done["status"]) == (first, "completed" if end == "by itself" else "cancelled")
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

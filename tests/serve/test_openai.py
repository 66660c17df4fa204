"""The openai client against a real server: the Realtime API as its own library reads it."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from serve.conftest import KEY, Served, pitch, silence, tone

openai = pytest.importorskip("openai")
from openai import AsyncOpenAI  # noqa: E402

REPLY = [
    "response.created",
    "rate_limits.updated",
    "response.output_item.added",
    "conversation.item.added",
    "response.content_part.added",
    "response.output_audio_transcript.delta",
    "response.output_audio.delta",
    "response.output_audio.done",
    "response.output_audio_transcript.done",
    "response.content_part.done",
    "response.output_item.done",
    "conversation.item.done",
    "response.done",
]


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(60):
            await test()

    asyncio.run(limited())


@asynccontextmanager
async def connected(served: Served, **session: Any) -> AsyncIterator[Any]:
    """A connection that has read its `session.created`, with `session` set."""
    client = AsyncOpenAI(api_key=KEY, base_url=f"{served.http}/v1", max_retries=0)
    async with client.realtime.connect(model="gpt-realtime") as connection:
        created = await connection.recv()
        assert created.type == "session.created"
        if session:
            await connection.session.update(session={"type": "realtime", **session})
            assert (await connection.recv()).type == "session.updated"
        yield connection


async def say(connection: Any, *sounds: bytes, piece: int = 4800) -> None:
    """Send 16-bit PCM at 24 kHz in pieces."""
    for sound in sounds:
        for start in range(0, len(sound), piece):
            audio = base64.b64encode(sound[start : start + piece]).decode()
            await connection.input_audio_buffer.append(audio=audio)


async def until(connection: Any, *kinds: str) -> list[Any]:
    """The events up to the first of one of these types."""
    events = []
    while not events or events[-1].type not in kinds:
        events.append(await connection.recv())
        assert events[-1].type in (*kinds, "error") or events[-1].type != "error", events[-1]
    return events


def kinds(events: list[Any]) -> list[str]:
    """Their types, deltas that follow each other once."""
    found: list[str] = []
    for event in events:
        if not (event.type.endswith(".delta") and event.type in found):
            found.append(event.type)
    return found


def sound_of(events: list[Any]) -> bytes:
    return b"".join(base64.b64decode(event.delta) for event in events if event.type == "response.output_audio.delta")


def test_a_question_is_answered_by_the_models_own_turns(beeper: Served) -> None:
    async def test() -> None:
        async with connected(beeper, audio={"input": {"transcription": {"model": "whisper-1"}}}) as connection:
            await say(connection, silence(0.2), tone(1.0), silence(0.5))
            events = await until(connection, "response.done")
            found = kinds(events)
            assert found[:7] == [
                "input_audio_buffer.speech_started",
                "conversation.item.input_audio_transcription.delta",
                "input_audio_buffer.speech_stopped",
                "input_audio_buffer.committed",
                "conversation.item.added",
                "conversation.item.done",
                "conversation.item.input_audio_transcription.completed",
            ]
            assert found[7:] == REPLY
            completed = next(event for event in events if event.type.endswith("transcription.completed"))
            assert completed.transcript == "sound"
            assert completed.usage.seconds > 0
            reply = sound_of(events)
            assert len(reply) / 48000 == pytest.approx(0.4, abs=0.02)
            assert pitch(reply) == pytest.approx(440, abs=5)
            response = events[-1].response
            assert response.status == "completed"
            assert response.output[0].content[0].transcript == "beep"
            usage = response.usage
            assert usage.total_tokens == usage.input_tokens + usage.output_tokens
            assert usage.output_token_details.audio_tokens == 5
            assert usage.input_token_details.cached_tokens_details.audio_tokens == 0

    run(test)

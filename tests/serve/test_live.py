"""The openai client's `live.connect()` against a real server."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest
from serve.conftest import KEY, Served, pitch, run, serving, silence, tone
from systems.simple import Beeper

from duologue.audio import g711
from duologue.serve.limits import Limits

openai = pytest.importorskip("openai")
from openai import AsyncOpenAI  # noqa: E402
from openai.types import live  # noqa: E402

TOLD = {
    "error": live.ErrorEvent,
    "session.started": live.SessionStartedEvent,
    "session.updated": live.SessionUpdatedEvent,
    "session.closed": live.SessionClosedEvent,
    "session.usage.updated": live.SessionUsageUpdatedEvent,
    "session.input_audio.muted": live.InputAudioMutedEvent,
    "session.input_audio.unmuted": live.InputAudioUnmutedEvent,
    "session.instructions.appended": live.InstructionsAppendedEvent,
    "session.thinking.appended": live.ThinkingAppendedEvent,
    "session.input_transcript.delta": live.InputTranscriptDeltaEvent,
    "session.output_transcript.delta": live.OutputTranscriptDeltaEvent,
    "session.output_audio.delta": live.OutputAudioDeltaEvent,
}


@asynccontextmanager
async def connected(served: Served, key: str = KEY, **query: str) -> AsyncIterator[Any]:
    client = AsyncOpenAI(api_key=key, base_url=f"{served.http}/v1", max_retries=0)
    async with client.live.connect(extra_query=query) as connection:
        yield connection


def cut(connection: Any) -> None:
    """Lose the connection, without a word to the server."""
    connection._connection.transport.abort()


@asynccontextmanager
async def started(served: Served, **session: Any) -> AsyncIterator[Any]:
    async with connected(served) as connection:
        await connection.session.start(session={"model": "gpt-live-1", **session})
        assert (await told(connection)).type == "session.started"
        yield connection


async def told(connection: Any) -> Any:
    """The next event, which must be valid by the client's own types."""
    event = await connection.recv()
    return TOLD[event.type].model_validate(event.model_dump(exclude_unset=True), strict=True)


async def until(connection: Any, kind: str) -> list[Any]:
    events = [await told(connection)]
    while events[-1].type != kind:
        events.append(await told(connection))
    return events


async def say(connection: Any, *sounds: bytes) -> None:
    for sound in sounds:
        for start in range(0, len(sound), 4800):
            await connection.session.input_audio.append(audio=base64.b64encode(sound[start : start + 4800]).decode())


async def reply(connection: Any) -> tuple[list[Any], bytes]:
    """The events of one reply, from the usage told at its start to that at its end, and its sound."""
    await until(connection, "session.usage.updated")
    events = await until(connection, "session.usage.updated")
    deltas = [event.delta for event in events if event.type == "session.output_audio.delta"]
    return events, b"".join(map(base64.b64decode, deltas))


def test_sound_and_words_come_as_they_are_said(beeper: Served) -> None:
    async def test() -> None:
        async with connected(beeper) as connection:
            await connection.session.start(session={"model": "gpt-live-1", "instructions": "Be brief."}, event_id="one")
            event = await told(connection)
            assert (event.client_event_id, event.session.model) == ("one", "beeper")
            assert (event.session.audio.format.rate, event.session.instructions) == (24000, "Be brief.")
            await say(connection, silence(0.2), tone(0.8), silence(0.6))
            heard = (await until(connection, "session.input_transcript.delta"))[-1]
            assert (heard.delta, heard.end_ms - heard.start_ms) == ("sound", 80)
            events, sound = await reply(connection)
            assert [event.delta for event in events if event.type == "session.output_transcript.delta"] == ["beep"]
            assert len(sound) / 48000 == pytest.approx(0.4, abs=0.02)
            assert pitch(sound) == pytest.approx(440, abs=5)
            await say(connection, tone(0.5), silence(0.4))
            assert (await until(connection, "session.input_transcript.delta"))[-1].delta == " sound"
            await reply(connection)
            await connection.session.close()
            closed = (await until(connection, "session.closed"))[-1]
            assert (closed.reason, closed.session.id) == ("close_requested", event.session.id)
            assert closed.usage.seconds == pytest.approx(2.5, abs=0.2)
            with pytest.raises(Exception, match="1000"):
                await connection.recv()

    run(test)


def test_time_goes_on_while_the_client_sends_nothing(beeper: Served) -> None:
    async def test() -> None:
        async with started(beeper) as connection:
            await say(connection, tone(0.48))
            heard = (await until(connection, "session.input_transcript.delta"))[-1]
            said = (await until(connection, "session.output_transcript.delta"))[-1]
            assert said.end_ms > 480 > heard.end_ms  # the beep comes after two frames of silence

    run(test)


def test_a_voice_that_there_is_not_is_refused(beeper: Served) -> None:
    async def test() -> None:
        async with connected(beeper) as connection:
            asked = {"model": "gpt-live-1", "audio": {"output": {"voice": {"id": "voice_123"}}}}
            await connection.session.start(session=asked)
            assert (await told(connection)).error.param == "session.audio.output.voice"
            asked["audio"] = {"output": {"voice": "willow"}}
            await connection.session.start(session=asked)
            assert (await told(connection)).session.audio.output.voice == "beep"

    run(test)


def test_the_format_is_the_clients(beeper: Served) -> None:
    async def test() -> None:
        async with started(beeper, audio={"format": {"type": "audio/pcma", "rate": 8000}}) as connection:
            samples = np.frombuffer(tone(0.6, 8000) + silence(0.4, 8000), "<i2") / 32768
            await say(connection, g711.alaw_encode(samples).tobytes())
            _, sound = await reply(connection)
            decoded = (g711.alaw_decode(np.frombuffer(sound, np.uint8)) * 32767).astype("<i2").tobytes()
            assert pitch(decoded, 8000) == pytest.approx(440, abs=5)

    run(test)


def test_a_muted_user_is_not_heard(beeper: Served) -> None:
    async def test() -> None:
        async with started(beeper) as connection:
            await connection.session.input_audio.mute()
            await until(connection, "session.input_audio.muted")
            await say(connection, tone(0.8), silence(0.4))
            await connection.session.input_audio.unmute(event_id="on")
            events = await until(connection, "session.input_audio.unmuted")
            assert events[-1].client_event_id == "on"
            await say(connection, tone(0.6), silence(0.4))
            events, _ = await reply(connection)
            await connection.session.close()
            events += await until(connection, "session.closed")
            words = [event.delta for event in events if event.type == "session.output_transcript.delta"]
            assert words == ["beep"]

    run(test)


def test_what_cannot_be_done_is_said_and_the_session_goes_on(beeper: Served) -> None:
    async def test() -> None:
        async with connected(beeper) as connection:

            async def refused(code: str, client_event_id: str | None = None) -> None:
                error = (await until(connection, "error"))[-1].error
                assert (error.code, error.client_event_id) == (code, client_event_id)

            await connection.session.input_audio.append(audio="", event_id="early")
            await refused("session_not_started", "early")
            tool = {"type": "function", "name": "time", "parameters": {}}
            backend = {"type": "responses", "responses": {"model": "gpt-5", "tools": [tool]}}
            await connection.session.start(session={"model": "gpt-live-1", "delegation": backend})
            await refused("function_calling_not_supported")
            await connection.session.start(session={"model": "gpt-live-1", "delegation": {"type": "decisions"}})
            await refused("delegation_not_supported")
            backend["responses"] = {"model": "gpt-5"}
            await connection.session.start(session={"model": "gpt-live-1", "delegation": backend})
            event = (await until(connection, "session.started"))[-1]
            assert event.session.delegation.responses.model == "gpt-5"
            await connection.session.start(session={"model": "gpt-live-1"})
            await refused("session_already_started")
            await connection.session.instructions.append(content="Speak slowly.", delegation_id=None)
            await until(connection, "session.instructions.appended")
            await connection.session.thinking.append(content="They seem tired.", delegation_id=None)
            await until(connection, "session.thinking.appended")
            await connection.session.thinking.append(content="Done.", delegation_id="dlg_1")
            await refused("delegation_not_found")
            await connection.session.commentary.append(content="It is noon.", delegation_id=None)
            await refused("text_input_not_supported")
            await connection.response.create()
            await refused("delegation_not_supported")
            await connection.session.input_audio.append(audio="@@@@")
            await refused("invalid_value")
            await connection.session.update(session={"delegation": {"type": "client", "acknowledgement_delay_ms": 9}})
            updated = (await until(connection, "session.updated"))[-1]
            assert updated.session.delegation.acknowledgement_delay_ms == 9
            await say(connection, tone(0.6), silence(0.4))
            assert pitch((await reply(connection))[1]) == pytest.approx(440, abs=5)

    run(test)


def test_a_lost_session_goes_on_where_it_was() -> None:
    async def test() -> None:
        async with connected(served) as connection:
            session = {"model": "gpt-live-1", "instructions": "Be brief."}
            await connection.session.start(session=session)
            id = (await told(connection)).session.id
            await connection.session.input_audio.mute()
            await until(connection, "session.input_audio.muted")
            await connection.session.input_audio.unmute()
            await say(connection, tone(0.8))
            engine = next(iter(served.server.engines.values()))
            while engine.statistics.frames < 10:
                await asyncio.sleep(0.02)
            cut(connection)
        async with connected(served, key="other", resume=id) as connection:
            await connection.session.start(session={"model": "gpt-live-1"})
            assert (await told(connection)).session.id != id, "it is another's"
        async with connected(served, resume=id) as connection:
            event = await told(connection)
            assert (event.type, event.session.id) == ("session.started", id)
            assert event.session.instructions == "Be brief."
            await connection.session.start(session={"model": "gpt-live-1"})
            assert (await told(connection)).error.code == "session_already_started"
            await say(connection, silence(0.6))  # after which what was said before is answered
            assert pitch((await reply(connection))[1]) == pytest.approx(440, abs=5)
            await say(connection, tone(0.5), silence(0.4))
            again = (await until(connection, "session.input_transcript.delta"))[-1]
            assert again.delta == " sound" and again.end_ms > 1400
            await until(connection, "session.usage.updated")
            async with connected(served, resume=id) as other:  # its client knows before the server does
                assert (await told(other)).session.id == id
                with pytest.raises(Exception, match="4000"):
                    while True:
                        await connection.recv()
                await other.session.close()
                closed = (await until(other, "session.closed"))[-1]
                assert closed.usage.seconds == pytest.approx(2.3, abs=0.2)
        async with connected(served, resume=id) as connection:
            await connection.session.start(session={"model": "gpt-live-1"})
            assert (await told(connection)).session.id != id, "it was closed"

    with serving(Beeper(), Limits(drain=0), keys=(KEY, "other")) as served:
        run(test)


def test_a_lost_session_that_finds_no_slot_is_kept() -> None:
    async def test() -> None:
        async with started(served) as connection:
            id = (await session_of(connection))["id"]
            cut(connection)
        async with started(served) as connection:
            async with connected(served, resume=id) as other:
                assert (await told(other)).error.code == "server_full"
            await connection.session.close()
            await until(connection, "session.closed")
        async with connected(served, resume=id) as connection:
            assert (await told(connection)).session.id == id

    async def session_of(connection: Any) -> dict[str, Any]:
        await connection.session.update(session={})
        session: dict[str, Any] = (await until(connection, "session.updated"))[-1].session.model_dump()
        return session

    with serving(Beeper(), Limits(drain=0), slots=1) as served:
        run(test)


def test_a_session_that_lasts_too_long_is_closed_with_a_reason() -> None:
    async def test() -> None:
        async with started(served) as connection:
            assert (await until(connection, "session.closed"))[-1].reason == "expired"
        async with started(served):
            pass
        engine = next(iter(served.server.engines.values()))
        while engine.taken:
            await asyncio.sleep(0.02)

    with serving(Beeper(), Limits(session=1, drain=0), slots=1) as served:
        run(test)

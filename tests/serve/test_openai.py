"""The openai client against a real server: the Realtime API as its own library reads it."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest
from serve.conftest import KEY, Served, pitch, run, serving, silence, tone
from systems.simple import Reader

from duologue.audio import g711
from duologue.audio.resample import resample
from duologue.systems import registry

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


def test_speaking_over_a_reply_stops_it(beeper: Served) -> None:
    async def test() -> None:
        async with connected(beeper) as connection:
            await say(connection, tone(0.8), silence(0.4))
            await until(connection, "response.output_audio.delta")
            await say(connection, tone(0.4))
            events = await until(connection, "response.done")
            assert "input_audio_buffer.speech_started" in kinds(events)
            assert events[-1].response.status == "cancelled"
            assert events[-1].response.status_details.reason == "turn_detected"
            assert events[-1].response.output[0].status == "incomplete"

    run(test)


def test_a_voice_detector_decides_on_turns_where_it_is_asked(beeper: Served, question: np.ndarray) -> None:
    async def test() -> None:
        detection = {"type": "server_vad", "silence_duration_ms": 300, "idle_timeout_ms": 5000}
        async with connected(beeper, audio={"input": {"turn_detection": detection}}) as connection:
            speech = (resample(question, 16000, 24000) * 32767).astype("<i2").tobytes()
            await say(connection, silence(0.5), speech, silence(1.0))
            events = await until(connection, "response.done")
            found = kinds(events)
            assert found[:5] == [
                "input_audio_buffer.speech_started",
                "input_audio_buffer.speech_stopped",
                "input_audio_buffer.committed",
                "conversation.item.added",
                "conversation.item.done",
            ]
            assert found[5:7] == REPLY[:2]
            assert 200 <= events[0].audio_start_ms < events[1].audio_end_ms  # 300 ms are kept before the speech
            assert pitch(sound_of(events)) == pytest.approx(440, abs=5)
            await say(connection, silence(6.0))
            events = await until(connection, "input_audio_buffer.timeout_triggered")

    run(test)


def test_without_turn_detection_the_client_commits_and_asks(beeper: Served) -> None:
    async def test() -> None:
        async with connected(beeper, audio={"input": {"turn_detection": None}}) as connection:
            await connection.input_audio_buffer.commit()
            error = await connection.recv()
            assert error.error.code == "input_audio_buffer_commit_empty"
            await say(connection, tone(0.6))
            await connection.input_audio_buffer.clear()
            assert (await connection.recv()).type == "input_audio_buffer.cleared"
            await say(connection, tone(0.6))
            await connection.input_audio_buffer.commit()
            committed = await until(connection, "conversation.item.done")
            assert kinds(committed)[0] == "input_audio_buffer.committed"
            await connection.response.create(response={"metadata": {"ticket": "7"}})
            created = await connection.recv()
            assert created.response.metadata == {"ticket": "7"}
            await connection.response.create()
            events = await until(connection, "error")
            assert events[-1].error.code == "conversation_already_has_active_response"
            events += await until(connection, "response.done")
            assert events[-1].response.status == "completed"
            assert pitch(sound_of(events)) == pytest.approx(440, abs=5)

    run(test)


def test_a_reply_is_cancelled_and_truncated(beeper: Served) -> None:
    async def test() -> None:
        async with connected(beeper) as connection:
            await connection.response.cancel()
            error = (await connection.recv()).error
            assert (error.code, error.message[:19]) == ("response_cancel_not_active", "Cancellation failed")
            await say(connection, tone(0.6), silence(0.3))
            events = await until(connection, "response.output_audio.delta")
            await connection.response.cancel()
            events += await until(connection, "response.done")
            assert events[-1].response.status_details.reason == "client_cancelled"
            item = events[-1].response.output[0].id
            await connection.conversation.item.truncate(item_id=item, content_index=0, audio_end_ms=99_000)
            truncated = await connection.recv()
            assert truncated.type == "conversation.item.truncated"
            assert truncated.audio_end_ms == pytest.approx(1000 * len(sound_of(events)) / 48000, abs=25)
            await connection.conversation.item.delete(item_id=item)
            assert (await connection.recv()).type == "conversation.item.deleted"
            await connection.conversation.item.retrieve(item_id=item)
            assert (await connection.recv()).error.code == "item_retrieve_invalid_item_id"
            await say(connection, silence(1.0), tone(0.6), silence(0.3))
            events = await until(connection, "response.done")
            assert events[-1].response.status == "completed"

    run(test)


def test_a_response_out_of_band_hears_its_own_input_and_joins_no_conversation(beeper: Served) -> None:
    async def test() -> None:
        async with connected(beeper) as connection:
            audio = base64.b64encode(tone(0.5)).decode()
            heard = {"type": "message", "role": "user", "content": [{"type": "input_audio", "audio": audio}]}
            await connection.response.create(response={"conversation": "none", "input": [heard]})
            events = await until(connection, "response.done")
            assert "conversation.item.added" not in kinds(events)
            assert events[-1].response.conversation_id is None
            assert pitch(sound_of(events)) == pytest.approx(440, abs=5)

    run(test)


def test_a_response_out_of_band_reads_its_own_input_where_the_system_reads(beeper: Served) -> None:
    text = {"type": "input_text", "text": "what time is it"}
    asked = {"conversation": "none", "input": [{"type": "message", "role": "user", "content": [text]}]}

    async def test(served: Served, status: str, code: str | None) -> None:
        async with connected(served) as connection:
            await connection.response.create(response=asked)
            response = (await until(connection, "response.done"))[-1].response
            assert response.status == status
            assert (response.status_details.error.code if response.status_details else None) == code
            assert [item.content[0].transcript for item in response.output] == ([] if code else ["beep"])

    with serving(Reader()) as served:
        run(lambda: test(served, "completed", None))
    run(lambda: test(beeper, "failed", "text_input_not_supported"))


def test_text_comes_alone_where_it_is_asked(beeper: Served) -> None:
    async def test() -> None:
        async with connected(beeper, output_modalities=["text"]) as connection:
            await say(connection, tone(0.6), silence(0.3))
            events = await until(connection, "response.done")
            found = kinds(events)
            assert "response.output_text.delta" in found
            assert "response.output_audio.delta" not in found
            assert events[-1].response.output[0].content[0].text == "beep"

    run(test)


@pytest.mark.parametrize("law", ["audio/pcmu", "audio/pcma"])
def test_a_telephone_is_understood_and_answered(beeper: Served, law: str) -> None:
    encode, decode = (
        (g711.mulaw_encode, g711.mulaw_decode) if law == "audio/pcmu" else (g711.alaw_encode, g711.alaw_decode)
    )

    async def test() -> None:
        format = {"format": {"type": law}}
        async with connected(beeper, audio={"input": format, "output": format}) as connection:
            samples = np.frombuffer(tone(0.6, 8000) + silence(0.4, 8000), "<i2") / 32768
            await say(connection, encode(samples).tobytes(), piece=160)
            events = await until(connection, "response.done")
            reply = decode(np.frombuffer(sound_of(events), np.uint8))
            assert len(reply) / 8000 == pytest.approx(0.4, abs=0.02)
            assert pitch((reply * 32767).astype("<i2").tobytes(), 8000) == pytest.approx(440, abs=5)

    run(test)


def test_what_the_model_cannot_do_is_said_clearly(beeper: Served) -> None:
    async def test() -> None:
        async with connected(beeper) as connection:
            tool = {"type": "function", "name": "time", "parameters": {"type": "object", "properties": {}}}
            await connection.session.update(session={"type": "realtime", "tools": [tool]})
            assert (await connection.recv()).error.code == "function_calling_not_supported"
            text = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hello"}]}
            await connection.conversation.item.create(item=text)
            assert (await connection.recv()).error.code == "text_input_not_supported"
            text["role"] = "system"
            await connection.conversation.item.create(item=text)
            assert (await connection.recv()).type == "conversation.item.added"

    run(test)


def test_text_reaches_a_system_that_reads_and_is_answered() -> None:
    async def test() -> None:
        async with connected(served, audio={"input": {"turn_detection": None}}) as connection:
            text = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "what time is it"}]}
            await connection.conversation.item.create(item=text)
            added = await until(connection, "conversation.item.done")
            assert added[-1].item.content[0].text == "what time is it"
            await connection.response.create()
            events = await until(connection, "response.done")
            assert pitch(sound_of(events)) == pytest.approx(440, abs=5)
            assert events[-1].response.usage.input_token_details.text_tokens == 4

    with serving(Reader()) as served:
        run(test)


@pytest.mark.skipif(not (registry.BOX / "model.safetensors").is_file(), reason="there is no model in the box")
def test_the_box_answers_a_written_question_in_speech() -> None:
    async def test() -> None:
        async with connected(served, audio={"input": {"turn_detection": None}}) as connection:
            text = {"type": "input_text", "text": "What comes after Monday?"}
            await connection.conversation.item.create(item={"type": "message", "role": "user", "content": [text]})
            await connection.response.create()
            events = await until(connection, "response.done")
            said = [event.delta for event in events if event.type == "response.output_audio_transcript.delta"]
            assert "".join(said).strip() == "after monday comes tuesday"
            assert any(sound_of(events))

    with serving(registry.load("box"), slots=1) as served:
        run(test)


def test_settings_are_echoed_and_wrong_ones_named(beeper: Served) -> None:
    async def test() -> None:
        async with connected(beeper, instructions="be kind", tracing="auto") as connection:
            await connection.session.update(
                session={"type": "realtime", "audio": {"input": {"turn_detection": {"type": "server_vad"}}}}
            )
            session = (await connection.recv()).session
            assert session.instructions == "be kind"
            assert session.model == "beeper"
            assert session.audio.input.turn_detection.silence_duration_ms == 500
            wrong = {"type": "server_vad", "threshold": 3}
            await connection.session.update(session={"type": "realtime", "audio": {"input": {"turn_detection": wrong}}})
            error = (await connection.recv()).error
            assert error.code == "decimal_above_max_value"
            assert error.param == "session.audio.input.turn_detection.threshold"

    run(test)


def test_a_voice_that_there_is_not_is_refused_and_openais_names_mean_the_models_own(beeper: Served) -> None:
    async def refused(connection: Any, param: str) -> None:
        error = (await connection.recv()).error
        assert (error.code, error.param) == ("invalid_value", param)
        assert "'beep'" in error.message

    async def test() -> None:
        async with connected(beeper) as connection:
            for voice in ("marin", "beep", {"id": "beep"}):
                await connection.session.update(session={"type": "realtime", "audio": {"output": {"voice": voice}}})
                assert (await connection.recv()).session.audio.output.voice == "beep"
            for wrong in ("scarlett", {"id": "voice_123"}, {}):
                await connection.session.update(session={"type": "realtime", "audio": {"output": {"voice": wrong}}})
                await refused(connection, "session.audio.output.voice")
            await connection.response.create(response={"audio": {"output": {"voice": "scarlett"}}})
            await refused(connection, "response.audio.output.voice")
        client = AsyncOpenAI(api_key=KEY, base_url=f"{beeper.http}/v1", max_retries=0)
        asked: Any = {"type": "realtime", "audio": {"output": {"voice": "scarlett"}}}
        with pytest.raises(openai.BadRequestError, match="supported values"):
            await client.realtime.client_secrets.create(session=asked)
        asked["audio"]["output"]["voice"] = "cedar"
        made = await client.realtime.client_secrets.create(session=asked)
        assert made.session.audio.output.voice == "beep"

    run(test)


def test_the_beta_client_gets_the_earlier_names(beeper: Served) -> None:
    async def test() -> None:
        client = AsyncOpenAI(api_key=KEY, websocket_base_url=f"{beeper.ws}/v1", max_retries=0)
        async with client.beta.realtime.connect(model="gpt-4o-realtime-preview") as connection:
            assert (await connection.recv()).session.input_audio_format == "pcm16"
            detection = {"type": "server_vad", "threshold": 0.4}
            await connection.session.update(session={"modalities": ["text", "audio"], "turn_detection": detection})
            updated = await connection.recv()
            assert updated.session.turn_detection.threshold == 0.4
            assert updated.session.modalities == ["text", "audio"]
            await connection.session.update(session={"voice": "scarlett"})
            assert (await connection.recv()).error.param == "session.voice"
            await connection.response.create(response={"voice": "scarlett"})
            assert (await connection.recv()).error.param == "response.voice"
            await connection.response.create(response={"max_response_output_tokens": 0})
            assert (await connection.recv()).error.param == "response.max_response_output_tokens"
            await connection.session.update(session={"turn_detection": {"type": "semantic_vad"}})
            await connection.recv()
            await say(connection, tone(0.6), silence(0.3))
            found = kinds(await until(connection, "response.done"))
            assert "conversation.item.created" in found
            assert "response.audio.delta" in found
            assert "response.audio_transcript.done" in found
            assert not any("output_audio" in kind or kind == "conversation.item.done" for kind in found)

    run(test)


def test_a_client_secret_opens_a_session_with_its_settings(beeper: Served) -> None:
    async def test() -> None:
        client = AsyncOpenAI(api_key=KEY, base_url=f"{beeper.http}/v1", max_retries=0)
        secret = await client.realtime.client_secrets.create(
            expires_after={"anchor": "created_at", "seconds": 60},
            session={"type": "realtime", "model": "beeper", "instructions": "from the secret"},
        )
        assert secret.value.startswith("ek_")
        guest = AsyncOpenAI(api_key=secret.value, base_url=f"{beeper.http}/v1", max_retries=0)
        async with guest.realtime.connect(model="beeper") as connection:
            assert (await connection.recv()).session.instructions == "from the secret"
        with pytest.raises(openai.AuthenticationError):
            await guest.realtime.client_secrets.create()
        models = await client.models.list()
        assert [model.id for model in models.data] == ["beeper"]

    run(test)

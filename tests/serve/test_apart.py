"""Responses out of band: about their own input or the conversation so far, under the settings of the session."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
from serve.conftest import Served, run, serving, tone
from systems.simple import Beeper, Reader, ReaderConversation, write_tiny_model

from duologue.systems import registry
from duologue.systems.process import ProcessRows

pytest.importorskip("openai")
from serve.test_openai import connected, kinds, say, sound_of, until

CLASSIFY = {"conversation": "none", "output_modalities": ["text"], "instructions": "Is this about time?"}


def written(role: str, text: str) -> Any:
    kind = "output_text" if role == "assistant" else "input_text"
    return {"type": "message", "role": role, "content": [{"type": kind, "text": text}]}


def heard() -> Any:
    audio = base64.b64encode(tone(0.5)).decode()
    return {"type": "message", "role": "user", "content": [{"type": "input_audio", "audio": audio}]}


def test_a_system_that_reads_is_told_the_conversation_so_far() -> None:
    system = Reader()

    async def test() -> None:
        async with connected(served) as connection:
            await connection.response.create(response={"conversation": "none"})
            error = (await until(connection, "error"))[-1].error
            assert (error.code, error.param) == ("invalid_value", "response.input")  # nothing was said
            for role, text in (("user", "what time is it"), ("assistant", "it is four")):
                await connection.conversation.item.create(item=written(role, text))
                await until(connection, "conversation.item.done")
            await connection.response.create(response=CLASSIFY)
            events = await until(connection, "response.done")
            assert "response.output_text.delta" in kinds(events)
            assert not any(kind.startswith(("conversation", "response.output_audio")) for kind in kinds(events))
            assert events[-1].response.status == "completed"
            assert system.texts == ["User: what time is it\nAssistant: it is four\nIs this about time?"]

    with serving(system) as served:
        run(test)


def test_a_system_that_cannot_go_back_says_that_it_needs_input(beeper: Served) -> None:
    async def test() -> None:
        async with connected(beeper) as connection:
            await connection.response.create(response=CLASSIFY)
            error = (await until(connection, "error"))[-1].error
            assert (error.code, error.param) == ("invalid_value", "response.input")
            assert "input of its own" in error.message

    run(test)


def test_a_native_conversation_goes_on_in_two_places(tmp_path: Path) -> None:
    async def test() -> None:
        async with connected(served, audio={"input": {"turn_detection": None}}) as connection:
            await say(connection, tone(0.5))
            await connection.input_audio_buffer.commit()
            await until(connection, "conversation.item.done")
            await connection.response.create(response={**CLASSIFY, "max_output_tokens": 1})
            response = (await until(connection, "response.done"))[-1].response
            assert response.status in ("completed", "incomplete")  # untrained, it may say anything
            assert response.usage.input_token_details.audio_tokens > 0  # the turn that it is about
            await connection.response.create(response={"max_output_tokens": 1})
            response = (await until(connection, "response.done"))[-1].response
            assert response.usage.input_token_details.audio_tokens > 0  # which is still to be answered

    with serving(registry.load(write_tiny_model(tmp_path)), slots=2) as served:
        run(test)


@pytest.mark.skipif(not (registry.BOX / "model.safetensors").is_file(), reason="there is no model in the box")
def test_the_box_answers_out_of_band_and_in_the_conversation() -> None:
    async def test() -> None:
        async with connected(served) as connection:
            await connection.conversation.item.create(item=written("user", "What comes after Monday?"))
            await until(connection, "conversation.item.done")
            await connection.response.create(response=CLASSIFY)
            response = (await until(connection, "response.done"))[-1].response
            assert response.output[0].content[0].text == "after monday comes tuesday"
            await connection.response.create()
            response = (await until(connection, "response.done"))[-1].response
            assert response.output[0].content[0].transcript == "after monday comes tuesday"
            await connection.conversation.item.create(item=written("user", "word " * 1000))
            await connection.response.create()
            assert (await until(connection, "response.done"))[-1].response.status == "failed"
            error = (await until(connection, "error"))[-1].error
            assert (error.code, error.type) == ("string_above_max_length", "invalid_request_error")
            assert "too long" in error.message
            await connection.conversation.item.create(item=written("user", "What comes after Monday?"))
            await connection.response.create()  # what was refused does not stand in the way
            response = (await until(connection, "response.done"))[-1].response
            assert response.output[0].content[0].transcript == "after monday comes tuesday"

    with serving(registry.load("box"), slots=2) as served:
        run(test)


def test_it_is_held_to_its_length() -> None:
    async def test() -> None:
        async with connected(served) as connection:
            asked = {"conversation": "none", "input": [heard()], "max_output_tokens": 5}
            await connection.response.create(response=asked)
            events = await until(connection, "response.done")
            response = events[-1].response
            assert (response.status, response.status_details.reason) == ("incomplete", "max_output_tokens")
            assert 0 < len(sound_of(events)) / 48000 <= 6 * 0.08

    with serving(Beeper(beep=25)) as served:
        run(test)


class Paced(Reader):
    """Beeps for as long as it is paced, in frames of a tenth."""

    def open(self, seed: int = 0) -> ReaderConversation:
        return PacedConversation(self.card, *self.times, self.texts)


class PacedConversation(ReaderConversation):
    def pace(self, pace: float) -> None:
        self.beep = round(10 / pace)


def test_it_is_spoken_as_fast_as_the_session_asks() -> None:
    async def test() -> None:
        async with connected(served, audio={"output": {"speed": 0.5}}) as connection:
            await connection.response.create(response={"conversation": "none", "input": [heard()]})
            events = await until(connection, "response.done")
            assert len(sound_of(events)) / 48000 == pytest.approx(20 * 0.08, abs=0.02)

    with serving(Paced()) as served:
        run(test)


@pytest.mark.parametrize("conversation", ["auto", "none"])
def test_no_functions_may_be_asked_of_a_system_that_calls_none(beeper: Served, conversation: str) -> None:
    async def test() -> None:
        async with connected(beeper) as connection:
            if conversation == "auto":
                await connection.conversation.item.create(item=heard())
            asked = {"conversation": conversation, "tool_choice": "none", "tools": []}
            await connection.response.create(response={**asked, "input": [heard()] if conversation == "none" else None})
            response = (await until(connection, "response.done"))[-1].response
            assert response.output[0].content[0].transcript == "beep"

    run(test)


def test_a_copy_in_another_process_goes_on_as_the_original_does(tmp_path: Path) -> None:
    from systems.simple import frames
    from systems.test_process import said

    rows = ProcessRows(str(write_tiny_model(tmp_path)), 2)
    try:
        rows.open(0, 5)
        assert rows.read(0, "what is two plus two")
        said(rows, 0, frames(10))
        copy = rows.copy(0)
        assert copy is not None
        rows.restore(1, copy)
        assert said(rows, 1, frames(20, 1)) == said(rows, 0, frames(20, 1))
    finally:
        rows.close_all()

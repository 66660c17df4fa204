"""Responses out of band: conversations of their own, which begin afresh or with a copy of another.

What a request asks about is its `input`, or else the conversation so far. A system that can be in two conversations at
once goes on from there; one that reads is told in writing what was said.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from duologue.errors import TextError
from duologue.serve.events import Audio, ItemParam, format_of
from duologue.serve.faults import RealtimeError
from duologue.serve.given import Turn
from duologue.serve.items import Item
from duologue.serve.parsing import sounds_of
from duologue.serve.responses import TOO_LONG, TOO_MUCH, Response, Status, carry, usage_of
from duologue.serve.session import Broken, Copy, Moment, NoReply, ReplyEnded, Session
from duologue.serve.turns import ToldTurns
from duologue.systems.engine import Engine, EngineFullError

NO_TEXT = {"error": {"type": "invalid_request_error", "code": "text_input_not_supported"}}


@dataclass(frozen=True)
class Asked:
    """The turn that is answered, and the conversation before it; None: there was none."""

    turn: Turn
    copy: Copy | None = None


def asked_with(given: list[ItemParam], audio: Audio) -> Asked:
    """What the `input` of a request asks.

    Raises:
        RealtimeError: nothing, or what no system here can take.
    """
    format = format_of(audio.input.format)
    sounds = [(sound, format) for item in given for sound in sounds_of(item)]
    parts = [part for item in given if item.role == "user" for part in item.content]
    texts = [part.text for part in parts if part.type == "input_text" and part.text]
    if not sounds and not texts:
        message = "The input of a response out of band needs something that the user says or writes."
        raise RealtimeError(message, "invalid_value", "response.input")
    return Asked(Turn(texts, sounds))


async def asked_of(session: Session, waiting: Turn, items: Iterable[Item], instructions: str | None) -> Asked:
    """What a request without `input` asks: the conversation so far, and what of it `waiting` to be answered.

    Raises:
        RealtimeError: the system can't be asked about it.
    """
    if (copy := await session.copy()) is not None:
        return Asked(waiting, copy)
    name = session.engine.card.name
    if not await session.reads():
        message = f"A response of {name} out of band needs input of its own: it cannot go back to what it has heard."
        raise RealtimeError(message, "invalid_value", "response.input")
    texts = [f"{item.role.capitalize()}: {text}" for item in items if (text := _written(item))]
    if instructions:
        texts.append(instructions)
    if not texts:
        message = "Nothing was said yet that a response out of band could be about: give it input or instructions."
        raise RealtimeError(message, "invalid_value", "response.input")
    return Asked(Turn(texts))


def _written(item: Item) -> str:
    return " ".join(part.get("text") or part.get("transcript") or "" for part in item.content).strip()


async def answer_apart(engine: Engine, response: Response, asked: Asked, audio: Audio, longest: float) -> None:
    """Ask in a conversation of its own, with up to `longest` seconds of sound; the reply goes into `response`.

    A system that takes no text makes it fail: only the conversation can tell.
    """
    moments: asyncio.Queue[Moment] = asyncio.Queue()
    session = Session(engine, moments.put_nowait)
    status: Status = "failed"
    reason: dict[str, Any] | None = None
    text, outward = asked.turn.text, format_of(audio.output.format)
    try:
        await session.open(saved=asked.copy.saved if asked.copy else None)
        session.set_formats(format_of(audio.input.format), outward)
        session.set_turns(lambda slot: ToldTurns(slot, longest))
        await session.pace(audio.output.speed)
        if asked.copy is not None:
            await session.go_on_from(asked.copy)
        if text and not await session.read(text):
            reason = NO_TEXT
            return
        for sound, format in asked.turn.sounds:
            session.insert(sound, format)
        session.answer()
        while not isinstance(moment := await moments.get(), ReplyEnded | NoReply | Broken):
            carry(response, moment, outward)
            if response.exceeds(engine.frame_seconds):
                status, reason = "incomplete", TOO_MUCH
                return
        status = "failed" if isinstance(moment, Broken) else "completed"
    except EngineFullError:
        pass  # the client is told by the status
    except TextError:
        reason = TOO_LONG
    except asyncio.CancelledError:
        status, reason = "cancelled", {"reason": "client_cancelled"}
    finally:
        usage = usage_of(session.heard_frames, session.said_frames, response.words, len(text.split()))
        response.finish(status, usage, reason)
        await session.close()

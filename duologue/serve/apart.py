"""Responses out of band: a conversation of its own that hears and reads what the request brings, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from duologue.serve.responses import Response, Status, carry, usage_of
from duologue.serve.session import Broken, Moment, NoReply, ReplyEnded, Session
from duologue.serve.sound import Format
from duologue.serve.turns import ToldTurns
from duologue.systems.engine import Engine, EngineFullError

NO_TEXT = {"error": {"type": "invalid_request_error", "code": "text_input_not_supported"}}


async def answer_apart(
    engine: Engine,
    response: Response,
    texts: Sequence[str],
    sounds: Sequence[bytes],
    inward: Format,
    outward: Format,
    longest: float,
) -> None:
    """Let a fresh conversation read `texts` and hear `sounds`, up to `longest` seconds; its reply goes into `response`.

    A system that takes no text makes it fail: only the conversation can tell.
    """
    moments: asyncio.Queue[Moment] = asyncio.Queue()
    session = Session(engine, moments.put_nowait)
    status: Status = "failed"
    reason: dict[str, Any] | None = None
    try:
        await session.open()
        session.set_formats(inward, outward)
        session.set_turns(lambda slot: ToldTurns(slot, longest))
        if not all([await session.read(text) for text in texts]):
            reason = NO_TEXT
            return
        for sound in sounds:
            session.insert(sound)
        session.answer()
        while not isinstance(moment := await moments.get(), ReplyEnded | NoReply | Broken):
            carry(response, moment, outward)
        status = "failed" if isinstance(moment, Broken) else "completed"
    except EngineFullError:
        pass  # the client is told by the status
    except asyncio.CancelledError:
        status, reason = "cancelled", {"reason": "client_cancelled"}
    finally:
        read = sum(len(text.split()) for text in texts)
        response.finish(status, usage_of(session.heard_frames, session.said_frames, response.words, read), reason)
        await session.close()

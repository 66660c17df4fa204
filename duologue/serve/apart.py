"""Responses out of band: a conversation of its own that hears what the request brings, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from duologue.serve.responses import Response, Status, carry, usage_of
from duologue.serve.session import Broken, Moment, NoReply, ReplyEnded, Session
from duologue.serve.sound import Format
from duologue.serve.turns import ToldTurns
from duologue.systems.engine import Engine, EngineFullError


async def answer_apart(
    engine: Engine, response: Response, sounds: Sequence[bytes], inward: Format, outward: Format, longest: float
) -> None:
    """Let a fresh conversation hear `sounds`, up to `longest` seconds, and carry its reply into `response`."""
    moments: asyncio.Queue[Moment] = asyncio.Queue()
    session = Session(engine, moments.put_nowait)
    status: Status = "failed"
    try:
        await session.open()
        session.set_formats(inward, outward)
        session.set_turns(lambda slot: ToldTurns(slot, longest))
        for sound in sounds:
            session.insert(sound)
        session.answer()
        while not isinstance(moment := await moments.get(), ReplyEnded | NoReply | Broken):
            carry(response, moment, outward)
        status = "failed" if isinstance(moment, Broken) else "completed"
    except EngineFullError:
        pass  # the client is told by the status
    except asyncio.CancelledError:
        status = "cancelled"
    finally:
        reason = {"reason": "client_cancelled"} if status == "cancelled" else None
        response.finish(status, usage_of(session.heard_frames, session.said_frames, response.words, 0), reason)
        await session.close()

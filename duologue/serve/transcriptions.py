"""`/v1/audio/transcriptions`: what a model hears in a recording. https://platform.openai.com/docs/api-reference/audio

A file is heard like a conversation, in a slot of the engine and in step with all others, but as fast as an engine lets
any client be; whatever the model wants to say to it is hushed.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from duologue.audio import files
from duologue.errors import AudioError
from duologue.serve.faults import RealtimeError, checked
from duologue.serve.requests import guarded, refuse
from duologue.serve.server import Server
from duologue.systems.base import HeardWord, Pcm, Turn
from duologue.systems.engine import Heard

MOST_BYTES = 25 << 20
AHEAD = 16  # frames that wait in the slot, or as many as it takes
TAIL = 2.0  # seconds of silence after the recording, in which its last words are recognised
WORD = 0.6  # seconds that a word takes at most, as far as is known


class _Order(BaseModel):
    model_config = ConfigDict(extra="ignore")
    model: str | None = None
    response_format: Literal["json", "text", "verbose_json"] = "json"
    stream: Literal["false", "0"] = "false"


@dataclass(frozen=True)
class Word:
    """A word that was heard. `end` is when the model had recognised it, shortly after it was said; `start` a guess."""

    word: str
    start: float
    end: float


@guarded
async def create(request: Request, server: Server) -> Response:
    """A form with a `file`; the language, a prompt and a temperature are taken and left aside."""
    length = request.headers.get("content-length", "")
    if not length.isdecimal():
        return refuse(server, 411, "invalid_request", "Say how long the body is, in a Content-Length.")
    if int(length) > MOST_BYTES:
        return refuse(server, 413, "invalid_request", f"The body is longer than {MOST_BYTES} bytes.")
    with server.work():
        try:
            async with request.form(max_files=1, max_fields=32) as form:
                upload = form.get("file")
                if not isinstance(upload, UploadFile):
                    raise RealtimeError("Missing required parameter: 'file'.", "missing_required_parameter", "file")
                order = checked(_Order.model_validate, {name: value for name, value in form.items() if name != "file"})
                with tempfile.NamedTemporaryFile() as file:
                    await asyncio.to_thread(shutil.copyfileobj, upload.file, file)
                    file.flush()
                    heard = await _hear(request, server, order.model, Path(file.name))
        except HTTPException as error:
            raise RealtimeError(f"The body is no form: {error.detail}", "invalid_request") from None
    if heard is None:
        return refuse(server, 503, "server_draining", "The server is about to stop; ask again.")
    return _answer(order, *heard)


async def _hear(request: Request, server: Server, model: str | None, path: Path) -> tuple[list[Word], float] | None:
    """The words of a recording, and how many seconds it lasts; None: the server is to stop before its end.

    Raises:
        RealtimeError: it is no audio, or longer than a session may last.
        EngineFullError: no slot is free.
        ClientDisconnect: nobody waits for the words any more.
    """
    engine, longest = server.engine(model), server.limits.session
    loop, told = asyncio.get_running_loop(), asyncio.Queue[Heard | Exception]()

    def listen(heard: Heard | Exception) -> None:
        loop.call_soon_threadsafe(told.put_nowait, heard)

    slot = await asyncio.to_thread(engine.join, listen)
    words: list[Word] = []
    frames, waiting = 0, 0

    async def follow() -> None:
        nonlocal waiting
        heard = await told.get()
        waiting -= 1
        if isinstance(heard, Exception):
            raise RealtimeError("The model failed on this recording.", "server_error", type="server_error")
        for event in heard.reply.events:
            if isinstance(event, HeardWord):
                before = words[-1].end if words else 0.0
                words.append(Word(event.word, max(before, event.time - WORD), event.time))
            elif isinstance(event, Turn) and event.kind == "reply_started":
                await asyncio.to_thread(slot.hush)

    async def say(frame: Pcm) -> None:
        nonlocal waiting
        if await request.is_disconnected():
            raise ClientDisconnect
        while waiting >= AHEAD or not slot.push(frame):
            await follow()
        waiting += 1

    try:
        sound = files.stream(path, engine.card.sample_rate, engine.card.frame)
        silence = np.zeros(engine.card.frame, np.float32)
        while (frame := await asyncio.to_thread(next, sound, None)) is not None:
            frames += 1
            if frames * engine.frame_seconds > longest:
                raise RealtimeError(f"The recording is longer than {longest:g} s.", "audio_too_long", "file")
            if server.closing.is_set():
                return None
            await say(frame)
        for _ in range(round(TAIL / engine.frame_seconds)):
            await say(silence)
        while waiting:
            await follow()
    except AudioError as error:
        message = str(error).replace(str(path), "the file")
        raise RealtimeError(message, "invalid_audio", "file") from None
    finally:
        await asyncio.to_thread(slot.leave)
    return words, frames * engine.frame_seconds


def _answer(order: _Order, words: list[Word], seconds: float) -> Response:
    text = " ".join(word.word for word in words)
    usage = {"type": "duration", "seconds": round(seconds, 2)}
    match order.response_format:
        case "text":
            return PlainTextResponse(f"{text}\n")
        case "json":
            return JSONResponse({"text": text, "usage": usage})
        case "verbose_json":
            timed = [{"word": word.word, "start": round(word.start, 2), "end": round(word.end, 2)} for word in words]
            body = {"task": "transcribe", "language": "english", "duration": round(seconds, 2), "text": text}
            return JSONResponse({**body, "words": timed, "usage": usage})

"""`/v1/audio/speech`: text in, speech in a native model's own voice out. https://platform.openai.com/docs/api-reference/audio"""

from __future__ import annotations

import asyncio
import io
from typing import Literal

import numpy as np
import soundfile
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from duologue.audio.resample import resample
from duologue.lm.model import RATE
from duologue.lm.words import sentences_of
from duologue.serve.faults import RealtimeError, checked
from duologue.serve.requests import guarded, read_json, refuse
from duologue.serve.server import Server
from duologue.serve.sound import Format
from duologue.systems.base import Pcm

MOST_BYTES = 64 << 10
PCM = Format("pcm", 24000)
PAUSE = 0.25  # seconds between sentences
_KINDS = {
    "mp3": ("MP3", "MPEG_LAYER_III"),
    "opus": ("OGG", "OPUS"),
    "flac": ("FLAC", "PCM_16"),
    "wav": ("WAV", "PCM_16"),
}
_MEDIA = {
    "mp3": "audio/mpeg",
    "opus": "audio/ogg",
    "flac": "audio/flac",
    "wav": "audio/wav",
    "pcm": "audio/pcm;rate=24000",
}


class _Order(BaseModel):
    model_config = ConfigDict(extra="ignore")
    input: str = Field(max_length=4096)
    model: str | None = None
    response_format: Literal["mp3", "opus", "flac", "wav", "pcm"] = "mp3"
    speed: float = Field(default=1.0, ge=0.25, le=4)
    stream_format: Literal["audio"] = "audio"


@guarded
async def create(request: Request, server: Server) -> Response:
    """Voices and instructions are taken and left aside: a model has the voice that it has."""
    order = checked(_Order.model_validate, await read_json(request, MOST_BYTES, server.limits.depth))
    engine = server.engine(order.model)
    sentences = sentences_of(order.input)
    if not sentences:
        raise RealtimeError("There is nothing in 'input' that can be said.", "invalid_value", "input")
    pause = np.zeros(round(PAUSE * RATE), np.float32)
    said: list[Pcm] = []
    with server.work():
        async with server.speaking:
            for sentence in sentences:
                if await request.is_disconnected():
                    raise ClientDisconnect
                if server.closing.is_set():
                    return refuse(server, 503, "server_draining", "The server is about to stop; ask again.")
                pcm = await asyncio.to_thread(engine.say, sentence, order.speed)
                if pcm is None:
                    raise RealtimeError(f"{engine.card.name} cannot read text aloud.", "speech_not_supported", "model")
                said += [pause, pcm] if said else [pcm]
        sound = await asyncio.to_thread(_encode, np.concatenate(said), order.response_format)
    return Response(sound, media_type=_MEDIA[order.response_format])


def _encode(pcm: Pcm, kind: str) -> bytes:
    if kind == "pcm":
        return PCM.encode(resample(pcm, RATE, PCM.rate))
    file = io.BytesIO()
    container, code = _KINDS[kind]
    soundfile.write(file, np.clip(pcm, -1, 1), RATE, code, format=container)
    return file.getvalue()

"""Messages that are wrong in every way: of the right kind at the wrong time, damaged a little, or nothing at all."""

from __future__ import annotations

import base64
import copy
import json
import random
from typing import Any

Json = Any
MOST_BYTES = 4 << 20  # of a message, about as many as a server takes by default

SDP = (
    "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\n"
    "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 0.0.0.0\r\na=ice-ufrag:abcd\r\na=ice-pwd:abcdefghijklmnopqrstuv\r\n"
    "a=fingerprint:sha-256 " + ":".join(["AB"] * 32) + "\r\na=setup:actpass\r\na=mid:0\r\na=sendrecv\r\na=rtcp-mux\r\n"
    "a=rtpmap:111 opus/48000/2\r\n"
)


def _sound(rng: random.Random) -> str:
    return base64.b64encode(rng.randbytes(rng.choice((0, 1, 2, 959, 960, 1920, 9600)))).decode()


def realtime(rng: random.Random) -> dict[str, Json]:
    """A client event of the Realtime API that could be right."""
    item = {"type": "message", "role": "user", "content": [{"type": "input_audio", "audio": _sound(rng)}]}
    id = rng.choice(("root", "item_1", "item_" + "0" * 60, ""))
    formats = [{"type": "audio/pcm", "rate": 24000}, {"type": "audio/pcmu"}, {"type": "audio/pcma"}]
    detections = [None, {"type": "semantic_vad", "eagerness": "low"}, {"type": "server_vad", "idle_timeout_ms": 5000}]
    audio = {
        "input": {"format": rng.choice(formats), "turn_detection": rng.choice(detections)},
        "output": {"format": rng.choice(formats), "speed": 1.2, "voice": "alloy"},
    }
    session = {"type": "realtime", "audio": audio, "instructions": "be brief", "max_output_tokens": 20}
    return copy.deepcopy(
        rng.choice(
            [
                {"type": "session.update", "session": session},
                {"type": "input_audio_buffer.append", "audio": _sound(rng)},
                {"type": "input_audio_buffer.append", "audio": _sound(rng)},
                {"type": "input_audio_buffer.commit"},
                {"type": "input_audio_buffer.clear"},
                {"type": "output_audio_buffer.clear"},
                {"type": "conversation.item.create", "item": item, "previous_item_id": id},
                {"type": "conversation.item.create", "item": {"type": "function_call_output", "output": "1"}},
                {"type": "conversation.item.retrieve", "item_id": id},
                {"type": "conversation.item.delete", "item_id": id},
                {"type": "conversation.item.truncate", "item_id": id, "content_index": 0, "audio_end_ms": 100},
                {"type": "response.create"},
                {"type": "response.create", "response": {"conversation": "none", "input": [item]}},
                {"type": "response.cancel", "response_id": id},
            ]
        )
    )


def live(rng: random.Random) -> dict[str, Json]:
    """A client event of the Live API that could be right."""
    formats = [{"type": "audio/pcm", "rate": 24000}, {"type": "audio/pcm", "rate": 16000}, {"type": "audio/pcmu"}]
    return copy.deepcopy(
        rng.choice(
            [
                {"type": "session.start", "session": {"model": "box", "audio": {"format": rng.choice(formats)}}},
                {"type": "session.input_audio.append", "audio": _sound(rng)},
                {"type": "session.input_audio.append", "audio": _sound(rng)},
                {"type": "session.input_audio.mute"},
                {"type": "session.input_audio.unmute"},
                {"type": "session.update", "session": {"instructions": "be brief"}},
                {"type": "session.instructions.append", "content": "be brief"},
                {"type": "session.commentary.append", "content": "say this", "delegation_id": "x"},
                {"type": "response.create"},
            ]
        )
    )


def twilio(rng: random.Random) -> dict[str, Json]:
    """A message of Twilio media streams that could be right."""
    form = {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1}
    start = {"streamSid": "MZ1", "customParameters": {"model": "box"}, "mediaFormat": form}
    return copy.deepcopy(
        rng.choice(
            [
                {"event": "connected", "protocol": "Call", "version": "1.0.0"},
                {"event": "start", "start": start, "streamSid": "MZ1"},
                {"event": "start", "start": start, "streamSid": "MZ1"},
                {"event": "media", "media": {"track": "inbound", "payload": _sound(rng)}},
                {"event": "dtmf", "dtmf": {"digit": "1"}},
                {"event": "mark", "mark": {"name": "reply-1"}},
            ]
        )
    )


def junk(rng: random.Random, depth: int = 0) -> Json:
    """Any JSON, and what only looks like it."""
    values: list[Json] = [
        None,
        True,
        -1,
        2**63,
        10**300,
        -1e308,
        float("nan"),
        float("inf"),
        "",
        "\ud83d",
        "\x00",
        "é" * rng.choice((1, 1000)),
        "A" * rng.choice((1, 100, 100_000)),
        _sound(rng),
        rng.choice(("root", "none", "audio/pcm", "server_vad", "message")),
    ]
    if depth < 4:
        values += [[junk(rng, depth + 1) for _ in range(rng.randrange(4))]]
        values += [{rng.choice(("type", "audio", "", "x")): junk(rng, depth + 1) for _ in range(rng.randrange(4))}]
    return rng.choice(values)


def damaged(message: dict[str, Json], rng: random.Random) -> Json:
    """A copy with one field replaced, left out or put in."""
    message = copy.deepcopy(message)
    inner: Json = message
    while True:
        keys = list(inner) if isinstance(inner, dict) else list(range(len(inner)))
        if not keys:
            break
        key = rng.choice(keys)
        if isinstance(inner[key], (dict, list)) and inner[key] and rng.random() < 0.7:
            inner = inner[key]
            continue
        match rng.randrange(3):
            case 0:
                inner[key] = junk(rng)
            case 1:
                del inner[key]
            case _ if isinstance(inner, dict):
                inner[rng.choice(("type", "audio", "model", "\ud83d"))] = junk(rng)
            case _:
                inner.append(junk(rng))
        break
    return message


def text(message: dict[str, Json], rng: random.Random) -> str | bytes:
    """What goes on the wire of a message: mostly something that is wrong."""
    kind = rng.random()
    if kind < 0.3:
        return json.dumps(message)
    if kind < 0.75:
        return json.dumps(damaged(message, rng))
    if kind < 0.8:
        return json.dumps(junk(rng))
    if kind < 0.85:
        return json.dumps(message)[: rng.randrange(40)]
    if kind < 0.9:
        deep = rng.choice((30, 2000, 50_000))
        return "[" * deep + "]" * rng.choice((0, deep))
    if kind < 0.92:
        return wide(rng)
    if kind < 0.95:
        return rng.randbytes(rng.choice((0, 1, 100, 5000)))
    return rng.randbytes(200).decode("latin-1")


def wide(rng: random.Random) -> str:
    """JSON that is flat and has very many parts."""
    part = rng.choice(("[]", "{}", "1", '""', "9" * 400, '{"type": "input_text", "text": ""}'))
    many = ",".join([part] * min(rng.choice((300, 3_000, 10_000, 1_000_000)), MOST_BYTES // (len(part) + 1)))
    event = rng.choice(
        (
            '{"type": "x", "a": [%s]}',
            '{"type": "conversation.item.create", "item": {"type": "message", "content": [%s]}}',
            '{"type": "response.create", "response": {"conversation": "none", "input": [%s]}}',
            '{"type": "session.update", "session": {"include": [%s]}}',
            '{"type": "session.start", "session": {"model": "box", "input": [%s]}}',
            '{"event": "start", "start": [%s]}',
        )
    )
    return event % many


def shuffled(body: bytes, rng: random.Random) -> bytes:
    """Bytes with lines left out, doubled, or single bytes changed."""
    lines = body.split(b"\r\n")
    for _ in range(rng.randrange(4)):
        at = rng.randrange(len(lines))
        match rng.randrange(3):
            case 0:
                lines[at] = lines[at][: rng.randrange(len(lines[at]) + 1)] + rng.randbytes(2)
            case 1:
                lines.insert(at, lines[rng.randrange(len(lines))])
            case _:
                lines[at] = b""
    return b"\r\n".join(lines)

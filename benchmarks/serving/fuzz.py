"""Malformed and out-of-order messages over every endpoint, and streams of random bytes, beside a healthy conversation.

Whatever is sent follows from a seed and the number of the visit, so that what breaks a server can be sent again.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import random
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from serving import nonsense
from serving.served import Served

VISITORS = 8  # at a time
MESSAGES = 40  # of one visit, at most
WAIT = 30.0  # seconds for an answer
EXAMPLES = 20  # of what the server failed at, that are kept
MARK = "the-last-one"
CHANNEL = "oai-events"
MOST_BYTES = 64 << 10  # of a message over a data channel; browsers send no longer ones
CALLS = find_spec("aiortc") is not None  # it comes with an extra
SOCKETS: dict[str, Callable[[random.Random], dict[str, Any]]] = {
    "/v1/realtime": nonsense.realtime,
    "/v1/live/sessions": nonsense.live,
    "/twilio": nonsense.twilio,
}
_JSON, _SDP, _FORM = "application/json", "application/sdp", "multipart/form-data; boundary=b"
_SESSION = b'{"session": {"type": "realtime", "audio": {"output": {"voice": "slt"}}}}'
_PART = b'--b\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n%s\r\n--b--\r\n'
REQUESTS: tuple[tuple[str, str, str, bytes], ...] = (
    ("GET", "/", "", b""),
    ("GET", "/web/../../etc/passwd", "", b""),
    ("GET", "/v1/models/../%00", "", b""),
    ("GET", "/v1/realtime", "", b""),
    ("GET", "/metrics?x=%ff", "", b""),
    ("POST", "/v1/realtime/client_secrets", _JSON, _SESSION),
    ("POST", "/v1/realtime/sessions", _JSON, b'{"model": "box", "voice": "slt", "modalities": ["audio"]}'),
    ("POST", "/v1/realtime/calls", _SDP, nonsense.SDP.encode()),
    ("POST", "/v1/realtime/calls", _FORM, _PART % (b"sdp", b"", nonsense.SDP.encode())),
    ("POST", "/v1/realtime/calls/rtc_1/hangup", "", b""),
    ("POST", "/v1/audio/speech", _JSON, b'{"input": "no", "response_format": "wav"}'),
    ("POST", "/v1/audio/transcriptions", _FORM, _PART % (b"file", b'; filename="x.wav"', b"RIFF\x24\0\0\0WAVEfmt ")),
    ("POST", "/twilio/voice", "application/x-www-form-urlencoded", b"CallSid=CA1&From=%2B1"),
)


@dataclass
class Findings:
    """What came of it: messages and answers by kind, and what a server must not do."""

    sent: Counter[str] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)
    failed: list[dict[str, Any]] = field(default_factory=list)

    @property
    def total(self) -> int:
        return sum(self.sent.values())

    def blame(self, visit: int, where: str, what: str, last: str | bytes) -> None:
        if len(self.failed) < EXAMPLES:
            self.failed.append({"visit": visit, "endpoint": where, "what": what, "last": repr(last[:300])})


async def fuzz(served: Served, count: int, seed: int, visitors: int = VISITORS) -> Findings:
    """Send at least `count` messages, `visitors` at a time, for as long as the server lives."""
    findings, visits = Findings(), iter(range(count))

    async def come() -> None:
        for visit in visits:
            if findings.total >= count or served.process.poll() is not None:
                return
            await _visit(served, visit, random.Random(f"{seed}/{visit}"), findings)

    await asyncio.gather(*(come() for _ in range(visitors)))
    return findings


async def _visit(served: Served, visit: int, rng: random.Random, findings: Findings) -> None:
    kind = rng.random()
    if kind < 0.1 and CALLS:
        await _call(served, visit, rng, findings)
    elif kind < 0.6:
        await _talk_nonsense(served, visit, rng, findings)
    elif kind < 0.8:
        for _ in range(rng.randrange(1, 10)):
            await _request(served, visit, rng, findings)
    else:
        await _bytes(served, rng, findings)


async def _talk_nonsense(served: Served, visit: int, rng: random.Random, findings: Findings) -> None:
    """Messages over a WebSocket, until a last one is answered or the server ends it."""
    where = rng.choice(list(SOCKETS))
    beta = where == "/v1/realtime" and rng.random() < 0.3
    query = rng.choice(("", "?model=box", "?resume=sess_1", "?model=%00&model=x"))
    last: str | bytes = ""
    try:
        async with connect(
            served.ws + where + query,
            additional_headers={"OpenAI-Beta": "realtime=v1"} if beta else {},
            compression=None,
            max_size=None,
            open_timeout=WAIT,
            close_timeout=2,
        ) as websocket:
            reading = asyncio.ensure_future(_read_on(websocket))
            try:
                for _ in range(rng.randrange(1, MESSAGES)):
                    last = nonsense.text(SOCKETS[where](rng), rng)
                    await websocket.send(last)
                    findings.sent[where] += 1
                if rng.random() < 0.2:
                    websocket.transport.abort()
                elif where != "/twilio":  # whose errors are told by no message
                    await websocket.send(json.dumps({"type": "no such", "event_id": MARK}))
                    async with asyncio.timeout(WAIT):
                        await reading
            finally:
                reading.cancel()
                with contextlib.suppress(asyncio.CancelledError, ConnectionClosed):
                    await reading
        code = websocket.close_code
    except InvalidHandshake:
        code = None
        findings.answers[f"{where} refused"] += 1
    except ConnectionClosed as error:
        code = error.rcvd.code if error.rcvd else None
    except TimeoutError:
        code = None
        findings.blame(visit, where, "no answer", last)
    except OSError:
        code = None
    findings.answers[f"{where} {code}"] += 1
    if code == 1011:
        findings.blame(visit, where, "closed with 1011", last)


async def _read_on(websocket: Any) -> None:
    """Read until the answer to the last message."""
    async for message in websocket:
        if MARK in message and '"error"' in message:
            return


async def _call(served: Served, visit: int, rng: random.Random, findings: Findings) -> None:
    """Messages over the data channel of a call, until a last one is answered or the server ends it."""
    from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
    from aiortc.mediastreams import AudioStreamTrack

    peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    peer.addTrack(AudioStreamTrack())
    channel = peer.createDataChannel(CHANNEL)
    opened, answered, over = asyncio.Event(), asyncio.Event(), asyncio.Event()
    channel.on("open", opened.set)
    channel.on("close", over.set)
    channel.on("message", lambda text: answered.set() if MARK in text and '"error"' in text else None)
    last: str | bytes = ""
    try:
        await peer.setLocalDescription(await peer.createOffer())
        answer = await asyncio.to_thread(_offer, served, peer.localDescription.sdp)
        await peer.setRemoteDescription(RTCSessionDescription(answer, "answer"))
        async with asyncio.timeout(WAIT):
            await opened.wait()
        for _ in range(rng.randrange(1, MESSAGES)):
            message = nonsense.text(nonsense.realtime(rng), rng)
            if channel.readyState == "open" and len(message) <= MOST_BYTES:
                last = message
                channel.send(last)
                findings.sent[CHANNEL] += 1
                await asyncio.sleep(0)
        if channel.readyState == "open" and rng.random() < 0.8:
            channel.send(json.dumps({"type": "no such", "event_id": MARK}))
            ends = [asyncio.ensure_future(event.wait()) for event in (answered, over)]
            _, waiting = await asyncio.wait(ends, timeout=WAIT, return_when=asyncio.FIRST_COMPLETED)
            for end in waiting:
                end.cancel()
            if len(waiting) == len(ends):
                raise TimeoutError
        findings.answers[f"{CHANNEL} {'answered' if answered.is_set() else 'over'}"] += 1
    except urllib.error.HTTPError as error:
        findings.answers[f"{CHANNEL} {error.code}"] += 1
        if error.code != 503:
            findings.blame(visit, CHANNEL, f"status {error.code}", "")
    except TimeoutError:
        findings.blame(visit, CHANNEL, "no answer" if opened.is_set() else "no channel", last)
    finally:
        await peer.close()


def _offer(served: Served, sdp: str) -> str:
    headers = {"Content-Type": _SDP}
    request = urllib.request.Request(f"{served.http}/v1/realtime/calls", sdp.encode(), headers)
    with urllib.request.urlopen(request, timeout=WAIT) as answer:
        return str(answer.read().decode())


async def _request(served: Served, visit: int, rng: random.Random, findings: Findings) -> None:
    """A request whose body, headers or path are wrong."""
    method, path, kind, body = rng.choice(REQUESTS)
    if body and rng.random() < 0.7:
        body = nonsense.shuffled(body, rng)
        if kind == _JSON and rng.random() < 0.5:
            body = json.dumps(nonsense.junk(rng)).encode()
    if rng.random() < 0.1:
        method = rng.choice(("PUT", "DELETE", "OPTIONS", "HEAD", "BREW"))
    if rng.random() < 0.1:
        path += "/" + base64.urlsafe_b64encode(rng.randbytes(rng.choice((3, 300, 9000)))).decode()
    length = rng.choice((len(body), len(body), len(body), len(body) + 10, 10**9, -1))
    head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{served.port}\r\nConnection: close\r\n"
    head += f"Content-Length: {length}\r\n"
    head += f"Content-Type: {kind}\r\n" if kind else ""
    findings.sent["http"] += 1
    first = await _exchange(served.port, head.encode() + b"\r\n" + body, whole=length == len(body))
    status = first.split(b" ")[1].decode("latin-1") if first.startswith(b"HTTP/1.1 ") else "none"
    findings.answers[f"http {status}"] += 1
    if status.startswith("5") and status != "503":
        findings.blame(visit, f"{method} {path[:60]}", f"status {status}", body)


async def _bytes(served: Served, rng: random.Random, findings: Findings) -> None:
    """A connection on which come bytes of any kind, also after the handshake of a WebSocket."""
    findings.sent["bytes"] += 1
    noise = rng.randbytes(rng.choice((1, 100, 100_000)))
    if rng.random() < 0.5:
        path = rng.choice(list(SOCKETS))
        key = base64.b64encode(rng.randbytes(16)).decode()
        head = (
            f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
        )
        frame = bytes([rng.choice((0x81, 0x82, 0x01, 0x00, 0x88, 0x89, 0xF1)), rng.choice((0x85, 0xFE, 0xFF, 0x05))])
        noise = head.encode() + frame + noise
    first = await _exchange(served.port, noise, whole=False)
    findings.answers[f"bytes {first[9:12].decode('latin-1') or 'none'}"] += 1


async def _exchange(port: int, data: bytes, whole: bool) -> bytes:
    """Send, and the first line that comes back; where the server can't know that it is all, it is not waited for."""
    with contextlib.suppress(OSError, TimeoutError):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(data)
            async with asyncio.timeout(WAIT if whole else 0.5):
                await writer.drain()
                return await reader.readline()
        finally:
            writer.transport.abort()
    return b""

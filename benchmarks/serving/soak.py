"""A long run beside clients that behave as clients do at their worst: what leaks, and what gets through to others."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from duologue.audio.resample import resample
from duologue.serve.sound import Format
from serving import nonsense
from serving.fuzz import SOCKETS
from serving.healthy import beside, tone
from serving.load import script
from serving.served import Served
from serving.talker import CHUNK, RATE, append

REALTIME = "/v1/realtime"
LIMITS = {"resume": 5}
WHISTLERS = 4
RHYTHM = 5.0  # seconds between two looks at memory and files
FLAT = 0.05  # share by which memory may have grown from the second quarter of a run to the last
SPARE_FILES = 8  # that may be open for what just happens to go on
FOREIGN = 2000.0  # Hz of the tone that bad clients whistle; nobody else may hear it


async def soak(served: Served, seconds: float, talkers: int, seed: int, question: Path) -> dict[str, Any]:
    """Hold healthy conversations with everything served, among clients that are not, and look at the server."""
    url = f"{served.ws}{REALTIME}"
    parrots = [f"{url}?model=parrot"] * WHISTLERS
    done: Counter[str] = Counter()
    samples: list[tuple[float, float, int]] = []
    end = time.monotonic() + seconds
    async with beside(url, question, talkers, parrots) as seen:
        tasks = [
            asyncio.create_task(_again(behave, url, question, random.Random(f"{seed}/{index}"), end, done))
            for index, behave in enumerate(BEHAVIOURS)
        ]
        while time.monotonic() < end and served.process.poll() is None:
            samples.append((seconds - (end - time.monotonic()), served.memory(), served.files()))
            await asyncio.sleep(min(RHYTHM, seconds / 8))
        await asyncio.gather(*tasks)
    return {
        "seconds": seconds,
        "healthy": seen,
        "others": dict(done),
        "samples": samples,
        **_growth(samples),
        **await _rest(served),
    }


def _growth(samples: list[tuple[float, float, int]]) -> dict[str, Any]:
    """What became of memory and files between the second quarter and the last."""
    quarter = max(1, len(samples) // 4)
    early, late = (np.median(part, axis=0) for part in (samples[quarter : 2 * quarter] or samples, samples[-quarter:]))
    return {
        "memory_mib": float(late[1]),
        "memory_growth": float(late[1] / early[1] - 1),
        "files": int(late[2]),
        "files_growth": int(late[2] - early[2]),
    }


async def _rest(served: Served) -> dict[str, Any]:
    """Whether all slots come back once everybody has left, and what is kept for the lost is forgotten."""
    left: dict[str, float] = {}
    for _ in range(60):
        counters = await asyncio.to_thread(served.counters)
        names = ("duologue_engine_taken", "duologue_sessions", "duologue_parked", "duologue_unsent_bytes")
        left = {name.removeprefix("duologue_"): counters.get(name, 0.0) for name in names}
        if not any(left.values()):
            break
        await asyncio.sleep(1)
    return {"left": left, "alive": served.alive, "failed": dict(Counter(served.failures()))}


def verdict(result: dict[str, Any]) -> list[str]:
    """What was not borne, in words; nothing: all was."""
    healthy, wrong = result["healthy"], []
    if not result["alive"]:
        wrong.append("the server is not alive")
    wrong += [f"the server failed {times} times: {line}" for line, times in result["failed"].items()]
    wrong += [f"{name} does not come back: {value:g}" for name, value in result["left"].items() if value]
    if healthy["lost"]:
        wrong.append(f"{healthy['lost']} healthy conversations were lost")
    if healthy["foreign_replies"] or not healthy["checked_replies"]:
        wrong.append(f"{healthy['foreign_replies']} of {healthy['checked_replies']} replies held another's sound")
    if result["memory_growth"] > FLAT:
        wrong.append(f"memory grew by {100 * result['memory_growth']:.1f}%")
    if result["files_growth"] > SPARE_FILES:
        wrong.append(f"{result['files_growth']} more files are open")
    return wrong


Behaviour = Callable[[str, Path, random.Random], Awaitable[None]]


async def _again(
    behave: Behaviour, url: str, question: Path, rng: random.Random, end: float, done: Counter[str]
) -> None:
    """Behave like this over and over; whatever the server does about it is right, as long as it lives."""
    name = behave.__name__.strip("_")
    while time.monotonic() < end:
        target = f"{url}?model={rng.choice(('', 'parrot'))}"
        try:
            await behave(target, question, rng)
            done[name] += 1
        except (OSError, WebSocketException):
            done[f"{name}, ended by the server"] += 1
            await asyncio.sleep(0.5)


@asynccontextmanager
async def _connected(url: str, read: bool = True) -> AsyncIterator[ClientConnection]:
    """A connection on which all that comes is read and forgotten, or nothing is read at all."""
    async with connect(
        url, compression=None, max_size=None, max_queue=1, open_timeout=30, close_timeout=1
    ) as websocket:
        reading = asyncio.ensure_future(_forget(websocket)) if read else None
        try:
            yield websocket
        finally:
            if reading is not None:
                reading.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await reading


@asynccontextmanager
async def _joined(url: str, rng: random.Random, read: bool = True) -> AsyncIterator[tuple[ClientConnection, str]]:
    """A conversation that was begun by one of the protocols, and the path of that; half of them are of the first."""
    path = rng.choice((REALTIME, *SOCKETS, REALTIME))
    base, model = url.split(f"{REALTIME}?model=")
    async with _connected(url if path == REALTIME else base + path, read) as websocket:
        if path == "/v1/live/sessions":
            await websocket.send(json.dumps({"type": "session.start", "session": {"model": model}}))
        elif path == "/twilio":
            form = {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1}
            start = {"streamSid": "MZ1", "customParameters": {"model": model}, "mediaFormat": form}
            await websocket.send(json.dumps({"event": "start", "start": start}))
        yield websocket, path


@cache
def _whistled(path: str) -> list[str]:
    """The foreign tone in messages of the protocol on this path."""
    pieces = [json.loads(message)["audio"] for message in tone(FOREIGN)]
    if path == "/v1/live/sessions":
        return [json.dumps({"type": "session.input_audio.append", "audio": audio}) for audio in pieces]
    if path == "/twilio":
        wire, line = Format("pcm", RATE), Format("pcmu", 8000)
        sounds = [line.encode(resample(wire.decode(base64.b64decode(audio)), RATE, 8000)) for audio in pieces]
        payloads = [base64.b64encode(sound).decode() for sound in sounds]
        return [json.dumps({"event": "media", "media": {"payload": payload}}) for payload in payloads]
    return tone(FOREIGN)


async def _forget(websocket: ClientConnection) -> None:
    with contextlib.suppress(WebSocketException):
        async for _ in websocket:
            pass


async def _speak(websocket: ClientConnection, messages: list[str], seconds: float) -> None:
    """Send in real time, over and over."""
    begin = time.monotonic()
    for count in range(round(seconds / CHUNK)):
        await asyncio.sleep(begin + count * CHUNK - time.monotonic())
        await websocket.send(messages[count % len(messages)])


async def _vanishes(url: str, question: Path, rng: random.Random) -> None:
    """Is gone in the middle of a word, without a goodbye."""
    async with _joined(url, rng) as (websocket, path):
        await _speak(websocket, _whistled(path), rng.uniform(0.5, 5))
        websocket.transport.abort()


async def _stalls(url: str, question: Path, rng: random.Random) -> None:
    """Talks on and reads nothing of what it is told."""
    async with _joined(url, rng, read=False) as (websocket, path):
        await _speak(websocket, _whistled(path), rng.uniform(5, 20))
        websocket.transport.abort()


async def _floods(url: str, question: Path, rng: random.Random) -> None:
    """Sends as fast as the connection takes it."""
    piece = append(bytes(4800))
    async with _connected(url) as websocket:
        end = time.monotonic() + rng.uniform(1, 3)
        while time.monotonic() < end:
            await websocket.send(piece)
        await asyncio.sleep(2)


async def _talks_nonsense(url: str, question: Path, rng: random.Random) -> None:
    """Sends what nobody can understand."""
    async with _joined(url, rng) as (websocket, path):
        for _ in range(rng.randrange(100)):
            await websocket.send(nonsense.text(SOCKETS[path](rng), rng))
            await asyncio.sleep(0.02)


async def _reconnects(url: str, question: Path, rng: random.Random) -> None:
    """Loses its connection and goes on with its session on another."""
    loop, _ = script(question)
    async with connect(url, compression=None, max_size=None) as websocket:
        id = json.loads(await websocket.recv())["session"]["id"]
        await _speak(websocket, loop, rng.uniform(0.5, 3))
        websocket.transport.abort()
    await asyncio.sleep(rng.uniform(0.5, 1.5))
    async with connect(f"{url}&resume={id}", compression=None, max_size=None, max_queue=None) as websocket:
        if json.loads(await websocket.recv())["session"]["id"] != id:
            raise WebSocketException("the session was not resumed")
        await _speak(websocket, loop, rng.uniform(0.5, 3))


BEHAVIOURS: tuple[Behaviour, ...] = (_vanishes, _stalls, _floods, _talks_nonsense, _reconnects)

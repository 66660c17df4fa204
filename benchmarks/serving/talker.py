"""A client that holds a conversation over the Realtime API and notes when everything came.

It speaks as a microphone does, 20 ms at a time by the clock whether or not anything comes back, and plays what it hears
as a loudspeaker does: from a little after the first sound of a reply on, without a pause. What is not there when it is
to be played is late.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import json
import math
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from duologue.audio.resample import resample
from duologue.systems.base import Pcm

RATE = 24000  # of the Realtime API
CHUNK = 0.02  # seconds
FRAME = 0.08  # seconds by which frames are counted
CUSHION = FRAME  # that a player lets gather before it begins
_DELTAS = ("response.output_audio.delta", "response.audio.delta")  # the latter: peers that speak the earlier dialect


def _why(error: ConnectionClosed) -> str:
    """The server's code and reason, or why the client gave up: it has pings of its own."""
    if error.rcvd is not None:
        return f"{error.rcvd.code} {error.rcvd.reason}".strip()
    return f"lost, {error.sent.reason or error.sent.code}" if error.sent is not None else "lost"


def append(pcm: bytes) -> str:
    """The message that carries sound, 16-bit PCM."""
    return json.dumps({"type": "input_audio_buffer.append", "audio": base64.b64encode(pcm).decode()})


def chunks(pcm: Pcm, rate: int, pause: float) -> list[str]:
    """Messages of `CHUNK` seconds each: the sound (T,), then silence."""
    sound = resample(pcm, rate, RATE)
    size = round(CHUNK * RATE)
    sound = np.pad(sound, (0, round(pause * RATE)))
    sound = np.pad(sound, (0, -len(sound) % size))
    samples = (32767 * np.clip(sound, -1, 1)).astype("<i2")
    return [append(samples[at : at + size].tobytes()) for at in range(0, len(samples), size)]


@dataclass
class Reply:
    """Sound as it came: for each piece when (by `time.monotonic`), and how many seconds of it."""

    pieces: list[tuple[float, float]] = field(default_factory=list)

    def played(self, begin: float, end: float) -> tuple[int, int]:
        """Of the pieces that came from `begin` to `end`: frames, and those that came too late to be played in time."""
        frames = late = 0
        due = self.pieces[0][0] + CUSHION if self.pieces else 0.0
        for came, seconds in self.pieces:
            count = max(1, round(seconds / FRAME))
            if begin <= came < end:
                frames += count
                late += count * (came > due)
            due = max(due, came) + seconds
        return frames, late


@dataclass
class Taken:
    """What one talker has seen.

    Attributes:
        sent: when each piece of 20 ms was sent.
        waits: seconds from the end of a question to the first sound after it, each with when it came.
        errors: codes of errors and reasons of closes, counted.
        refused: it was not let in, or was sent away.
    """

    sent: list[float] = field(default_factory=list)
    replies: list[Reply] = field(default_factory=list)
    waits: list[tuple[float, float]] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    refused: bool = False

    def frames(self, begin: float, end: float) -> tuple[int, int]:
        """Frames of replies from `begin` to `end`, and how many of them were late."""
        counts = [reply.played(begin, end) for reply in self.replies]
        return sum(frames for frames, _ in counts), sum(late for _, late in counts)

    def added(self, begin: float, end: float) -> list[float]:
        """Seconds from a frame of the user being sent whole to the frame that answers it, for a server in real time.

        Such a server takes a step a frame and sends what was said in it. Which frame a piece answers is not on the
        wire: the first of a reply is taken to answer the latest that was sent, each further one the next; one that
        comes before the next frame was sent fills a gap and answers none. That is right where the first took less
        than a frame.
        """
        per = round(FRAME / CHUNK)
        ends = np.array(self.sent[per - 1 :: per])
        found: list[float] = []
        for reply in self.replies:
            at = -1
            for came, _ in reply.pieces[:-1]:  # the last is what the resampler held back
                latest = int(np.searchsorted(ends, came, side="right")) - 1
                if latest <= at:
                    continue
                at = latest if at < 0 else at + 1
                if begin <= came < end:
                    found.append(float(came - ends[at]))
        return found


class Talker:
    """Says `loop` over and over, from a place `phase` of the way into it; `asked` of its messages are the question.

    `hear`, where given, gets every event of the server.
    """

    def __init__(
        self,
        url: str,
        key: str | None,
        loop: Sequence[str],
        asked: int,
        phase: float = 0.0,
        hear: Callable[[dict[str, Any]], None] | None = None,
    ) -> None:
        self.taken = Taken()
        self._url, self._key = url, key
        self._loop, self._asked, self._at = loop, asked, math.floor(phase * len(loop)) % len(loop)
        self._hear = hear
        self._question: float | None = None  # when the last one ended, until something is said

    async def run(self, until: float) -> None:
        """Talk until this time of the monotonic clock; whatever ends it earlier is noted."""
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        try:
            async with connect(
                self._url, additional_headers=headers, compression=None, max_size=None, open_timeout=30
            ) as websocket:
                reading = asyncio.ensure_future(self._read(websocket))
                try:
                    await self._talk(websocket, until)
                finally:
                    reading.cancel()
                    with contextlib.suppress(asyncio.CancelledError):
                        await reading
        except InvalidHandshake as error:
            self._note(f"handshake: {error}")
        except ConnectionClosed as error:
            self._note(f"closed: {_why(error)}")
        except OSError as error:
            self._note(f"connection: {type(error).__name__}")

    def _note(self, why: str) -> None:
        self.taken.refused = True
        self.taken.errors[why] += 1

    async def _talk(self, websocket: ClientConnection, until: float) -> None:
        begin = time.monotonic()
        for count in itertools.count():
            # From when it began, not from the last piece: a clock does not wait for whoever was late.
            due = begin + count * CHUNK
            if due >= until:
                return
            await asyncio.sleep(due - time.monotonic())
            self.taken.sent.append(time.monotonic())
            await websocket.send(self._loop[self._at])
            self._at = (self._at + 1) % len(self._loop)
            if self._at == self._asked:
                self._question = time.monotonic()

    async def _read(self, websocket: ClientConnection) -> None:
        reply: Reply | None = None
        with contextlib.suppress(ConnectionClosed):  # the one who sends notices too
            async for message in websocket:
                now = time.monotonic()
                event = json.loads(message)
                if self._hear is not None:
                    self._hear(event)
                if event["type"] in _DELTAS:
                    if reply is None:
                        reply = self._begin(now)
                    reply.pieces.append((now, len(event["delta"]) * 3 / 4 / 2 / RATE))
                elif event["type"] == "response.done":
                    reply = None
                elif event["type"] == "error":
                    self.taken.errors[event["error"].get("code") or "error"] += 1

    def _begin(self, now: float) -> Reply:
        reply = Reply()
        self.taken.replies.append(reply)
        if self._question is not None:
            self.taken.waits.append((now, now - self._question))
            self._question = None
        return reply

"""Conversations that do nothing wrong, in a process of their own, beside whatever else happens to a server."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import multiprocessing
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import numpy as np

from serving.load import JOIN, script
from serving.purity import PURE, purity
from serving.talker import RATE, Talker, chunks

TONE = 1.2  # seconds
PAUSE = 2.0
STEP = 170.0  # Hz between the tones of two clients


def tone(hertz: float) -> list[str]:
    """The messages of a tone that fades in and out, and a pause."""
    time = np.arange(round(TONE * RATE)) / RATE
    sound = 0.3 * np.sin(2 * np.pi * hertz * time) * np.sin(np.pi * time / TONE) ** 0.5
    return chunks(sound.astype(np.float32), RATE, PAUSE)


class Whistler:
    """Talks to a system that says back what it hears, in a tone of its own, and checks that nothing else comes back."""

    def __init__(self, url: str, hertz: float) -> None:
        loop = tone(hertz)
        self.talker = Talker(url, None, loop, round(TONE / (TONE + PAUSE) * len(loop)), hear=self._hear)
        self.replies = self.foreign = 0
        self._hertz, self._said = hertz, b""

    def _hear(self, event: dict[str, Any]) -> None:
        if event["type"] == "response.output_audio.delta":
            self._said += base64.b64decode(event["delta"])
        elif event["type"] == "response.done":
            self.replies += 1
            self.foreign += purity(self._said, self._hertz, RATE) < PURE
            self._said = b""


@asynccontextmanager
async def beside(
    url: str, question: Path, talkers: int, whistlers: Sequence[str] = ()
) -> AsyncIterator[dict[str, Any]]:
    """Hold `talkers` conversations, and whistlers' at their URLs; at the end the dictionary says what they saw."""
    context = multiprocessing.get_context("spawn")
    stop, (ours, theirs) = context.Event(), context.Pipe(duplex=False)
    process = context.Process(target=_run, args=(url, question, talkers, whistlers, stop, theirs))
    process.start()
    await asyncio.to_thread(ours.recv)  # they talk
    seen: dict[str, Any] = {}
    try:
        yield seen
    finally:
        stop.set()
        seen |= await asyncio.to_thread(ours.recv)
        process.join()


def _run(url: str, question: Path, talkers: int, whistlers: Sequence[str], stop: Event, tell: Connection) -> None:
    asyncio.run(_talk_until(url, question, talkers, whistlers, stop, tell))


async def _talk_until(
    url: str, question: Path, talkers: int, whistlers: Sequence[str], stop: Event, tell: Connection
) -> None:
    loop, asked = script(question)
    tones = [Whistler(each, 300 + STEP * index) for index, each in enumerate(whistlers)]
    asking = [Talker(url, None, loop, asked, index / max(1, talkers)) for index in range(talkers)]
    everyone = [*asking, *(each.talker for each in tones)]
    runs: list[asyncio.Task[None]] = []
    for talker in everyone:
        runs.append(asyncio.create_task(talker.run(float("inf"))))
        await asyncio.sleep(JOIN)
    tell.send({})
    await asyncio.to_thread(stop.wait)
    lost = sum(run.done() for run in runs)
    for run in runs:
        run.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.gather(*runs, return_exceptions=True)
    counts = [talker.taken.frames(0, float("inf")) for talker in everyone]
    frames, late = (sum(column) for column in zip(*counts, strict=True))
    errors: Counter[str] = sum((talker.taken.errors for talker in everyone), Counter())
    tell.send(
        {
            "conversations": len(everyone),
            "lost": lost,
            "frames": frames,
            "late": late,
            "errors": dict(errors),
            "checked_replies": sum(each.replies for each in tones),
            "foreign_replies": sum(each.foreign for each in tones),
        }
    )

"""The outgoing track of a call: replies as they come, paced by the clock, with silence between them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from aiortc import MediaStreamTrack
from av import AudioFrame

from duologue.audio.resample import LiveResampler
from duologue.systems.base import Pcm

RATE = 48000  # what Opus runs at
FRAME = 960  # samples; 20 ms
CUSHION = round(0.06 * RATE)  # samples that wait before a reply begins, as frames of the engine may come late


@dataclass
class _Said:
    """The reply that is audible or about to be."""

    response: str
    item: str
    resampler: LiveResampler
    begun: bool = False
    whole: bool = False  # nothing more of it will come
    played: int = 0  # samples


class Voice(MediaStreamTrack):
    """Says what it is given; `tell(kind, response)` is told what a reply's sound does: started, stopped, cleared."""

    kind = "audio"

    def __init__(self, tell: Callable[[str, str], None]) -> None:
        super().__init__()
        self._tell = tell
        self._said: _Said | None = None
        self._pcm = np.zeros(0, np.float32)
        self._begin: float | None = None
        self._sent = 0  # samples

    @property
    def response(self) -> str | None:
        """Whose sound is audible or about to be."""
        return self._said.response if self._said is not None else None

    def say(self, response: str, item: str, pcm: Pcm, rate: int) -> None:
        """The next sound of a reply, (T,) at `rate`."""
        if self._said is None or self._said.response != response:
            self._end("stopped")
            self._said = _Said(response, item, LiveResampler(rate, RATE))
        self._pcm = np.concatenate((self._pcm, self._said.resampler.push(pcm)))

    def finish(self) -> None:
        """The reply is whole."""
        if self._said is not None and not self._said.whole:
            self._said.whole = True
            self._pcm = np.concatenate((self._pcm, self._said.resampler.flush()))

    def clear(self) -> tuple[str, float] | None:
        """Be silent: the item that was cut off and the seconds of it that went out; None: nothing was audible."""
        said = self._said
        self._end("cleared")
        return (said.item, said.played / RATE) if said is not None else None

    def _end(self, kind: str) -> None:
        said, self._said, self._pcm = self._said, None, np.zeros(0, np.float32)
        if said is not None and said.begun:
            self._tell(kind, said.response)

    async def recv(self) -> AudioFrame:
        """The next 20 ms, when they are due."""
        now = time.monotonic()
        self._begin = now if self._begin is None else self._begin
        await asyncio.sleep(self._begin + self._sent / RATE - now)
        frame = AudioFrame.from_ndarray((32767 * np.clip(self._next(), -1, 1)).astype(np.int16)[None], "s16", "mono")
        frame.sample_rate, frame.pts, frame.time_base = RATE, self._sent, Fraction(1, RATE)
        self._sent += FRAME
        return frame

    def _next(self) -> Pcm:
        said = self._said
        if said is None or not (said.begun or said.whole or len(self._pcm) >= CUSHION):
            return np.zeros(FRAME, np.float32)
        if not said.begun:
            said.begun = True
            self._tell("started", said.response)
        pcm, self._pcm = self._pcm[:FRAME], self._pcm[FRAME:]
        said.played += len(pcm)
        if said.whole and not len(self._pcm):
            self._end("stopped")
        return np.pad(pcm, (0, FRAME - len(pcm)))

"""What one client sends, held to the server's limits: messages by the second, sound by the clock and by what waits."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np

from duologue.serve.faults import RealtimeError
from duologue.serve.limits import Bucket, Limits
from duologue.serve.parsing import sound_of
from duologue.serve.session import Session
from duologue.serve.sound import Format

PIECE = 0.32
"""Seconds of sound that are heard at once, before others have their turn."""


class Intake:
    """The counts of one client."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.messages = Bucket(limits.messages_per_second, limits.messages_at_once)
        self.audio = Bucket(limits.audio_rate, limits.audio_at_once)

    def count(self) -> None:
        """A message came.

        Raises:
            RealtimeError: there are too many.
        """
        if not self.messages.take():
            raise RealtimeError("Too many messages; slow down.", "rate_limit_exceeded", type="rate_limit_error")

    def weigh(self, sounds: Sequence[bytes], format: Format, param: str) -> None:
        """Sounds came, in the field `param`.

        Raises:
            RealtimeError: they are more than may come.
        """
        if not self.audio.take(sum(format.seconds(sound) for sound in sounds)):
            message = f"Audio comes faster than {self._limits.audio_rate:g} times real time; it was dropped."
            raise RealtimeError(message, "rate_limit_exceeded", param, "rate_limit_error")

    async def hear(self, session: Session, audio: str, format: Format, param: str, silent: bool = False) -> None:
        """Let `session` hear sound in base64, the field `param`; with `silent` only its length counts.

        Raises:
            RealtimeError: it is no base64, or more than may come.
        """
        data = sound_of(audio, param)
        self.weigh([data], format, param)
        if silent:
            data = format.encode(np.zeros(len(data) // format.width, np.float32))
        size = format.width * round(PIECE * format.rate)
        heard = True
        for start in range(0, len(data), size):
            if start:
                await asyncio.sleep(0)  # a minute at once takes a voice detector half a second
            heard = session.hear(data[start : start + size]) and heard
        if not heard:
            message = f"More than {self._limits.buffer:g} s of audio wait to be heard; what came now was dropped."
            raise RealtimeError(message, "input_audio_buffer_full", param, blamed=False)

"""When the user's last sound came, for figures of how long an answer took; nothing is decided by it."""

from __future__ import annotations

import time

import numpy as np

from duologue.systems.base import Pcm

RANGE = 25.0  # dB below the loudest of late that still count as the user's voice
SOFTEST = -55.0  # dBFS
FALL = 0.1  # dB a frame by which the loudest is forgotten: a shout does not hide what is said after it for long


class Voiced:
    """Frames of one client, as they come."""

    def __init__(self) -> None:
        self._loudest = SOFTEST
        self._last: float | None = None

    def hear(self, pcm: Pcm) -> None:
        """A frame (frame,) came."""
        level = 10 * np.log10(np.square(pcm).mean() + 1e-12)
        self._loudest = max(level, self._loudest - FALL, SOFTEST)
        if level > max(SOFTEST, self._loudest - RANGE):
            self._last = time.monotonic()

    def since(self) -> float | None:
        """Seconds since the last sound; None where there was none since this was last asked."""
        last, self._last = self._last, None
        return None if last is None else time.monotonic() - last

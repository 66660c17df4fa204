"""Voice activity by the level alone: any sound well above the background is taken for speech.

It needs no network, so it tells what Silero's is worth, and where no more is needed. The background is the quietest
that was heard of late: it falls with the level at once, and rises slowly (minimum statistics, Martin 2001, in one
band).
"""

from __future__ import annotations

import numpy as np
from scipy.special import expit

from duologue.systems.base import Pcm
from duologue.systems.cascade.stages import RATE

BEGIN, QUIETEST = (
    -50.0,
    -70.0,
)  # dBFS of the background before anything is heard, and what it is never taken to be below
RISE = 3.0  # dB a second
SLOPE = 2.0  # dB for which the odds of speech grow e-fold


class EnergyDetector:
    """Speech is as likely as not where the level lies `above` dB over the background."""

    hop = 320

    def __init__(self, above: float = 12.0) -> None:
        self.above = above

    def open(self) -> EnergyDetection:
        """Begin with one conversation."""
        return EnergyDetection(self)


class EnergyDetection:
    """The background of one conversation, and the samples that are not a whole hop yet."""

    def __init__(self, detector: EnergyDetector) -> None:
        self._above = detector.above
        self._background = BEGIN
        self._heard = np.zeros(0, np.float32)

    def hear(self, pcm: Pcm) -> list[float]:
        """The next (T,) samples at 16 kHz; the probability of speech in each 20 ms that are complete with them."""
        self._heard = np.concatenate((self._heard, pcm))
        whole = len(self._heard) // EnergyDetector.hop * EnergyDetector.hop
        hops, self._heard = self._heard[:whole].reshape(-1, EnergyDetector.hop), self._heard[whole:]
        return [self._probability(10 * float(np.log10(np.square(hop).mean() + 1e-12))) for hop in hops]

    def _probability(self, level: float) -> float:
        risen = self._background + RISE * EnergyDetector.hop / RATE
        self._background = max(min(level, risen), QUIETEST)
        return float(expit((level - self._background - self._above) / SLOPE))

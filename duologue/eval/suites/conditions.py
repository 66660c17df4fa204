"""What lies between a voice and its listener: noise, a room, a telephone line, haste, distance; of a fixed strength.

What happens to the voice is done to its sound. Noise is there all the time, before, under and after the words, so it
is mixed in at the seam: `Line` is a system that hears through it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from duologue.audio.augment import coloured_noise, gain, reverb, room, speech_level, speed, telephone
from duologue.eval.metrics import RATE, Pcm
from duologue.systems.base import Conversation, Reply, System, Timing
from duologue.systems.oracle import OracleSystem

NOISE_SECONDS = 10.0  # then it begins again
PINK = 1.0  # the slope of made-up noise
QUIET_DBFS = -46.0  # 20 dB below the usual level of speech
FAST_RATE, SLOW_RATE = 280, 105  # words a minute of synthetic voices; cases are else drawn from 135 to 214
FAST, SLOW = 1.3, 0.75  # recordings are played faster or slower, pitch and all

SNR_DB = {"noise-20": 20.0, "noise-10": 10.0, "noise-5": 5.0}
CONDITIONS: dict[str, str] = {
    **{name: f"noise {snr:.0f} dB below the voice, all the time" for name, snr in SNR_DB.items()},
    "reverb": "said in a room, half of them recorded where there are recordings, the others made up",
    "telephone": "over a telephone: 8 kHz, 300 to 3400 Hz, G.711",
    "fast": f"said in haste: {FAST_RATE} words a minute; recordings {FAST:g} times as fast",
    "slow": f"said slowly: {SLOW_RATE} words a minute; recordings {SLOW:g} times as fast",
    "quiet": f"said softly or from far away: speech at {QUIET_DBFS:.0f} dBFS",
}


def changed(pcm: Pcm, condition: str, rng: np.random.Generator, rooms: list[Pcm]) -> Pcm:
    """A voice (T,) as it arrives under a condition; noise comes in elsewhere.

    Args:
        rng: draws the room, from `rooms` (impulse responses) for one in two, since those that are held out are few;
            else it is made up.
    """
    chosen: dict[str, Callable[[], Pcm]] = {
        "reverb": lambda: reverb(pcm, _room(rng, rooms)),
        "telephone": lambda: telephone(pcm),
        "quiet": lambda: gain(pcm, QUIET_DBFS - speech_level(pcm)),
        "fast": lambda: speed(pcm, FAST),
        "slow": lambda: speed(pcm, SLOW),
    }
    return np.clip(chosen[condition](), -1, 1) if condition in chosen else pcm


def _room(rng: np.random.Generator, rooms: list[Pcm]) -> Pcm:
    return rooms[int(rng.integers(len(rooms)))] if rooms and rng.random() < 0.5 else room(rng)


def noise_below(pcm: Pcm, snr_db: float, rng: np.random.Generator, noises: list[Pcm]) -> Pcm:
    """Noise (T,) `snr_db` below the speech in `pcm`: a recorded one where there are any, else pink."""
    samples = round(NOISE_SECONDS * RATE)
    if noises:
        noise = noises[int(rng.integers(len(noises)))]
        noise = np.resize(np.roll(noise, -int(rng.integers(len(noise)))), samples)
    else:
        noise = coloured_noise(samples, PINK, rng)
    power = float(np.mean(np.square(noise, dtype=np.float64)))
    return gain(noise, speech_level(pcm) - snr_db - 10 * np.log10(power + 1e-12))


class Line(System):
    """A system behind a line on which `background` (T,) sounds without end, beginning with the conversation."""

    def __init__(self, system: System, background: Pcm) -> None:
        self.card = system.card
        self.system, self.background = system, background

    def open(self, seed: int = 0) -> _OnLine:
        """Begin a conversation over the line."""
        return _OnLine(self.system.open(seed), self.background)


def over(system: System, background: Pcm | None) -> System:
    """A system that hears `background` all the time; the oracle knows what is said, so noise is nothing to it."""
    if background is None or isinstance(system, OracleSystem):
        return system
    return Line(system, background)


class _OnLine(Conversation):
    def __init__(self, conversation: Conversation, background: Pcm) -> None:
        super().__init__(conversation.card)
        self._conversation, self._background = conversation, background

    def _answer(self, pcm: Pcm) -> Reply:
        begin = (self._heard - 1) * len(pcm)
        noise = np.take(self._background, range(begin, begin + len(pcm)), mode="wrap")
        reply = self._conversation.step(np.clip(pcm + noise, -1, 1))
        return Reply(reply.pcm, [event for event in reply.events if not isinstance(event, Timing)])

    def close(self) -> None:
        self._conversation.close()
        super().close()

"""Systems that understand nothing: what a figure is worth shows beside theirs.

Whoever always talks answers everything at once; whoever never talks is never rude. A measure under which one of them
does well does not measure conversation.
"""

from __future__ import annotations

import numpy as np
from scipy.signal import lfilter

from duologue.systems.base import Conversation, Pcm, Reply, System, SystemCard, Turn

LOOP_SECONDS = 4.0
SYLLABLES = 4  # a second, as in speech
PITCH_HZ = 120
VOWELS = ((310, 2790, 3310), (860, 2050, 2850), (850, 1220, 2810), (590, 920, 2710), (370, 950, 2670))
"""Women's first three formants in Hz, of the vowels in heed, had, hod, hawed and who'd (Peterson and Barney 1952)."""
BANDWIDTHS = (80, 120, 160)


class NeverTalk(System):
    """Is silent whatever is said."""

    card = SystemCard(name="never-talk", summary="a floor: silent whatever is said", hears=("features",), says=())

    def open(self, seed: int = 0) -> _Silent:
        """Begin a conversation; the seed changes nothing."""
        return _Silent(self.card)


class _Silent(Conversation):
    def _answer(self, pcm: Pcm) -> Reply:
        return Reply(np.zeros_like(pcm))


class Echo(System):
    """Says back what it heard, a frame later."""

    card = SystemCard(
        name="echo", summary="a floor: says back what it heard", hears=("features",), says=("speech",), latency_ms=80
    )

    def open(self, seed: int = 0) -> _Echoing:
        """Begin a conversation; the seed changes nothing."""
        return _Echoing(self.card)


class _Echoing(Conversation):
    def _answer(self, pcm: Pcm) -> Reply:
        return Reply(pcm.copy())


class AlwaysTalk(System):
    """Babbles in vowels from its first frame on, whoever else speaks, and never stops."""

    card = SystemCard(
        name="always-talk",
        summary="a floor: babbles without end",
        hears=("features",),
        says=("speech",),
        latency_ms=80,
        voices=("vowels",),
    )

    def __init__(self) -> None:
        self.loop = babble(self.card.sample_rate)

    def open(self, seed: int = 0) -> _Babbling:
        """Begin a conversation; the seed changes nothing."""
        return _Babbling(self.card, self.loop)


class _Babbling(Conversation):
    def __init__(self, card: SystemCard, loop: Pcm) -> None:
        super().__init__(card)
        self._loop = loop
        self._at = 0

    def _answer(self, pcm: Pcm) -> Reply:
        reply = Reply(np.take(self._loop, range(self._at, self._at + len(pcm)), mode="wrap"))
        if self._at == 0:
            reply.events.append(Turn(kind="reply_started", time=self.time))
        self._at += len(pcm)
        return reply


def babble(rate: int) -> Pcm:
    """Voiced syllables of five vowels in turn, (LOOP_SECONDS * rate,) float32, loud as speech is and never silent.

    A pulse train through three resonators a vowel: the cascade formant synthesiser of Klatt (1980) at its smallest.
    """
    time = np.arange(round(LOOP_SECONDS * rate)) / rate
    source = np.diff(np.floor(PITCH_HZ * time), prepend=0.0)
    syllable = (time * SYLLABLES).astype(int) % len(VOWELS)
    voice = np.zeros_like(time)
    for number, formants in enumerate(VOWELS):
        sound = source
        for formant, width in zip(formants, BANDWIDTHS, strict=True):
            radius = np.exp(-np.pi * width / rate)
            sound = lfilter([1.0], [1, -2 * radius * np.cos(2 * np.pi * formant / rate), radius**2], sound)
        voice += np.where(syllable == number, sound / np.abs(sound).max(), 0)
    loudness = 0.6 - 0.4 * np.cos(2 * np.pi * SYLLABLES * time)
    return np.asarray(0.3 * voice * loudness, np.float32)

"""What a system is to say, laid on its side of the time line to the sample, and the words of it that have sounded.

Systems that are not models (the cascade, the oracle) make whole sounds; this cuts them into the frames of the seam.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from duologue.systems.base import Event, Pcm, Reply, SpokenWord, SystemCard, Turn

FADE_SECONDS = 0.01  # over which a sound that is cut off dies away; without it one hears a click

Span = tuple[str, float, float]


@dataclass(frozen=True)
class Sound:
    """A sound to be played: (T,) float32 at the rate of the system's card, and its words with their seconds in it."""

    pcm: Pcm
    words: Sequence[Span] = ()

    def part(self, start: float, end: float, rate: int) -> Sound:
        """From second `start` to `end`; the times of the words move along, and no word lies outside."""
        words = [(word, max(first, start) - start, min(last, end) - start) for word, first, last in self.words]
        return Sound(self.pcm[round(start * rate) : round(end * rate)], words)


@dataclass(frozen=True)
class _Placed:
    start: int
    sound: Sound

    @property
    def end(self) -> int:
        return self.start + len(self.sound.pcm)


class Playback:
    """The sounds to come in order of time, never two at once. Positions are samples of the conversation."""

    def __init__(self, card: SystemCard) -> None:
        self._rate, self._size = card.sample_rate, card.frame
        self._waiting: list[_Placed] = []
        self.speaking = False
        self.end = 0
        """After the last sample of all that was to be said so far."""

    def say(self, sound: Sound, at: int) -> None:
        """Say a sound from position `at` on, or after what is being said if that lasts longer."""
        placed = _Placed(max(at, self.end), sound)
        self._waiting.append(placed)
        self.end = placed.end

    def frame(self, now: int, more: bool = False) -> Reply:
        """The frame that begins at `now`; with `more` the reply goes on although nothing of it is here yet."""
        reply = Reply(np.zeros(self._size, np.float32))
        until = now + self._size
        for index, placed in enumerate(self._waiting):
            if placed.start >= until:
                break
            if not self.speaking:
                self.speaking = True
                self._turn(reply.events, "reply_started", max(placed.start, now))
            low, high = max(placed.start, now), min(placed.end, until)
            reply.pcm[low - now : high - now] = placed.sound.pcm[low - placed.start : high - placed.start]
            for word, start, end in placed.sound.words:
                if low < placed.start + end * self._rate <= high:
                    offset = placed.start / self._rate
                    reply.events.append(SpokenWord(time=offset + start, word=word, end=offset + end))
            following = self._waiting[index + 1].start if index + 1 < len(self._waiting) else None
            last = not more if following is None else following > placed.end
            if placed.end <= until and last:
                self.speaking = False
                self._turn(reply.events, "reply_ended", placed.end)
        self._waiting = [placed for placed in self._waiting if placed.end > until]
        return reply

    def stop(self, now: int) -> Reply:
        """Forget all that was to be said from `now` on; the frame holds a fade where a sound was cut."""
        speaking = self.speaking
        pcm = self.frame(now).pcm
        fade = round(FADE_SECONDS * self._rate)
        pcm[:fade] *= np.linspace(1, 0, fade, dtype=np.float32)
        pcm[fade:] = 0
        self._waiting, self.speaking, self.end = [], False, now
        events: list[Event] = []
        if speaking:
            self._turn(events, "interrupted", now)
        else:
            pcm[:] = 0
        return Reply(pcm, events)

    def _turn(self, events: list[Event], kind: str, at: int) -> None:
        events.append(Turn.model_validate({"kind": kind, "time": at / self._rate}))

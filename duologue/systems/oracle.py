"""The ceiling: a system that knows beforehand what will be said to it, what is right to answer, and when.

Whoever holds a conversation tells it with `expect`; to any other system that is nothing. What it leaves to be wished
for is lost by the measuring (the recogniser that judges a reply, say) and not by the system.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from duologue.audio.vad import speech_bounds
from duologue.systems.base import Conversation, Event, HeardWord, Pcm, Reply, System, SystemCard, TextWord, Turn
from duologue.systems.playback import Playback, Sound

GAP_SECONDS = 0.2
"""Between the user's last sound and the reply's first: what people most often leave (Stivers et al. 2009)."""

SILENT = 1e-4
"""The largest sample that is still silence (-80 dBFS)."""


@dataclass(frozen=True)
class Cue:
    """Something that the user will say, and what is right to do then.

    Attributes:
        sound: (T,) float32 at the system's rate, as it will be heard.
        reply: what to answer; "" says nothing, and goes on with what is being said.
        yields: to stop speaking where the cue begins.
        words: of the user, which it then tells that it heard.
    """

    sound: Pcm
    reply: str
    yields: bool = False
    words: str = ""


def expect(system: System, cues: Sequence[Cue]) -> None:
    """Tell an oracle what its next conversation will hear, in order; no other system is told anything."""
    if isinstance(system, OracleSystem):
        system.expect(cues)


class OracleSystem(System):
    """Answers what it was told to expect.

    Args:
        speak: says a text, its sound beginning and ending without silence.
        voice: whose voice that is.
    """

    def __init__(self, speak: Callable[[str], Sound], voice: str) -> None:
        self.card = SystemCard(
            name="oracle",
            summary="a ceiling: knows beforehand what is said and what is right",
            hears=("features",),
            voices=(voice,),
            latency_ms=1000 * GAP_SECONDS,
        )
        self._speak = speak
        self._next: list[_Plan] = []

    def expect(self, cues: Sequence[Cue]) -> None:
        """What the next conversation will hear, in order; silent cues are never noticed. Their replies are said now."""
        self._next = [self._plan(cue) for cue in cues if (np.abs(cue.sound) > SILENT).any()]

    def open(self, seed: int = 0) -> OracleConversation:
        """Begin the conversation that was told of; without `expect` before, one in which nothing is said."""
        plans, self._next = self._next, []
        return OracleConversation(self.card, plans)

    def _plan(self, cue: Cue) -> _Plan:
        bounds = speech_bounds(cue.sound, self.card.sample_rate)
        last = len(cue.sound) if bounds is None else round(bounds[1] * self.card.sample_rate)
        first = int(np.argmax(np.abs(cue.sound) > SILENT))
        return _Plan(cue, first, last, self._speak(cue.reply) if cue.reply else None)


@dataclass(frozen=True)
class _Plan:
    """A cue, its first sound by level and the end of its speech in samples from its beginning, and the reply."""

    cue: Cue
    first: int
    last: int
    reply: Sound | None


class OracleConversation(Conversation):
    """Waits for each cue in turn and does what is right."""

    def __init__(self, card: SystemCard, plans: Sequence[_Plan]) -> None:
        super().__init__(card)
        self._plans = list(plans)
        self._playback = Playback(card)
        self._heard_out: list[tuple[int, Cue]] = []  # where the speech of each cue begun ends
        self._next_from = 0  # the sample from which on another cue can begin

    def _answer(self, pcm: Pcm) -> Reply:
        now = self._heard * self.card.frame
        plan, begin = self._notice(pcm, now - self.card.frame)
        events: list[Event] = []
        stopped = None
        if plan is not None:
            events.append(Turn(kind="user_started", time=self.time))
            self._heard_out.append((begin + plan.last, plan.cue))
            stopped = self._playback.stop(now) if plan.cue.yields else None
            # a frame that holds the end of what was cut off is given away already
            self._place(plan, begin + plan.last, now if stopped is None else now + self.card.frame)
        while self._heard_out and self._heard_out[0][0] <= now:
            _, cue = self._heard_out.pop(0)
            events += [HeardWord(time=self.time, word=word) for word in cue.words.split()]
            events.append(Turn(kind="user_stopped", time=self.time))
            events += [TextWord(time=self.time, word=word) for word in cue.reply.split()]
        said = stopped or self._playback.frame(now)
        return Reply(said.pcm, [*events, *said.events])

    def _notice(self, pcm: Pcm, start: int) -> tuple[_Plan | None, int]:
        """The cue whose first sound lies in the frame that begins at sample `start`, and where the cue begins."""
        loud = np.flatnonzero(np.abs(pcm) > SILENT) + start
        loud = loud[loud >= self._next_from]
        if not self._plans or not len(loud):
            return None, 0
        plan = self._plans.pop(0)
        begin = int(loud[0]) - plan.first
        self._next_from = begin + len(plan.cue.sound)
        return plan, begin

    def _place(self, plan: _Plan, end: int, earliest: int) -> None:
        if plan.reply is not None:
            gap = round(GAP_SECONDS * self.card.sample_rate)
            after = self._playback.end + gap if self._playback.end > end else 0  # it is still speaking then
            self._playback.say(plan.reply, max(end + gap, after, earliest))

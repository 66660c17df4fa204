"""Talks with a system as a user would: says something, listens, goes on when it is time; and notes all that happens.

Everything is judged from the two channels of sound and the events, never from what a system claims about its turns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np

from duologue.audio.vad import speech_bounds
from duologue.errors import ConfigError
from duologue.eval.metrics import RATE, SILENCE_DBFS, Pcm, sound_bounds
from duologue.systems.base import Event, HeardWord, System, TextWord, Timing

Span = tuple[float, float]


@dataclass(frozen=True)
class Say:
    """What the user says next, (T,) float32 at 16 kHz, and when.

    `delay` seconds run from the moment when it is quiet again after what was said before and the reply to it ("quiet",
    and at the beginning), or from the reply's first sound ("reply_starts"). Who gets no reply goes on after a while.
    """

    pcm: Pcm
    when: Literal["quiet", "reply_starts"] = "quiet"
    delay: float = 0.5


@dataclass(frozen=True)
class Record:
    """A conversation that was held.

    Attributes:
        audio: (2, T) float32 at 16 kHz on one time line: the user, the system.
        says: seconds at which each `Say` began and ended.
        sounds: seconds of the first and after the last sound of each `Say`; its own span where it is silent.
        events: all that the system told, in order.
        compute_ms: what each step took.
    """

    audio: Pcm
    says: list[Span]
    sounds: list[Span]
    events: list[Event]
    compute_ms: list[float]

    def turn(self, index: int) -> Span:
        """Seconds from the beginning of a `Say` to that of the next one, or to the end."""
        after = self.says[index + 1][0] if index + 1 < len(self.says) else self.audio.shape[1] / RATE
        return self.says[index][0], after

    def reply(self, span: Span) -> Pcm:
        """What the system said in these seconds."""
        return self.audio[1, round(span[0] * RATE) : round(span[1] * RATE)]

    def text(self, span: Span) -> str:
        """The words that the system decided to say in these seconds."""
        return " ".join(e.word for e in self.events if isinstance(e, TextWord) and span[0] <= e.time < span[1])

    def heard(self, span: Span) -> str:
        """The user's words that the system noted in these seconds."""
        return " ".join(e.word for e in self.events if isinstance(e, HeardWord) and span[0] <= e.time < span[1])

    def reply_sound(self, index: int) -> Span | None:
        """Seconds of the first and after the last sound of the system in a turn, or None where it was silent."""
        span = self.turn(index)
        bounds = sound_bounds(self.reply(span))
        return None if bounds is None else (span[0] + bounds[0], span[0] + bounds[1])

    def latency(self, index: int) -> float | None:
        """Seconds from the user's last sound of a turn to the reply's first: negative if too early, None if none."""
        sound = self.reply_sound(index)
        return None if sound is None else sound[0] - self.sounds[index][1]

    def stopped(self, since: float, until: float, gap: float = 0.4) -> float | None:
        """When the system first fell silent for `gap` seconds after `since`, if that was before `until`."""
        frames = (np.flatnonzero(_loud(self.audio[1])) * 0.01).tolist()
        edges = [since, *(frame + 0.01 for frame in frames if frame >= since), until + gap]
        return next((last for last, following in pairwise(edges) if following - last > gap and last < until), None)


def converse(
    system: System,
    script: Sequence[Say],
    seed: int = 0,
    patience: float = 3.0,
    hush: float = 1.0,
    limit: float = 15.0,
) -> Record:
    """Go through `script` with a system, one frame at a time, until its last reply has ended.

    Args:
        seed: given to the conversation.
        patience: seconds to wait for a reply to begin.
        hush: seconds of silence after which a reply is taken to have ended.
        limit: seconds after which the user no longer waits for a reply to end.

    Raises:
        ConfigError: the system does not run at 16 kHz, or the script is empty.
    """
    if system.card.sample_rate != RATE or not script:
        raise ConfigError(f"{system.card.name} runs at {system.card.sample_rate} Hz; wanted {RATE} Hz and a script")
    frame = system.card.frame
    user: list[Pcm] = []
    replies: list[Pcm] = [np.zeros(frame, np.float32)]  # the reply to step n plays one frame later
    events: list[Event] = []
    says, sounds = [], []
    with system.open(seed) as conversation:
        clock = _Clock(patience, hush, limit)
        pending = np.zeros(0, np.float32)
        for say in [*script, None]:
            while (at := clock.due(say, len(user) * frame / RATE)) is None:
                chunk, pending = pending[:frame], pending[frame:]
                user.append(np.pad(chunk, (0, frame - len(chunk))))
                reply = conversation.step(user[-1])
                replies.append(reply.pcm)
                events += reply.events
                clock.hear(len(user) * frame / RATE, reply.pcm)
            if say is not None:
                start = max(round(at * RATE), len(user) * frame)
                silence = np.zeros(start - len(user) * frame, np.float32)
                pending = np.concatenate([silence, say.pcm])
                span = start / RATE, (start + len(say.pcm)) / RATE
                bounds = speech_bounds(say.pcm)
                says.append(span)
                sounds.append(span if bounds is None else (span[0] + bounds[0], span[0] + bounds[1]))
                clock.begin(span[1])
    channels = [np.concatenate([*user, np.zeros(frame, np.float32)]), np.concatenate(replies)]
    compute = [event.compute_ms for event in events if isinstance(event, Timing)]
    return Record(np.stack(channels), says, sounds, events, compute)


class _Clock:
    """Knows when the user's next words are due."""

    def __init__(self, patience: float, hush: float, limit: float) -> None:
        self.patience, self.hush, self.limit = patience, hush, limit
        self.end: float | None = None  # of what the user said last
        self.onset: float | None = None  # of the reply to it
        self.last = 0.0

    def begin(self, end: float) -> None:
        """The user says something that ends at `end`."""
        self.end, self.onset = end, None

    def hear(self, start: float, pcm: Pcm) -> None:
        """A frame of the reply plays from `start` on; what sounds while the user speaks is no reply to it yet."""
        loud = np.flatnonzero(_loud(pcm)) * 0.01
        if self.end is not None and len(loud):
            self.last = start + float(loud[-1]) + 0.01
            if self.onset is None and self.last > self.end:
                self.onset = max(self.end, start + float(loud[0]))

    def due(self, say: Say | None, now: float) -> float | None:
        """When `say` (None: the end of the conversation) is to begin, or None if that is not known by `now`."""
        delay = 0.0 if say is None else say.delay
        if self.end is None:
            return delay
        if self.onset is None:
            return now + delay if now >= self.end + self.patience else None
        if say is not None and say.when == "reply_starts":
            return self.onset + delay
        over = now >= max(self.last, self.end) + self.hush or now >= self.end + self.limit
        return now + delay if over else None


def _loud(pcm: Pcm) -> np.ndarray:
    """Which 10 ms of (T,) are over the level of silence."""
    blocks = np.pad(pcm, (0, -len(pcm) % 160)).reshape(-1, 160)
    loud: np.ndarray = np.square(blocks, dtype=np.float64).mean(1) > 10 ** (SILENCE_DBFS / 10)
    return loud

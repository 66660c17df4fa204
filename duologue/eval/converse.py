"""Talks with a system as a user would: says something, listens, goes on when it is time; and notes all that happens.

Everything is judged from the two channels of sound and the events, never from what a system claims about its turns.
`converse` keeps a whole conversation, `exchanges` hands it out turn by turn so that hours fit into memory, and `play`
lets a system hear a recording as it is, whatever it answers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, pairwise
from typing import Literal

import numpy as np

from duologue.audio.vad import speech_bounds
from duologue.errors import ConfigError
from duologue.eval.metrics import RATE, SILENCE_DBFS, Pcm, sound_bounds
from duologue.systems.base import Conversation, Event, HeardWord, Stage, System, TextWord, Timing

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
    """A conversation that was held, or a stretch of one. All times are seconds from the conversation's beginning.

    Attributes:
        audio: (2, T) float32 at 16 kHz on one time line: the user, the system.
        says: when each `Say` began and ended.
        sounds: of the first and after the last sound of each `Say`; its own span where it is silent.
        events: all that the system told, in order.
        compute_ms: what each step took.
        start: where `audio` begins.
        frame: of a step.
    """

    audio: Pcm
    says: list[Span]
    sounds: list[Span]
    events: list[Event]
    compute_ms: list[float]
    start: float = 0.0
    frame: float = 0.08

    @property
    def end(self) -> float:
        """Where `audio` ends."""
        return float(self.start + self.audio.shape[1] / RATE)

    def turn(self, index: int) -> Span:
        """Seconds from the beginning of a `Say` to that of the next one, or to the end."""
        after = self.says[index + 1][0] if index + 1 < len(self.says) else self.end
        return self.says[index][0], after

    def reply(self, span: Span) -> Pcm:
        """What the system said in these seconds."""
        first, last = (max(0, round((time - self.start) * RATE)) for time in span)
        return self.audio[1, first:last]

    def text(self, span: Span) -> str:
        """The words that the system decided to say in these seconds."""
        return " ".join(e.word for e in self.events if isinstance(e, TextWord) and span[0] <= e.time < span[1])

    def heard(self, span: Span) -> str:
        """The user's words that the system noted in these seconds."""
        return " ".join(e.word for e in self.events if isinstance(e, HeardWord) and span[0] <= e.time < span[1])

    def stages(self, span: Span) -> dict[str, float]:
        """Seconds that each stage of a cascade took, by name, the last time it is told of in these seconds."""
        told = [event for event in self.events if isinstance(event, Stage) and span[0] <= event.time <= span[1]]
        return {event.name: event.milliseconds / 1000 for event in told}

    def sound(self, span: Span) -> Span | None:
        """Seconds of the first and after the last sound of the system in a span, or None where it was silent."""
        bounds = sound_bounds(self.reply(span))
        return None if bounds is None else (span[0] + bounds[0], span[0] + bounds[1])

    def reply_sound(self, index: int) -> Span | None:
        """Seconds of the first and after the last sound of the system in a turn, or None where it was silent."""
        return self.sound(self.turn(index))

    def latency(self, index: int) -> float | None:
        """Seconds from the user's last sound of a turn to the reply's first: negative if too early, None if none."""
        sound = self.reply_sound(index)
        return None if sound is None else sound[0] - self.sounds[index][1]

    def stopped(self, since: float, until: float, gap: float = 0.4) -> float | None:
        """When the system first fell silent for `gap` seconds after `since`, if that was before `until`."""
        frames = (self.start + np.flatnonzero(loud(self.audio[1])) * 0.01).tolist()
        edges = [since, *(frame + 0.01 for frame in frames if frame >= since), until + gap]
        return next((last for last, following in pairwise(edges) if following - last > gap and last < until), None)

    def lag(self, time: float) -> float:
        """Seconds by which the machine would have been late, in a live conversation, with what sounds at `time`.

        Step n can begin when its frame has been heard and step n - 1 is done, so it ends at
        f(n) = max(a(n), f(n - 1)) + c(n), where a(n) = (n + 1) frames and c(n) is what it took; the lag is
        f(n) - a(n), counted from where this record begins. It is what computing adds to a latency, whose other part
        passes on the audio's own clock.
        """
        late = 0.0
        for taken in self.compute_ms[: max(1, int((time - self.start) / self.frame + 1e-6))]:
            late = max(0.0, late - self.frame) + taken / 1000
        return late


def exchanges(
    system: System,
    script: Iterable[Say],
    seed: int = 0,
    patience: float = 3.0,
    hush: float = 1.0,
    limit: float = 15.0,
) -> Iterator[Record]:
    """Go through `script` with a system, one frame at a time, until its last reply has ended.

    Yields a record for each `Say` when the next one is about to begin: together they are the conversation. The script
    is read one `Say` ahead, so it may be made while the conversation goes on.

    Args:
        seed: given to the conversation.
        patience: seconds to wait for a reply to begin.
        hush: seconds of silence after which a reply is taken to have ended.
        limit: seconds after which the user no longer waits for a reply to end.

    Raises:
        ConfigError: the system does not run at 16 kHz, or the script is empty.
    """
    _check(system)
    says = iter(script)
    first = next(says, None)
    if first is None:
        raise ConfigError(f"the script for {system.card.name} is empty; give the user something to say")
    frame = system.card.frame
    with system.open(seed) as conversation:
        tape, clock = _Tape(conversation), _Clock(patience, hush, limit)
        pending = np.zeros(0, np.float32)
        begun: tuple[Span, Span] | None = None
        for say in chain([first], says, [None]):
            while (at := clock.due(say, tape.now)) is None:
                clock.hear(*tape.step(pending[:frame]))
                pending = pending[frame:]
            if say is not None:
                start = max(round(at * RATE), tape.samples)
                pending = np.concatenate([np.zeros(start - tape.samples, np.float32), say.pcm])
                for _ in range((start - tape.samples) // frame):
                    clock.hear(*tape.step(pending[:frame]))
                    pending = pending[frame:]
            if begun is not None:
                yield tape.cut([begun[0]], [begun[1]], last=say is None)
            if say is not None:
                span = start / RATE, (start + len(say.pcm)) / RATE
                bounds = speech_bounds(say.pcm)
                begun = span, span if bounds is None else (span[0] + bounds[0], span[0] + bounds[1])
                clock.begin(span[1])


def converse(
    system: System,
    script: Sequence[Say],
    seed: int = 0,
    patience: float = 3.0,
    hush: float = 1.0,
    limit: float = 15.0,
) -> Record:
    """The whole conversation of a short script; arguments and errors are those of `exchanges`."""
    parts = list(exchanges(system, script, seed, patience, hush, limit))
    return Record(
        np.concatenate([part.audio for part in parts], axis=1),
        [span for part in parts for span in part.says],
        [span for part in parts for span in part.sounds],
        [event for part in parts for event in part.events],
        [taken for part in parts for taken in part.compute_ms],
        frame=parts[0].frame,
    )


def play(system: System, pcm: Pcm, seed: int = 0) -> Record:
    """Let a system hear (T,) float32 at 16 kHz just as it is; the record's audio has T samples on one time line.

    Raises:
        ConfigError: the system does not run at 16 kHz, or there is nothing to hear.
    """
    _check(system)
    if not len(pcm):
        raise ConfigError(f"a recording of no samples was to be played to {system.card.name}")
    with system.open(seed) as conversation:
        tape = _Tape(conversation)
        for first in range(0, len(pcm), system.card.frame):
            tape.step(pcm[first : first + system.card.frame])
        span = 0.0, len(pcm) / RATE
        bounds = speech_bounds(pcm)
        whole = tape.cut([span], [span if bounds is None else bounds], last=False)
    return replace(whole, audio=whole.audio[:, : len(pcm)])


def _check(system: System) -> None:
    if system.card.sample_rate != RATE:
        raise ConfigError(f"{system.card.name} runs at {system.card.sample_rate} Hz; a user's script has {RATE} Hz")


class _Tape:
    """Steps a conversation and keeps both channels: the reply to a step plays one frame later."""

    def __init__(self, conversation: Conversation) -> None:
        self.conversation = conversation
        self.frame = conversation.card.frame
        self.samples = 0  # heard since the beginning
        self.user: list[Pcm] = []
        self.replies: list[Pcm] = [np.zeros(self.frame, np.float32)]
        self.events: list[Event] = []

    @property
    def now(self) -> float:
        """Seconds heard so far."""
        return self.samples / RATE

    def step(self, chunk: Pcm) -> tuple[float, Pcm]:
        """Let the system hear up to a frame; when its reply plays, and the reply."""
        self.user.append(np.pad(chunk, (0, self.frame - len(chunk))).astype(np.float32))
        reply = self.conversation.step(self.user[-1])
        self.samples += self.frame
        self.replies.append(reply.pcm)
        self.events += reply.events
        return self.now, reply.pcm

    def cut(self, says: list[Span], sounds: list[Span], last: bool) -> Record:
        """What was taped since the last cut; the last piece holds the frame that is still to play."""
        start = self.samples - len(self.user) * self.frame
        user = [*self.user, np.zeros(self.frame, np.float32)] if last else self.user
        audio = np.stack([np.concatenate(user), np.concatenate(self.replies[: len(user)])])
        compute = [event.compute_ms for event in self.events if isinstance(event, Timing)]
        record = Record(audio, says, sounds, self.events, compute, start / RATE, self.frame / RATE)
        self.user, self.replies, self.events = [], self.replies[len(user) :], []
        return record


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
        sounding = np.flatnonzero(loud(pcm)) * 0.01
        if self.end is not None and len(sounding):
            self.last = start + float(sounding[-1]) + 0.01
            if self.onset is None and self.last > self.end:
                self.onset = max(self.end, start + float(sounding[0]))

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


def loud(pcm: Pcm) -> np.ndarray:
    """Which 10 ms of (T,) are over the level of silence."""
    blocks = np.pad(pcm, (0, -len(pcm) % 160)).reshape(-1, 160)
    over: np.ndarray = np.square(blocks, dtype=np.float64).mean(1) > 10 ** (SILENCE_DBFS / 10)
    return over

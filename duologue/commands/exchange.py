"""One conversation run to its end, and the account of it: who said what when, how late, at what cost."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from duologue.systems.base import Conversation, Event, HeardWord, Pcm, Reply, SpokenWord, TextWord, Timing, Turn

LONGEST_REPLY = 60.0  # seconds after the question at which a system that never stops is left
SETTLE = 0.4  # seconds of quiet after a reply before nothing more is expected
HOP = 0.01  # seconds of one loudness value, or as near as whole parts of a frame come
PAUSE = 1.0  # seconds of quiet that part two turns of the user; people pause up to 0.7 s inside a question


def exchange(conversation: Conversation, user: Iterable[Pcm], tail: float) -> Iterator[tuple[Pcm, Reply]]:
    """Step through the user's frames, then through silence until the reply has ended.

    A reply that has begun is heard to its end. Where none begins, `tail` seconds of silence are waited for one.

    Yields:
        The user's frame and the reply to it; the reply sounds one frame later on the time line.
    """
    floor = _Floor()
    for frame in user:
        reply = conversation.step(frame)
        floor.follow(reply.events)
        yield frame, reply
    end = conversation.time
    silence = np.zeros(conversation.card.frame, np.float32)
    while not floor.done(conversation.time, end, tail):
        reply = conversation.step(silence)
        floor.follow(reply.events)
        yield silence, reply


@dataclass
class _Floor:
    """Who has the floor, as far as the events tell."""

    replying: bool = False
    answered: float | None = None  # when the last reply ended, if the user has said nothing since

    def follow(self, events: Iterable[Event]) -> None:
        for event in events:
            if not isinstance(event, Turn):
                if isinstance(event, HeardWord) and not self.replying:
                    self.answered = None
            elif event.kind == "reply_started":
                self.replying = True
            elif event.kind in ("reply_ended", "interrupted"):
                self.replying = False
                self.answered = event.time if event.kind == "reply_ended" else None

    def done(self, now: float, end: float, tail: float) -> bool:
        waited = round(now - end, 6)  # frames do not add up exactly
        if self.replying:
            return waited >= LONGEST_REPLY
        if self.answered is not None:
            return now - max(end, self.answered) >= SETTLE
        return waited >= tail


@dataclass
class Account:
    """What happened in a conversation. It grows with the words and 10 ms loudness values, not with the audio."""

    frame_seconds: float
    heard: list[tuple[float, str]] = field(default_factory=list)
    text: list[tuple[float, str]] = field(default_factory=list)
    spoken: list[tuple[float, str]] = field(default_factory=list)
    ends: list[float] = field(default_factory=list)  # of replies
    seconds: float = 0.0
    compute: float = 0.0
    user: list[Pcm] = field(default_factory=list)
    system: list[Pcm] = field(default_factory=list)

    def add(self, frame: Pcm, reply: Reply) -> None:
        """Take one step into the account."""
        self.seconds += self.frame_seconds
        self.user.append(self._loudness(frame))
        self.system.append(self._loudness(reply.pcm))
        for event in reply.events:
            if isinstance(event, HeardWord):
                self.heard.append((event.time, event.word))
            elif isinstance(event, TextWord):
                self.text.append((event.time, event.word))
            elif isinstance(event, SpokenWord):
                self.spoken.append((event.time, event.word))
            elif isinstance(event, Timing):
                self.compute += event.compute_ms / 1000
            elif event.kind in ("reply_ended", "interrupted"):
                self.ends.append(event.time)

    def reply_text(self) -> str:
        """The words of the answers, a line each reply."""
        lines: list[list[str]] = [[] for _ in range(len(self.ends) + 1)]
        for time, word in self.spoken or self.text:
            lines[bisect(self.ends, time)].append(word)
        return "\n".join(" ".join(line) for line in lines if line)

    def latencies(self) -> list[float]:
        """Seconds from the last sound of each of the user's turns to the first sound of the reply to it.

        Negative where the system began before the user had ended. A turn that drew no reply has none.
        """
        hop = self.frame_seconds / self._hops
        turns = _stretches(_active(self.user), hop, PAUSE)
        starts = [start + self.frame_seconds for start, _ in _stretches(_active(self.system), hop, PAUSE / 2)]
        found = []
        followings = [*(start for start, _ in turns[1:]), np.inf]
        for (start, end), following in zip(turns, followings, strict=False):
            first = next((onset for onset in starts if start <= onset < following), None)
            if first is not None:
                found.append(first - end)
        return found

    def table(self, name: str) -> RenderableType:
        """The words with their times, the user's on the left and the system's on the right."""
        table = Table(box=None, pad_edge=False)
        table.add_column("time", justify="right", style="dim")
        table.add_column("you")
        table.add_column(name)
        rows = [(time, word, "") for time, word in self.heard]
        rows += [(time, "", word) for time, word in self.spoken or self.text]
        for time, heard, said in sorted(rows, key=lambda row: row[0]):
            table.add_row(f"{time:.2f}", Text(heard), Text(said))
        return table

    def summary(self) -> str:
        """One line: latency and speed."""
        latencies = self.latencies()
        if not latencies:
            latency = "no reply"
        elif len(latencies) == 1:
            latency = f"the reply began {latencies[0]:+.2f} s after your last sound"
        else:
            median = float(np.median(latencies))
            latency = f"{len(latencies)} replies began {median:+.2f} s (median) after your last sound"
        factor = self.compute / self.seconds if self.seconds else 0.0
        return f"{latency} · real-time factor {factor:.3f} ({self.compute:.2f} s for {self.seconds:.2f} s of audio)"

    @property
    def _hops(self) -> int:
        return max(1, round(self.frame_seconds / HOP))

    def _loudness(self, pcm: Pcm) -> Pcm:
        return np.asarray([np.sqrt(np.mean(part**2)) for part in np.array_split(pcm, self._hops)], dtype=np.float32)


def _active(loudness: list[Pcm]) -> np.ndarray:
    """(hops,) bool: which hops hold speech."""
    from duologue.audio.vad import FRAMES, activity

    return activity(np.concatenate([np.zeros(0, np.float32), *loudness]), rate=FRAMES)  # it goes by the levels alone


def _stretches(active: np.ndarray, hop: float, pause: float) -> list[tuple[float, float]]:
    """Start and end (seconds) of the runs of activity, runs less than `pause` apart taken as one."""
    hops = np.flatnonzero(active)
    if not len(hops):
        return []
    gaps = np.flatnonzero(np.diff(hops) * hop > pause)
    starts, ends = hops[np.r_[0, gaps + 1]], hops[np.r_[gaps, len(hops) - 1]] + 1
    return [(float(start) * hop, float(end) * hop) for start, end in zip(starts, ends, strict=True)]

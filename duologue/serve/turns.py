"""Whose turn it is: what a conversation gets to hear, and when it may answer.

A full-duplex system decides that by itself, frame by frame (`OwnTurns`). A client may ask for something else: that a
voice detector decides (`DetectedTurns`), or that it decides itself (`ToldTurns`). Then the conversation's time stands
still while it is not to speak: its slot pauses, so it cannot take a silence for its turn.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from dataclasses import dataclass

from duologue.systems.base import Pcm
from duologue.systems.cascade.endpoint import Endpointer, Endpointing
from duologue.systems.cascade.silero import SileroDetector
from duologue.systems.engine import Slot

QUIET = 10.0  # seconds without a sound from the client or a reply, after which a conversation pauses


@dataclass(frozen=True)
class UserStarted:
    """The user's turn begins at `at` seconds of what the client sent."""

    at: float


@dataclass(frozen=True)
class UserStopped:
    """The user's turn is over at `at`; `answer`: a reply is being made without being asked for."""

    at: float
    answer: bool


@dataclass(frozen=True)
class UserIdle:
    """Nobody has said anything from `since` to `at`, and the client asked to be told."""

    since: float
    at: float


Change = UserStarted | UserStopped | UserIdle


class Turns(ABC):
    """Feeds one slot.

    Attributes:
        owned: the system's own account of turns is the one that counts.
        interrupts: a reply ends where the user's turn begins, whether or not the system yields by itself.
    """

    owned = False
    interrupts = False

    def __init__(self, slot: Slot) -> None:
        self.slot = slot
        self.full = False  # a frame was refused since this was last asked
        self._fresh = 0  # frames since the user's last turn was over or a reply to them was wanted

    @abstractmethod
    def hear(self, frame: Pcm, at: float) -> list[Change]:
        """The client's next frame, which ends at `at` seconds of what it sent."""

    def insert(self, frame: Pcm) -> None:
        """A frame of speech that the client has from elsewhere; it is heard whoever decides on turns."""
        self._push(frame)
        self._fresh = 0

    def waiting(self) -> list[Pcm]:
        """What belongs to the conversation and is kept from the system until a reply is wanted."""
        return []

    def commit(self) -> None:
        """What came so far is a turn, and nothing of it is forgotten any more."""
        self._fresh = 0

    def answer(self) -> None:
        """A reply is wanted now: let the conversation go on until `settle`."""
        self._fresh = 0
        self.slot.run(fills=True)

    def settle(self) -> bool:
        """The reply is over, or none came; True: a reply to what was said meanwhile is being made."""
        self.slot.run(fills=False)
        return False

    def clear(self) -> None:
        """Forget what is of no turn yet and was not heard either."""
        self.slot.drop(self._fresh)
        self._fresh = 0

    def _push(self, frame: Pcm) -> None:
        if self.slot.push(frame):
            self._fresh += 1
        else:
            self.full = True


class OwnTurns(Turns):
    """The system hears all, at once, and speaks when it wants to."""

    owned = True

    def hear(self, frame: Pcm, at: float) -> list[Change]:
        self._push(frame)
        if not self.slot.fills:
            self.slot.run(fills=True)
        return []

    def settle(self) -> bool:
        """Time goes on: the system may speak again."""
        return False


class DetectedTurns(Turns):
    """A voice detector tells when the user speaks; only that is heard, and pauses within a turn are cut short.

    Args:
        answers: a reply follows every turn without being asked for.
        interrupts: the user is heard while a reply sounds; otherwise only after it, and is answered then.
        idle: seconds without speech after which the client is told; None: never.
    """

    def __init__(
        self,
        slot: Slot,
        detector: SileroDetector,
        settings: Endpointing,
        answers: bool = True,
        interrupts: bool = True,
        idle: float | None = None,
    ) -> None:
        super().__init__(slot)
        card = slot.engine.card
        self._rate = card.sample_rate
        self._frame_seconds = card.frame / card.sample_rate
        self._detection = detector.open()
        self._endpointer = Endpointer(settings, detector.hop, card.sample_rate)
        self.interrupts = interrupts
        self._settings, self._answers, self._idle = settings, answers, idle
        self._lead: deque[Pcm] = deque(maxlen=max(1, round(settings.lead / self._frame_seconds)))
        self._kept: deque[Pcm] = deque(maxlen=round(30 / self._frame_seconds))  # said while the reply may not be cut
        self._answering = False
        self._owes = False  # a turn over a reply that may not be cut is to be answered after it
        self._start: float | None = None  # where the detector's samples begin in what the client sent
        self._quiet_since: float | None = None

    def hear(self, frame: Pcm, at: float) -> list[Change]:
        if self._start is None:
            self._start = at - self._frame_seconds
        changes: list[Change] = []
        talked = self._endpointer.talking
        for probability in self._detection.hear(frame):
            change = self._endpointer.hear(probability)
            if change == "started":
                onset = self._start + self._endpointer.last / self._rate - self._endpointer.speech
                changes.append(UserStarted(max(self._start, onset - self._settings.lead)))
                for early in self._lead:
                    self._say(early)
                self._lead.clear()
            elif change == "stopped":
                self._owes = self._answers and self._answering and not self.interrupts
                answer = self._answers and not self._owes
                changes.append(UserStopped(self._start + self._endpointer.last / self._rate, answer))
        self._take(frame, at, talked)
        if changes and isinstance(changes[-1], UserStopped):
            self.commit()
            if changes[-1].answer:
                self.answer()
        return changes + self._told_of_silence(at)

    def _take(self, frame: Pcm, at: float, talked: bool) -> None:
        """Speech, and a frame after it, is heard; of what comes before a turn, the last is kept."""
        assert self._start is not None
        if not self._endpointer.talking:
            self._lead.append(frame)
        elif not talked or at - self._start - self._endpointer.last / self._rate < 2 * self._frame_seconds:
            self._say(frame)

    def _say(self, frame: Pcm) -> None:
        if self._answering and not self.interrupts:
            self._kept.append(frame)
            self._fresh = min(self._fresh + 1, len(self._kept))
        else:
            self._push(frame)

    def _told_of_silence(self, at: float) -> list[Change]:
        if self._endpointer.talking or self._answering or self._quiet_since is None:
            self._quiet_since = at
        elif self._idle is not None and at - self._quiet_since >= self._idle:
            since, self._quiet_since = self._quiet_since, at
            self.answer()
            return [UserIdle(since, at)]
        return []

    def answer(self) -> None:
        self._answering = True
        super().answer()

    def settle(self) -> bool:
        super().settle()
        self._answering = False
        if self._kept:
            fresh = self._fresh
            while self._kept:
                self._push(self._kept.popleft())
            self._fresh = fresh
        owed, self._owes = self._owes and not self._endpointer.talking, False  # who talks is answered at the end of it
        if owed:
            self.answer()
        return owed

    def clear(self) -> None:
        self._lead.clear()
        if self._kept:
            for _ in range(self._fresh):
                self._kept.pop()
            self._fresh = 0
        else:
            super().clear()


class ToldTurns(Turns):
    """The client says when a turn is over and when it wants a reply; until then what it sends waits."""

    def __init__(self, slot: Slot, longest: float) -> None:
        super().__init__(slot)
        self._waiting: list[Pcm] = []
        self._committed = 0  # of those that wait
        self._longest = longest / (slot.engine.card.frame / slot.engine.card.sample_rate)

    def hear(self, frame: Pcm, at: float) -> list[Change]:
        self.insert(frame)
        return []

    def insert(self, frame: Pcm) -> None:
        if len(self._waiting) < self._longest:
            self._waiting.append(frame)
        else:
            self.full = True

    def waiting(self) -> list[Pcm]:
        return self._waiting[: self._committed]

    def commit(self) -> None:
        self._committed = len(self._waiting)

    def answer(self) -> None:
        for frame in self._waiting:
            self._push(frame)
        self._waiting.clear()
        self._committed = 0
        super().answer()

    def clear(self) -> None:
        del self._waiting[self._committed :]

"""A small real system for tests: when it has heard a turn and 160 ms of quiet, it beeps and says "beep"."""

from __future__ import annotations

import numpy as np

from duologue.systems.base import Conversation, HeardWord, Pcm, Reply, SpokenWord, System, SystemCard, TextWord, Turn

QUIET, BEEP = 2, 5  # frames


class Beeper(System):
    """Counts loud frames as the word "sound", and answers each turn with five frames of a 440 Hz beep."""

    card = SystemCard(name="beeper", hears=("features",), duplex="half", licence="Apache-2.0", voices=("beep",))

    def open(self, seed: int = 0) -> BeeperConversation:
        return BeeperConversation(self.card)


class BeeperConversation(Conversation):
    def __init__(self, card: SystemCard) -> None:
        super().__init__(card)
        self.quiet: int | None = None  # frames of quiet since the user's last sound; None: nothing to answer
        self.left = 0  # frames of beep to come

    def _answer(self, pcm: Pcm) -> Reply:
        now = self.time
        reply = Reply(np.zeros(self.card.frame, np.float32))
        if np.abs(pcm).max() > 0.01:
            if self.quiet is None:
                reply.events += [Turn(kind="user_started", time=now), HeardWord(time=now, word="sound")]
            self.quiet = 0
            if self.left:
                self.left = 0
                reply.events.append(Turn(kind="interrupted", time=now))
            return reply
        if self.quiet is not None:
            self.quiet += 1
            if self.quiet == QUIET:
                self.quiet, self.left = None, BEEP
                reply.events += [
                    Turn(kind="user_stopped", time=now),
                    TextWord(time=now, word="beep"),
                    Turn(kind="reply_started", time=now),
                    SpokenWord(time=now, word="beep", end=now + BEEP * 0.08),
                ]
        elif self.left == 0:
            return reply
        if self.left:
            beep = 0.3 * np.sin(2 * np.pi * 440 * np.arange(self.card.frame) / self.card.sample_rate)
            self.left -= 1
            reply = Reply(beep.astype(np.float32), reply.events)
            if self.left == 0:
                reply.events.append(Turn(kind="reply_ended", time=now + 0.08))
        return reply

"""The native system: one speech language model that hears audio and speaks audio, behind the seam of `base`."""

from __future__ import annotations

from pathlib import Path

import torch

from duologue.errors import ModelError
from duologue.lm.generate import Generator, StepOutput
from duologue.lm.model import FRAME, RATE, SpeechLM
from duologue.systems.base import (
    Conversation,
    HeardWord,
    Pcm,
    Reply,
    SpokenWord,
    System,
    SystemCard,
    TextWord,
    Turn,
)


class NativeSystem(System):
    """A trained model that any number of conversations share; each conversation holds a state of one row."""

    def __init__(self, model: SpeechLM, card: SystemCard) -> None:
        if (card.sample_rate, card.frame) != (RATE, FRAME):
            raise ModelError(f"the card of {card.name} is wrong: a native model runs at {RATE} Hz in frames of {FRAME}")
        self.generator = Generator(model)
        self.card = card

    @classmethod
    def load(cls, folder: Path, card: SystemCard) -> NativeSystem:
        """Read a model folder.

        Raises:
            ModelError: a file is missing, truncated, or does not fit the others.
        """
        return cls(SpeechLM.load(folder), card)

    def open(self, seed: int = 0) -> NativeConversation:
        """Begin a conversation; the same seed and the same audio give the same replies."""
        return NativeConversation(self, seed)


class NativeConversation(Conversation):
    """One row of the generator's state, and who has the floor, which turns what the model does into events."""

    def __init__(self, system: NativeSystem, seed: int) -> None:
        super().__init__(system.card)
        self._generator = system.generator
        self._state = system.generator.init_state(1, seed)
        self._user_turn = False
        self._replying = False

    def _answer(self, pcm: Pcm) -> Reply:
        out = self._generator.step(torch.from_numpy(pcm).unsqueeze(0), self._state)
        reply = Reply(out.pcm[0].numpy())
        self._note(out, reply)
        return reply

    def _note(self, out: StepOutput, reply: Reply) -> None:
        """Add the events of a step, cause before effect."""
        now, add = self.time, reply.events.append
        if (out.heard[0] or out.turn_end[0]) and not self._user_turn:
            self._user_turn = True
            add(Turn(kind="user_started", time=now))
        for word in out.heard[0]:
            add(HeardWord(time=now, word=word))
        if out.turn_end[0]:
            self._user_turn = False
            add(Turn(kind="user_stopped", time=now))
        for word in out.text[0]:
            add(TextWord(time=now, word=word))
        if out.speaking[0] and not self._replying:
            self._replying = True
            add(Turn(kind="reply_started", time=now))
        for word, start, end in out.spoken[0]:
            add(SpokenWord(time=now + start, word=word, end=now + end))
        if self._replying and (out.ended[0] or not out.speaking[0]):
            self._replying = False
            cut = out.cut[0]
            add(Turn(kind="interrupted" if cut else "reply_ended", time=now if cut else now + FRAME / RATE))

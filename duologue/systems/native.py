"""The native system: one speech language model that hears audio and speaks audio, behind the seam of `base`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from duologue.errors import ModelError
from duologue.lm.generate import Generator, StepOutput
from duologue.lm.model import FRAME, RATE, SpeechLM
from duologue.lm.speak import speak
from duologue.systems.base import (
    Conversation,
    Event,
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
        system = cls(SpeechLM.load(folder), card)
        system._warm_up()
        return system

    def _warm_up(self) -> None:
        """Hear a frame and say a word, so that no conversation waits for what is compiled when it is first called."""
        self.generator.step(torch.zeros(1, FRAME), self.generator.init_state(1))
        speak(self.generator.model, "yes")

    def open(self, seed: int = 0) -> NativeConversation:
        """Begin a conversation; the same seed and the same audio give the same replies."""
        return NativeConversation(self, seed)


class NativeConversation(Conversation):
    """One row of the generator's state, and who has the floor, which turns what the model does into events."""

    def __init__(self, system: NativeSystem, seed: int) -> None:
        super().__init__(system.card)
        self._generator = system.generator
        self._state = system.generator.init_state(1, seed)
        self._floor = Floor()

    def read(self, text: str) -> None:
        """Take a turn of the user's in writing; it is answered in speech."""
        self._generator.tell(text, self._state)

    def pace(self, pace: float) -> None:
        """Speak `pace` times as fast as the voice is."""
        self._generator.pace(pace, self._state)

    def _answer(self, pcm: Pcm) -> Reply:
        out = self._generator.step(torch.from_numpy(pcm).unsqueeze(0), self._state)
        return Reply(out.pcm[0].numpy(), self._floor.follow(out, 0, self.time))


@dataclass
class Floor:
    """Who has the floor in one conversation."""

    user_turn: bool = False
    replying: bool = False

    def follow(self, out: StepOutput, row: int, now: float) -> list[Event]:
        """The events of a row's step that heard up to `now`, in seconds; cause before effect, times to the ms."""
        now = round(now, 3)
        events: list[Event] = []
        if (out.heard[row] or out.turn_end[row]) and not self.user_turn:
            self.user_turn = True
            events.append(Turn(kind="user_started", time=now))
        events += [HeardWord(time=now, word=word) for word in out.heard[row]]
        if out.turn_end[row]:
            self.user_turn = False
            events.append(Turn(kind="user_stopped", time=now))
        events += [TextWord(time=now, word=word) for word in out.text[row]]
        if out.speaking[row] and not self.replying:
            self.replying = True
            events.append(Turn(kind="reply_started", time=now))
        events += [
            SpokenWord(time=round(now + start, 3), word=word, end=round(now + end, 3))
            for word, start, end in out.spoken[row]
        ]
        if self.replying and (out.ended[row] or not out.speaking[row]):
            self.replying = False
            cut = out.cut[row]
            events.append(
                Turn(kind="interrupted" if cut else "reply_ended", time=now if cut else round(now + FRAME / RATE, 3))
            )
        return events

"""Text to speech with a model's talker alone: what a conversation does with its words, for words that are given."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from duologue.lm.generate import Generator
from duologue.lm.model import FRAME, SpeechLM
from duologue.lm.text import END, PAD


class _Dictated(Generator):
    """A generator whose thinker is replaced by a text, a piece a frame."""

    def __init__(self, model: SpeechLM, text: str) -> None:
        super().__init__(model)
        self._pieces = [*model.tokenizer.encode(text), END]

    def _think(self, *_: object) -> dict[str, Tensor]:
        piece = self._pieces.pop(0) if self._pieces else PAD
        return {"heard": torch.full((1, 1), PAD), "text": torch.full((1, 1), piece)}

    @property
    def done(self) -> bool:
        return not self._pieces


def spoken(model: SpeechLM, text: str, pace: float = 1.0) -> Iterator[Tensor]:
    """Say lower-case words, frame by frame (1280,) float32 at 16 kHz; nothing for an empty text.

    A `pace` above 1 speaks faster. Up to a minute of speech at once: what is more than the reader's queue is not said.
    """
    dictated = _Dictated(model, text)
    state = dictated.init_state(1)
    dictated.pace(pace, state)
    silence = torch.zeros(1, FRAME)
    while True:
        out = dictated.step(silence, state)
        if out.speaking[0]:
            yield out.pcm[0]
        elif dictated.done:
            return


def speak(model: SpeechLM, text: str, pace: float = 1.0) -> Tensor:
    """All that is `spoken`, (T,)."""
    return torch.cat((torch.zeros(0), *spoken(model, text, pace)))

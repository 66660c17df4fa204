"""A recogniser's session for those that make text of a whole turn at once."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from duologue.systems.base import Pcm


class WholeTurn:
    """Keeps the user's turn, and makes text of it by `transcribe` ((T,) at 16 kHz -> text) once he falls silent.

    So its work is done in the silence that has to pass before the turn is over, and none is left for its end.
    """

    def __init__(self, transcribe: Callable[[Pcm], str]) -> None:
        self._transcribe = transcribe
        self._heard: list[Pcm] = []
        self._draft: str | None = None

    def begin(self) -> None:
        """A turn begins."""
        self._heard, self._draft = [], None

    def hear(self, pcm: Pcm) -> None:
        """Keep the next (T,) samples of the turn."""
        self._heard.append(pcm.copy())

    def draft(self) -> None:
        """Transcribe what was said; should the user go on, it is done again."""
        self._draft = self._transcribe(np.concatenate([np.zeros(0, np.float32), *self._heard]))

    def finish(self) -> str:
        """The words of the turn: those of the last draft, after which there was only silence."""
        if self._draft is None:
            self.draft()
        assert self._draft is not None
        return self._draft

    def close(self) -> None:
        """Nothing is held."""

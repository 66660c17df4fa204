"""`duologue` with one more system, "parrot": what it says shows whom it has heard.

python benchmarks/serving/parrot.py serve --model box --model parrot
"""

from __future__ import annotations

import sys

import numpy as np

from duologue import cli
from duologue.systems import registry
from duologue.systems.base import Conversation, Pcm, Reply, System, SystemCard, Turn

LOUD = 0.003
QUIET = 4  # frames of quiet after which a reply is over


class Parrot(System):
    """Says back each frame that it hears, as long as there is anything to hear."""

    card = SystemCard(name="parrot", summary="says back what it hears", hears=("features",), says=("speech",))

    def open(self, seed: int = 0) -> _Repeating:
        """Begin a conversation; the seed changes nothing."""
        return _Repeating(self.card)


class _Repeating(Conversation):
    def __init__(self, card: SystemCard) -> None:
        super().__init__(card)
        self._quiet: int | None = None  # frames in a row; None: it is silent

    def _answer(self, pcm: Pcm) -> Reply:
        loud = bool(np.abs(pcm).max() > LOUD)
        if self._quiet is None and not loud:
            return Reply(np.zeros_like(pcm))
        reply = Reply(pcm.copy())
        if self._quiet is None:
            reply.events.append(Turn(kind="reply_started", time=self.time))
        self._quiet = 0 if loud else (self._quiet or 0) + 1
        if self._quiet == QUIET:
            self._quiet = None
            reply.events.append(Turn(kind="reply_ended", time=self.time))
        return reply


registry.BY_NAME["parrot"] = (f"{__name__}:Parrot", "")  # also in the process of its own that a server makes for it

if __name__ == "__main__":
    sys.exit(cli.main())

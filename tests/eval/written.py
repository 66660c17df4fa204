"""A system that says what the oracle says, in sound, but writes it and what it heard as it is told to."""

from __future__ import annotations

from duologue.systems.base import Conversation, HeardWord, Pcm, Reply, System, TextWord


class Writer(System):
    """Writes these words where another system would write its own."""

    def __init__(self, system: System, heard: str, said: str) -> None:
        self.card, self.system, self.texts = system.card, system, (heard, said)

    def open(self, seed: int = 0) -> Conversation:
        return _Writing(self.system.open(seed), *self.texts)


class _Writing(Conversation):
    def __init__(self, inner: Conversation, heard: str, said: str) -> None:
        super().__init__(inner.card)
        self.inner, self.heard, self.said = inner, heard.split(), said.split()

    def _answer(self, pcm: Pcm) -> Reply:
        reply = self.inner.step(pcm)
        kinds = {event.kind for event in reply.events}
        events = [event for event in reply.events if event.kind not in ("timing", "heard", "text")]
        if "heard" in kinds:
            events += [HeardWord(time=self.time, word=word) for word in self.heard]
        if "text" in kinds:
            events += [TextWord(time=self.time, word=word) for word in self.said]
        return Reply(reply.pcm, events)

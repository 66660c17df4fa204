"""Four stages behind one system: it listens while the user speaks, waits for silence, answers, and yields.

    user ─ voice detector ─ endpointer ─ recogniser ─ answerer ─ synthesiser ─ playback

It streams as far as a cascade can. The recogniser decodes while the user speaks; the reply is synthesised sentence by
sentence while the answerer still writes, and no earlier than it is needed, so an interruption costs nothing. What
cannot be streamed is the wait: only silence tells that the turn is over.
"""

from __future__ import annotations

import re
import time
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict

import numpy as np

from duologue.systems.base import (
    Conversation,
    Event,
    FunctionCall,
    HeardWord,
    Pcm,
    Reply,
    Stage,
    System,
    SystemCard,
    TextWord,
    Tool,
    Turn,
)
from duologue.systems.cascade.endpoint import Endpointer, Endpointing
from duologue.systems.cascade.stages import (
    RATE,
    Answerer,
    Call,
    CallingDialogue,
    Recognizer,
    Synthesizer,
    VoiceDetector,
)
from duologue.systems.playback import Playback, Sound

AHEAD = 2  # frames of the reply that are made before they are needed
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n+")


class CascadeSystem(System):
    """The four stages, which all conversations share, and how turns are told apart."""

    def __init__(
        self,
        detector: VoiceDetector,
        recognizer: Recognizer,
        answerer: Answerer,
        synthesizer: Synthesizer,
        endpointing: Endpointing | None = None,
        name: str = "cascade",
    ) -> None:
        self.detector, self.recognizer = detector, recognizer
        self.answerer, self.synthesizer = answerer, synthesizer
        self.endpointing = endpointing or Endpointing()
        self.card = SystemCard(
            name=name,
            summary="a voice detector, a recogniser, a text answerer and a synthesiser, one after the other",
            hears=("text",),
            duplex="half",
            calls=answerer.calls,
            voices=(synthesizer.voice,),
            sample_rate=RATE,
            latency_ms=1000 * self.endpointing.silence,
        )

    def open(self, seed: int = 0) -> CascadeConversation:
        """Begin a conversation; the seed is the answerer's."""
        return CascadeConversation(self, seed)


class CascadeConversation(Conversation):
    """One session of each stage, and who has the floor."""

    def __init__(self, system: CascadeSystem, seed: int) -> None:
        super().__init__(system.card)
        self._settings = system.endpointing
        self._detection = system.detector.open()
        self._endpointer = Endpointer(system.endpointing, system.detector.hop, RATE)
        self._recognition = system.recognizer.open()
        self._dialogue = system.answerer.open(seed)
        self._synthesizer = system.synthesizer
        self._playback = Playback(self.card)
        self._lead = np.zeros(0, np.float32)  # the last that was heard outside a turn
        self._recognising = False
        self._claimed = False  # the turn is one, and no backchannel
        self._reply: Generator[Sound | Event] | None = None

    def read(self, text: str) -> None:
        """Take a turn of the user's in writing; it is answered in speech."""
        self._drop_reply()
        self._reply = self._say(self._dialogue.answer(text))

    def offer(self, tools: Sequence[Tool]) -> None:
        """Let the answerer call these functions, and no others."""
        self._calling.offer(tools)

    def give(self, results: Mapping[str, str]) -> None:
        """What calls came to, by their ids."""
        self._calling.give(results)

    def go_on(self) -> None:
        """Reply to what was given."""
        self._drop_reply()
        self._reply = self._say(self._calling.go_on())

    @property
    def _calling(self) -> CallingDialogue:
        assert isinstance(self._dialogue, CallingDialogue), f"{self.card.name} calls no functions"
        return self._dialogue

    def _answer(self, pcm: Pcm) -> Reply:
        now = self._heard * self.card.frame
        events: list[Event] = []
        stopped = self._listen(pcm, now, events)
        said = self._speak(now, events) if stopped is None else stopped
        return Reply(said.pcm, [*events, *said.events])

    def close(self) -> None:
        """Give the sessions back."""
        if not self._closed:
            self._drop_reply()
            self._recognition.close()
        super().close()

    def _listen(self, pcm: Pcm, now: int, events: list[Event]) -> Reply | None:
        """Hear a frame that ends at sample `now`; the cut end of the reply, where the user interrupts it."""
        stopped = None
        self._take(pcm)
        for probability in self._detection.hear(pcm):
            change = self._endpointer.hear(probability)
            if change == "started":
                self._recognition.begin()
                self._recognition.hear(self._lead)
                self._recognising, self._claimed = True, False
            replying = self._reply is not None or self._playback.end > now
            if self._recognising and not self._claimed:
                self._claimed = not replying or self._endpointer.speech >= self._settings.interrupt
                if self._claimed:
                    events.append(Turn(kind="user_started", time=self.time))
                    if replying:
                        self._drop_reply()
                        stopped = self._playback.stop(now)
            if change == "silent" and self._recognising:
                self._recognition.draft()
            if change == "stopped" and self._recognising:
                self._recognising = False
                if self._claimed:
                    self._end_turn(now, events)
        return stopped

    def _take(self, pcm: Pcm) -> None:
        """Give the frame to the recogniser, or keep it for a turn that may begin with it."""
        if self._recognising:
            self._recognition.hear(pcm)
        kept = round(self._settings.lead * RATE) + round(self._settings.shortest * RATE) + len(pcm)
        self._lead = np.concatenate((self._lead, pcm))[-kept:]

    def _end_turn(self, now: int, events: list[Event]) -> None:
        waited = 1000 * (now - self._endpointer.last) / RATE
        events.append(Turn(kind="user_stopped", time=self.time))
        events.append(Stage(time=self.time, name="endpoint", milliseconds=waited))
        begin = time.perf_counter()
        text = self._recognition.finish()
        events.append(Stage(time=self.time, name="recognition", milliseconds=_since(begin)))
        events += [HeardWord(time=self.time, word=word) for word in text.split()]
        if text:
            self._drop_reply()  # one that was asked for in writing meanwhile
            self._reply = self._say(self._dialogue.answer(text))

    def _say(self, answer: Iterator[str | Call]) -> Generator[Sound | Event]:
        """The reply's sounds as they are made, and what is to be told of them."""
        first, begin = True, time.perf_counter()
        for sentence in sentences(answer):
            if isinstance(sentence, Call):
                yield FunctionCall(time=self.time, **asdict(sentence))
                continue
            if first:
                yield Stage(time=self.time, name="answer", milliseconds=_since(begin))
            for word in sentence.split():
                yield TextWord(time=self.time, word=word)
            begin = time.perf_counter()
            for sound in self._synthesizer.speak(sentence):
                if first:
                    yield Stage(time=self.time, name="synthesis", milliseconds=_since(begin))
                first = False
                yield sound

    def _speak(self, now: int, events: list[Event]) -> Reply:
        """The frame of the reply that begins at sample `now`, made as far as it has to be."""
        while self._reply is not None and self._playback.end < now + AHEAD * self.card.frame:
            made = next(self._reply, None)
            if made is None:
                self._reply = None
            elif isinstance(made, Sound):
                self._playback.say(made, now)
            else:
                events.append(made)
        return self._playback.frame(now, more=self._reply is not None)

    def _drop_reply(self) -> None:
        if self._reply is not None:
            self._reply.close()
            self._reply = None


def sentences(pieces: Iterable[str | Call]) -> Iterator[str | Call]:
    """Text that comes in pieces, cut after each full stop, question or exclamation mark as soon as it is surely one.

    A call comes after all of the text before it.
    """
    pending = ""
    for piece in pieces:
        if isinstance(piece, str):
            *whole, pending = _SENTENCE_END.split(pending + piece)
            yield from filter(None, map(str.strip, whole))
            continue
        if pending.strip():
            yield pending.strip()
        pending = ""
        yield piece
    if pending.strip():
        yield pending.strip()


def _since(begin: float) -> float:
    return 1000 * (time.perf_counter() - begin)

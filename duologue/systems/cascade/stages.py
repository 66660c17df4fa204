"""What the four stages of a cascade are. Each stage is shared by all conversations and opens a session for each.

A session hears or says what it is given in order, knows nothing of what is still to come, and belongs to one
conversation; only a synthesiser has none, since a sentence is said the same whatever was said before.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from duologue.systems.base import Pcm, Tool
from duologue.systems.playback import Sound

RATE = 16000
"""Samples a second of all that goes between the stages."""


class Detection(Protocol):
    """A voice detector's session."""

    def hear(self, pcm: Pcm) -> list[float]:
        """The next (T,) samples; the probability of speech in each `hop` that is complete with them, in order."""
        ...


class VoiceDetector(Protocol):
    """Tells speech from all other sound."""

    hop: int
    """Samples that one probability is about."""

    def open(self) -> Detection: ...


class Recognition(Protocol):
    """A recogniser's session: one turn of the user after the other."""

    def begin(self) -> None:
        """A turn begins; one that was begun before is forgotten."""
        ...

    def hear(self, pcm: Pcm) -> None:
        """The next (T,) samples of the turn."""
        ...

    def draft(self) -> None:
        """The user has fallen silent, perhaps for good: what `finish` would have to work out may be worked out now."""
        ...

    def finish(self) -> str:
        """The words of the turn, which is over; "" where there were none."""
        ...

    def close(self) -> None:
        """The conversation is over."""
        ...


class Recognizer(Protocol):
    """Makes text of speech."""

    def open(self) -> Recognition: ...


@dataclass(frozen=True)
class Call:
    """A function to be called with `arguments`, a JSON object; `id` is its own in the dialogue."""

    id: str
    name: str
    arguments: str


class Dialogue(Protocol):
    """An answerer's session, which remembers what was said."""

    def answer(self, text: str) -> Iterator[str | Call]:
        """The reply to what the user said, in pieces as they come; closed early where the user interrupts it."""
        ...


@runtime_checkable
class CallingDialogue(Dialogue, Protocol):
    """The session of an answerer that can call functions."""

    def offer(self, tools: Sequence[Tool]) -> None:
        """These may be called from now on, and no others."""
        ...

    def give(self, results: Mapping[str, str]) -> None:
        """What calls came to, by their ids: the next reply knows it."""
        ...

    def go_on(self) -> Iterator[str | Call]:
        """A reply to what was given, without anything more that the user said; as of `answer`."""
        ...


class Answerer(Protocol):
    """Answers text with text; `calls`: its sessions are `CallingDialogue`s."""

    calls: bool

    def open(self, seed: int) -> Dialogue: ...


class Synthesizer(Protocol):
    """Makes speech of text."""

    voice: str

    def speak(self, text: str) -> Iterator[Sound]:
        """A sentence at 16 kHz, in pieces as they are made; nothing where there is nothing in it to say."""
        ...

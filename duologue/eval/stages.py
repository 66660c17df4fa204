"""The stages of the cascade in the box: all that a cascade can be of the domain without a download.

The recogniser knows what users of the domain say and the answerer errs on none of it, so what this cascade loses is
lost by being a cascade: by waiting, by mishearing, and by passing on nothing but words.
"""

from __future__ import annotations

from collections.abc import Iterator

from duologue.data import domain, espeak
from duologue.data.domain import Exchange
from duologue.data.spoken import RATE
from duologue.data.voices import Voice
from duologue.eval.recognize import question_recognizer
from duologue.lm.words import words_of
from duologue.systems.cascade.whole_turn import WholeTurn
from duologue.systems.playback import Sound

EDGE = 0.01  # seconds of silence left before the first sound of a reply


class DomainRecognizer:
    """Pocketsphinx with a language model of the training split's questions, on each turn as a whole.

    While the user speaks it could only guess at what a microphone and a noise add to all of his sound; over the whole
    turn it takes that off, and hears in noise with half of the errors.
    """

    def open(self) -> WholeTurn:
        """Begin with one conversation; the first of a process builds the language model, in seconds."""
        return WholeTurn(question_recognizer().transcribe)


class DomainAnswerer:
    """Answers every sentence of the domain right, and says so of those that are none."""

    calls = False

    def open(self, seed: int) -> DomainDialogue:
        """Begin with one conversation; the seed changes nothing."""
        return DomainDialogue()


class DomainDialogue:
    """What was said so far, which the next question may lean on."""

    def __init__(self) -> None:
        self._history: list[Exchange] = []

    def answer(self, text: str) -> Iterator[str]:
        """The whole reply at once; nothing where the right reply is silence."""
        exchange = domain.understand(" ".join(words_of(text)), self._history)
        self._history.append(exchange)
        if exchange.reply:
            yield exchange.reply


class EspeakSynthesizer:
    """espeak-ng in one voice."""

    def __init__(self, voice: str, rate: int) -> None:
        self.voice = voice
        self._voice = Voice(engine="espeak", name=voice, rate=rate)

    def speak(self, text: str) -> Iterator[Sound]:
        """A sentence in one piece, which takes milliseconds, without the silence before its first sound.

        Raises:
            DataError: espeakng-loader or the voice is missing, or nothing audible was said.
        """
        spoken = espeak.speak(text, self._voice)
        start = max(0.0, spoken.words[0][1] - EDGE)
        yield Sound(spoken.pcm, spoken.words).part(start, spoken.duration, RATE)

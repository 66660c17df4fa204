"""The stages of the cascade in the box: all that a cascade can be of the domain without a download.

The recogniser knows what users of the domain say and the answerer errs on none of it, so what this cascade loses is
lost by being a cascade: by waiting, by mishearing, and by passing on nothing but words.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pocketsphinx

from duologue.data import domain, espeak
from duologue.data.domain import Exchange
from duologue.data.spoken import RATE
from duologue.data.voices import Voice
from duologue.eval.recognize import question_recognizer
from duologue.lm.words import words_of
from duologue.systems.base import Pcm
from duologue.systems.playback import Sound

MEANS = "52.2,3.2,0.9,22.1,-1.4,-1.3,-0.1,-11.5,-3.9,-11.5,7.2,-1.9,-1.4"
"""Cepstral means that a conversation begins with, and that then follow the user: those that pocketsphinx's own batch
normalisation takes off 40 questions in random voices of the training split, which fit far better than its defaults."""
EDGE = 0.01  # seconds of silence left before the first sound of a reply


class DomainRecognizer:
    """Pocketsphinx, decoding while the user speaks, with a language model of the training split's questions.

    A decoder serves one conversation at a time; those of conversations that are over serve again.
    """

    def __init__(self) -> None:
        self._free: list[pocketsphinx.Decoder] = []

    def open(self) -> DomainRecognition:
        """Begin with one conversation; the first of a process builds the language model, in seconds."""
        decoder = self._free.pop() if self._free else question_recognizer().decoder()
        return DomainRecognition(decoder, self._free)


class DomainRecognition:
    """One conversation's decoder, and the means of the user's voice in it."""

    def __init__(self, decoder: pocketsphinx.Decoder, free: list[pocketsphinx.Decoder]) -> None:
        self._decoder, self._free = decoder, free
        decoder.set_cmn(MEANS)
        self._begun = False

    def begin(self) -> None:
        """A turn begins."""
        self._end()
        self._decoder.start_utt()
        self._begun = True

    def hear(self, pcm: Pcm) -> None:
        """The next (T,) samples of the turn, decoded at once."""
        self._decoder.process_raw((np.clip(pcm, -1, 1) * 32767).astype("<i2").tobytes())

    def finish(self) -> str:
        """The words of the turn."""
        self._end()
        best = self._decoder.hyp()
        return "" if best is None else str(best.hypstr)

    def close(self) -> None:
        """Let the next conversation have the decoder."""
        self._end()
        self._free.append(self._decoder)

    def _end(self) -> None:
        if self._begun:
            self._decoder.end_utt()
            self._begun = False


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

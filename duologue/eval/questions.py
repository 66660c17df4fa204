"""What the answer suite asks and who says it: each family isolates one thing that training never had.

What is drawn is a pure function of family, split and index, on one machine with its voices and recordings.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from duologue.audio.files import load
from duologue.data import domain
from duologue.data.domain import Exchange
from duologue.data.recordings import Recordings
from duologue.data.splits import ESPEAK_DEV_ACCENTS, ESPEAK_TEST_ACCENTS, Split, voice_split
from duologue.data.synthesize import speak
from duologue.data.voices import Engine, Voice, voices
from duologue.errors import DataError
from duologue.eval.metrics import Pcm

TURNS = 4  # of a dialogue
REAL = "real-words"

FAMILIES: dict[str, str] = {
    "seen-voices": "voices and wordings as in training",
    "unseen-voices": "held-out espeak voices",
    "unseen-synthesiser": "a synthesiser that training never had (of the test split: a voice of one that it had)",
    "unseen-wordings": "held-out espeak voices, held-out wordings",
    "unseen-operands": "held-out espeak voices, operand pairs that training never had",
    "context": f"dialogues of {TURNS} turns, many leaning on the turn before; held-out espeak voices",
    REAL: "digits and command words by real people whom training never had",
}


@dataclass(frozen=True)
class Questions:
    """What one user asks in a conversation.

    Attributes:
        exchanges: the right replies, one for each utterance.
        speech: each utterance, (T,) float32 at 16 kHz.
    """

    voice: str
    exchanges: tuple[Exchange, ...]
    speech: tuple[Pcm, ...]


class QuestionDrawer:
    """Draws the questions of a split; `speech` is the folder of real recordings, None where there is none.

    Raises:
        DataError: the folder lacks a corpus that it should hold.
    """

    def __init__(self, split: Split, speech: Path | None = None) -> None:
        if split == "train":
            raise DataError("cases are drawn for dev or test; training has what it was trained on")
        self.split = split
        self.recordings = Recordings(speech, split) if speech else None
        self._makers: dict[str, Callable[[np.random.Generator], Questions]] = {
            "seen-voices": lambda rng: self._single(rng, self._seen(rng), "none"),
            "unseen-voices": lambda rng: self._single(rng, self._held(rng), "none"),
            "unseen-synthesiser": lambda rng: self._single(rng, self._foreign(rng), "none"),
            "unseen-wordings": lambda rng: self._single(rng, self._held(rng), "wording"),
            "unseen-operands": lambda rng: self._single(rng, self._held(rng), "content"),
            "context": self._context,
        }

    def families(self) -> list[str]:
        """Those families that this machine's voices and recordings allow."""
        missing = set()
        if not self._clips:
            missing.add(REAL)
        if not self._voices(self.split, "flite") + self._voices(self.split, "festival"):
            missing.add("unseen-synthesiser")
        return [family for family in FAMILIES if family not in missing]

    def draw(self, family: str, index: int) -> Questions:
        """The questions of case number `index` of a family.

        Raises:
            DataError: there is no such family, or no voice or recording for it on this machine.
        """
        if family not in FAMILIES:
            raise DataError(f"no family {family!r}; there are {', '.join(FAMILIES)}")
        if family == REAL:
            return self._real_word(index)
        return self._makers[family](self._rng(family, index))

    def draw_paced(self, family: str, index: int, rate: int) -> Questions:
        """Those of case number `index` of "unseen-voices" or "unseen-synthesiser", said at `rate` words a minute."""
        rng = self._rng(family, index)
        voice = self._foreign(rng) if family == "unseen-synthesiser" else self._held(rng)
        return self._single(rng, voice.model_copy(update={"rate": rate}), "none")

    def _rng(self, family: str, index: int) -> np.random.Generator:
        return np.random.default_rng([zlib.crc32(family.encode()), zlib.crc32(self.split.encode()), index])

    @staticmethod
    def _voices(split: Split, engine: Engine) -> list[Voice]:
        return [voice for voice in voices(engine) if voice_split(voice.engine, voice.name) == split]

    def _draw_voice(self, rng: np.random.Generator, group: list[Voice]) -> Voice:
        if not group:
            raise DataError(
                f"this machine has no synthetic voice for these {self.split} cases; install the synthesiser"
            )
        change = {"rate": int(rng.integers(135, 215)), "pitch": int(rng.integers(30, 71))}
        return group[int(rng.integers(len(group)))].model_copy(update=change)

    def _seen(self, rng: np.random.Generator) -> Voice:
        engine: Engine = "espeak" if rng.random() < 0.5 else "flite"
        return self._draw_voice(rng, self._voices("train", engine) or self._voices("train", "espeak"))

    def _held(self, rng: np.random.Generator) -> Voice:
        """A held-out espeak voice: a held-out accent in any variant as often as a held-out variant in any accent."""
        held = self._voices(self.split, "espeak")
        accents = ESPEAK_TEST_ACCENTS if self.split == "test" else ESPEAK_DEV_ACCENTS
        by_accent = rng.random() < 0.5
        group = [voice for voice in held if (voice.name.partition("+")[0] in accents) == by_accent]
        return self._draw_voice(rng, group or held)

    def _single(self, rng: np.random.Generator, voice: Voice, held: domain.Held) -> Questions:
        exchange = domain.sample(rng, self.split, held=held)
        while exchange.history:  # needs a turn before: the family "context" has those
            exchange = domain.sample(rng, self.split, held=held)
        return Questions(voice.key(), (exchange,), (speak(exchange.user, voice).pcm,))

    def _foreign(self, rng: np.random.Generator) -> Voice:
        """A voice of the synthesiser that training never had; of the test split, the held-out voice of a known one."""
        return self._draw_voice(rng, self._voices(self.split, "flite") + self._voices(self.split, "festival"))

    def _context(self, rng: np.random.Generator) -> Questions:
        voice = self._held(rng)
        exchanges = tuple(domain.dialogue(rng, self.split, TURNS, held="none"))
        speech = tuple(speak(exchange.user, voice).pcm for exchange in exchanges)
        return Questions(voice.key(), exchanges, speech)

    @cached_property
    def _clips(self) -> list[tuple[str, str, Path, str]]:
        """Corpus, speaker, file and word of every recording of the split, in an order that mixes all."""
        words = self.recordings.words if self.recordings else {}
        clips = [
            (corpus, speaker, path, word)
            for corpus, speakers in sorted(words.items())
            for speaker, said in sorted(speakers.items())
            for path, word in sorted(said)
        ]
        return [clips[place] for place in np.random.default_rng(0).permutation(len(clips))]

    def _real_word(self, index: int) -> Questions:
        if not self._clips:
            raise DataError(f"no recordings of single words for {self.split}; give the folder of real speech")
        _, speaker, path, word = self._clips[index % len(self._clips)]
        return Questions(speaker, (domain.understand(word),), (load(path),))

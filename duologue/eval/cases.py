"""The cases of the answer suite: who says what, drawn so that each family isolates one thing that training never had.

A case is a pure function of family, split and index, on one machine with its voices and recordings.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from duologue.audio.augment import coloured_noise
from duologue.audio.files import load
from duologue.data import domain
from duologue.data.dialogues import BACKCHANNELS, insert_pause, pause_places
from duologue.data.domain import Exchange
from duologue.data.recordings import Recordings
from duologue.data.splits import ESPEAK_DEV_ACCENTS, ESPEAK_TEST_ACCENTS, Split, voice_split
from duologue.data.spoken import RATE
from duologue.data.synthesize import speak
from duologue.data.voices import Engine, Voice, voices
from duologue.errors import DataError
from duologue.eval.metrics import Pcm

PAUSE_SECONDS = 0.7
NOISE_SECONDS = 8.0
NOISE_DBFS = (-60.0, -25.0)
TURNS = 4  # of a dialogue
LONG_REPLY = 7  # words: long enough to be spoken over

FAMILIES: dict[str, str] = {
    "seen-voices": "voices and wordings as in training",
    "unseen-voices": "held-out espeak voices",
    "unseen-synthesiser": "a synthesiser family that training never had",
    "unseen-wordings": "held-out espeak voices, held-out wordings",
    "unseen-operands": "held-out espeak voices, operand pairs that training never had",
    "context": f"dialogues of {TURNS} turns, many leaning on the turn before; held-out espeak voices",
    "real-words": "digits and command words by real people whom training never had",
    "pause": f"a pause of {PAUSE_SECONDS} s inside the question: the reply waits",
    "silence": "silence, hiss and recorded noise: no reply",
    "barge-in": "spoken over: the reply stops",
    "backchannel": "the user murmurs that he listens: the reply goes on",
}


@dataclass(frozen=True)
class Case:
    """What one user says.

    Attributes:
        group: what the case is of within its family: a category, a corpus, a kind of noise.
        exchanges: the right replies, one for each utterance; none where nothing is asked.
        speech: each utterance, (T,) float32 at 16 kHz.
        interjection: a backchannel to be said over the reply.
    """

    family: str
    index: int
    group: str
    voice: str
    exchanges: tuple[Exchange, ...]
    speech: tuple[Pcm, ...]
    interjection: Pcm | None = None

    @property
    def name(self) -> str:
        """The case's identity within a split."""
        return f"{self.family}/{self.index}"


class CaseDrawer:
    """Draws the cases of a split; `speech` is the folder of real recordings, None where there is none.

    Raises:
        DataError: the folder lacks a corpus that it should hold.
    """

    def __init__(self, split: Split, speech: Path | None = None) -> None:
        if split == "train":
            raise DataError("cases are drawn for dev or test; training has what it was trained on")
        self.split = split
        self.recordings = Recordings(speech, split) if speech else None
        self._makers: dict[str, Callable[[np.random.Generator, int], Case]] = {
            "seen-voices": lambda rng, index: self._single(rng, index, "seen-voices", self._seen(rng), "none"),
            "unseen-voices": lambda rng, index: self._single(rng, index, "unseen-voices", self._held(rng), "none"),
            "unseen-synthesiser": self._synthesiser,
            "unseen-wordings": lambda rng, index: self._single(
                rng, index, "unseen-wordings", self._held(rng), "wording"
            ),
            "unseen-operands": lambda rng, index: self._single(
                rng, index, "unseen-operands", self._held(rng), "content"
            ),
            "context": self._context,
            "real-words": self._real_word,
            "pause": self._pause,
            "silence": self._silence,
            "barge-in": self._barge_in,
            "backchannel": self._backchannel,
        }

    def families(self) -> list[str]:
        """Those families that this machine's voices and recordings allow."""
        missing = set()
        if not self._clips:
            missing.add("real-words")
        if not self._voices(self.split, "flite") + self._voices(self.split, "festival"):
            missing.add("unseen-synthesiser")
        return [family for family in FAMILIES if family not in missing]

    def draw(self, family: str, index: int) -> Case:
        """Case number `index` of a family.

        Raises:
            DataError: there is no such family, or no voice or recording for it on this machine.
        """
        if family not in self._makers:
            raise DataError(f"no family {family!r}; there are {', '.join(FAMILIES)}")
        return self._makers[family](self._rng(family, index), index)

    def draw_paced(self, index: int, rate: int) -> Case:
        """Case number `index` of "unseen-voices", said at `rate` words a minute."""
        rng = self._rng("unseen-voices", index)
        voice = self._held(rng).model_copy(update={"rate": rate})
        return self._single(rng, index, "unseen-voices", voice, "none")

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

    def _single(self, rng: np.random.Generator, index: int, family: str, voice: Voice, held: domain.Held) -> Case:
        exchange = domain.sample(rng, self.split, held=held)
        while exchange.history:  # needs a turn before: the family "context" has those
            exchange = domain.sample(rng, self.split, held=held)
        return Case(family, index, exchange.category, voice.key(), (exchange,), (speak(exchange.user, voice).pcm,))

    def _synthesiser(self, rng: np.random.Generator, index: int) -> Case:
        group = self._voices(self.split, "flite") + self._voices(self.split, "festival")
        return self._single(rng, index, "unseen-synthesiser", self._draw_voice(rng, group), "none")

    def _context(self, rng: np.random.Generator, index: int) -> Case:
        voice = self._held(rng)
        exchanges = tuple(domain.dialogue(rng, self.split, TURNS, held="none"))
        speech = tuple(speak(exchange.user, voice).pcm for exchange in exchanges)
        return Case("context", index, "dialogue", voice.key(), exchanges, speech)

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

    def _real_word(self, rng: np.random.Generator, index: int) -> Case:
        if not self._clips:
            raise DataError(f"no recordings of single words for {self.split}; give the folder of real speech")
        corpus, speaker, path, word = self._clips[index % len(self._clips)]
        return Case("real-words", index, corpus, speaker, (domain.understand(word),), (load(path),))

    def _pause(self, rng: np.random.Generator, index: int) -> Case:
        voice = self._held(rng)
        while True:
            exchange = domain.sample(rng, self.split, held="none")
            words = exchange.user.split()
            places = [] if exchange.history else pause_places(words, _complete)
            if places:
                break
        place = int(rng.choice(places))
        spoken, _ = insert_pause(speak(exchange.user, voice), place, PAUSE_SECONDS)
        return Case("pause", index, exchange.category, voice.key(), (exchange,), (spoken.pcm,))

    def _silence(self, rng: np.random.Generator, index: int) -> Case:
        samples = round(NOISE_SECONDS * RATE)
        noises = self.recordings.noises if self.recordings else []
        kind = ("silence", "hiss", "noise")[index % (3 if noises else 2)]
        if kind == "silence":
            pcm = np.zeros(samples, np.float32)
        elif kind == "hiss":
            pcm = coloured_noise(samples, float(rng.uniform(0, 2)), rng)
        else:
            noise = noises[int(rng.integers(len(noises)))]
            pcm = np.resize(np.roll(noise, -int(rng.integers(len(noise)))), samples)
        level = 10 ** (float(rng.uniform(*NOISE_DBFS)) / 20)
        power = float(np.sqrt(np.mean(np.square(pcm, dtype=np.float64))))
        pcm = np.clip(pcm * (level / max(power, 1e-9)), -1, 1).astype(np.float32)
        return Case("silence", index, kind, kind, (), (pcm,))

    def _long(self, rng: np.random.Generator) -> Exchange:
        while True:
            exchange = domain.sample(rng, self.split, held="none")
            if len(exchange.reply.split()) >= LONG_REPLY and not exchange.history:
                return exchange

    def _barge_in(self, rng: np.random.Generator, index: int) -> Case:
        voice = self._held(rng)
        first = self._long(rng)
        if rng.random() < 0.5:
            second, group = domain.understand("stop", [first]), "stop"
        else:
            group = "question"
            while True:
                second = domain.sample(rng, self.split, held="none")
                if not second.history and domain.understand(second.user, [first]).reply == second.reply:
                    break
        speech = (speak(first.user, voice).pcm, speak(second.user, voice).pcm)
        return Case("barge-in", index, group, voice.key(), (first, second), speech)

    def _backchannel(self, rng: np.random.Generator, index: int) -> Case:
        voice, exchange = self._held(rng), self._long(rng)
        text = list(BACKCHANNELS)[index % len(BACKCHANNELS)]
        murmur = 0.6 * speak(BACKCHANNELS[text], voice).pcm
        return Case("backchannel", index, text, voice.key(), (exchange,), (speak(exchange.user, voice).pcm,), murmur)


def _complete(text: str) -> bool:
    """Whether what was said so far is a question by itself."""
    return not domain.understand(text).key.startswith("unknown")

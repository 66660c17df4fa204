"""The scenes of the duplex suite: what the user says, murmurs or lets be heard, and when; drawn by a seed.

Voices are held out; wordings and contents are those of training, so that what is hard is the timing alone. Each scene
is a pure function of split, family and index on one machine with its voices and recordings.
"""

from __future__ import annotations

import re
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from duologue.audio.augment import coloured_noise, gain, hum, reverb, room, speech_level
from duologue.data import domain
from duologue.data.dialogues import BACKCHANNELS, insert_pause, pause_places
from duologue.data.domain import Exchange
from duologue.data.recordings import Recordings
from duologue.data.splits import Split, voice_split
from duologue.data.spoken import RATE
from duologue.data.synthesize import speak
from duologue.data.voices import Voice, voices
from duologue.errors import DataError
from duologue.eval.metrics import Pcm
from duologue.eval.suites.base import Case
from duologue.eval.suites.turn import Turn

PAUSES = (0.5, 1.0, 2.0)  # seconds
LONG_REPLY = 9  # words: long enough to be spoken over early, in its middle and late
PLACES = {"early": 0.0, "middle": 0.5, "late": 1.0}  # between soon after a reply's beginning and soon before its end
STOPS = 4  # every so many barge-ins is no question but "stop"
POOL = 8  # questions of a soak, asked again and again
SECONDS = 8.0  # of silence or noise
NOISE_DBFS = (-45.0, -25.0)
HUSH_DBFS = (-80.0, -60.0)  # of a quiet room
ASIDE_DB = -18.0  # of side talk, below the user: somebody at the other end of the room
MURMUR_DB = -5.0  # of a backchannel, below the user's voice


def pausing(family: str) -> str | None:
    """What a family is whose questions have a pause, of any length: "pause-0.7"; None for any other."""
    held = re.fullmatch(r"pause-(\d+(?:\.\d+)?)", family)
    return f"a pause of {held[1]} s inside the question: the reply waits" if held and float(held[1]) > 0 else None


FAMILIES: dict[str, str] = {
    "turn": "a complete question: the reply comes, and not before its end",
    **{family: about for seconds in PAUSES if (about := pausing(family := f"pause-{seconds:g}"))},
    "barge-in-early": "spoken over 0.3 s into the reply: it stops, and answers what it was asked",
    "barge-in-middle": "spoken over half-way through the reply",
    "barge-in-late": "spoken over 1.6 s before the reply would end",
    "backchannel": "the user murmurs that he listens: the reply goes on",
    "side-talk": "somebody else talks to another, softer and farther off: no reply",
    "noise": "hiss, hum and recorded noise: no reply",
    "silence": "silence and the hush of a quiet room: no reply",
    "soak": "questions and replies in turn, for minutes or an hour",
}

ASIDES = {
    "dev": (
        "did you feed the dog this morning",
        "dinner will be ready in ten minutes",
        "i left the keys on the kitchen table again",
        "he said the train was late because of the snow",
        "put the milk back when you are done with it",
        "we should call your mother before the weekend",
        "no i think the blue one looked better on you",
        "she told me they are moving house in the spring",
    ),
    "test": (
        "have you seen my other shoe anywhere",
        "the neighbours are painting their fence today",
        "i will be home late so do not wait for me",
        "they sold the old car to a man from the village",
        "could somebody close the window please it is cold in here",
        "his sister plays the piano every evening",
        "we ran out of bread so i bought some rolls",
        "that film was far too long if you ask me",
    ),
}
"""What people say to each other in a room where a system listens; none of it is in the domain."""


class Scenes:
    """Draws the scenes of a split; `speech` is the folder of real recordings, for their noises.

    Raises:
        DataError: the split is that of training, the folder lacks a corpus, or there is no voice of the split.
    """

    def __init__(self, split: Split, speech: Path | None = None) -> None:
        if split == "train":
            raise DataError("scenes are drawn for dev or test; training has what it was trained on")
        self.split: Split = split
        self._noises = Recordings(speech, split).noises if speech else []
        self._voices = [
            voice for voice in voices("espeak") if voice_split("espeak", voice.name) == split and not voice.whisper
        ]
        if not self._voices:
            raise DataError(f"this machine has no espeak voice of the {split} split; install duologue[synth]")

    def draw(self, family: str, index: int) -> Case:
        """Scene number `index` of a family of `FAMILIES`, or of one with another pause.

        Raises:
            DataError: there is no such family.
        """
        if family not in FAMILIES and pausing(family) is None:
            raise DataError(f"no family {family!r}; there are {', '.join(FAMILIES)}")
        rng = np.random.default_rng([zlib.crc32(f"duplex/{family}".encode()), zlib.crc32(self.split.encode()), index])
        kind, _, how = family.rpartition("-")
        match kind or how:
            case "turn":
                audio, known = self._turn(rng)
            case "pause":
                audio, known = self._pause(rng, float(how))
            case "barge-in":
                audio, known = self._barge_in(rng, how, index)
            case "backchannel":
                audio, known = self._backchannel(rng, index)
            case "side":
                audio, known = self._side_talk(rng, index)
            case "noise":
                audio, known = self._noise(rng, index)
            case "silence":
                audio, known = self._silence(rng, index)
            case _:
                audio, known = self.pool(rng)
        return Case(family, f"{family}/{index}", audio, known)

    def voice(self, rng: np.random.Generator) -> Voice:
        """A held-out voice at some rate and pitch."""
        change = {"rate": int(rng.integers(135, 215)), "pitch": int(rng.integers(30, 71))}
        return self._voices[int(rng.integers(len(self._voices)))].model_copy(update=change)

    def question(self, rng: np.random.Generator, words: int = 1) -> Exchange:
        """A question that stands alone and is to be answered, its right reply at least so long."""
        while True:
            exchange = domain.sample(rng, self.split, held="none")
            alone = not exchange.history and not exchange.key.startswith(("again", "stop"))
            if alone and len(exchange.reply.split()) >= words:
                return exchange

    def pool(self, rng: np.random.Generator, size: int = POOL) -> tuple[dict[str, Pcm], dict[str, Any]]:
        """Questions in one voice that may follow each other in any order without meaning something else."""
        voice, drawn = self.voice(rng), [self.question(rng)]
        while len(drawn) < size:
            new = self.question(rng)
            if all(_unmoved(new, before) and _unmoved(before, new) for before in drawn):
                drawn.append(new)
        audio = {f"question {number}": speak(exchange.user, voice).pcm for number, exchange in enumerate(drawn)}
        return audio, {"voice": voice.key(), "pool": [Turn.of(exchange).fact() for exchange in drawn]}

    def _turn(self, rng: np.random.Generator) -> tuple[dict[str, Pcm], dict[str, Any]]:
        exchange, voice = self.question(rng), self.voice(rng)
        return {"question": speak(exchange.user, voice).pcm}, facts(exchange, voice)

    def _pause(self, rng: np.random.Generator, seconds: float) -> tuple[dict[str, Pcm], dict[str, Any]]:
        places: list[int] = []
        while not places:  # where one may hold without having asked something already
            exchange = self.question(rng)
            places = pause_places(exchange.user.split(), complete)
        voice = self.voice(rng)
        held, span = insert_pause(speak(exchange.user, voice), int(rng.choice(places)), seconds)
        return {"question": held.pcm}, {**facts(exchange, voice), "pause": list(span)}

    def _barge_in(self, rng: np.random.Generator, how: str, index: int) -> tuple[dict[str, Pcm], dict[str, Any]]:
        first, voice = self.question(rng, LONG_REPLY), self.voice(rng)
        if index % STOPS == STOPS - 1:
            second = domain.understand("stop", [first])
        else:
            second = self.question(rng)
            while domain.understand(second.user, [first]).reply != second.reply:
                second = self.question(rng)
        audio = {"question": speak(first.user, voice).pcm, "over": speak(second.user, voice).pcm}
        return audio, {**facts(first, voice), "over": Turn.of(second).fact(), "at": PLACES[how]}

    def _backchannel(self, rng: np.random.Generator, index: int) -> tuple[dict[str, Pcm], dict[str, Any]]:
        exchange, voice = self.question(rng, LONG_REPLY), self.voice(rng)
        text = list(BACKCHANNELS)[index % len(BACKCHANNELS)]
        murmur = gain(speak(BACKCHANNELS[text], voice).pcm, MURMUR_DB)
        audio = {"question": speak(exchange.user, voice).pcm, "over": murmur}
        return audio, {**facts(exchange, voice), "murmur": text, "at": (index % 8) / 8}

    def _side_talk(self, rng: np.random.Generator, index: int) -> tuple[dict[str, Pcm], dict[str, Any]]:
        exchange, voice, other = self.question(rng), self.voice(rng), self.voice(rng)
        while other.name == voice.name:
            other = self.voice(rng)
        lines = ASIDES["test" if self.split == "test" else "dev"]
        line = lines[index % len(lines)]
        question, aside = speak(exchange.user, voice).pcm, reverb(speak(line, other).pcm, room(rng))
        aside = gain(aside, speech_level(question) + ASIDE_DB - speech_level(aside))
        return {"question": question, "aside": aside}, {**facts(exchange, voice), "aside": line, "other": other.key()}

    def _noise(self, rng: np.random.Generator, index: int) -> tuple[dict[str, Pcm], dict[str, Any]]:
        samples = round(SECONDS * RATE)
        kind = ("hiss", "hum", "recording")[index % (3 if self._noises else 2)]
        if kind == "hiss":
            pcm = coloured_noise(samples, float(rng.uniform(0, 2)), rng)
        elif kind == "hum":
            pcm = hum(samples, rng)
        else:
            noise = self._noises[int(rng.integers(len(self._noises)))]
            pcm = np.resize(np.roll(noise, -int(rng.integers(len(noise)))), samples)
        return {"sound": at_level(pcm, float(rng.uniform(*NOISE_DBFS)))}, {"kind": kind}

    def _silence(self, rng: np.random.Generator, index: int) -> tuple[dict[str, Pcm], dict[str, Any]]:
        pcm = np.zeros(round(SECONDS * RATE), np.float32)
        if index == 0:
            return {"sound": pcm}, {"kind": "digital silence"}
        pcm = coloured_noise(len(pcm), 1.0, rng)
        return {"sound": at_level(pcm, float(rng.uniform(*HUSH_DBFS)))}, {"kind": "a quiet room"}


def facts(exchange: Exchange, voice: Voice) -> dict[str, Any]:
    """What is known of a question and who asks it."""
    return {"turn": Turn.of(exchange).fact(), "voice": voice.key()}


def _unmoved(exchange: Exchange, before: Exchange) -> bool:
    """Whether a question means after another one what it means alone."""
    return domain.understand(exchange.user, [before]).reply == exchange.reply


def complete(text: str) -> bool:
    """Whether what was said so far is a question by itself."""
    return not domain.understand(text).key.startswith("unknown")


def at_level(pcm: Pcm, dbfs: float) -> Pcm:
    """A steady sound at a level, cut off at full scale."""
    power = float(np.sqrt(np.mean(np.square(pcm, dtype=np.float64))))
    return np.asarray(np.clip(pcm * (10 ** (dbfs / 20) / max(power, 1e-9)), -1, 1), np.float32)

"""Held-out clips of speech in groups: the assistant's voice, other synthetic voices, people reading, people's words."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np

from duologue.audio.files import load
from duologue.data import domain
from duologue.data.manifest import read
from duologue.data.recordings import READING, WORDS
from duologue.data.splits import ASSISTANT, Split, speaker_split, voice_split
from duologue.data.synthesize import speak
from duologue.data.voices import ENGINES, Voice, voices
from duologue.errors import DataError
from duologue.eval.metrics import Pcm
from duologue.eval.recognize import normalize

Group = Literal["assistant", "synthetic", "reading", "words"]
GROUPS: dict[Group, str] = {
    "assistant": "the assistant's voice, replies of the domain",
    "synthetic": "held-out synthetic voices, the same kind of replies",
    "reading": "held-out people reading books",
    "words": "held-out people saying single words",
}


@dataclass(frozen=True)
class Clip:
    """(T,) float32 at 16 kHz, what is said in it as a recogniser spells words, and who says it."""

    group: Group
    pcm: Pcm
    text: str
    voice: str


class ClipDrawer:
    """Draws the clips of a split; `speech` is the folder of real recordings, None where there is none."""

    def __init__(self, split: Split, speech: Path | None = None) -> None:
        self.split, self.speech = split, speech

    def groups(self) -> dict[Group, str]:
        """The groups that can be drawn here, and what each is."""
        return {group: what for group, what in GROUPS.items() if self.speech or group in ("assistant", "synthetic")}

    def draw(self, group: Group, index: int) -> Clip:
        """Clip number `index`: a pure function of group, split and index.

        Raises:
            DataError: a corpus or a synthesiser is missing.
        """
        if group in ("reading", "words"):
            found = self._people[group]
            path, text, speaker = found[index % len(found)]
            return Clip(group, load(path), text, speaker)
        rng = np.random.default_rng([zlib.crc32(group.encode()), zlib.crc32(self.split.encode()), index])
        text = domain.sample(rng, self.split).reply
        while not text:
            text = domain.sample(rng, self.split).reply
        voice = Voice(engine="flite", name=ASSISTANT) if group == "assistant" else self._voice(rng)
        return Clip(group, speak(text, voice).pcm, normalize(text), voice.speaker)

    def _voice(self, rng: np.random.Generator) -> Voice:
        """The engine first: espeak has hundreds of voices, the others few."""
        ours = [
            [voice for voice in voices(engine) if voice_split(engine, voice.name) == self.split] for engine in ENGINES
        ]
        groups = [group for group in ours if group]
        if not groups:
            raise DataError(f"this machine has no synthetic voice of the {self.split} split; install espeakng-loader")
        group = groups[int(rng.integers(len(groups)))]
        return group[int(rng.integers(len(group)))]

    @cached_property
    def _people(self) -> dict[Group, list[tuple[Path, str, str]]]:
        """Path, text and speaker of all recordings of the split, in an order that mixes speakers."""
        if self.speech is None:
            raise DataError("no folder of real recordings was given; clips of people need one")
        found: dict[Group, list[tuple[Path, str, str]]] = {}
        groups: tuple[tuple[Group, list[str]], ...] = (("reading", [READING]), ("words", list(WORDS)))
        for group, corpora in groups:
            clips = [
                (self.speech / corpus / entry.path, normalize(entry.text), entry.speaker)
                for corpus in corpora
                for entry in read(self.speech / corpus / "manifest.jsonl")
                if entry.text and entry.speaker and speaker_split(entry.speaker) == self.split
            ]
            if not clips:
                raise DataError(f"{self.speech} holds no recordings of {self.split} speakers in {', '.join(corpora)}")
            found[group] = [clips[place] for place in np.random.default_rng(6).permutation(len(clips))]
        return found

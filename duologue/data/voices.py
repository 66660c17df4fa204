"""The synthetic voices: which synthesiser speaks, in which of its voices, how fast, how high and how loud.

One scale holds for every engine: `rate` 175 words a minute and `pitch` 50 are the voice as its makers set it.
"""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from duologue.errors import DataError

Engine = Literal["espeak", "flite", "festival", "pico"]
ENGINES: tuple[Engine, ...] = ("espeak", "flite", "festival", "pico")
NORMAL_RATE = 175  # words a minute
NORMAL_PITCH = 50


class Voice(BaseModel):
    """A synthetic voice.

    Attributes:
        engine: the synthesiser.
        name: its voice; for espeak a language with an optional variant, such as "en-us+f4".
        rate: words a minute; 175 is natural.
        pitch: 0..99; 50 is the voice's own; all but espeak, where they heed it, move 20 steps by a quarter octave.
        pitch_range: 0..99, how lively the melody is (espeak only).
        volume: percent of the engine's own loudness.
        word_gap: pause between words in units of 10 ms at the natural rate (espeak only).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    engine: Engine
    name: str
    rate: int = Field(default=NORMAL_RATE, ge=80, le=450)
    pitch: int = Field(default=NORMAL_PITCH, ge=0, le=99)
    pitch_range: int = Field(default=50, ge=0, le=99)
    volume: int = Field(default=100, ge=1, le=200)
    word_gap: int = Field(default=0, ge=0, le=50)

    @property
    def speaker(self) -> str:
        """Who speaks, whatever the rate, pitch and volume: "espeak/en-us+f4"."""
        return f"{self.engine}/{self.name}"

    @property
    def whisper(self) -> bool:
        """Whether the voice only whispers."""
        return self.name.partition("+")[2].startswith("whisper")

    @property
    def pitch_factor(self) -> float:
        """How many times the voice's own fundamental frequency is asked for: 1 at pitch 50, 0.55 at 0, 1.8 at 99."""
        return float(2 ** ((self.pitch - NORMAL_PITCH) / 58))

    def key(self) -> str:
        """All of the voice in one short string: "espeak/en-us+f4/r175/p50/m50/v100/g0"."""
        return f"{self.speaker}/r{self.rate}/p{self.pitch}/m{self.pitch_range}/v{self.volume}/g{self.word_gap}"


@lru_cache(maxsize=1)
def _voices() -> tuple[Voice, ...]:
    from duologue.data import espeak, festival, flite, pico

    found = {
        "espeak": espeak.names(),
        "flite": flite.names(),
        "festival": festival.names(),
        "pico": pico.names(),
    }
    return tuple(Voice(engine=engine, name=name) for engine in ENGINES for name in found[engine])


def voices(engine: Engine | None = None) -> list[Voice]:
    """Every English voice that this machine has, at its natural rate and pitch; `engine` asks for one synthesiser's."""
    return [voice for voice in _voices() if engine in (None, voice.engine)]


@lru_cache(maxsize=64)
def _groups(engine: Engine | None, patterns: tuple[str, ...]) -> list[list[Voice]]:
    """The voices left, one list an engine."""
    left = [v for v in voices(engine) if not any(fnmatchcase(v.speaker, pattern) for pattern in patterns)]
    if not left:
        raise DataError(f"no synthetic voice for engine {engine or 'any'} with {list(patterns)} left out; install one")
    return [group for name in ENGINES if (group := [voice for voice in left if voice.engine == name])]


def random_voice(rng: np.random.Generator, engine: Engine | None = None, exclude: Iterable[str] = ()) -> Voice:
    """Draw a voice with a varied rate, pitch, melody, volume and word gap.

    The engine is drawn first, so that espeak's hundreds of voices do not drown the others' few; within espeak all
    accents and variants are equally likely.

    Args:
        rng: source of chance; the same state draws the same voice on the same machine.
        engine: keep to this synthesiser.
        exclude: shell patterns of speakers never to draw, such as "espeak/*+f4" or "flite/awb".

    Raises:
        DataError: no voice is left to draw from.
    """
    groups = _groups(engine, tuple(exclude))
    group = groups[rng.integers(len(groups))]
    return group[rng.integers(len(group))].model_copy(
        update={
            "rate": int(np.clip(NORMAL_RATE * np.exp(rng.normal(0, 0.17)), 110, 270)),
            "pitch": int(np.clip(rng.normal(50, 15), 15, 90)),
            "pitch_range": int(np.clip(rng.normal(50, 18), 5, 95)),
            "volume": int(rng.integers(50, 101)),
            "word_gap": int(rng.integers(0, 4)) if rng.random() < 0.3 else 0,
        }
    )

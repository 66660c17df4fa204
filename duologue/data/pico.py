"""The SVOX Pico synthesiser, once Android's, where the package ttspico is installed; pocketsphinx times its words."""

from __future__ import annotations

import importlib.util

import numpy as np

from duologue.data import align
from duologue.data.spoken import Spoken, assemble, words_of
from duologue.data.voices import NORMAL_RATE, Voice
from duologue.errors import DataError

_NAMES = {"en-gb": "en-GB", "en-us": "en-US"}
_LOUDNESS = 50  # percent of its own, at which nothing clips


def names() -> tuple[str, ...]:
    """The English voices; none where the package is not installed."""
    return tuple(_NAMES) if importlib.util.find_spec("ttspico") else ()


def speak(text: str, voice: Voice) -> Spoken:
    """Say `text`: lower-case words, perhaps with commas. The same text and voice give the same samples.

    Raises:
        DataError: the package or the voice is missing, or a word is not in the CMU dictionary, by which it is timed.
    """
    words = words_of(text)
    if voice.name not in names():
        raise DataError(f"pico has no voice {voice.name!r} here; it has {', '.join(names()) or 'none'}")
    import ttspico

    engine = ttspico.TtsEngine(_NAMES[voice.name])  # one that has spoken says the same words a little differently
    engine.volume = _LOUDNESS
    engine.rate = round(100 * voice.rate / NORMAL_RATE)
    engine.pitch = round(100 * voice.pitch_factor)
    pcm = np.frombuffer(engine.speak(text), "<i2").astype(np.float32) / np.float32(32768)
    said = " ".join(words)
    phones = align.align_phones(pcm, said) or align.spread_phones(pcm, said)
    return assemble(words, pcm * np.float32(voice.volume / 100), phones)


def pronounce(word: str, voice: Voice) -> list[str]:
    """The phones of a word said alone.

    Raises:
        DataError: the word is not in the CMU dictionary.
    """
    phones = align.pronounce(word)
    if phones is None:
        raise DataError(f"{word!r} is not in the CMU dictionary, by which pico's voices are timed")
    return phones

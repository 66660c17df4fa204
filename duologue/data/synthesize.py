"""Speech from text with the times of its words and phones, one utterance at a time or a corpus in parallel.

Only recipes and measuring import this module: one of its engines is under the GPL.
"""

from __future__ import annotations

from duologue.data import espeak, festival, flite
from duologue.data.spoken import Spoken
from duologue.data.voices import Voice, random_voice, voices

__all__ = ["Spoken", "Voice", "pronounce", "random_voice", "speak", "voices"]

_ENGINES = {"espeak": espeak, "flite": flite, "festival": festival}


def speak(text: str, voice: Voice) -> Spoken:
    """Say `text` (lower-case words without digits, perhaps commas) in `voice`; equal arguments give equal samples.

    Raises:
        DataError: the engine or voice is missing, or nothing audible was said.
    """
    return _ENGINES[voice.engine].speak(text, voice)


def pronounce(word: str, voice: Voice) -> list[str]:
    """The phones of `word` said alone in the phone set of the voice's engine, without stress; cached.

    Raises:
        DataError: the engine or voice is missing.
    """
    return _ENGINES[voice.engine].pronounce(word, voice)

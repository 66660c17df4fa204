"""What a recogniser makes of true speech of a text: what it misses there is its own error, and no system's."""

from __future__ import annotations

from functools import lru_cache

from duologue.data.splits import ASSISTANT
from duologue.data.synthesize import speak
from duologue.data.voices import Voice
from duologue.eval.metrics import Pcm
from duologue.eval.recognize import Recognizer, TimedWord, normalize


def heard_truly(text: str, recognizer: Recognizer) -> str:
    """The words that a recogniser hears in true speech of a text, "" where the text has none."""
    return " ".join(word for word, _, _ in timed_truly(text, recognizer))


@lru_cache(maxsize=4096)
def timed_truly(text: str, recognizer: Recognizer) -> tuple[TimedWord, ...]:
    """The same with the start and end of each word in seconds."""
    words = normalize(text)
    return tuple(recognizer.transcribe_timed(_speech(words))) if words else ()


@lru_cache(maxsize=4096)
def _speech(words: str) -> Pcm:
    """Words said by the synthesiser whose voice the assistant learned."""
    return speak(words, Voice(engine="flite", name=ASSISTANT)).pcm

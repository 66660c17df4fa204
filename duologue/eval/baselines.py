"""Systems that are measured beside a model and rest on what measures it: the domain's text, its synthesisers.

They are found by name in `systems.registry`, which does not import them: what talks stays free of the GPL.
"""

from __future__ import annotations

from functools import lru_cache

from duologue.audio.vad import speech_bounds
from duologue.data import flite
from duologue.data.splits import ASSISTANT
from duologue.data.spoken import RATE
from duologue.data.voices import Voice
from duologue.systems.oracle import OracleSystem
from duologue.systems.playback import Sound


def oracle() -> OracleSystem:
    """The ceiling, in the voice from which the assistant's was learned."""
    return OracleSystem(say, ASSISTANT)


@lru_cache(maxsize=4096)
def say(text: str) -> Sound:
    """A text in the assistant's synthetic voice, from its first sound to its last.

    Raises:
        DataError: flite is not installed, or does not say the text.
    """
    spoken = flite.speak(text, Voice(engine="flite", name=ASSISTANT))
    start, end = speech_bounds(spoken.pcm, RATE) or (0.0, spoken.duration)
    return Sound(spoken.pcm, spoken.words).part(start, end, RATE)

"""Repeat after me: one to four words of a vocabulary that synthesisers say clearly.

`words.txt` holds the vocabulary, one word a line: common words, no two of which sound alike.
"""

from __future__ import annotations

from importlib.resources import files

import numpy as np

from duologue.data.domain.intents import Exchange, Intent, Say, Slot, Values
from duologue.data.domain.phrases import phrases

WORDS: tuple[str, ...] = tuple(files(__package__).joinpath("words.txt").read_text().split())
_KNOWN = frozenset(WORDS)
_LENGTHS = (0.25, 0.25, 0.3, 0.2)
"""How often one, two, three and four words are asked for."""


def draw_words(rng: np.random.Generator, count: int) -> str:
    """Random words of the vocabulary."""
    return " ".join(WORDS[index] for index in rng.choice(len(WORDS), count, replace=False))


def _respond(values: Values, _before: Exchange | None) -> Say | None:
    words = values["words"]
    if not _KNOWN.issuperset(words.split()):
        return None
    return Say(f"repeat:{words}", words, words)


def _draw(rng: np.random.Generator, _before: Exchange | None) -> Values:
    return {"words": draw_words(rng, 1 + int(rng.choice(4, p=_LENGTHS)))}


INTENTS = (
    Intent(
        "repeat",
        "repeat",
        phrases(
            """repeat after me {words}, say {words}, repeat {words}, say after me {words}
            please repeat after me {words}, can you say {words}, can you repeat {words}, please say {words}
            please repeat {words}, repeat the words {words}, repeat these words {words}, say the words {words}
            say these words {words}, repeat what i say {words}, say what i say {words}, say it after me {words}
            now repeat {words}, now say {words}, repeat this {words}, say this {words}
            i say {words}, i want to hear {words}"""
        ),
        _respond,
        slots={"words": Slot(r"[a-z]+(?: [a-z]+){0,3}", lambda _rng: "", _KNOWN)},
        draw=_draw,
        judged="exact",
        trailing=False,
    ),
)

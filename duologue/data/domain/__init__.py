"""The first conversation domain as text: what can be asked, in which words, and the one right reply.

All text is lower-case words, numbers spelled out. `sample` draws single exchanges, `dialogue` conversations, `answer`
replies to any sentence without error, and `judge` says whether a reply has the right content.
"""

from __future__ import annotations

from duologue.data.domain.control import SINGLE_WORDS
from duologue.data.domain.dialogue import CATEGORIES, WEIGHTS, answer, dialogue, sample, understand, vocabulary
from duologue.data.domain.dictation import dictation
from duologue.data.domain.drills import drill, drills
from duologue.data.domain.intents import Exchange
from duologue.data.domain.judge import judge
from duologue.data.domain.splits import Held, Split, content_split

__all__ = [
    "CATEGORIES",
    "SINGLE_WORDS",
    "WEIGHTS",
    "Exchange",
    "Held",
    "Split",
    "answer",
    "content_split",
    "dialogue",
    "dictation",
    "drill",
    "drills",
    "judge",
    "sample",
    "understand",
    "vocabulary",
]

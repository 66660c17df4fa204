"""Words that steer the conversation: stop, say that again, and single words that the system says back."""

from __future__ import annotations

from duologue.data.domain.intents import Exchange, Intent, Say, Values, choice, fixed
from duologue.data.domain.phrases import phrases

SINGLE_WORDS = tuple(
    phrases(
        """backward, bed, bird, cat, dog, down, eight, five, follow, forward, four, go, happy, house, learn, left
        marvin, nine, no, off, on, one, right, seven, sheila, six, three, tree, two, up, visual, wow, yes, zero"""
    )
)
"""The words of Google's Speech Commands (Warden, 2018) that are said back; "stop" stops."""


def _again(_values: Values, before: Exchange | None) -> Say | None:
    if before is None:
        return Say("again:", "i have not said anything yet", "not said anything")
    return Say(before.key, before.reply, before.content)


def _word(values: Values, _before: Exchange | None) -> Say | None:
    return Say(f"word:{values['word']}", f"you said {values['word']}", values["word"])


INTENTS = (
    Intent(
        "stop",
        "control",
        phrases(
            """stop, stop it, please stop, stop please, stop talking, be quiet, quiet please, stop now, okay stop
            that is enough, enough, please be quiet, stop that, stop speaking, you can stop now, be silent"""
        ),
        fixed("stop:", "okay"),
        rivals=frozenset(("okay",)),
        polite=False,
        weight=1.5,
    ),
    Intent(
        "again",
        "control",
        phrases(
            """say that again, repeat that, again please, once more please, what did you say, can you say that again
            please repeat that, can you repeat that, could you say that again, sorry what did you say, say it again
            what was that, please say that again, i did not hear that, one more time please, say that once more
            what did you just say, can you say it one more time"""
        ),
        _again,
        judged="exact",
        polite=False,
        weight=0.7,
    ),
    Intent(
        "word",
        "control",
        ("{word}",),
        _word,
        slots={"word": choice(SINGLE_WORDS)},
        rivals=frozenset((*SINGLE_WORDS, "stop")),
        polite=False,
        weight=4.0,
    ),
)

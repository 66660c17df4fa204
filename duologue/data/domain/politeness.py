"""The words that people put around a request: "hey can you tell me ... please"."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from duologue.data.domain.phrases import phrases

OPENINGS = phrases(
    """hey, hi, hello, um, uh, so, well, okay, okay so, alright, now, please, excuse me, hey there, quick question
    one more question, another question, here is a question, my next question is, let me see"""
)
ASKING = phrases(
    """can you tell me, could you tell me, tell me, please tell me, do you know, i would like to know, i want to know
    do you happen to know, i wonder, let me ask you, would you tell me"""
)
ORDERING = phrases(
    "can you, could you, would you, please, can you please, could you please, i want you to, i would like you to, now"
)
ENDINGS = phrases("please, thanks, thank you, for me, if you can, do you know, for me please")

_ORDERS = frozenset(
    phrases(
        """add, take, subtract, multiply, count, start, begin, put, give, say, repeat, tell, calculate, compute, sum
        name, go, keep, work, find, make"""
    )
)
_ASKED = frozenset(phrases("can, could, please, now, tell, do, if, i"))
"""First words of sentences that take no more asking before them."""


def decorate(rng: np.random.Generator, sentence: str, trailing: bool = True) -> str:
    """The sentence, in about half of the draws with polite or hesitant words around it; `trailing`: after it too."""
    if rng.random() < 0.5:
        return sentence
    parts = [sentence]
    if rng.random() < 0.5 and sentence.split(" ", 1)[0] not in _ASKED:
        forms = ORDERING if sentence.split(" ", 1)[0] in _ORDERS else ASKING
        parts.insert(0, forms[rng.integers(len(forms))])
    if rng.random() < 0.4:
        parts.insert(0, OPENINGS[rng.integers(len(OPENINGS))])
    if trailing and rng.random() < 0.3:
        parts.append(ENDINGS[rng.integers(len(ENDINGS))])
    return " ".join(parts)


def readings(sentence: str) -> Iterator[str]:
    """The sentence as it is, then with polite words before and after taken off, in every way they can be."""
    starts = [sentence]
    for forms in (OPENINGS, (*ASKING, *ORDERING)):
        starts += [start[len(form) + 1 :] for start in starts for form in forms if start.startswith(form + " ")]
    yield from starts
    for start in starts:
        yield from (start[: -len(form) - 1] for form in ENDINGS if start.endswith(" " + form))


def words() -> set[str]:
    """Every word of the polite forms."""
    return {word for forms in (OPENINGS, ASKING, ORDERING, ENDINGS) for form in forms for word in form.split()}

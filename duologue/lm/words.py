"""Written text as words that a model can hear and say: lower-case a to z, numbers and signs spelled out."""

from __future__ import annotations

import re
import unicodedata

from duologue.lm.numbers import LARGEST, spell

LONGEST = 40  # words said in one breath
_SIGNS = {"+": "plus", "*": "times", "\u00d7": "times", "\u2212": "minus", "&": "and", "%": "percent"}


def sentences_of(text: str) -> list[str]:
    """The sentences of a text in words; those that are too long for one breath are parted."""
    sentences = []
    for sentence in re.split(r"[.!?;:\n]+(?:\s|$)", text):
        words = words_of(sentence)
        sentences += [" ".join(words[start : start + LONGEST]) for start in range(0, len(words), LONGEST)]
    return sentences


def words_of(text: str) -> list[str]:
    """The words of a text: "What's 27 + 5?" -> what's twenty seven plus five."""
    text = re.sub(r"(?<=\d)\s*-\s*(?=\d)|(?<!\S)-(?=\d)", " minus ", text.replace("\u2019", "'"))
    for sign, word in _SIGNS.items():
        text = text.replace(sign, f" {word} ")
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return [word for found in re.findall(r"[a-z']+|\d+", plain) if found.strip("'") for word in _say(found)]


def _say(word: str) -> list[str]:
    if not word.isdigit():
        return [word]
    number = word.lstrip("0") or "0"
    if len(number) <= len(str(LARGEST)):  # before it is read: Python reads no number of thousands of digits
        return spell(int(number)).split()
    return [spell(int(digit)) for digit in word]

"""What a synthesiser returns: sound with the times of its words and phones, trimmed to the speech."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from duologue.errors import DataError

RATE = 16000  # Hz
PAUSE = "pau"
_EDGE_S = 0.05  # silence kept before the first and after the last sound
_WINDOW = RATE // 100
_FLOOR = 10 ** (-40 / 20)  # of the loudest window
_VOWEL = re.compile(r"[aeiouAEIOU@0-9]")  # both engines write vowels, and only vowels, with these first

Span = tuple[str, float, float]


@dataclass(frozen=True)
class Spoken:
    """A synthesised utterance.

    Attributes:
        pcm: (T,) float32 in [-1, 1] at 16 kHz.
        words: (word, start, end) in seconds, one for each word of the text, in order.
        phones: (phone, start, end) in seconds, gapless; silences are called "pau".
    """

    pcm: NDArray[np.float32]
    words: list[Span]
    phones: list[Span]

    @property
    def duration(self) -> float:
        """Length in seconds."""
        return len(self.pcm) / RATE


class Phone(NamedTuple):
    """A phone as an engine timed it, in seconds; `word` is the index of the word it belongs to, -1 in a pause."""

    name: str
    start: float
    end: float
    word: int


def words_of(text: str) -> list[str]:
    """The words of `text` without the punctuation around them, in order.

    Raises:
        DataError: the text has no word.
    """
    words = [word for token in text.split() if (word := token.strip('.,;:?!"()-'))]
    if not words:
        raise DataError(f"nothing to say in the text {text!r}; give it at least one word")
    return words


def is_vowel(phone: str) -> bool:
    """Whether a phone of any engine is a vowel."""
    return bool(_VOWEL.match(phone))


def _cost(own: str, heard: str) -> float:
    """Cost of saying `heard` for `own`: a vowel changes in context far more often than it turns to a consonant."""
    if own == heard:
        return 0.0
    return 0.7 if is_vowel(own) == is_vowel(heard) else 1.5


def share_phones(phones: Sequence[str], words: Sequence[Sequence[str]]) -> list[int]:
    """For each phone of a sentence, the index of the word it belongs to, never decreasing.

    The phones that each word has when said alone are joined and aligned with the sentence's by edit distance.

    Args:
        phones: the sentence's phones without pauses.
        words: each word's phones when said alone.
    """
    own = [(phone, index) for index, word in enumerate(words) for phone in word]
    rows, columns = len(own) + 1, len(phones) + 1
    cost = [[float(i + j) for j in range(columns)] for i in range(rows)]
    for i in range(1, rows):
        for j in range(1, columns):
            swap = cost[i - 1][j - 1] + _cost(own[i - 1][0], phones[j - 1])
            cost[i][j] = min(swap, cost[i - 1][j] + 1, cost[i][j - 1] + 1)
    owners = [0] * len(phones)
    i, j = rows - 1, columns - 1
    while j:
        if i and cost[i][j] == cost[i - 1][j - 1] + _cost(own[i - 1][0], phones[j - 1]):
            i, j = i - 1, j - 1
            owners[j] = own[i][1]
        elif i and cost[i][j] == cost[i - 1][j] + 1:
            i -= 1
        else:  # a phone that no word has alone, such as a linking sound, goes with the word before
            j -= 1
            owners[j] = own[max(i - 1, 0)][1]
    return owners


def sound_bounds(pcm: NDArray[np.float32]) -> tuple[int, int]:
    """First and one-past-last sample of (T,) `pcm` within 40 dB of its loudest 10 ms; (0, 0) when it is silent."""
    count = -(-len(pcm) // _WINDOW)
    padded = np.pad(pcm, (0, count * _WINDOW - len(pcm))).reshape(count, _WINDOW)
    level = np.sqrt((padded**2).mean(axis=1))
    loud = np.flatnonzero(level >= level.max(initial=0.0) * _FLOOR) if level.any() else np.empty(0, int)
    return (int(loud[0]) * _WINDOW, min((int(loud[-1]) + 1) * _WINDOW, len(pcm))) if len(loud) else (0, 0)


def assemble(words: Sequence[str], pcm: NDArray[np.float32], phones: Sequence[Phone]) -> Spoken:
    """Trim an engine's output to 50 ms around the speech and read the words' times off their phones.

    Raises:
        DataError: nothing audible was said.
    """
    said = [phone for phone in phones if phone.word >= 0]
    if not said:
        raise DataError(f"the synthesiser has no phones for {' '.join(words)!r}; use words of its language")
    # Sound far outside the phones is the engine's own click, not speech.
    low = max(0, round((said[0].start - _EDGE_S) * RATE))
    high = min(len(pcm), round((said[-1].end + 2 * _EDGE_S) * RATE))
    first, last = sound_bounds(pcm[low:high])
    if first == last:
        raise DataError(f"the synthesiser made no sound for {' '.join(words)!r}; choose another voice")
    edge = round(_EDGE_S * RATE)
    begin, end = max(0, low + first - edge), min(len(pcm), low + last + edge)
    length = (end - begin) / RATE

    def place(seconds: float) -> float:
        return round(min(max(seconds - begin / RATE, 0.0), length), 4)

    final = max(said[-1].start, (low + last) / RATE)  # the last phone lasts as long as it is heard
    lead = Phone(PAUSE, begin / RATE, max(phones[0].start, begin / RATE), -1)
    inner = [lead, *phones[: phones.index(said[-1])], said[-1]._replace(end=final), Phone(PAUSE, final, end / RATE, -1)]
    placed = [phone._replace(start=place(phone.start), end=place(phone.end)) for phone in inner]
    spans: list[Span] = []
    for index, word in enumerate(words):
        own = [phone for phone in placed if phone.word == index]
        at = spans[-1][2] if spans else place(said[0].start)
        spans.append((word, own[0].start, own[-1].end) if own else (word, at, at))
    heard = [(phone.name, phone.start, phone.end) for phone in placed if phone.end > phone.start]
    return Spoken(np.clip(pcm[begin:end], -1, 1), spans, heard)

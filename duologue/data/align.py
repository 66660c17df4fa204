"""When each word and phone of a recording is said whose text is known: forced alignment by pocketsphinx."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache

import numpy as np
from numpy.typing import NDArray
from pocketsphinx import Decoder

from duologue.data.spoken import PAUSE, RATE, Phone, Span, sound_bounds
from duologue.errors import DataError

_FRAME = 0.01  # seconds
_FILLERS = "<["  # with these the names of silences and noises begin
_VARIANT = re.compile(r"\(\d+\)$")  # pocketsphinx numbers the pronunciations of a word: "the(2)"


_MORE = {  # words of the first domain that the CMU dictionary lacks
    "cygnet": "S IH G N AH T",
    "decagon": "D EH K AH G AA N",
    "duologue": "D UW AH L AO G",
    "gosling": "G AA Z L IH NG",
    "heptagon": "HH EH P T AH G AA N",
    "oink": "OY NG K",
    "owlet": "AW L AH T",
    "spiderling": "S P AY D ER L IH NG",
}


@cache
def _decoder() -> Decoder:
    decoder = Decoder(samprate=RATE, loglevel="FATAL")
    for word, phones in _MORE.items():
        decoder.add_word(word, phones, True)
    return decoder


def pronounce(word: str) -> list[str] | None:
    """The phones of a word, those of the CMU dictionary without stress; None where it is not in it."""
    found = _decoder().lookup_word(word)
    return None if found is None else found.lower().split()


def align(pcm: NDArray[np.float32], text: str) -> list[Span] | None:
    """The words of `text` with the seconds in which they are said.

    Args:
        pcm: (T,) float32 in [-1, 1] at 16 kHz.
        text: all that is said, lower-case words and nothing else.

    Returns:
        a span a word, in order; None where a word is in no dictionary or the sound does not fit the text.
    """
    if not _fit(pcm, text):
        return None
    spans = [
        (_VARIANT.sub("", segment.word), segment.start_frame * _FRAME, (segment.end_frame + 1) * _FRAME)
        for segment in _decoder().seg()
        if segment.word[0] not in _FILLERS
    ]
    return spans if [word for word, _, _ in spans] == text.split() else None


def align_phones(pcm: NDArray[np.float32], text: str) -> list[Phone] | None:
    """The phones of `text`, as `pronounce` names them, and the pauses between them; as `align` otherwise.

    Speech too fast for phones of 30 ms has only the times of its words; their phones are then equally long.
    """
    words = align(pcm, text)
    if words is None:
        return None
    decoder = _decoder()
    decoder.set_alignment()  # of the words found, in a second pass
    try:
        _decode(pcm)
    except RuntimeError:
        return [phone for place, word in enumerate(words) for phone in _evenly(place, *word)]
    phones: list[Phone] = []
    place = -1
    for word in decoder.get_alignment():
        pause = word.name[0] in _FILLERS
        place += not pause
        for phone in word:
            name = PAUSE if pause else phone.name.lower()
            start, end = phone.start * _FRAME, (phone.start + phone.duration) * _FRAME
            phones.append(Phone(name, start, end, -1 if pause else place))
    return phones


def spread_phones(pcm: NDArray[np.float32], text: str) -> list[Phone]:
    """The phones of `text`, all equally long: for speech that is known to be of it, and that cannot be aligned.

    Raises:
        DataError: a word is in no dictionary.
    """
    words = text.split()
    counts = [len(pronounce(word) or ()) for word in words]
    if not all(counts):
        raise DataError(f"not in the CMU dictionary, by which speech is timed: {words[counts.index(0)]!r}")
    first, last = (sample / RATE for sample in sound_bounds(pcm))
    edges = first + (last - first) * np.cumsum([0, *counts]) / sum(counts)
    bounds = zip(words, edges, edges[1:], strict=False)
    return [phone for place, (word, start, end) in enumerate(bounds) for phone in _evenly(place, word, start, end)]


def _evenly(place: int, word: str, start: float, end: float) -> Iterator[Phone]:
    """The phones of one word, all equally long."""
    phones = pronounce(word) or []
    edges = np.linspace(start, end, len(phones) + 1).tolist()
    for name, first, last in zip(phones, edges, edges[1:], strict=False):
        yield Phone(name, first, last, place)


def _fit(pcm: NDArray[np.float32], text: str) -> bool:
    """Find the words of a text in a recording; whether they are there."""
    words, decoder = text.split(), _decoder()
    if not words or any(decoder.lookup_word(word) is None for word in words):
        return False
    decoder.set_align_text(text)
    _decode(pcm)
    return decoder.hyp() is not None


def _decode(pcm: NDArray[np.float32]) -> None:
    decoder = _decoder()
    decoder.start_utt()
    decoder.process_raw((np.clip(pcm, -1, 1) * 32767).astype("<i2").tobytes(), full_utt=True)
    decoder.end_utt()

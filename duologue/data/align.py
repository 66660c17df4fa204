"""When each word of a recording is said whose text is known: forced alignment by pocketsphinx."""

from __future__ import annotations

import re
from functools import cache

import numpy as np
from numpy.typing import NDArray
from pocketsphinx import Decoder

from duologue.data.spoken import RATE, Span

_FRAME = 0.01  # seconds
_VARIANT = re.compile(r"\(\d+\)$")  # pocketsphinx numbers the pronunciations of a word: "the(2)"


@cache
def _decoder() -> Decoder:
    return Decoder(samprate=RATE, loglevel="FATAL")


def align(pcm: NDArray[np.float32], text: str) -> list[Span] | None:
    """The words of `text` with the seconds in which they are said.

    Args:
        pcm: (T,) float32 in [-1, 1] at 16 kHz.
        text: all that is said, lower-case words and nothing else.

    Returns:
        a span a word, in order; None where a word is in no dictionary or the sound does not fit the text.
    """
    words = text.split()
    decoder = _decoder()
    if not words or any(decoder.lookup_word(word) is None for word in words):
        return None
    decoder.set_align_text(text)
    decoder.start_utt()
    decoder.process_raw((np.clip(pcm, -1, 1) * 32767).astype("<i2").tobytes(), full_utt=True)
    decoder.end_utt()
    if decoder.hyp() is None:
        return None
    spans = [
        (_VARIANT.sub("", segment.word), segment.start_frame * _FRAME, (segment.end_frame + 1) * _FRAME)
        for segment in decoder.seg()
        if segment.word[0] not in "<["  # silences and noises
    ]
    return spans if [word for word, _, _ in spans] == words else None

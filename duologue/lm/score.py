"""The score that the talker plays: for each frame, which phone sounds in each 10 ms slot, and which come next.

Training reads it off a spoken utterance (`score_of`), conversation writes it as the words arrive (`lm/reader.py`);
both put it down in the same two streams.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from duologue.lm.pacer import SLOT
from duologue.lm.streams import ABSENT, Stream

SLOTS = 8  # of 10 ms in a frame of 80 ms
QUARTERS = 4  # how finely the place inside a phone is told
AHEAD = 4  # phones that the talker sees coming


def score_streams(phones: int) -> tuple[Stream, Stream]:
    """The talker's heard streams for an inventory of `phones` phones."""
    return (
        Stream(name="sounds", role="heard", cardinality=phones * QUARTERS, books=SLOTS),
        Stream(name="ahead", role="heard", cardinality=phones, books=AHEAD),
    )


def sound(phone: int, elapsed: int, duration: int) -> int:
    """Token of one slot: the phone, and which quarter of it has been reached."""
    return phone * QUARTERS + min(QUARTERS - 1, elapsed * QUARTERS // max(1, duration))


def on_grid(ends: Sequence[float]) -> list[int]:
    """Durations in slots of phones that end at `ends` seconds, rounded so that errors do not add up; may be zero."""
    edges = [0, *(round(end / SLOT) for end in ends)]
    return [late - early for early, late in pairwise(edges)]


def score_of(
    phones: Sequence[int], durations: Sequence[int], arrivals: Sequence[int], frames: int, end: int, pause: int
) -> tuple[np.ndarray, np.ndarray]:
    """Write the score of an utterance whose timing is known.

    Args:
        phones, durations: what sounds, and for how many slots.
        arrivals: the frame in which each phone's word is decided; before it, the phone cannot be seen coming.
        frames: how many frames to write; what lies behind the last phone is a pause.
        end, pause: the phones that stand for the end of the reply and for silence.

    Returns:
        sounds (frames, 8) and ahead (frames, 4), int64.
    """
    sounds = np.full(frames * SLOTS, sound(pause, 0, 1), dtype=np.int64)
    last = np.full(frames * SLOTS, len(phones) - 1, dtype=np.int64)  # which phone each slot belongs to
    place = 0
    for index, (phone, duration) in enumerate(zip(phones, durations, strict=True)):
        for elapsed in range(min(duration, frames * SLOTS - place)):
            sounds[place + elapsed] = sound(phone, elapsed, duration)
            last[place + elapsed] = index
        place += duration
    ahead = np.full((frames, AHEAD), ABSENT, dtype=np.int64)
    for frame in range(frames):
        current = last[frame * SLOTS + SLOTS - 1]
        for book in range(AHEAD):
            coming = current + 1 + book
            if coming < len(phones):
                if arrivals[coming] > frame:
                    break
                ahead[frame, book] = phones[coming]
            else:  # the end is seen when the token behind the last word has come
                if arrivals[-1] < frame:
                    ahead[frame, book] = end
                break
    return sounds.reshape(frames, SLOTS), ahead

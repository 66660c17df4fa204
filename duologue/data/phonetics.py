"""Which phone the user is saying, frame by frame: a helper that teaches a model the sounds that words share.

Whole words are many and each is rare; phones are few and each is heard all the time. A model that also has to tell the
phones learns to hear words it seldom met, in a fraction of the time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from duologue.data.dialogues import Scene
from duologue.data.spoken import is_vowel
from duologue.lm.streams import ABSENT

PER_FRAME = 2  # labels in a frame of 80 ms
LATE = 0.06  # seconds by which the label of a sound lags behind it, so that what follows it has been heard
SILENCE = 0  # the first label; the phones follow in the order of the inventory
VOWEL_LENGTH = 1.7  # of a consonant

Pronounce = Callable[[str], Sequence[str]]


def inventory_of(words: Iterable[str], pronounce: Pronounce) -> tuple[str, ...]:
    """The phones that the words are said with, sorted."""
    return tuple(sorted({phone for word in words for phone in pronounce(word)}))


def phone_track(scene: Scene, pronounce: Pronounce, inventory: Sequence[str]) -> NDArray[np.int32]:
    """Labels (F, 2) of a scene: 0 in silence, k + 1 for phone k of the inventory, `ABSENT` where it is not known.

    A word's phones share its time, vowels taking more of it: near enough at 40 ms a label, and it needs nothing but a
    pronouncing dictionary, so recordings of real people are labelled in the same way.
    """
    grid = (np.arange(scene.frames * PER_FRAME) + 1) * (0.08 / PER_FRAME) - LATE
    track = np.full(len(grid), SILENCE, dtype=np.int32)
    places = {phone: index + 1 for index, phone in enumerate(inventory)}
    for turn in scene.turns:
        if not turn.known:
            track[(grid >= turn.user_start) & (grid < turn.user_end)] = ABSENT
            continue
        for word, start, end in turn.words:
            phones = pronounce(word)
            lengths = [VOWEL_LENGTH if is_vowel(phone) else 1.0 for phone in phones]
            edges = start + (end - start) * np.cumsum([0.0, *lengths]) / max(sum(lengths), 1.0)
            for phone, begin, finish in zip(phones, edges[:-1], edges[1:], strict=True):
                track[(grid >= begin) & (grid < finish)] = places.get(phone, ABSENT)
        for _, start, end in turn.backchannels:
            track[(grid >= start) & (grid < end)] = ABSENT
        for start, end in turn.pauses:
            track[(grid >= start) & (grid < end)] = SILENCE
    return track.reshape(scene.frames, PER_FRAME)

"""Frame labels: which phone a synthetic voice says at the middle of every frame of a codec."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from duologue.data.manifest import Entry
from duologue.data.spoken import PAUSE

UNKNOWN = -1
"""The label of a frame of which nobody knows what is said."""


def phone_inventory(entries: Iterable[Entry]) -> dict[str, int]:
    """Number the phones of some utterances in the order of their names.

    Synthesisers write phones differently, so each name has its engine before it, such as "flite/ao" and "espeak/O:".
    A pause is the same silence in all of them and stays "pau".
    """
    names = {_name(entry, phone) for entry in entries for phone, _, _ in entry.phones or ()}
    return {name: number for number, name in enumerate(sorted(names))}


def phone_labels(entry: Entry, inventory: Mapping[str, int], frame: int) -> NDArray[np.int16]:
    """The phones' numbers at the middle of each frame, (F,) int16; frame f is samples [f * frame, (f + 1) * frame).

    The last frame may be a part of one. `UNKNOWN` is where the entry has no phone, or one that is not in `inventory`.
    """
    middles = (np.arange(-(-entry.samples // frame)) + 0.5) * frame / entry.sample_rate
    labels = np.full(len(middles), UNKNOWN, np.int16)
    for phone, start, end in entry.phones or ():
        first, last = np.searchsorted(middles, (start, end))
        labels[first:last] = inventory.get(_name(entry, phone), UNKNOWN)
    return labels


def _name(entry: Entry, phone: str) -> str:
    return phone if phone == PAUSE else f"{(entry.voice or '').partition('/')[0]}/{phone}"

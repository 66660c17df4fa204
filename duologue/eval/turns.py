"""Who speaks when: stretches of speech in two channels, and what lies between them.

Heldner and Edlund (2010, "Pauses, gaps and overlaps in conversations") name the parts, dGSLM (Nguyen et al. 2022)
measures spoken dialogue models by their seconds a minute: an inter-pausal unit (IPU) is a stretch of one speaker's
sound without a silence over 200 ms; an overlap is when both sound; a gap is a silence in which the floor changes hands.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from duologue.eval.converse import Record, Span, loud
from duologue.eval.metrics import Pcm

IPU_SILENCE = 0.2  # seconds: a longer silence parts two IPUs
SHORTEST = 0.03  # seconds: what is shorter is a click
NOTICED = 0.1  # seconds of sound in all from which on a system is heard to speak


def speaking(pcm: Pcm) -> NDArray[np.bool_]:
    """Which 10 ms of (T,) lie within an IPU: sound over -50 dBFS, silences up to 200 ms filled, clicks left out."""
    active = loud(pcm)
    labels, count = ndimage.label(active)
    for run in ndimage.find_objects(labels) if count else ():
        if (run[0].stop - run[0].start) * 0.01 < SHORTEST - 1e-9:
            active[run] = False
    labels, count = ndimage.label(~active)
    for run in ndimage.find_objects(labels) if count else ():
        inside = run[0].start > 0 and run[0].stop < len(active)
        if inside and (run[0].stop - run[0].start) * 0.01 <= IPU_SILENCE + 1e-9:
            active[run] = True
    return active


def ipus(pcm: Pcm) -> list[Span]:
    """Seconds at which each IPU of (T,) begins and ends."""
    labels, count = ndimage.label(speaking(pcm))
    return [(run[0].start * 0.01, run[0].stop * 0.01) for run in (ndimage.find_objects(labels) if count else ())]


def sounding(record: Record, span: Span) -> float:
    """Seconds of sound that the system made within `span`; in all, however they lie."""
    return float(np.count_nonzero(loud(record.reply(span)))) * 0.01


def heard_in(record: Record, span: Span) -> bool:
    """Whether the system was heard to speak within `span`."""
    return sounding(record, span) >= NOTICED - 1e-9


@dataclass(frozen=True)
class Floor:
    """Seconds of a stretch of conversation in which both speak, and in which the floor changes hands in silence."""

    overlap: float
    gap: float
    minutes: float


def floor(audio: Pcm) -> Floor:
    """Overlap and gap of two channels (2, T).

    A silence is a gap where no one speaks both last before it and first after it; otherwise it is a speaker's pause,
    and silence before the first and after the last speech is neither.
    """
    user, system = speaking(audio[0]), speaking(audio[1])
    gap = 0.0
    labels, count = ndimage.label(~(user | system))
    for (run,) in ndimage.find_objects(labels) if count else ():
        if run.start == 0 or run.stop == len(user):
            continue
        before = user[run.start - 1], system[run.start - 1]
        after = user[run.stop], system[run.stop]
        if not (before[0] and after[0]) and not (before[1] and after[1]):
            gap += (run.stop - run.start) * 0.01
    return Floor(float(np.count_nonzero(user & system)) * 0.01, gap, len(user) / 6000)

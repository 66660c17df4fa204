"""Who speaks when, on two channels made by hand."""

from __future__ import annotations

import numpy as np
import pytest

from duologue.eval.converse import Record
from duologue.eval.turns import floor, heard_in, ipus, sounding

RATE = 16000


def channel(seconds: float, *sounds: tuple[float, float]) -> np.ndarray:
    pcm = np.zeros(round(seconds * RATE), np.float32)
    for start, end in sounds:
        first, last = round(start * RATE), round(end * RATE)
        pcm[first:last] = 0.3 * np.sin(2 * np.pi * 300 * np.arange(last - first) / RATE)
    return pcm


def test_a_silence_over_200_ms_parts_two_ipus() -> None:
    pcm = channel(3.0, (0.5, 1.0), (1.2, 1.5), (1.71, 2.0), (2.5, 2.52))
    assert ipus(pcm) == [pytest.approx((0.5, 1.5)), pytest.approx((1.71, 2.0))]
    assert ipus(np.zeros(RATE, np.float32)) == []


def test_overlap_and_gap_are_those_that_were_made() -> None:
    user = channel(6.0, (0.5, 1.5), (3.0, 4.0), (4.8, 5.2))
    system = channel(6.0, (1.9, 3.25))
    made = floor(np.stack([user, system]))
    assert made.overlap == pytest.approx(0.25)
    assert made.gap == pytest.approx(0.4)  # not the user's own pause from 4.0 to 4.8, nor the ends
    assert made.minutes == pytest.approx(0.1)


def test_sounds_of_the_system_are_counted_within_a_span() -> None:
    audio = np.stack([channel(3.0), channel(3.0, (0.4, 0.5), (1.0, 1.35))])
    record = Record(audio, [(0.0, 0.3)], [(0.0, 0.3)], [], [])
    assert sounding(record, (0.0, 1.2)) == pytest.approx(0.3)
    assert heard_in(record, (0.0, 0.6)) and not heard_in(record, (0.45, 1.0))
